//! The parts of fast recipes on the command line: runs with all of them, and settings that do not fit together.

use serde_json::Value;

use super::Sandbox;

/// A run with every part that has a state or draws random numbers.
const RECIPE: &str = "--arch lenet5 --data data --batch-size 24 --micro-batch 10 --epochs 2 --optimizer muon --lr 0.02 \
    --muon-lr 0.02 --muon-momentum 0.6 --bias-lr-factor 4 --initializer dirac --whitening fixed --flip alternating \
    --crop-padding 2 --crop-border reflect --dropout 0.2 --teacher run/weights.safetensors --teacher-weight 0.5 --temperature 2 \
    --average-decay 0.9 --checkpoint-steps 1";

fn goes_on(device: &str) {
    let sandbox = Sandbox::with_weights();
    let weights = |run: &str| sandbox.read(&format!("{run}/weights.safetensors"));
    sandbox.ok(&format!("train {RECIPE} --device {device} --out whole"));
    sandbox.ok(&format!("train {RECIPE} --device {device} --out parts --max-steps 4"));
    assert!(weights("whole") != weights("parts"));
    // The run has a copy of its teacher.
    std::fs::remove_dir_all(sandbox.path("run")).unwrap();
    sandbox.ok("train --resume parts");
    assert!(weights("whole") == weights("parts"));
    let config: Value = serde_json::from_slice(&sandbox.read("parts/config.json")).unwrap();
    let teacher = config["teacher"]["weights"].as_str().unwrap();
    assert!(teacher.ends_with("weights.safetensors"), "{teacher}");
    let page = String::from_utf8(sandbox.read("whole/report.html")).unwrap();
    for part in ["24 in parts of 10", "Muon at 0.02", "biases at 4 times", "Dirac, fixed whitening", "temperature 2"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_run_with_all_parts_goes_on_bit_for_bit_on_the_cpu() {
    goes_on("cpu");
}

#[test]
fn a_run_with_all_parts_goes_on_bit_for_bit_on_the_gpu() {
    goes_on("gpu");
}

#[test]
fn test_time_augmentation_is_reported_beside_the_single_view() {
    let sandbox = Sandbox::with_weights();
    let eval = "eval --weights run/weights.safetensors --data data --device cpu";
    let (plain, six) = (sandbox.json(&format!("{eval} --json")), sandbox.json(&format!("{eval} --json --tta")));
    assert_eq!((&plain["loss"], plain.get("tta")), (&six["loss"], None));
    assert_eq!(six["tta"]["views"], "mirror-shift");
    assert!(six["tta"]["loss"].as_f64().unwrap() > 0.0 && six["tta"]["loss"] != six["loss"]);
    let text = sandbox.ok(&format!("{eval} --tta=mirror")).stdout;
    assert!(text.contains("\nwith test-time augmentation (mirror images): "), "{text}");
    let train = "train --arch lenet5 --data data --device cpu --epochs 1";
    let printed = sandbox.ok(&format!("{train} --out tta --tta"));
    assert!(printed.stdout.trim_end().ends_with("% with test-time augmentation"), "{}", printed.stdout);
    let page = String::from_utf8(sandbox.read("tta/report.html")).unwrap();
    assert!(page.contains("with mirrored and shifted images"));
    let outcome = sandbox.json(&format!("{train} --out json --tta=mirror --json"));
    assert!(outcome["tta_accuracy"].as_f64().is_some(), "{outcome}");
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let sandbox = Sandbox::with_weights();
    let train = "train --arch lenet5 --data data --device cpu";
    for (flags, message) in [
        ("--micro-batch 7", "--micro-batch 7 must be a positive even number"),
        ("--bias-lr-factor 0", "--bias-lr-factor 0 must be a positive number"),
        ("--muon-lr 0.1", "--muon-lr applies to Muon only"),
        ("--optimizer muon --muon-lr -1", "--muon-lr -1 must be a positive number"),
        ("--optimizer muon --muon-momentum 1", "--muon-momentum 1 must be at least 0"),
        ("--batch-norm-momentum 2", "--batch-norm-momentum 2 must be between 0 and 1"),
        ("--temperature 2", "--teacher is not given"),
        ("--teacher absent.safetensors", "absent.safetensors"),
        ("--teacher run/weights.safetensors --teacher-weight 2", "--teacher-weight 2 must be between 0 and 1"),
        ("--teacher run/weights.safetensors --image-size 40", "the teacher lenet5 takes images of 32×32×3"),
        ("--init run/weights.safetensors --whitening start", "--whitening start has no effect"),
    ] {
        sandbox.refuses(&format!("{train} {flags}"), message);
    }
    let linear = "name = \"linear\"\ninput = [32, 32, 3]\nlayers = [{ type = \"flatten\" }, \
        { type = \"linear\", name = \"fc\", features = \"classes\" }]\n";
    sandbox.write("linear.toml", linear.as_bytes());
    let train = train.replace("lenet5", "linear.toml");
    sandbox
        .refuses(&format!("{train} --whitening start"), "--whitening needs a network that begins with a convolution");
}
