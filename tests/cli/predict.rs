//! `predict` on folders, on standard input, and on what is no picture.

use byteorder::{ByteOrder, LittleEndian};
use image::{Rgb, RgbImage};
use serde_json::Value;

use super::{Sandbox, native, png};

const PREDICT: &str = "predict --weights run/weights.safetensors --device cpu";

fn with_pictures() -> Sandbox {
    let sandbox = Sandbox::with_weights();
    for (name, red) in [("b", 10), ("a", 200), ("deep/er/c", 90)] {
        sandbox.write(&format!("pictures/{name}.png"), &png(RgbImage::from_pixel(50, 40, Rgb([red, 80, 30]))));
    }
    sandbox.write("pictures/.hidden.png", b"no picture");
    sandbox.write("pictures/.trash/old.png", b"no picture");
    sandbox.write("pictures/notes.txt", b"no picture");
    sandbox
}

fn images(predictions: &Value) -> Vec<&str> {
    predictions.as_array().unwrap().iter().map(|prediction| prediction["image"].as_str().unwrap()).collect()
}

#[test]
fn folders_are_taken_with_all_pictures_below() {
    let sandbox = with_pictures();
    let predictions = sandbox.json(&format!("{PREDICT} --json pictures"));
    assert_eq!(images(&predictions), ["pictures/a.png", "pictures/b.png", "pictures/deep/er/c.png"].map(native));
    let single = sandbox.json(&format!("{PREDICT} --json pictures/b.png"));
    assert_eq!(predictions[1]["class"], single[0]["class"]);
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.refuses(&format!("{PREDICT} empty"), "there is no picture in empty");
    // Beside something to look at it stops nothing.
    let output = sandbox.command(&format!("{PREDICT} --json empty pictures/b.png")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), images(&serde_json::from_slice(&output.stdout).unwrap()).len()), (Some(1), 1));
    assert!(
        stderr.contains("warning: ") && stderr.contains("error: 1 folder could not be read or had no pictures"),
        "{stderr}"
    );
    sandbox.command(&format!("{PREDICT} --top 0 pictures/b.png")).assert().code(2).stdout("");
}

#[test]
fn standard_input_holds_one_picture() {
    let sandbox = with_pictures();
    let bytes = sandbox.read("pictures/a.png");
    let output = sandbox.command(&format!("{PREDICT} --json -")).write_stdin(bytes).output().unwrap();
    assert!(output.status.success());
    let predictions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(images(&predictions), ["-"]);
    let file = sandbox.json(&format!("{PREDICT} --json pictures/a.png"));
    assert_eq!(predictions[0]["logits"], file[0]["logits"]);
    sandbox.refuses(&format!("{PREDICT} -"), "standard input: the file is empty");
    sandbox.refuses(&format!("{PREDICT} - -"), "standard input holds one picture");
}

#[test]
fn a_bad_picture_does_not_keep_the_others_from_being_looked_at() {
    let sandbox = with_pictures();
    sandbox.write("pictures/bad.png", b"no picture");
    let output = sandbox.command(&format!("{PREDICT} --json pictures absent.png")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(images(&serde_json::from_slice(&output.stdout).unwrap()).len(), 3);
    assert!(stderr.contains(&native("warning: pictures/bad.png: not a readable")), "{stderr}");
    assert!(stderr.contains("absent.png") && stderr.contains("error: 2 of 5 pictures could not be read"), "{stderr}");
}

#[test]
fn probabilities_are_drawn_as_aligned_bars() {
    let sandbox = with_pictures();
    let text = sandbox.ok(&format!("{PREDICT} --top 10 pictures/a.png")).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("pictures/a.png", 11));
    let widths: Vec<_> = lines[1..].iter().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|&width| width == widths[0]), "{text}");
    let length = |line: &str| line.chars().filter(|c| ('▏'..='█').contains(c) || *c == '█').count();
    assert!(length(lines[1]) > 0 && length(lines[1]) >= length(lines[10]), "{text}");
    assert!(lines[1..].iter().all(|line| line.ends_with(" %")), "{text}");
}

/// The same weights without their metadata, as other programs save them.
fn without_metadata(file: &[u8]) -> Vec<u8> {
    let length = LittleEndian::read_u64(file) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    header.as_object_mut().unwrap().remove("__metadata__");
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut start = [0; 8];
    LittleEndian::write_u64(&mut start, header.len() as u64);
    [&start, header.as_slice(), &file[8 + length..]].concat()
}

/// Pixels were normalized in another way than the weights were trained with, without a word.
#[test]
fn weights_that_do_not_say_how_pixels_are_normalized() {
    let sandbox = Sandbox::with_data(64, 20);
    let train = "train --arch lenet5 --data data --device cpu --batch-size 16 --lr 0.01 --max-steps 3";
    sandbox.ok(&format!("{train} --normalize standard --out run"));
    sandbox.write("bare.safetensors", &without_metadata(&sandbox.read("run/weights.safetensors")));
    let config: Value = serde_json::from_slice(&sandbox.read("run/config.json")).unwrap();
    let list = |name: &str| {
        let numbers = config["preprocessing"][name].as_array().unwrap();
        numbers.iter().map(Value::to_string).collect::<Vec<_>>().join(",")
    };
    let eval = |arguments: &str| format!("eval --data data --device cpu --json --weights {arguments}");
    let told = format!("--arch lenet5 --mean {} --std {}", list("mean"), list("std"));
    let right = sandbox.json(&eval("run/weights.safetensors"));
    assert_eq!(sandbox.json(&eval(&format!("bare.safetensors {told}")))["loss"], right["loss"]);
    let guessed = sandbox.ok(&eval("bare.safetensors --arch lenet5"));
    assert!(guessed.stderr.contains("does not give the normalization of pixels"), "{}", guessed.stderr);
    sandbox.refuses(&eval(&format!("run/weights.safetensors {told}")), "already gives the normalization of pixels");
    sandbox.command(&eval("bare.safetensors --arch lenet5 --mean 0,0 --std 1,1,1")).assert().code(2);
    // A run that starts from them normalizes as it would without, or as it is told.
    let on = sandbox.ok(&format!("{train} --init bare.safetensors --out on"));
    assert!(on.stderr.contains("--normalize published is assumed"), "{}", on.stderr);
    sandbox.ok(&format!("{train} --init bare.safetensors --normalize standard --out standard"));
    let standard: Value = serde_json::from_slice(&sandbox.read("standard/config.json")).unwrap();
    assert_eq!(standard["preprocessing"], config["preprocessing"]);
}

/// One folder without permission hid all pictures beside it.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_listed_does_not_hide_the_others() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = with_pictures();
    let locked = sandbox.path("pictures/locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Whoever may do anything can list it all the same.
    let is_refused = std::fs::read_dir(&locked).is_err();
    let output = sandbox.command(&format!("{PREDICT} --json pictures")).output().unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(images(&serde_json::from_slice(&output.stdout).unwrap()).len(), 3);
    assert_eq!(output.status.code(), Some(i32::from(is_refused)));
}
