//! `predict` on folders, on standard input, and on what is no picture.

use image::{Rgb, RgbImage};
use serde_json::Value;

use super::{Sandbox, png};

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
    assert_eq!(images(&predictions), ["pictures/a.png", "pictures/b.png", "pictures/deep/er/c.png"]);
    let single = sandbox.json(&format!("{PREDICT} --json pictures/b.png"));
    assert_eq!(predictions[1]["class"], single[0]["class"]);
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.refuses(&format!("{PREDICT} empty"), "there is no .jpg, .jpeg or .png file in empty");
    // Beside something to look at it stops nothing.
    let output = sandbox.command(&format!("{PREDICT} --json empty pictures/b.png")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), images(&serde_json::from_slice(&output.stdout).unwrap()).len()), (Some(1), 1));
    assert!(stderr.contains("warning: ") && stderr.contains("error: 1 of 2 things to look at"), "{stderr}");
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
    sandbox.refuses(&format!("{PREDICT} -"), "standard input: not a readable JPEG or PNG");
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
    assert!(stderr.contains("warning: pictures/bad.png: not a readable"), "{stderr}");
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
