//! `cifar-gpu summary`

use cifar_gpu::nn;
use cifar_gpu::ops::conv2d::DeviceKind;
use cifar_gpu::tensor::Precision;
use cifar_gpu::train::{TrainConfig, inference_bytes, training_bytes};
use cifar_gpu::weights::architecture;
use cifar_gpu::{ImageShape, Result};

use super::common::{ShapeArguments, architecture_names};
use super::terminal::{aligned, print, print_json};
use super::tune::PrecisionName;
use crate::words::grouped;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu summary --arch ygnet
  cifar-gpu summary --arch lenet5 --image-size 48x40 --gray
  cifar-gpu summary --arch lenet5 --classes 100 --batch-size 256 --json")]
pub struct Summary {
    /// Network, or FILE.toml that describes one
    #[arg(long, value_parser = architecture_names())]
    arch: String,
    /// Number of classes [default: that of the description, else 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    classes: Option<u16>,
    #[command(flatten)]
    shape: ShapeArguments,
    /// Batch size, for the memory figures
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Width of activations, for the memory figures
    #[arg(long, value_enum, default_value = "f32", value_name = "WIDTH")]
    precision: PrecisionName,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `summary --json` prints.
#[derive(serde::Serialize)]
struct Report {
    #[serde(flatten)]
    network: nn::Summary,
    /// Height, width and channels of the images.
    input: ImageShape,
    /// Batch size that the memory figures are for.
    batch_size: usize,
    /// Width of activations that the memory figures are for.
    precision: Precision,
    /// Peak memory in bytes of training with the published recipe, without the data set.
    training_bytes: u64,
    /// Peak memory in bytes of inference, without the data set.
    inference_bytes: u64,
}

impl Summary {
    pub fn run(self) -> Result<()> {
        let network = self.shape.network(architecture(&self.arch, self.classes.map(usize::from))?)?;
        let batch_size = self.batch_size as usize;
        let precision = self.precision.precision();
        let recipe = TrainConfig::published(&self.arch)?.with(|recipe| recipe.precision = precision);
        let report = Report {
            network: nn::Summary::new(&network)?,
            input: network.input,
            batch_size,
            precision,
            training_bytes: training_bytes(DeviceKind::Gpu, &network, &recipe, batch_size)?,
            inference_bytes: inference_bytes(DeviceKind::Gpu, precision, &network, batch_size)?,
        };
        if self.json {
            return print_json(&report);
        }
        let summary = &report.network;
        let mut lines = vec![["layer", "kind", "output", "parameters", "MFLOP forward"].map(String::from)];
        lines.extend(summary.layers.iter().map(|layer| {
            [
                "  ".repeat(layer.depth) + &layer.name,
                layer.kind.clone(),
                layer.output.iter().map(usize::to_string).collect::<Vec<_>>().join("×"),
                grouped(layer.parameters as u64),
                format!("{:.2}", layer.flops as f64 / 1e6),
            ]
        }));
        print(aligned(&lines, 2))?;
        print(format_args!(
            "\n{} parameters; {:.1} MFLOP forward and {:.1} MFLOP a training step, for one image of {}\n\
             memory with batches of {}: {} MiB training, {} MiB inference",
            grouped(summary.parameters as u64),
            summary.forward_flops as f64 / 1e6,
            summary.training_flops as f64 / 1e6,
            report.input,
            report.batch_size,
            report.training_bytes.div_ceil(1 << 20),
            report.inference_bytes.div_ceil(1 << 20),
        ))
    }
}
