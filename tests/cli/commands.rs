//! `summary`, `devices`, `data`, `eval` and `predict`.

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::{Value, json};

use super::{IMAGE_BYTES, Sandbox, fields, png};

const EVAL: &str = "eval --weights run/weights.safetensors --data data";

#[test]
fn summary_counts_parameters() {
    let sandbox = Sandbox::new();
    let totals = [("ygnet", 1_369_738), ("ygnet-final-relu", 1_369_738), ("all-cnn-c", 1_369_738), ("lenet5", 395_006)];
    for (arch, parameters) in totals {
        let summary = sandbox.json(&format!("summary --arch {arch} --json"));
        assert_eq!((&summary["arch"], &summary["parameters"]), (&json!(arch), &json!(parameters)));
        let sum: u64 = summary["layers"].as_array().unwrap().iter().map(|l| l["parameters"].as_u64().unwrap()).sum();
        assert_eq!(sum, parameters);
        assert!(summary["training_bytes"].as_u64() > summary["inference_bytes"].as_u64());
    }
    assert!(sandbox.ok("summary --arch ygnet").stdout.contains("\n1,369,738 parameters;"));
    assert!(sandbox.ok("summary --arch lenet5").stdout.contains("\n395,006 parameters;"));
}

#[test]
fn devices_lists_an_adapter() {
    let sandbox = Sandbox::new();
    let devices = sandbox.json("devices --json");
    let first = devices.get(0).expect("no GPU to test on");
    assert_eq!(first["device"], "gpu:0");
    assert!(first["max_binding_bytes"].as_u64() >= Some(128 << 20), "{first}");
    let table = sandbox.ok("devices").stdout;
    assert!(table.starts_with("cpu "), "{table}");
    assert!(table.contains(&format!("gpu:0  {}", first["name"].as_str().unwrap())), "{table}");
    assert!(table.contains("--device auto takes "), "{table}");
}

#[test]
fn synthesize_writes_the_binary_layout() {
    let sandbox = Sandbox::with_data(50, 20);
    let train = sandbox.train_records("data");
    assert_eq!(train.len(), 50);
    assert_eq!(sandbox.read("data/test_batch.bin").len(), 20 * (1 + IMAGE_BYTES));
    assert!(train.iter().all(|record| record[0] < 10 && record.len() == 1 + IMAGE_BYTES));
    sandbox.ok("data synthesize again --train 50 --test 20");
    assert!(train == sandbox.train_records("again"));
    sandbox.ok("data synthesize other --train 50 --test 20 --seed 99");
    assert!(train != sandbox.train_records("other"));
}

#[test]
fn an_imported_tree_can_be_trained_on() {
    let sandbox = Sandbox::new();
    for (class, red) in [("cat", 200), ("dog", 60)] {
        for number in 0..6 {
            let picture = png(RgbImage::from_pixel(32, 32, Rgb([red, number, 7])));
            sandbox
                .write(&format!("tree/{}/{class}/{number}.png", if number < 4 { "train" } else { "test" }), &picture);
        }
    }
    sandbox.write("tree/train/cat/notes.txt", b"not an image");
    let summary = sandbox.json("data import tree imported --json");
    assert_eq!((&summary["train"], &summary["test"], &summary["skipped"]), (&json!(8), &json!(4), &json!(1)));
    assert_eq!(summary["classes"], json!(["cat", "dog"]));
    assert_eq!(sandbox.read("imported/batches.meta.txt"), b"cat\ndog\n");

    let mut greens = Vec::new();
    for record in sandbox.train_records("imported") {
        let [red, green, blue] = [1, 1025, 2049].map(|start| &record[start..start + 1024]);
        assert!(red.iter().all(|&byte| byte == [200, 60][usize::from(record[0])]));
        assert!(green.iter().all(|&byte| byte == green[0]) && blue.iter().all(|&byte| byte == 7));
        greens.push(green[0]);
    }
    greens.sort_unstable();
    assert_eq!(greens, [0, 0, 1, 1, 2, 2, 3, 3]);

    sandbox.ok("train --arch lenet5 --data imported --device cpu --epochs 1 --out run");
    let report = sandbox.json("eval --weights run/weights.safetensors --data imported --device cpu --json");
    assert_eq!((&report["images"], &report["per_class"][1]["class"]), (&json!(4), &json!("dog")));
    // Weights know their classes: those of another set are refused.
    sandbox.ok("data synthesize data --train 10 --test 10");
    sandbox.refuses("eval --weights run/weights.safetensors --data data", "2 classes");
    sandbox.refuses("train --arch lenet5 --init run/weights.safetensors --data data --out other", "shape");
}

#[test]
fn eval_reports_what_training_printed() {
    let sandbox = Sandbox::with_weights();
    let (_, epochs) = sandbox.metrics("run");
    let report = sandbox.json(&format!("{EVAL} --device cpu --json"));
    assert_eq!(
        fields(&report),
        [
            "accuracy",
            "arch",
            "confusion",
            "correct",
            "device",
            "images",
            "loss",
            "per_class",
            "seconds",
            "split",
            "top5_accuracy"
        ]
    );
    assert_eq!(report["accuracy"], epochs[1]["test_accuracy"]);
    assert!((report["loss"].as_f64().unwrap() - epochs[1]["test_loss"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!((&report["images"], &report["arch"]), (&json!(40), &json!("lenet5")));
    assert_eq!(total(&report["confusion"]), 40);
    let correct = report["correct"].as_u64().unwrap();
    assert_eq!((0..10).map(|i| report["confusion"][i][i].as_u64().unwrap()).sum::<u64>(), correct);
    assert_eq!(report["accuracy"].as_f64().unwrap(), correct as f64 / 40.0);
    for (class, row) in report["per_class"].as_array().unwrap().iter().zip(report["confusion"].as_array().unwrap()) {
        assert_eq!(fields(class), ["accuracy", "class", "correct", "images", "precision", "recall"]);
        assert_eq!(class["images"].as_u64().unwrap(), total(row));
    }

    let table = sandbox.ok(&format!("{EVAL} --device cpu")).stdout;
    let percent = format!("{:.2} % right ({correct} of 40)", 2.5 * correct as f64);
    assert!(table.contains(&percent), "`{percent}` is not in: {table}");
    let train = sandbox.json(&format!("{EVAL} --device cpu --split train --batch-size 7 --json"));
    assert_eq!((&train["images"], total(&train["confusion"])), (&json!(64), 64));

    let gpu = sandbox.json(&format!("{EVAL} --device gpu --json"));
    assert!(gpu["correct"].as_u64().unwrap().abs_diff(correct) <= 1, "{gpu}\n{report}");
    assert!((gpu["loss"].as_f64().unwrap() - report["loss"].as_f64().unwrap()).abs() < 1e-4, "{gpu}\n{report}");
    assert_ne!(gpu["device"], report["device"]);
}

#[test]
fn predict_takes_pictures_of_any_size() {
    let sandbox = Sandbox::with_weights();
    sandbox.write("wide.png", &png(RgbImage::from_fn(100, 60, |x, y| Rgb([x as u8, y as u8, 9]))));
    sandbox.write("gray.png", &png(GrayImage::from_pixel(7, 9, Luma([90]))));
    let predict = "predict --weights run/weights.safetensors wide.png gray.png";
    for device in ["cpu", "gpu"] {
        let predictions = sandbox.json(&format!("{predict} --json --top 4 --device {device}"));
        let predictions = predictions.as_array().unwrap();
        assert_eq!(predictions.len(), 2);
        for (prediction, image) in predictions.iter().zip(["wide.png", "gray.png"]) {
            assert_eq!(fields(prediction), ["class", "image", "label", "logits", "probability", "top"]);
            assert_eq!(prediction["image"], image);
            let logits: Vec<_> = prediction["logits"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
            let label = prediction["label"].as_u64().unwrap() as usize;
            assert!(logits.len() == 10 && logits.iter().all(|&logit| logit <= logits[label]), "{prediction}");
            let softmax = 1.0 / logits.iter().map(|logit| (logit - logits[label]).exp()).sum::<f64>();
            assert!((prediction["probability"].as_f64().unwrap() - softmax).abs() < 1e-6, "{prediction}");
            assert_eq!(prediction["top"].as_array().unwrap().len(), 4);
            assert_eq!(prediction["top"][0], json!([prediction["class"], prediction["probability"]]));
        }
    }
    let text = sandbox.ok(&format!("{predict} --top 1")).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() == 4 && lines[0] == "wide.png" && lines[1].ends_with(" %"), "{text}");
}

#[test]
fn predict_answers_as_eval_counts() {
    let sandbox = Sandbox::with_weights();
    let mut names = String::new();
    let mut labels = Vec::new();
    for (number, record) in sandbox.read("data/test_batch.bin").chunks(1 + IMAGE_BYTES).enumerate() {
        let byte = |x, y, plane: u32| record[1 + (1024 * plane + 32 * y + x) as usize];
        let picture = RgbImage::from_fn(32, 32, |x, y| Rgb([0, 1, 2].map(|plane| byte(x, y, plane))));
        sandbox.write(&format!("{number}.png"), &png(picture));
        names += &format!(" {number}.png");
        labels.push(usize::from(record[0]));
    }
    let predictions = sandbox.json(&format!("predict --weights run/weights.safetensors --device cpu --json{names}"));
    let mut confusion = vec![vec![0; 10]; 10];
    for (label, prediction) in labels.iter().zip(predictions.as_array().unwrap()) {
        confusion[*label][prediction["label"].as_u64().unwrap() as usize] += 1;
    }
    assert_eq!(sandbox.json(&format!("{EVAL} --device cpu --json"))["confusion"], json!(confusion));
}

/// Sum of all numbers in nested arrays.
fn total(value: &Value) -> u64 {
    match value {
        Value::Array(values) => values.iter().map(total).sum(),
        number => number.as_u64().unwrap(),
    }
}
