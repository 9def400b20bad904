//! `cifar-gpu summary`

use cifar_gpu::Result;
use cifar_gpu::nn::{self, Architecture};

use super::common::{grouped, print, print_json};

#[derive(clap::Args)]
pub struct Summary {
    /// Network: ygnet, ygnet-final-relu, lenet5 or all-cnn-c
    #[arg(long)]
    arch: String,
    /// Number of classes
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    classes: u16,
    /// Images of a batch, for the memory figures
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub fn run(self) -> Result<()> {
        let architecture = Architecture::by_name(&self.arch, self.classes.into())?;
        let summary = nn::Summary::new(&architecture, self.batch_size as usize)?;
        if self.json {
            return print_json(&summary);
        }
        print(format_args!(
            "{:<10} {:<26} {:>14} {:>12} {:>14}",
            "layer", "kind", "output", "parameters", "MFLOP forward"
        ))?;
        for layer in &summary.layers {
            let output: Vec<_> = layer.output.iter().map(usize::to_string).collect();
            print(format_args!(
                "{:<10} {:<26} {:>14} {:>12} {:>14.2}",
                layer.name,
                layer.kind,
                output.join("×"),
                grouped(layer.parameters as u64),
                layer.flops as f64 / 1e6
            ))?;
        }
        print(format_args!(
            "\n{} parameters; {:.1} MFLOP forward and {:.1} MFLOP a training step, for one image\n\
             memory with batches of {}: {} MiB training, {} MiB inference",
            grouped(summary.parameters as u64),
            summary.forward_flops as f64 / 1e6,
            summary.training_flops as f64 / 1e6,
            summary.batch_size,
            summary.training_bytes.div_ceil(1 << 20),
            summary.inference_bytes.div_ceil(1 << 20),
        ))
    }
}
