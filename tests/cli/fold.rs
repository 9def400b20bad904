//! `fold`: weights with batch normalization become weights of the same network without it.

use serde_json::json;

use super::{SMALL, Sandbox};

#[test]
fn a_folded_network_answers_alike_and_can_be_trained_on() {
    let sandbox = Sandbox::with_data(48, 30);
    sandbox.ok("train --arch ygnet-bn --data data --device cpu --epochs 2 --batch-size 8 --lr 0.01 --out run");
    let printed = sandbox.ok("fold --weights run/weights.safetensors --out plain.safetensors").stdout;
    assert_eq!(printed, "plain.safetensors: ygnet (1,369,738 parameters)\n");

    let [before, after] = ["run/weights.safetensors", "plain.safetensors"]
        .map(|weights| sandbox.json(&format!("eval --weights {weights} --data data --device cpu --json")));
    assert_eq!((&before["arch"], &after["arch"]), (&json!("ygnet-bn"), &json!("ygnet")));
    assert_eq!(before["confusion"], after["confusion"]);
    assert!((before["loss"].as_f64().unwrap() - after["loss"].as_f64().unwrap()).abs() < 1e-5, "{before}\n{after}");

    sandbox.ok(
        "train --arch ygnet --init plain.safetensors --data data --device cpu --max-steps 1 --batch-size 8 --out on",
    );
}

#[test]
fn what_cannot_be_folded_is_refused() {
    let sandbox = Sandbox::with_data(16, 10);
    sandbox.ok(&format!("train {SMALL} --data data --device cpu --max-steps 1 --out run"));
    let fold = "fold --weights run/weights.safetensors --out";
    sandbox.refuses(&format!("{fold} plain.safetensors"), "lenet5 has no batch normalization");
    sandbox.refuses(&format!("{fold} run/../run/weights.safetensors"), "cannot be unfolded");
    sandbox.refuses("fold --weights absent.safetensors --out plain.safetensors", "absent.safetensors");
}
