//! A network of one's own: described in TOML with a residual block, for gray images of 24 × 20 pixels, trained on the built-in
//! shapes, saved, and read back without any other file.
//!
//! ```sh
//! cargo run --release --example custom_network
//! ```

use cifar_gpu::data::synthetic;
use cifar_gpu::nn::{DescriptionReader, Network, Summary};
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::train::{DeviceDataset, StepSettings, Stepper, TestTimeAugmentation};
use cifar_gpu::weights;
use cifar_gpu::{Classifier, Device, Result};

/// What a file for `--arch` would hold: docs/NETWORKS.md has every key.
const NETWORK: &str = r#"
name = "tiny-resnet"
input = [24, 20, 1]

layers = [
    { type = "conv2d", name = "stem", channels = 16, kernel = 3, padding = 1, bias = false },
    { type = "batch_norm", name = "stem_bn" },
    { type = "relu" },
    { type = "residual", body = [
        { type = "conv2d", name = "block.conv1", channels = 32, kernel = 3, stride = 2, padding = 1, bias = false },
        { type = "batch_norm", name = "block.bn1" },
        { type = "relu" },
        { type = "conv2d", name = "block.conv2", channels = 32, kernel = 3, padding = 1, bias = false },
        { type = "batch_norm", name = "block.bn2" },
    ], shortcut = [
        { type = "avg_pool2d", kernel = 1, stride = 2 },
        { type = "pad_channels", channels = 32 },
    ] },
    { type = "relu" },
    { type = "global_avg_pool" },
    { type = "linear", name = "head", features = "classes" },
]

[normalization]
mean = [0.5]
std = [0.25]
"#;

const BATCH: usize = 32;
const STEPS: usize = 150;

fn main() -> Result<()> {
    let device = Device::cpu();
    let architecture = DescriptionReader::default().read("tiny-resnet.toml", NETWORK, None)?;
    println!("{}: {} parameters", architecture.name, Summary::new(&architecture)?.parameters);

    let shapes = synthetic::generate(architecture.input, 1600, 200, 0)?;
    let train_images = DeviceDataset::new(&device, &shapes.train, &architecture.normalization)?;
    let network = Network::new(architecture, &device, 1)?;
    let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 5e-4, nesterov: true });
    let optimizer = Optimizer::new(sgd, &device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &train_images, optimizer, StepSettings::default())?;
    for step in 0..STEPS {
        let first = step * BATCH % train_images.len();
        let indices: Vec<u32> = (first as u32..(first + BATCH) as u32).collect();
        stepper.step(&indices, 0, 0.1 * (1.0 - step as f64 / STEPS as f64))?;
        if stepper.is_full() || step + 1 == STEPS {
            for metrics in stepper.drain()?.iter().step_by(16) {
                println!("step {:3}: loss {:.3}", metrics.step, metrics.loss);
            }
        }
    }

    let file = std::env::temp_dir().join("tiny-resnet.safetensors");
    weights::save(&file, &network, shapes.test.class_names())?;
    let evaluation =
        Classifier::open(&file, &device)?.evaluate(&shapes.test, 50, TestTimeAugmentation::None, |_| {})?;
    println!("test accuracy of the file's network: {:.1} %", 100.0 * evaluation.accuracy());
    Ok(())
}
