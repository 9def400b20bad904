//! `cifar-gpu predict`

use std::path::PathBuf;

use cifar_gpu::data::{CIFAR10_CLASSES, Dataset, load_picture};
use cifar_gpu::nn::Network;
use cifar_gpu::tape::Tape;
use cifar_gpu::train::DeviceDataset;
use cifar_gpu::weights::WeightsFile;
use cifar_gpu::{Error, Result};

use super::common::{DeviceArguments, print, print_json};

/// Pictures that go through the network at a time.
const BATCH: usize = 64;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cifar-gpu predict --weights runs/lenet5-1/weights.safetensors cat.jpg dog.png --top 3")]
pub struct Predict {
    /// Weights, a safetensors file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Architecture, for a file that does not say it
    #[arg(long)]
    arch: Option<String>,
    #[command(flatten)]
    device: DeviceArguments,
    /// How many of the likeliest classes to name
    #[arg(long, default_value_t = 3, value_name = "K")]
    top: usize,
    /// Print a JSON array, one object a picture
    #[arg(long)]
    json: bool,
    /// Pictures: JPEG or PNG, of any size
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

/// What `predict --json` prints for a picture.
#[derive(serde::Serialize)]
struct Prediction {
    image: PathBuf,
    label: usize,
    class: String,
    probability: f64,
    top: Vec<(String, f64)>,
    logits: Vec<f32>,
}

impl Predict {
    pub fn run(self) -> Result<()> {
        let file = WeightsFile::read(&self.weights)?;
        let architecture = file.architecture(self.arch.as_deref())?;
        let classes = architecture.output_shapes()?.last().map_or(0, |shape| shape.iter().product());
        let names = class_names(&file, classes);
        let mut bytes = Vec::new();
        for image in &self.images {
            bytes.extend(load_picture(image)?);
        }
        let device = self.device.open()?;
        let normalisation = architecture.preprocessing.normalisation();
        let network = Network::new(architecture, &device, 0)?;
        file.load_into(&network)?;
        let pictures = Dataset::new(bytes, vec![0; self.images.len()], names.clone())?;
        let pictures = DeviceDataset::new(&device, &pictures, normalisation)?;
        let mut predictions = Vec::new();
        let numbers: Vec<u32> = (0..self.images.len() as u32).collect();
        for (numbers, images) in numbers.chunks(BATCH).zip(self.images.chunks(BATCH)) {
            let batch = pictures.batch(numbers)?;
            let tape = Tape::inference();
            let logits = network.forward(&tape, &tape.constant(&batch.images))?.tensor().to_vec()?;
            for (image, logits) in images.iter().zip(logits.chunks_exact(classes)) {
                predictions.push(self.prediction(image.clone(), logits, &names)?);
            }
        }
        if self.json {
            return print_json(&predictions);
        }
        predictions.iter().try_for_each(|prediction| {
            let top: Vec<_> = prediction.top.iter().map(|(name, p)| format!("{name} {:.1} %", 100.0 * p)).collect();
            print(format_args!("{}: {}", prediction.image.display(), top.join(", ")))
        })
    }

    fn prediction(&self, image: PathBuf, logits: &[f32], names: &[String]) -> Result<Prediction> {
        if let Some(logit) = logits.iter().find(|logit| !logit.is_finite()) {
            return Err(Error::Weights {
                path: self.weights.clone(),
                message: format!("the network answers {logit} for {}", image.display()),
                hint: "its training diverged: use an earlier file, or train at a lower --lr".to_owned(),
            });
        }
        let largest = logits.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = logits.iter().map(|&v| f64::from(v - largest).exp()).collect();
        let total: f64 = powers.iter().sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let label = order[0];
        let pair = |&class: &usize| (names[class].clone(), powers[class] / total);
        Ok(Prediction {
            image,
            label,
            class: names[label].clone(),
            probability: powers[label] / total,
            top: order.iter().take(self.top).map(pair).collect(),
            logits: logits.to_vec(),
        })
    }
}

/// The classes' names as the weights have them, else CIFAR-10's, else numbers.
fn class_names(file: &WeightsFile, classes: usize) -> Vec<String> {
    match file.metadata() {
        Some(metadata) => metadata.class_names.clone(),
        None if classes == CIFAR10_CLASSES.len() => CIFAR10_CLASSES.map(String::from).to_vec(),
        None => (0..classes).map(|class| format!("class {class}")).collect(),
    }
}
