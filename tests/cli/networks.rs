//! Networks that a file describes, through every command.

use predicates::prelude::*;
use predicates::str::contains;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::{Sandbox, fields};

/// A small network with batch normalization, in `nets/tiny.toml`.
const TINY: &str = r#"
name = "tiny"
layers = [
    { type = "conv2d", name = "conv1", channels = 4, kernel = 3, stride = 4, bias = false },
    { type = "batch_norm", name = "norm1" },
    { type = "relu" },
    { type = "dropout", probability = 0.1 },
    { type = "global_avg_pool" },
    { type = "linear", name = "out", features = "classes" },
]
"#;
const TRAIN: &str =
    "train --arch nets/tiny.toml --data data --device cpu --epochs 2 --batch-size 16 --lr 0.05 --checkpoint-steps 1";

fn with_network() -> Sandbox {
    let sandbox = Sandbox::with_data(64, 20);
    sandbox.write("nets/tiny.toml", TINY.as_bytes());
    sandbox
}

/// The tensors of a weights file in a file without metadata, as other programs write it.
fn without_metadata(weights: &[u8]) -> Vec<u8> {
    safetensors::serialize(SafeTensors::deserialize(weights).unwrap().tensors(), None).unwrap()
}

#[test]
fn a_described_network_goes_through_every_command() {
    let sandbox = with_network();
    let summary = sandbox.json("summary --arch nets/tiny.toml --json");
    assert_eq!((&summary["arch"], &summary["parameters"]), (&json!("tiny"), &json!(27 * 4 + 8 + 50)));
    let bench = sandbox.json("bench --arch nets/tiny.toml --device cpu --steps 1 --warmup 0 --batch-size 2 --json");
    assert_eq!(bench["steps"], 1);
    let products = sandbox.json("tune --arch nets/tiny.toml --device cpu --batch-size 2 --autotune quick --json");
    assert_eq!(fields(&products[0]), ["chosen", "gflop", "kernel", "layer", "trials"]);

    sandbox.ok(&format!("{TRAIN} --out run"));
    let eval = sandbox.json("eval --weights run/weights.safetensors --data data --device cpu --json");
    assert_eq!(eval["arch"], "tiny");
    // Weights that do not say their network need it to be named, by a file, too.
    sandbox.write("bare.safetensors", &without_metadata(&sandbox.read("run/weights.safetensors")));
    let bare = "--weights bare.safetensors --arch nets/tiny.toml --mean 0,0,0 --std 1,1,1";
    let normalized = |arguments: &str| sandbox.json(&format!("{arguments} --device cpu --json"));
    assert_eq!(normalized(&format!("eval {bare} --data data"))["images"], 20);
    sandbox.write("tree/a.png", &super::png(image::RgbImage::from_pixel(32, 32, image::Rgb([9, 200, 40]))));
    assert_eq!(normalized(&format!("predict {bare} tree"))[0]["logits"].as_array().unwrap().len(), 10);
    sandbox.refuses("eval --weights bare.safetensors --data data", "does not say which architecture");

    // Any batch normalization that follows a convolution is folded.
    let printed = sandbox.ok("fold --weights run/weights.safetensors --out folded.safetensors").stdout;
    assert_eq!(printed, "folded.safetensors: tiny-folded (162 parameters)\n");
    let folded = sandbox.json("eval --weights folded.safetensors --data data --device cpu --json");
    assert_eq!(folded["confusion"], eval["confusion"]);
    let hint = sandbox.command("fold --weights folded.safetensors --out again.safetensors").assert().code(1);
    hint.stderr(contains("tiny-folded has no batch normalization").and(contains("ygnet").not()));
}

#[test]
fn a_run_keeps_its_network() {
    let sandbox = with_network();
    sandbox.ok(&format!("{TRAIN} --out whole"));
    sandbox.ok(&format!("{TRAIN} --out part --max-steps 3"));
    let description = String::from_utf8(sandbox.read("part/network.toml")).unwrap();
    let config: Value = serde_json::from_slice(&sandbox.read("part/config.json")).unwrap();
    assert_eq!(config["network"], json!(description));
    // It is one that can be trained, in place of the file that it comes from.
    std::fs::remove_file(sandbox.path("nets/tiny.toml")).unwrap();
    sandbox.ok("train --resume part");
    assert!(sandbox.read("part/weights.safetensors") == sandbox.read("whole/weights.safetensors"));
    let again = sandbox.ok("train --config whole/config.toml --out again").stderr;
    assert!(again.contains("tiny.toml no longer exists: using its copy"), "{again}");
    assert!(sandbox.read("again/weights.safetensors") == sandbox.read("whole/weights.safetensors"));
    sandbox.ok("train --arch whole/network.toml --data data --device cpu --max-steps 1 --out new");
    sandbox.refuses(TRAIN, "tiny.toml");
    // Built-in networks are kept, too.
    sandbox.ok("train --arch lenet5 --data data --device cpu --max-steps 1 --out builtin");
    let builtin = String::from_utf8(sandbox.read("builtin/network.toml")).unwrap();
    assert!(builtin.contains("name = \"lenet5\""), "{builtin}");
}

#[test]
fn weights_bring_their_network_to_a_new_run() {
    let sandbox = with_network();
    sandbox.ok(&format!("{TRAIN} --max-steps 1 --out run"));
    std::fs::remove_file(sandbox.path("nets/tiny.toml")).unwrap();
    let init = "--init run/weights.safetensors --data data --device cpu --max-steps 1";
    let printed = sandbox.ok(&format!("train {init} --out new")).stderr;
    assert!(printed.contains("train:  tiny (166 parameters)"), "{printed}");
    sandbox.ok("train --config new/config.toml --out again");
    sandbox.refuses(&format!("train {init} --arch lenet5 --out no"), "the weights are of tiny, not of lenet5");
    sandbox.ok("train --arch lenet5 --data data --device cpu --max-steps 1 --out builtin");
    let printed =
        sandbox.ok("train --init builtin/weights.safetensors --data data --device cpu --max-steps 1 --out next");
    assert!(printed.stderr.contains("train:  lenet5"), "{}", printed.stderr);
}

#[test]
fn a_description_says_how_its_network_starts() {
    let sandbox = with_network();
    let normalization = "normalization = { mean = [0.4, 0.5, 0.6], std = [0.2, 0.3, 0.4] }\nlayers";
    sandbox.write("nets/tiny.toml", TINY.replace("layers", normalization).as_bytes());
    for recipe in ["published", "fast"] {
        sandbox.ok(&format!("{TRAIN} --recipe {recipe} --max-steps 1 --out {recipe}"));
        let config: Value = serde_json::from_slice(&sandbox.read(&format!("{recipe}/config.json"))).unwrap();
        assert_eq!(config["preprocessing"], json!({ "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4] }));
        assert_eq!(config["initializer"], "published");
    }
    // Without, it is that of the images.
    sandbox.write("nets/tiny.toml", TINY.as_bytes());
    sandbox.ok(&format!("{TRAIN} --max-steps 1 --out images"));
    let config: Value = serde_json::from_slice(&sandbox.read("images/config.json")).unwrap();
    assert_eq!(config["normalize"], "standard");
}

#[test]
fn a_wrong_description_is_refused_by_every_command() {
    let sandbox = with_network();
    sandbox.ok(&format!("{TRAIN} --max-steps 1 --out run"));
    sandbox.write("bare.safetensors", &without_metadata(&sandbox.read("run/weights.safetensors")));
    sandbox.write("wrong.toml", TINY.replace("stride = 4", "strides = 4").as_bytes());
    for command in [
        "train --data data --device cpu",
        "summary",
        "bench --device cpu",
        "tune --device cpu",
        "eval --data data --weights bare.safetensors",
    ] {
        sandbox.refuses(&format!("{command} --arch wrong.toml"), "line 4, conv2d `conv1`: unknown field `strides`");
    }
}
