//! `cifar-gpu fold`

use std::path::{Path, PathBuf};

use cifar_gpu::nn::{Network, Summary};
use cifar_gpu::weights;
use cifar_gpu::{Device, Error, Result};

use super::common::WeightsArguments;
use super::terminal::print;
use crate::words::grouped;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cifar-gpu fold --weights runs/ygnet-bn-1/weights.safetensors --out ygnet.safetensors")]
pub struct Fold {
    #[command(flatten)]
    weights: WeightsArguments,
    /// Output file for the weights of the folded network
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Fold {
    pub fn run(self) -> Result<()> {
        if is_same_file(&self.weights.path, &self.out) {
            let out = self.out.display();
            return Err(Error::Setting(format!("--out {out} would overwrite the weights, which cannot be unfolded")));
        }
        let (file, architecture) = self.weights.read()?;
        let network = Network::new(architecture, &Device::cpu(), 0)?;
        file.load_into(&network)?;
        let folded = network.fold_batch_norms().map_err(|error| match error {
            Error::Setting(message) => Error::Weights {
                path: self.weights.path.clone(),
                message,
                hint: "take weights of a network whose batch normalizations follow convolutions or linear layers"
                    .into(),
            },
            other => other,
        })?;
        let architecture = folded.architecture();
        weights::save(&self.out, &folded, &file.class_names(architecture.num_classes()?))?;
        let parameters = grouped(Summary::new(architecture)?.parameters as u64);
        print(format_args!("{}: {} ({parameters} parameters)", self.out.display(), architecture.name))
    }
}

/// Whether both paths are the same existing file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
