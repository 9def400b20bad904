//! Looking inside: profiles, one batch by heart, an adapter's own test.

use serde_json::Value;

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
