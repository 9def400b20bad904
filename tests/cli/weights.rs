//! Weights files of other programs on the command line.

use std::fs;

use super::{SMALL, Sandbox};

/// The same safetensors file with another header: `change` gets the JSON object.
fn with_header(file: &[u8], change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    change(header.as_object_mut().unwrap());
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), &file[8 + length..]].concat()
}

/// Without metadata, and with a prefix before each name.
fn renamed(file: &[u8], rename: impl Fn(&str) -> String) -> Vec<u8> {
    with_header(file, |header| {
        header.remove("__metadata__");
        *header = std::mem::take(header).into_iter().map(|(name, value)| (rename(&name), value)).collect();
    })
}

const EVAL: &str = "eval --data data --device cpu --json";

#[test]
fn prefixes_and_published_names_are_understood_by_every_command() {
    let sandbox = Sandbox::with_weights();
    let file = sandbox.read("run/weights.safetensors");
    let own = sandbox.json(&format!("{EVAL} --weights run/weights.safetensors"));
    sandbox.write("module.safetensors", &renamed(&file, |name| format!("module.{name}")));
    let published = |name: &str| format!("net.{}", name.replace("conv", "convLayer").replace("fc", "fullyc"));
    sandbox.write("published.safetensors", &renamed(&file, published));
    let standard = "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5";
    for (name, said) in [("module", "begin with `module.`"), ("published", "published names of layers")] {
        // The architecture is recognized.
        for flags in ["", "--arch lenet5"] {
            let command = format!("{EVAL} --weights {name}.safetensors {standard} {flags}");
            let printed = sandbox.ok(&command);
            assert!(printed.stderr.contains(said), "{}", printed.stderr);
            assert_eq!(printed.stderr.contains(": safetensors of lenet5"), flags.is_empty(), "{}", printed.stderr);
            assert_eq!(sandbox.json(&command)["loss"], own["loss"]);
        }
        let train = format!("train {SMALL} --data data --device cpu --max-steps 1 --out from-{name}");
        let printed = sandbox.ok(&format!("{train} --init {name}.safetensors --normalize published"));
        assert!(printed.stderr.contains(said), "{}", printed.stderr);
    }
    let table =
        sandbox.ok("weights import published.safetensors back.safetensors --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5");
    assert!(table.stdout.contains("net.fullyc3.bias       10         fc3.bias"), "{}", table.stdout);
    sandbox.refuses("weights import published.safetensors back.safetensors", "back.safetensors exists");
    sandbox.ok("weights import published.safetensors back.safetensors --force");
}

#[test]
fn flags_fill_what_metadata_lack() {
    let sandbox = Sandbox::with_weights();
    let file = with_header(&sandbox.read("run/weights.safetensors"), |header| {
        header["__metadata__"] = serde_json::json!({ "arch": "lenet5" });
    });
    sandbox.write("arch_only.safetensors", &file);
    let own = sandbox.json(&format!("{EVAL} --weights run/weights.safetensors"));
    let eval = format!("{EVAL} --weights arch_only.safetensors");
    let filled = sandbox.json(&format!("{eval} --arch lenet5 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"));
    assert_eq!(filled["loss"], own["loss"]);
    let warned = sandbox.ok(&eval).stderr;
    assert!(warned.contains("does not give the normalization of pixels"), "{warned}");
    let train = format!("train {SMALL} --data data --device cpu --max-steps 1 --init arch_only.safetensors");
    sandbox.ok(&format!("{train} --normalize published --out on"));
    sandbox.refuses(&format!("{eval} --arch ygnet"), "the weights are of lenet5, not of ygnet");
}

#[test]
fn weights_go_out_and_come_back() {
    let sandbox = Sandbox::with_weights();
    let first = sandbox.read("run/weights.safetensors");
    for ending in ["pth", "npz"] {
        let said = sandbox.ok(&format!("weights export run/weights.safetensors w.{ending}")).stdout;
        assert!(said.contains(&format!("w.{ending}: ")) && said.contains("of lenet5"), "{said}");
        // Every command takes it, with all that the metadata say.
        sandbox.ok(&format!("{EVAL} --weights w.{ending}"));
        sandbox.ok(&format!("summary --arch w.{ending}"));
        let train = format!("train {SMALL} --data data --device cpu --max-steps 1 --out from-{ending}");
        sandbox.ok(&format!("{train} --init w.{ending}"));
        sandbox.ok(&format!("weights import w.{ending} back.safetensors --force"));
        assert!(sandbox.read("back.safetensors") == first, "{ending}");
    }
    let inspected = sandbox.json("weights inspect w.pth --json");
    assert_eq!((&inspected["format"], &inspected["arch"]), (&"torch".into(), &"lenet5".into()));
    assert_eq!(inspected["tensors"].as_array().unwrap().len(), 10);
    sandbox.ok("weights export run/weights.safetensors small.safetensors --width f16");
    let half = fs::metadata(sandbox.path("small.safetensors")).unwrap().len();
    assert!(half < first.len() as u64 * 6 / 10);
    sandbox.ok("weights export run/weights.safetensors net.onnx");
    sandbox.ok("weights export run/weights.safetensors net --format onnx --normalized-input");
    sandbox.refuses("weights export run/weights.safetensors w.h5", "has none of the endings");
    sandbox.refuses("weights export run/weights.safetensors x.npz --width f16", "applies to safetensors only");
    sandbox.refuses("weights export run/weights.safetensors x.npz --normalized-input", "applies to ONNX only");
}

#[test]
fn a_wrong_file_is_named_for_what_it_is() {
    let sandbox = Sandbox::with_weights();
    sandbox.ok("weights export run/weights.safetensors net.onnx");
    let png = super::png(image::RgbImage::new(4, 4));
    for (name, bytes, message) in [
        ("empty.safetensors", &b""[..], "it is empty"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        ("page.pth", b"<!DOCTYPE html><html></html>", "a web page"),
        ("array.npz", b"\x93NUMPY\x01\0v\0{'descr': '<f4'", "a single NumPy array"),
        ("model.tflite", b"\x1c\0\0\0TFL3\0\0\0\0", "a TensorFlow Lite model"),
        ("net.toml", b"name = \"net\"\n", "a text file, such as a network's description"),
        ("picture.h5", &png, "a picture"),
        ("noise.pth", &[7; 100], "of no known format"),
    ] {
        sandbox.write(name, bytes);
        for command in ["weights inspect", "predict x.png --weights", "train --arch lenet5 --init"] {
            sandbox.refuses(&format!("{command} {name}"), message);
        }
    }
    sandbox.refuses("eval --weights net.onnx", "an ONNX model, which can be written and not read");
}
