//! What a run leaves for people to look at, and what `eval` writes.

use serde_json::json;

use super::{SMALL, Sandbox};

const EVAL: &str = "eval --weights run/weights.safetensors --data data --device cpu";

fn text(sandbox: &Sandbox, name: &str) -> String {
    String::from_utf8(sandbox.read(name)).unwrap()
}

/// The picture's width and height.
fn size(sandbox: &Sandbox, name: &str) -> (u32, u32) {
    let picture = image::load_from_memory(&sandbox.read(name)).unwrap();
    (picture.width(), picture.height())
}

#[test]
fn a_run_leaves_curves_events_and_a_page_that_needs_nothing_else() {
    let sandbox = Sandbox::with_weights();
    let svg = text(&sandbox, "run/curves.svg");
    for part in ["<svg ", "lenet5: ", "after 2 epochs", "batch 16", "SGD at 0.01", "seed 1", "CPU, ", "Loss, nats"] {
        assert!(svg.contains(part), "`{part}` is not in {svg}");
    }
    assert_eq!(size(&sandbox, "run/curves.png"), (1920, 940));
    let events = sandbox.read("run/tensorboard/events.out.tfevents.1.cifar-gpu");
    for tag in [&b"brain.Event:2"[..], b"loss/test", b"accuracy/train", b"learning_rate", b"by_epoch/images_per_second"]
    {
        assert!(events.windows(tag.len()).any(|window| window == tag), "{}", String::from_utf8_lossy(tag));
    }
    let page = text(&sandbox, "run/report.html");
    let accuracy = sandbox.metrics("run").1[1]["test_accuracy"].as_f64().unwrap();
    let figure = format!("{:.2} %", 100.0 * accuracy).replace(' ', "\u{a0}");
    for part in
        [figure.as_str(), "<svg ", "Configuration", "Precision", "Most confident errors", "Filters of the first layer"]
    {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    assert!(page.matches("data:image/png;base64,").count() > 6);
    // The name of SVG's namespace is no address that is opened.
    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    for part in ["http:", "https:", "<script", "<link", "src=\"/", "url("] {
        assert!(!without_namespace.contains(part), "{part} is in the page");
    }
}

#[test]
fn a_page_says_what_was_tested_and_how_the_run_began() {
    let sandbox = Sandbox::with_data(64, 20);
    sandbox
        .ok(&format!("train {SMALL} --data data --device cpu --epochs 1 --validation 16 --initializer he --out run"));
    let page = text(&sandbox, "run/report.html");
    for part in ["% of validation images correct", "validation accuracy", "48 training, 16 validation", "He&#x27;s"] {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    assert!(page.contains("deviation 0.5000, 0.5000, 0.5000") && !page.contains("test accuracy<"));
}

#[test]
fn class_names_are_text_in_a_page() {
    let sandbox = Sandbox::with_data(64, 40);
    let names = "<script>alert(1)</script>\n\"b\" & 'c'\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";
    sandbox.write("data/batches.meta.txt", names.as_bytes());
    sandbox.ok(&format!("train {SMALL} --data data --device cpu --epochs 1 --out run"));
    let page = text(&sandbox, "run/report.html");
    assert!(!page.contains("<script"), "a class name became an element");
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("&quot;b&quot; &amp; "));
}

#[test]
fn the_curves_of_a_resumed_run_are_those_of_the_whole_run() {
    let sandbox = Sandbox::with_data(64, 20);
    let recipe = format!("train {SMALL} --data data --device cpu --epochs 3 --log-every 1");
    sandbox.ok(&format!("{recipe} --out whole"));
    sandbox.ok(&format!("{recipe} --out parts --max-steps 6"));
    sandbox.ok("train --resume parts --device cpu");
    let circles = |run: &str| text(&sandbox, &format!("{run}/curves.svg")).matches("<circle").count();
    assert_eq!((circles("whole"), circles("parts")), (12, 12));
    let events = |run: &str| sandbox.read(&format!("{run}/tensorboard/events.out.tfevents.1.cifar-gpu")).len();
    assert_eq!(events("whole"), events("parts"));
}

#[test]
fn a_complete_run_that_lacks_its_page_gets_it() {
    let sandbox = Sandbox::with_weights();
    let weights = sandbox.read("run/weights.safetensors");
    let page = sandbox.read("run/report.html");
    std::fs::remove_file(sandbox.path("run/report.html")).unwrap();
    sandbox.ok("train --resume run --device cpu");
    assert!(sandbox.read("run/report.html") == page);
    assert!(sandbox.read("run/weights.safetensors") == weights);
    sandbox.refuses("train --resume run --device cpu", "it is complete");
}

#[cfg(unix)]
#[test]
fn a_report_that_cannot_be_written_costs_no_weights() {
    let sandbox = Sandbox::with_data(64, 20);
    sandbox.ok(&format!("train {SMALL} --data data --device cpu --epochs 2 --max-steps 2 --out run"));
    // A folder in the place of a file stands in for a full disk.
    std::fs::remove_file(sandbox.path("run/curves.png")).unwrap();
    sandbox.write("run/curves.png/taken", b"");
    let output = sandbox.command("train --resume run --device cpu").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("\nerror: writing run/curves.png") && stderr.contains("\nhint: "), "{stderr}");
    std::fs::remove_dir_all(sandbox.path("run/curves.png")).unwrap();
    sandbox.ok("train --resume run --device cpu");
    sandbox.ok(EVAL);
    assert_eq!(sandbox.metrics("run").1.len(), 2);
}

#[test]
fn eval_gives_precision_recall_and_the_top_five() {
    let sandbox = Sandbox::with_weights();
    let report = sandbox.json(&format!("{EVAL} --json"));
    let top_5 = report["top5_accuracy"].as_f64().unwrap();
    assert!(top_5 >= report["accuracy"].as_f64().unwrap() && top_5 <= 1.0, "{report}");
    for (class, score) in report["per_class"].as_array().unwrap().iter().enumerate() {
        let taken: u64 = (0..10).map(|row| report["confusion"][row][class].as_u64().unwrap()).sum();
        let correct = report["confusion"][class][class].as_u64().unwrap() as f64;
        let precision = if taken == 0 { json!(null) } else { json!(correct / taken as f64) };
        assert_eq!((&score["precision"], &score["recall"]), (&precision, &score["accuracy"]));
    }
    let table = sandbox.ok(EVAL).stdout;
    for part in ["in the top five", "loss", "precision", "recall"] {
        assert!(table.contains(part), "{table}");
    }
}

#[test]
fn eval_writes_the_confusion_matrix() {
    let sandbox = Sandbox::with_weights();
    let report = sandbox.json(&format!("{EVAL} --json --confusion-png c.png --confusion-csv c.csv"));
    let (width, height) = size(&sandbox, "c.png");
    assert!(width > 1200 && height > 1200, "{width} {height}");
    let csv = text(&sandbox, "c.csv");
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 11);
    assert!(lines[0].starts_with("true class,"), "{csv}");
    for (line, row) in lines[1..].iter().zip(report["confusion"].as_array().unwrap()) {
        let counts: Vec<u64> = line.split(',').skip(1).map(|field| field.parse().unwrap()).collect();
        assert_eq!(json!(counts), *row);
    }
    for flag in ["png", "csv"] {
        let output = sandbox.command(&format!("{EVAL} --confusion-{flag} absent/file")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("error: writing absent/file") && stderr.contains("\nhint: "), "{stderr}");
    }
    assert!(!sandbox.contents().keys().any(|path| path.to_string_lossy().contains("partial")));
}
