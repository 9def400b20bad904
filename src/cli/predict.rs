//! `cifar-gpu predict`

use std::path::{Path, PathBuf};

use cifar_gpu::data::{DataError, load_picture, pictures_below, read_picture};
use cifar_gpu::nn::{self, Network};
use cifar_gpu::train::usual_evaluation_batch;
use cifar_gpu::{Classifier, Error, ImageShape, Result};
use rayon::prelude::*;

use super::common::{DeviceArguments, WeightsArguments, lossy};
use super::terminal::{columns_of, for_terminal, padded, print, print_json, warn};

/// Length in characters of the bar for a probability of 1.
const BAR: usize = 12;
/// The name that stands for standard input.
const STDIN: &str = "-";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu predict --weights runs/lenet5-1/weights.safetensors cat.jpg dog.png --top 3
  cifar-gpu predict --weights runs/lenet5-1/weights.safetensors photographs --json
  cifar-gpu predict --weights runs/lenet5-1/weights.safetensors - < cat.jpg

Pictures that cannot be read are named, the others are looked at all the same; the exit code is then 1.")]
pub struct Predict {
    #[command(flatten)]
    weights: WeightsArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Number of most probable classes to print
    #[arg(long, default_value_t = 3, value_name = "K", value_parser = at_least_one)]
    top: usize,
    /// Print a JSON array with one object per picture
    #[arg(long)]
    json: bool,
    /// Pictures of any size; folders, for all pictures in them and below; or - for one picture on standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

/// What `predict --json` prints for a picture.
#[derive(serde::Serialize)]
struct Prediction {
    #[serde(serialize_with = "lossy")]
    image: PathBuf,
    label: usize,
    class: String,
    probability: f64,
    top: Vec<(String, f64)>,
    logits: Vec<f32>,
}

impl Predict {
    pub fn run(self) -> Result<()> {
        let (file, architecture) = self.weights.read()?;
        let names = file.class_names(architecture.num_classes()?);
        let (images, folders_refused) = self.pictures()?;
        let of = images.len();
        let device = self.device.open()?;
        let input = architecture.input;
        let network = Network::new(architecture, &device, 0)?;
        file.load_into(&network)?;
        let classifier = Classifier::new(network, names)?;
        let (mut predictions, mut refused) = (Vec::new(), Vec::new());
        for images in images.chunks(usual_evaluation_batch(input)) {
            let read: Vec<_> = images.par_iter().map(|image| read(image, input)).collect();
            let (mut readable, mut planes) = (Vec::new(), Vec::new());
            for (image, pixels) in images.iter().zip(read) {
                match pixels {
                    Ok(pixels) => {
                        readable.push(image);
                        planes.push(pixels);
                    }
                    Err(error) => {
                        // The error of a single picture becomes the command's error.
                        if of > 1 {
                            warn(&error);
                        }
                        refused.push(error);
                    }
                }
            }
            let answers = classifier.predict(&planes).map_err(|error| self.named(error, &readable))?;
            for (image, answer) in readable.into_iter().zip(answers) {
                let prediction = self.prediction(image.clone(), answer, classifier.class_names());
                if self.json {
                    predictions.push(prediction);
                } else {
                    print(prediction.bars())?;
                }
            }
        }
        let count = refused.len();
        if self.json && count < of {
            print_json(&predictions)?;
        }
        match refused.pop() {
            None if folders_refused == 0 => Ok(()),
            None => Err(DataError::UnreadableFolders { count: folders_refused }.into()),
            Some(error) if of == 1 => Err(error.into()),
            Some(_) => Err(DataError::UnreadablePictures { count, of }.into()),
        }
    }

    /// The requested pictures, including those in folders, and the number of folders without pictures or that cannot be read.
    fn pictures(&self) -> Result<(Vec<PathBuf>, usize)> {
        let (mut pictures, mut refused) = (Vec::new(), 0);
        for image in &self.images {
            if image.is_dir() {
                let (found, mut errors) = pictures_below(image);
                // The error of a single folder becomes the command's error.
                if found.is_empty() && self.images.len() == 1 && errors.len() == 1 {
                    return Err(errors.remove(0).into());
                }
                pictures.extend(found);
                errors.iter().for_each(warn);
                refused += errors.len();
            } else {
                pictures.push(image.clone());
            }
        }
        if pictures.iter().filter(|picture| is_stdin(picture)).count() > 1 {
            return Err(Error::Setting("standard input holds one picture: give - once".to_owned()));
        }
        Ok((pictures, refused))
    }

    /// An error about one of these images, with its name and that of the weights.
    fn named(&self, error: Error, images: &[&PathBuf]) -> Error {
        let Error::NotFinite { logit, image } = error else { return error };
        Error::Weights {
            path: self.weights.path.clone(),
            message: format!("the network returns {logit} for {}", images[image].display()),
            hint: "its training diverged: use an earlier file, or train at a lower --lr".to_owned(),
        }
    }

    fn prediction(&self, image: PathBuf, answer: nn::Prediction, names: &[String]) -> Prediction {
        let pair = |class: usize| (names[class].clone(), answer.probabilities[class]);
        Prediction {
            image,
            label: answer.class,
            class: names[answer.class].clone(),
            probability: answer.probabilities[answer.class],
            top: answer.ranked().into_iter().take(self.top).map(pair).collect(),
            logits: answer.logits,
        }
    }
}

impl Prediction {
    /// The most probable classes as text, with bars proportional to their probabilities.
    fn bars(&self) -> String {
        let width = self.top.iter().map(|(name, _)| columns_of(name)).max().unwrap_or(0);
        let lines = self.top.iter().map(|(name, probability)| {
            let percent = 100.0 * probability;
            format!("\n  {}  {:BAR$}  {percent:5.1} %", padded(name, width), bar(*probability))
        });
        format!("{}{}", for_terminal(&self.image.display().to_string()), lines.collect::<String>())
    }
}

/// A bar of at most [`BAR`] characters, with a resolution of an eighth of a character.
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (8 * BAR) as f64).round() as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + rest
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(std::num::ParseIntError::to_string(&error)),
    }
}

fn is_stdin(image: &Path) -> bool {
    image.as_os_str() == STDIN
}

/// Reads a picture from its file, or from standard input, and resizes it to a shape.
fn read(image: &Path, shape: ImageShape) -> std::result::Result<Vec<u8>, DataError> {
    if is_stdin(image) { read_picture("standard input", std::io::stdin(), shape) } else { load_picture(image, shape) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_the_probability_is_large() {
        assert_eq!([0.0, 0.5, 1.0].map(|share| bar(share).chars().count()), [0, BAR / 2, BAR]);
        assert_eq!(bar(1.0 / (8 * BAR) as f64), "▏");
    }
}
