//! Twenty steps from given weights on given images have the losses that PyTorch has in 64-bit arithmetic.

use std::sync::LazyLock;

use safetensors::SafeTensors;
use serde_json::Value;

use super::{Sandbox, fixture};

static REFERENCE: LazyLock<Value> = LazyLock::new(|| serde_json::from_slice(&fixture("reference.json")).unwrap());

const OPTIMIZERS: [(&str, &str); 4] = [
    ("sgd_nesterov", "--optimizer sgd --lr 0.01 --momentum 0.9 --nesterov --weight-decay 0"),
    ("sgd_momentum", "--optimizer sgd --lr 0.01 --momentum 0.9 --nesterov=false --weight-decay 0"),
    ("adam", "--optimizer adam --lr 0.001 --weight-decay 0"),
    ("adamw", "--optimizer adamw --lr 0.001 --weight-decay 0.01"),
];

/// A data folder `data` with the reference's sixteen images, and the initial weights.
fn sandbox(arch: &str) -> Sandbox {
    let batch = fixture(&format!("{arch}_batch.safetensors"));
    let batch = SafeTensors::deserialize(&batch).unwrap();
    let images = batch.tensor("images").unwrap();
    let labels: Vec<i32> = bytemuck::pod_collect_to_vec(batch.tensor("labels").unwrap().data());
    let mut records = Vec::new();
    for (image, &label) in images.data().chunks(super::IMAGE_BYTES).zip(&labels) {
        records.push(u8::try_from(label).unwrap());
        records.extend(image);
    }
    let sandbox = Sandbox::new();
    for file in ["data/data_batch_1.bin", "data/test_batch.bin"] {
        sandbox.write(file, &records);
    }
    sandbox.copy_fixture(&format!("{arch}_init.safetensors"));
    sandbox
}

fn agrees(sandbox: &Sandbox, arch: &str, device: &str, (name, settings): (&str, &str), tolerance: f64) {
    let out = format!("{name}-{device}");
    sandbox.ok(&format!(
        "train --arch {arch} --data data --init {arch}_init.safetensors --device {device} --no-shuffle --no-dropout \
         --augment none --batch-size 16 --epochs 20 --log-every 1 --schedule constant {settings} --out {out}"
    ));
    let (steps, _) = sandbox.metrics(&out);
    let expected = REFERENCE["trajectories"][arch][name]["losses"].as_array().unwrap();
    assert_eq!((steps.len(), expected.len()), (20, 20));
    for (step, expected) in steps.iter().zip(expected) {
        let (loss, expected) = (step["loss"].as_f64().unwrap(), expected.as_f64().unwrap());
        assert!((loss - expected).abs() <= tolerance * expected, "{out}: {step}, expected {expected}");
    }
}

fn lenet5_agrees(device: &str) {
    let sandbox = sandbox("lenet5");
    for optimizer in OPTIMIZERS {
        // Adam divides by the size of the gradient, and so makes much of the rounding of small ones.
        let tolerance = 1e-4;
        agrees(&sandbox, "lenet5", device, optimizer, tolerance);
    }
}

#[test]
fn lenet5_agrees_on_the_cpu() {
    lenet5_agrees("cpu");
}

#[test]
fn lenet5_agrees_on_the_gpu() {
    lenet5_agrees("gpu");
}

#[test]
fn ygnet_agrees_on_the_cpu() {
    agrees(&sandbox("ygnet"), "ygnet", "cpu", OPTIMIZERS[0], 5e-3);
}

#[test]
fn ygnet_agrees_on_the_gpu() {
    agrees(&sandbox("ygnet"), "ygnet", "gpu", OPTIMIZERS[0], 5e-3);
}
