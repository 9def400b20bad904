//! The examples, run as their readers run them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

/// What an example prints. `cargo test` builds the examples beside the tests, but not with `--test examples` alone.
fn run(example: &str, arguments: &[&Path]) -> String {
    let test = std::env::current_exe().unwrap();
    let name = format!("{example}{}", std::env::consts::EXE_SUFFIX);
    let program = test.parent().unwrap().with_file_name("examples").join(name);
    let hint = "`cargo build --release --examples` builds it";
    assert!(program.exists(), "there is no {}: {hint}", program.display());
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_operation_from_outside_passes_its_checks_on_both_devices() {
    let printed = run("custom_op", &[]);
    // Two cases on the CPU and on a GPU.
    assert_eq!(printed.matches(" PASS").count(), 4, "{printed}");
}

#[test]
fn a_network_from_outside_learns() {
    let printed = run("custom_network", &[]);
    let accuracy = printed.lines().last().unwrap().split_whitespace().rev().nth(1).unwrap();
    assert!(accuracy.parse::<f64>().unwrap() > 40.0, "four times as good as guessing: {printed}");
}

#[test]
fn a_picture_is_classified_by_the_shipped_weights() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("gray.png");
    image::RgbImage::from_pixel(48, 40, image::Rgb([99; 3])).save(&picture).unwrap();
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/weights/lenet5.safetensors");
    let printed = run("classify", &[&weights, &picture]);
    let percent = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap();
    let shares: Vec<f64> = printed.lines().map(percent).collect();
    assert!(shares.len() == 3 && shares.is_sorted_by(|a, b| a >= b), "{printed}");
    assert!(shares.iter().sum::<f64>() <= 100.1, "{printed}");
}
