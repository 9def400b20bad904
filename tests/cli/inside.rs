//! Looking inside: profiles, overfitting one batch, an adapter's own test.

use serde_json::{Value, json};

use super::{SMALL, Sandbox};

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
    // However short the run is.
    let printed = sandbox.ok(&format!("train {SMALL} --data data --device cpu --max-steps 2 --profile --out short"));
    assert!(printed.stderr.contains("profile of 1 step:"), "{}", printed.stderr);
}

#[test]
fn one_batch_is_overfit() {
    let sandbox = Sandbox::with_data(64, 20);
    // The published rate alone would take far longer.
    for rate in ["", "--lr 0.02"] {
        let train =
            format!("train --arch lenet5 --batch-size 16 {rate} --data data --device cpu --out run{}", rate.len());
        let printed = sandbox.ok(&format!("{train} --overfit-one-batch"));
        assert!(printed.stdout.starts_with("overfit one batch: loss 0.0"), "{}", printed.stdout);
    }
    // A settings file that says nothing of the optimizer leaves it to the check, as it leaves what the check switches off.
    sandbox.write("some.toml", b"arch = \"lenet5\"\nbatch_size = 16\nwarmup_epochs = 900\n");
    let some = "train --config some.toml --data data --device cpu --overfit-one-batch --max-steps 1 --out some";
    sandbox.command(some).assert().code(1);
    let config: Value = serde_json::from_slice(&sandbox.read("some/config.json")).unwrap();
    assert_eq!((&config["optimizer"], &config["lr"]), (&json!("adam"), &json!(1e-3)));
    // What is printed as JSON fails, too, where it does not overfit.
    let few =
        "train --arch lenet5 --batch-size 16 --data data --device cpu --overfit-one-batch --epochs 2 --json --out few";
    let output = sandbox.command(few).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok());
    // It may be stopped and resumed; what it decides cannot be asked for.
    let train = "train --arch lenet5 --batch-size 16 --data data --device cpu --overfit-one-batch";
    sandbox.command(&format!("{train} --max-steps 3 --out part")).assert().code(1);
    let printed = sandbox.ok("train --resume part");
    assert!(printed.stdout.starts_with("training accuracy 100.00 % after 200 epochs"), "{}", printed.stdout);
    for setting in ["--dropout 0.1", "--augment keras", "--schedule cosine", "--validation 8", "--clip-norm 1"] {
        sandbox.command(&format!("{train} {setting}")).assert().code(2).stdout("");
    }
}

#[test]
fn an_adapter_is_checked_against_the_cpu() {
    let sandbox = Sandbox::new();
    let printed = sandbox.ok("devices --check");
    assert!(printed.stdout.lines().filter(|line| line.starts_with("PASS")).count() > 15, "{}", printed.stdout);
    assert!(!printed.stdout.contains("FAIL"), "{}", printed.stdout);
}

#[test]
fn augmentation_can_be_looked_at() {
    let sandbox = Sandbox::with_data(3, 3);
    let preview = |arguments: &str, name: &str| {
        sandbox.ok(&format!("data preview --out {name} --data data {arguments}"));
        image::load_from_memory(&sandbox.read(name)).unwrap().into_rgb8()
    };
    let (plain, strong) = (preview("", "plain.png"), preview("--augment strong --shift 0.1", "strong.png"));
    assert_eq!(plain.dimensions(), strong.dimensions());
    // A column is 100 pixels wide: without augmentation all are the first, with it only the first is.
    let column =
        |sheet: &image::RgbImage, number: u32| image::imageops::crop_imm(sheet, 100 * number, 0, 100, 300).to_image();
    assert!((1..12).all(|number| column(&plain, number) == column(&plain, 0)));
    assert!(column(&strong, 0) == column(&plain, 0) && (1..12).all(|n| column(&strong, n) != column(&plain, 0)));
    sandbox.refuses("data preview --out a.png --data data --rotation 200", "--rotation 200");
    sandbox.refuses("data preview --out absent/a.png --data data", "absent/a.png");
}
