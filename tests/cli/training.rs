//! `train`: what it prints and leaves behind.

use std::fs;

use serde_json::{Value, json};

use super::{IMAGE_BYTES, SMALL, Sandbox, fields, native};

fn leaves_a_run_folder(device: &str) {
    let sandbox = Sandbox::with_data(40, 20);
    let arguments = format!("train {SMALL} --data data --device {device} --epochs 2 --log-every 1 --out deep/run");
    let printed = sandbox.ok(&arguments);
    assert!(
        printed.stdout.starts_with("test accuracy ")
            && printed.stdout.contains(" after 2 epochs;")
            && printed.stdout.contains("deep/run"),
        "{}",
        printed.stdout
    );
    assert!(printed.stderr.contains("395,006 parameters"), "{}", printed.stderr);

    let mut files: Vec<_> =
        fs::read_dir(sandbox.path("deep/run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    let expected = [
        "best.safetensors",
        "checkpoints",
        "config.json",
        "config.toml",
        "curves.png",
        "curves.svg",
        "lock",
        "metrics.jsonl",
        "network.toml",
        "report.html",
        "tensorboard",
        "weights.safetensors",
    ];
    assert_eq!(files, expected);
    let config: Value = serde_json::from_slice(&sandbox.read("deep/run/config.json")).unwrap();
    assert_eq!((&config["arch"], &config["batch_size"], &config["lr"]), (&json!("lenet5"), &json!(16), &json!(0.01)));
    assert_eq!((&config["train_images"], &config["test_images"]), (&json!(40), &json!(20)));
    assert!(printed.stderr.contains(config["ran_on"].as_str().unwrap()), "{}", printed.stderr);

    // Forty images are three steps an epoch, the last of half a batch.
    let (steps, epochs) = sandbox.metrics("deep/run");
    assert_eq!((steps.len(), epochs.len()), (6, 2));
    for (number, step) in steps.iter().enumerate() {
        assert_eq!(fields(step), ["epoch", "loss", "lr", "step"]);
        assert_eq!((&step["step"], &step["epoch"]), (&json!(number), &json!(1 + number / 3)));
        assert_eq!(step["lr"], json!(0.01));
        assert!(step["loss"].as_f64().unwrap() > 0.0);
    }
    for (number, epoch) in epochs.iter().enumerate() {
        assert_eq!(
            fields(epoch),
            [
                "epoch",
                "images_per_second",
                "lr",
                "seconds",
                "steps",
                "test_accuracy",
                "test_loss",
                "train_accuracy",
                "train_loss"
            ]
        );
        assert_eq!((&epoch["epoch"], &epoch["steps"]), (&json!(number + 1), &json!(3 * (number + 1))));
        assert!(epoch["images_per_second"].as_f64().unwrap() > 0.0);
        let loss = |i: usize| steps[3 * number + i]["loss"].as_f64().unwrap();
        let mean = 0.4 * loss(0) + 0.4 * loss(1) + 0.2 * loss(2);
        assert!((epoch["train_loss"].as_f64().unwrap() - mean).abs() < 1e-6, "{epoch}, mean {mean}");
    }
}

#[test]
fn training_on_the_cpu_leaves_a_run_folder() {
    leaves_a_run_folder("cpu");
}

#[test]
fn training_on_the_gpu_leaves_a_run_folder() {
    leaves_a_run_folder("gpu");
}

#[test]
fn training_learns() {
    let sandbox = Sandbox::with_data(600, 100);
    let train =
        "train --arch lenet5 --data data --device cpu --batch-size 16 --lr 0.02 --epochs 6 --schedule one-cycle";
    let outcome = sandbox.json(&format!("{train} --json"));
    assert_eq!(fields(&outcome), ["is_whole_epoch", "last", "run", "tested_on", "weights"]);
    assert_eq!(outcome["run"], native("runs/lenet5-1"));
    assert!(outcome["last"]["test_accuracy"].as_f64().unwrap() > 0.3, "{outcome}");
    sandbox.ok("train --arch lenet5 --data data --device cpu --max-steps 1");
    assert!(sandbox.path("runs/lenet5-2/weights.safetensors").is_file());
}

#[test]
fn without_data_it_says_loudly_that_shapes_are_used() {
    let sandbox = Sandbox::new();
    let stderr = sandbox.ok("train --arch lenet5 --device cpu --max-steps 1 --limit-test 10").stderr;
    assert!(stderr.contains("NO DATA FOUND") && stderr.contains("SYNTHETIC"), "{stderr}");
    // A folder in one of the usual places is taken without a word.
    sandbox.ok("data synthesize data/cifar10 --train 10 --test 10");
    let stderr = sandbox.ok("train --arch lenet5 --device cpu --max-steps 1").stderr;
    assert!(!stderr.contains("SYNTHETIC") && stderr.contains("data/cifar10: 10 training"), "{stderr}");
}

#[test]
fn the_seed_decides_the_weights() {
    let sandbox = Sandbox::with_data(64, 10);
    for (seed, out) in [(3, "a"), (3, "b"), (4, "c")] {
        sandbox.ok(&format!("train {SMALL} --data data --device cpu --epochs 2 --seed {seed} --out {out}"));
    }
    let [a, b, c] = ["a", "b", "c"].map(|run| sandbox.read(&format!("{run}/weights.safetensors")));
    assert!(a == b, "equal seeds gave different weights");
    assert!(a != c, "different seeds gave equal weights");
}

#[test]
fn init_starts_from_the_weights_of_a_run() {
    let sandbox = Sandbox::with_weights();
    let fixed = "--no-shuffle --no-dropout --augment none --log-every 1 --epochs 1";
    let init = "--init run/weights.safetensors";
    for (out, seed) in [("a", 1), ("b", 2)] {
        sandbox.ok(&format!("train {SMALL} {fixed} {init} --data data --device cpu --seed {seed} --out {out}"));
    }
    // Nothing random is left, so the seed changes nothing.
    assert!(sandbox.read("a/weights.safetensors") == sandbox.read("b/weights.safetensors"));
    // The first loss is that of the weights on the first batch: with one batch, that of an evaluation.
    sandbox.ok(&format!("train {SMALL} {fixed} {init} --data data --device cpu --batch-size 64 --out c").replacen(
        "--batch-size 16",
        "",
        1,
    ));
    let loss = sandbox.metrics("c").0[0]["loss"].as_f64().unwrap();
    let report = sandbox.json("eval --weights run/weights.safetensors --data data --device cpu --split train --json");
    assert!((loss - report["loss"].as_f64().unwrap()).abs() < 1e-5, "{loss}, {report}");
}

#[test]
fn classes_can_count_alike() {
    let sandbox = Sandbox::new();
    // Three images of class 0 for one of class 1.
    let record = |label: u8, shade: u8| [&[label][..], &[shade; IMAGE_BYTES]].concat();
    let images = [record(0, 10), record(0, 20), record(0, 30), record(1, 200)].concat();
    sandbox.write("data/data_batch_1.bin", &images.repeat(4));
    sandbox.write("data/test_batch.bin", &images);
    sandbox.write("data/batches.meta.txt", b"dark\nlight\n");
    let train =
        "train --arch lenet5 --batch-size 16 --lr 0.01 --epochs 2 --seed 3 --data data --device cpu --no-shuffle";
    sandbox.ok(&format!("{train} --out plain"));
    sandbox.ok(&format!("{train} --class-weights balanced --out balanced"));
    let losses = |run: &str| {
        let (_, epochs) = sandbox.metrics(run);
        [epochs[0]["train_loss"].as_f64().unwrap(), epochs[0]["test_loss"].as_f64().unwrap()]
    };
    // Only one step was done, from the same weights with the same dropout: the loss differs by the weights alone.
    assert!(
        (losses("plain")[0] - losses("balanced")[0]).abs() > 1e-3,
        "{:?} {:?}",
        losses("plain"),
        losses("balanced")
    );
    let text = |name: &str| String::from_utf8(sandbox.read(name)).unwrap();
    assert!(text("balanced/config.toml").contains("class_weights = \"balanced\""));
    assert!(text("balanced/report.html").contains("Class weights</dt><dd>balanced"));
    assert!(text("balanced/curves.svg").contains("balanced classes"));
    // They are kept when the run is resumed or begun again, and the test loss has none.
    sandbox.ok(&format!("{train} --class-weights balanced --max-steps 1 --out part"));
    sandbox.ok("train --resume part");
    assert!(sandbox.read("part/weights.safetensors") == sandbox.read("balanced/weights.safetensors"));
    sandbox.ok("train --config balanced/config.toml --out again");
    assert!(sandbox.read("again/weights.safetensors") == sandbox.read("balanced/weights.safetensors"));
    let eval = sandbox.json("eval --weights balanced/weights.safetensors --data data --device cpu --json");
    let last = sandbox.metrics("balanced").1[1]["test_loss"].as_f64().unwrap();
    assert!((eval["loss"].as_f64().unwrap() - last).abs() < 1e-6);
    let gpu = sandbox.ok(&format!("{} --class-weights balanced --out gpu", train.replace("cpu", "gpu")));
    assert!(gpu.stdout.contains("after 2 epochs"));
    let difference = losses("gpu")[0] - losses("balanced")[0];
    assert!(difference.abs() < 1e-4, "{difference}");
    sandbox.command(&format!("{train} --class-weights rare")).assert().code(2);
    sandbox.command("train --resume part --class-weights none").assert().code(2);
}
