//! What a run leaves to look at: curves, event files, a page; and what `eval` and `runs` say.

use serde_json::Value;

use super::{SMALL, Sandbox};

fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

#[test]
fn a_run_leaves_curves_events_and_a_page() {
    let sandbox = Sandbox::with_data(64, 40);
    sandbox.ok(&format!("train {SMALL} --data data --device cpu --epochs 2 --log-every 1 --out run"));
    assert!(is_picture(&sandbox.read("run/curves.png")));
    let curves = String::from_utf8(sandbox.read("run/curves.svg")).unwrap();
    assert!(curves.starts_with("<svg") && curves.contains("lenet5") && curves.contains("seed 1"), "{curves}");
    let events: Vec<_> = std::fs::read_dir(sandbox.path("run/tensorboard")).unwrap().collect();
    assert_eq!(events.len(), 1);
    let page = String::from_utf8(sandbox.read("run/report.html")).unwrap();
    for part in ["lenet5", "<svg", "data:image", "Configuration", "By class", "triangle"] {
        assert!(page.contains(part), "the page lacks {part}");
    }
    // It needs nothing from anywhere else.
    for tag in ["<script", "<link", "<iframe", "<object", "url(", "src=\"http"] {
        assert!(!page.contains(tag), "the page has {tag}");
    }
    // Going on, the curves are those of the whole run, and nothing is told twice.
    let before = sandbox.read("run/tensorboard/events.out.tfevents.1.cifar-gpu").len();
    sandbox.ok("train --resume run --device cpu --epochs 3");
    let after = sandbox.read("run/tensorboard/events.out.tfevents.1.cifar-gpu").len();
    assert!(after > before && after < 2 * before, "{before}, {after}");
    let curves = String::from_utf8(sandbox.read("run/curves.svg")).unwrap();
    assert!(curves.contains("3 epochs"), "{curves}");
}

/// Names of classes come from the user's folders, and into a page that a browser runs.
#[test]
fn names_of_classes_are_text_in_the_page() {
    let sandbox = Sandbox::new();
    let image = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([(x * 8) as u8, (y * 8) as u8, 0]));
    for class in ["<script>alert(1)<:script>", "a&b \"quoted\""] {
        for number in 0..6 {
            let path = sandbox.path(&format!("own/{class}/{number}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image.save(path).unwrap();
        }
    }
    sandbox.ok(&format!("train {SMALL} --data own --device cpu --epochs 1 --out run"));
    let page = String::from_utf8(sandbox.read("run/report.html")).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
}

#[test]
fn eval_tells_precision_and_recall_and_draws_the_confusion_matrix() {
    let sandbox = Sandbox::with_weights();
    let eval = "eval --weights run/weights.safetensors --data data --device cpu";
    let printed = sandbox.ok(&format!("{eval} --confusion-png c.png --confusion-csv c.csv"));
    assert!(printed.stdout.contains("precision") && printed.stdout.contains("top five"), "{}", printed.stdout);
    assert!(is_picture(&sandbox.read("c.png")));
    let report: Value = sandbox.json(&format!("{eval} --json"));
    let csv = String::from_utf8(sandbox.read("c.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), rows[0].len()), (11, 11));
    for (row, counts) in rows[1..].iter().zip(report["confusion"].as_array().unwrap()) {
        let counts: Vec<String> = counts.as_array().unwrap().iter().map(Value::to_string).collect();
        assert_eq!(row[1..], counts);
    }
    assert!(report["top5_accuracy"].as_f64().unwrap() >= report["accuracy"].as_f64().unwrap());
    for (class, counts) in report["per_class"].as_array().unwrap().iter().zip(report["confusion"].as_array().unwrap()) {
        let images: u64 = counts.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum();
        let recall = class["recall"].as_f64().unwrap();
        assert!((recall - class["correct"].as_f64().unwrap() / images as f64).abs() < 1e-12, "{class}");
        assert!(class.get("precision").is_some());
    }
    sandbox.refuses(&format!("{eval} --confusion-csv absent/c.csv"), "absent/c.csv");
}

#[test]
fn runs_are_listed_and_compared() {
    let sandbox = Sandbox::with_data(64, 20);
    for (run, rate) in [("runs/a", 0.01), ("runs/b", 0.02)] {
        sandbox.ok(&format!(
            "train --arch lenet5 --batch-size 16 --data data --device cpu --epochs 2 --lr {rate} --out {run}"
        ));
    }
    sandbox.write("runs/broken/config.json", b"{");
    let listed = sandbox.ok("runs");
    assert!(listed.stdout.contains("runs/a") && listed.stdout.contains("2/2"), "{}", listed.stdout);
    assert!(listed.stderr.contains("runs/broken"), "{}", listed.stderr);
    let rows = sandbox.json("runs --json");
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!((&rows[1]["lr"], &rows[1]["finished"]), (&0.02.into(), &true.into()));
    let compared = sandbox.ok("runs runs/a runs/b");
    assert!(compared.stdout.contains("lr") && !compared.stdout.contains("batch_size"), "{}", compared.stdout);
    sandbox.refuses("runs absent", "absent");
}

#[test]
fn a_profile_is_printed_and_traced() {
    let sandbox = Sandbox::with_data(400, 20);
    for device in ["cpu", "gpu"] {
        let printed =
            sandbox.ok(&format!("train {SMALL} --data data --device {device} --epochs 1 --profile --out {device}"));
        assert!(
            printed.stderr.contains("profile of 10 steps") && printed.stderr.contains("sgd_step"),
            "{}",
            printed.stderr
        );
        let trace: Value = serde_json::from_slice(&sandbox.read(&format!("{device}/trace.json"))).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let updates = events.iter().filter(|event| event["name"] == "sgd_step").count();
        assert_eq!(updates, 10, "{device}");
        assert!(events.iter().skip(1).all(|event| event["ts"].as_f64().unwrap() >= 0.0));
    }
}

#[test]
fn one_batch_is_learnt_by_heart() {
    let sandbox = Sandbox::with_data(64, 20);
    let printed = sandbox
        .ok("train --arch lenet5 --batch-size 16 --lr 0.02 --data data --device cpu --overfit-one-batch --out run");
    assert!(printed.stdout.starts_with("one batch was learnt by heart: loss 0.0"), "{}", printed.stdout);
}

#[test]
fn an_adapter_is_checked_against_the_cpu() {
    let sandbox = Sandbox::new();
    let printed = sandbox.ok("devices --check");
    assert!(printed.stdout.lines().filter(|line| line.starts_with("PASS")).count() > 15, "{}", printed.stdout);
    assert!(!printed.stdout.contains("FAIL"), "{}", printed.stdout);
}
