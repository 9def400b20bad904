//! What cannot be used is refused: in one line, with a hint, and before anything is written.

use byteorder::{ByteOrder, LittleEndian};
use predicates::str::contains;

use super::{IMAGE_BYTES, SMALL, Sandbox};

const RECORD: usize = 1 + IMAGE_BYTES;

/// A data folder whose training batch is as given, with a good test batch.
fn folder(train: &[u8]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/data_batch_1.bin", train);
    sandbox.write("data/test_batch.bin", &[0; RECORD]);
    sandbox
}

#[test]
fn data_that_are_missing_or_damaged() {
    let train = format!("train {SMALL} --data data");
    let sandbox = Sandbox::new();
    sandbox.refuses(&train, "folder data does not exist");
    sandbox.write("data/readme.txt", b"nothing else");
    sandbox.refuses(&train, "data_batch_");
    sandbox.write("data/data_batch_1.bin", &[0; RECORD]);
    sandbox.refuses(&train, "test_batch.bin");

    folder(&[0; RECORD + 100]).refuses(&train, "record 1 at offset 3073 is cut short");
    folder(&[]).refuses(&train, "empty");
    let mut records = vec![0; 3 * RECORD];
    records[2 * RECORD] = 10;
    folder(&records).refuses(&train, "record 2 at offset 6146 has label 10");
}

#[test]
fn data_commands() {
    let sandbox = Sandbox::with_data(10, 10);
    sandbox.refuses("data synthesize data", "already exists");
    // What has the layout already is copied.
    sandbox.ok("data import data copied");
    assert!(sandbox.read("copied/test_batch.bin") == sandbox.read("data/test_batch.bin"));
    sandbox.refuses("data import absent imported", "absent");
    sandbox.write("tree/train/cat/a.png", b"no picture");
    sandbox.refuses("data import tree imported", "a.png");
    sandbox.refuses("data import tree data", "already exists");
    sandbox.write("archive.tar", b"no archive");
    sandbox.refuses("data import archive.tar imported", "archive.tar");
}

#[test]
fn weights_of_another_architecture() {
    let sandbox = Sandbox::with_weights();
    let init = "--data data --device cpu --init run/weights.safetensors --out new";
    sandbox.refuses(&format!("train --arch ygnet {init}"), "lenet5");
    sandbox.refuses("eval --arch ygnet --data data --weights run/weights.safetensors", "lenet5");
    // PyTorch's files do not say what they are of.
    sandbox.copy_fixture("lenet5_init.safetensors");
    let init = "--data data --device cpu --init lenet5_init.safetensors --out new";
    sandbox.refuses(&format!("train --arch ygnet {init}"), "tensor `");
    sandbox.ok("eval --data data --device cpu --weights lenet5_init.safetensors");
    sandbox.copy_fixture("ygnet_init.safetensors");
    sandbox.refuses("eval --data data --weights ygnet_init.safetensors", "they fit ygnet, ygnet-final-relu");
    sandbox.refuses("eval --data data --weights lenet5_init.safetensors --arch all-cnn-c", "tensor `");
}

#[test]
fn weights_that_are_damaged() {
    let sandbox = Sandbox::with_weights();
    let weights = sandbox.read("run/weights.safetensors");
    sandbox.write("short.safetensors", &weights[..weights.len() - 5]);
    // The last tensor's last element.
    let mut poisoned = weights.clone();
    LittleEndian::write_f32(&mut poisoned[weights.len() - 4..], f32::NAN);
    sandbox.write("nan.safetensors", &poisoned);
    sandbox.write("text.safetensors", b"these are no weights");
    let files = [
        ("short", "short.safetensors"),
        ("nan", "NaN"),
        ("text", "text.safetensors"),
        ("absent", "absent.safetensors"),
    ];
    for (name, message) in files {
        let path = format!("{name}.safetensors");
        sandbox.refuses(&format!("train {SMALL} --data data --init {path}"), message);
        sandbox.refuses(&format!("eval --data data --weights {path}"), message);
        sandbox.refuses(&format!("predict --weights {path} picture.png"), message);
    }
    sandbox.refuses("eval --data data --weights data", "reading data");
}

#[test]
fn devices_that_are_not_there() {
    let sandbox = Sandbox::with_data(10, 10);
    for name in ["tpu", "gpu:", "gpu:x", "GPU"] {
        sandbox.refuses(&format!("train {SMALL} --data data --device {name}"), name);
    }
    sandbox.refuses(&format!("train {SMALL} --data data --device gpu:99"), "no adapter gpu:99");
}

#[cfg(target_os = "linux")]
#[test]
fn no_adapter_at_all() {
    let sandbox = Sandbox::with_data(10, 10);
    let without_drivers = |arguments: &str| {
        let mut command = sandbox.command(arguments);
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        command
    };
    let train = format!("train {SMALL} --data data --max-steps 1 --device");
    for device in ["gpu", "gpu:0"] {
        sandbox.refuses_command(without_drivers(&format!("{train} {device}")), "no GPU adapter found");
    }
    // What wgpu's variable names, of which Linux has no drivers.
    let mut of_windows = sandbox.command(&format!("{train} gpu"));
    of_windows.env("WGPU_BACKEND", "dx12");
    sandbox.refuses_command(of_windows, "no driver for DX12");
    without_drivers("devices").assert().success().stdout(contains("there is no GPU adapter"));
    without_drivers("devices --json").assert().success().stdout("[]\n");
    without_drivers(&format!("{train} auto")).assert().success().stderr(contains("device: CPU"));
}

#[test]
fn settings_out_of_range() {
    let sandbox = Sandbox::with_data(10, 10);
    for setting in [
        "--batch-size 0",
        "--epochs 0",
        "--lr -1",
        "--lr 0",
        "--lr NaN",
        "--lr inf",
        "--momentum 1",
        "--momentum -0.1",
        "--weight-decay -1",
        "--weight-decay NaN",
        "--limit-train 0",
        "--max-steps 0",
        "--validation 32",
        "--keep-checkpoints 0",
        "--momentum 0.5 --optimizer adam",
        "--nesterov --optimizer adamw",
        "--warmup-epochs 15",
    ] {
        let name = setting.split(' ').next().unwrap();
        sandbox.refuses(&format!("train --arch lenet5 --data data {setting}"), name);
    }
    // Weights bring the normalization that they were trained with, whoever names them.
    sandbox.ok("train --arch lenet5 --data data --device cpu --max-steps 1 --out first");
    sandbox.write("a.safetensors", &sandbox.read("first/weights.safetensors"));
    sandbox.write("init.toml", b"arch = \"lenet5\"\ninit = \"a.safetensors\"\n");
    for from in ["--arch lenet5 --init a.safetensors", "--config init.toml"] {
        for setting in ["--normalize standard", "--initializer he"] {
            sandbox.refuses(
                &format!("train {from} --data data {setting}"),
                "has no effect on the weights of a.safetensors",
            );
        }
    }
    sandbox.refuses("tune --arch lenet5 --autotune off", "--autotune must be quick or full");
    sandbox.command("tune --arch lenet5 --batch-size 0").assert().code(2).stdout("");
    sandbox.refuses("eval --weights absent.safetensors --batch-size 0", "--batch-size");
    for batch in [30_000_u32, u32::MAX] {
        let summary = format!("summary --arch ygnet --batch-size {batch}");
        sandbox.refuses(&summary, &format!("batches of {batch} images are too large"));
    }
    for command in ["train --data data --arch vgg", "summary --arch vgg"] {
        let output = sandbox.command(command).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains("lenet5"), "{command}: {stderr}");
    }
}

#[test]
fn batches_larger_than_the_memory() {
    let sandbox = Sandbox::new();
    let summary = sandbox.json("summary --arch ygnet --batch-size 1000 --json");
    // Another program may end meanwhile, so twice what is free now.
    let images =
        2 * (cifar_gpu::tensor::cpu::available_memory_bytes() / (summary["training_bytes"].as_u64().unwrap() / 1000));
    sandbox.write_black("data/data_batch_1.bin", images);
    sandbox.write_black("data/test_batch.bin", 1);
    // Where that is more than kernels can count the elements of, this is what is wrong.
    let wrong = |elements: u64| if elements > i32::MAX as u64 { "are too many" } else { "MiB of memory" };
    let train = format!("train --arch ygnet --data data --device cpu --batch-size {images}");
    sandbox.refuses(&train, wrong(images * 32 * 32 * 96));
}

#[test]
fn batches_larger_than_the_gpu_binds() {
    let sandbox = Sandbox::new();
    let binding = sandbox.json("devices --json")[0]["max_binding_bytes"].as_u64().expect("no GPU to test on");
    // One image more than the first convolution's output has room for.
    let images = binding / (32 * 32 * 96 * 4) + 1;
    sandbox.write_black("data/data_batch_1.bin", images);
    sandbox.write_black("data/test_batch.bin", 1);
    let train = format!("train --arch ygnet --data data --device gpu --batch-size {images}");
    sandbox.refuses(&train, &format!("max_storage_buffer_binding_size is {binding}"));
}

#[test]
fn a_run_folder_that_is_taken() {
    let sandbox = Sandbox::with_weights();
    let train = format!("train {SMALL} --data data --device cpu --max-steps 1");
    sandbox.refuses(&format!("{train} --out run"), "run already exists");
    sandbox.refuses(&format!("{train} --out run/config.json"), "run/config.json already exists");
    sandbox.refuses(&format!("{train} --out run/config.json/below"), "run/config.json");
}

#[test]
fn training_that_diverges_at_once() {
    let sandbox = Sandbox::with_data(64, 10);
    sandbox.refuses(
        "train --arch lenet5 --data data --device cpu --lr 1e30 --out at-once",
        "became inf at step 1, first in ",
    );
    assert!(!sandbox.path("at-once").exists());
    // What led there is in the metrics.
    let train = "train --arch lenet5 --data data --device cpu --lr 1e30 --batch-size 16 --log-every 1 --out run";
    let output = sandbox.command(train).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let (steps, _) = sandbox.metrics("run");
    assert!(!steps.is_empty() && steps.iter().all(|step| step["loss"].is_number()), "{steps:?}");
}

#[test]
fn training_that_diverges_later() {
    let sandbox = Sandbox::with_data(64, 10);
    sandbox.ok("train --arch lenet5 --data data --device cpu --batch-size 16 --epochs 1 --lr 0.01 --out run");
    let (config, weights) = (sandbox.read("run/config.json"), sandbox.read("run/weights.safetensors"));
    let far_too_high = String::from_utf8(config).unwrap().replace("\"lr\": 0.01", "\"lr\": 1e30");
    sandbox.write("run/config.json", far_too_high.as_bytes());
    for mode in ["stop", "skip"] {
        let resume = format!("train --resume run --epochs 2 --on-non-finite {mode}");
        let output = sandbox.command(&resume).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        // The first step of the epoch makes weights whose squares overflow.
        assert!(stderr.contains("became inf at step 5"), "{stderr}");
        assert_eq!(sandbox.read("run/weights.safetensors"), weights);
        let checkpoints = sandbox
            .contents()
            .into_keys()
            .filter(|path| path.starts_with(sandbox.path("run/checkpoints")) && path.is_file());
        let checkpoints: Vec<_> = checkpoints.collect();
        assert!(checkpoints.iter().all(|path| path.ends_with("step-000000004.safetensors")), "{checkpoints:?}");
        assert!(!checkpoints.is_empty());
    }
}

#[test]
fn pictures_that_are_none() {
    let sandbox = Sandbox::with_weights();
    sandbox.write("text.png", b"no picture");
    let predict = "predict --device cpu --weights run/weights.safetensors";
    sandbox.refuses(&format!("{predict} text.png"), "text.png");
    sandbox.refuses(&format!("{predict} absent.png"), "absent.png");
    sandbox.refuses(&format!("{predict} data"), "data");
}

#[test]
fn wrong_usage_is_told_apart() {
    let sandbox = Sandbox::new();
    for arguments in [
        "",
        "fly",
        "train",
        "train --arch lenet5 --epochs many",
        "train --arch lenet5 --optimizer rprop",
        "train --arch lenet5 --augment flip",
        "eval",
        "predict --weights file",
        "summary --arch ygnet --classes 1",
        "data synthesize there --train 0",
    ] {
        sandbox.command(arguments).assert().code(2).stdout("").stderr(contains("--help"));
    }
    assert!(sandbox.contents().is_empty());
}
