//! `bench` and `tune`.

use serde_json::json;

use super::{Sandbox, fields};

const BENCH: &str = "bench --arch lenet5 --batch-size 2 --steps 3 --warmup 1";

#[test]
fn half_precision_takes_less_memory() {
    let sandbox = Sandbox::new();
    let peak = |precision: &str| {
        let report = sandbox.json(&format!(
            "bench --arch lenet5 --batch-size 64 --steps 1 --warmup 1 --device gpu --precision {precision} --json"
        ));
        assert_eq!(report["precision"], json!(precision));
        report["peak_device_bytes"].as_f64().unwrap()
    };
    // Parameters, their gradients and velocities stay as wide as they are; activations are half as wide.
    let (wide, half) = (peak("f32"), peak("f16"));
    assert!(half < 0.85 * wide, "{half} instead of {wide} bytes");
}

#[test]
fn bench_reports_what_it_timed() {
    let sandbox = Sandbox::new();
    for (device, mode) in [("cpu", "train"), ("cpu", "infer"), ("gpu", "train"), ("gpu", "infer")] {
        let report = sandbox.json(&format!("{BENCH} --device {device} --mode {mode} --json"));
        assert_eq!(
            fields(&report),
            [
                "arch",
                "batch_size",
                "best_images_per_second",
                "ceiling_flops_per_second",
                "device",
                "flops_per_second",
                "host_seconds",
                "input",
                "median_images_per_second",
                "mode",
                "peak_device_bytes",
                "peak_process_bytes",
                "precision",
                "step_seconds",
                "steps",
                "steps_per_wait",
                "version",
                "warmup"
            ]
        );
        assert_eq!((&report["arch"], &report["mode"], &report["steps"]), (&json!("lenet5"), &json!(mode), &json!(3)));
        let times = ["best", "quartile_1", "median", "quartile_3", "worst"]
            .map(|name| report["step_seconds"][name].as_f64().unwrap());
        assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
        for (rate, seconds) in [("best_images_per_second", times[0]), ("median_images_per_second", times[2])] {
            assert!((report[rate].as_f64().unwrap() * seconds - 2.0).abs() < 1e-9, "{report}");
        }
        // On the CPU device the host does the work, and its tensors are the process's memory.
        let on_gpu = device == "gpu";
        assert_eq!((report["host_seconds"].is_object(), report["peak_device_bytes"].is_u64()), (on_gpu, on_gpu));
        // Training a lenet5 takes 38 to 50 million operations an image, inference a third.
        let flops = report["flops_per_second"].as_f64().unwrap() * times[2] / 2.0;
        let range = if mode == "train" { 38e6..50e6 } else { 12e6..18e6 };
        assert!(range.contains(&flops), "{report}");
        assert_eq!(report["ceiling_flops_per_second"].is_f64(), on_gpu, "{report}");
        if on_gpu {
            assert!(report["ceiling_flops_per_second"].as_f64().unwrap() > 1e9, "{report}");
            assert!(report["host_seconds"]["median"].as_f64().unwrap() <= times[4], "{report}");
            // At least the parameters.
            assert!(report["peak_device_bytes"].as_u64().unwrap() > 4 * 395_006, "{report}");
        }
        if cfg!(target_os = "linux") {
            assert!(report["peak_process_bytes"].as_u64().unwrap() > 4 * 395_006, "{report}");
        }
    }
    assert!(sandbox.contents().is_empty());
}

#[test]
fn bench_tells_readers_the_same() {
    let sandbox = Sandbox::new();
    let printed = sandbox.ok(&format!("{BENCH} --device cpu --steps-per-wait 2")).stdout;
    for part in
        ["device       CPU, ", "3 training steps of lenet5, 2 images each", " best, ", " ms median, half within "]
    {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
    assert!(!printed.contains("host"), "{printed}");
}

#[test]
fn bench_refuses_what_cannot_be_timed() {
    let sandbox = Sandbox::new();
    sandbox.command("bench --arch vgg").assert().code(2).stdout("");
    sandbox.refuses("bench --device gpu:99", "no adapter gpu:99");
    // A million images: more than kernels count elements of, or memory holds.
    sandbox.refuses("bench --device cpu --batch-size 1048576", "1048576");
    for wrong in ["--steps 0", "--batch-size 0", "--steps-per-wait 0", "--mode both", "--batch-size 99999999"] {
        sandbox.command(&format!("bench {wrong}")).assert().code(2).stdout("");
    }
}

#[test]
fn tune_prints_what_it_tried() {
    let sandbox = Sandbox::new();
    let tune = "tune --arch lenet5 --batch-size 2 --device cpu";
    let products = sandbox.json(&format!("{tune} --again --json"));
    let conv2 = products.as_array().unwrap().iter().find(|product| product["layer"] == "conv2").unwrap();
    assert_eq!(fields(conv2), ["chosen", "gflop", "kernel", "layer", "trials"]);
    let trials = conv2["trials"].as_array().unwrap();
    assert!(trials.len() > 1 && trials.iter().all(|trial| trial["gflops"].as_f64().unwrap() > 0.0), "{conv2}");
    assert!(trials.iter().any(|trial| trial["plan"] == conv2["chosen"]));
    let table = sandbox.ok(tune).stdout;
    assert!(
        table.starts_with("| layer | product |") && table.lines().count() == 2 + products.as_array().unwrap().len()
    );
    sandbox.command("tune --arch vgg").assert().code(2).stdout("");
}
