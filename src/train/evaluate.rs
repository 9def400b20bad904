//! Evaluation of a network on a data set.

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::nn::{Network, Prediction};
use crate::ops::batch_assembly::{Augmentation, Border};
use crate::ops::{StepState, elementwise};
use crate::tape::Tape;
use crate::tensor::Device;
use crate::tensor::Replay;
use crate::tensor::{DType, HostRead, Tensor};
use crate::train::dataset::DeviceDataset;

/// The k of the top-k accuracy, [`Evaluation::correct_in_top_5`].
const TOP: usize = 5;

/// Test-time augmentation: the views of an image whose logits are averaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TestTimeAugmentation {
    /// The image alone.
    #[default]
    None,
    /// The image and its mirror image.
    Mirror,
    /// The image and its mirror image, with half of the weight; and both moved by one pixel up and to the left, and down and to the
    /// right, with reflected borders (the six views of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024).
    MirrorShift,
}

impl TestTimeAugmentation {
    /// The views and their weights, which sum to 1.
    pub fn views(self) -> Vec<(Augmentation, f32)> {
        let at = |distance: i32| Augmentation {
            translation: [distance; 2],
            crop_border: Border::Reflect,
            ..Augmentation::NONE
        };
        let places: &[(Augmentation, f32)] = match self {
            TestTimeAugmentation::None => return vec![(Augmentation::NONE, 1.0)],
            TestTimeAugmentation::Mirror => &[(Augmentation::NONE, 1.0)],
            TestTimeAugmentation::MirrorShift => &[(Augmentation::NONE, 0.5), (at(-1), 0.25), (at(1), 0.25)],
        };
        let both = |&(place, weight): &(Augmentation, f32)| {
            [(place, 0.5 * weight), (Augmentation { flip: Augmentation::MIRROR.flip, ..place }, 0.5 * weight)]
        };
        places.iter().flat_map(both).collect()
    }
}

/// A description, such as "mirror images".
impl std::fmt::Display for TestTimeAugmentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TestTimeAugmentation::None => "none",
            TestTimeAugmentation::Mirror => "mirror images",
            TestTimeAugmentation::MirrorShift => "mirrored and shifted images",
        })
    }
}

/// The predicted class of an image.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Guess {
    /// The class with the largest logit; ties go to the first.
    pub class: u16,
    /// Its softmax probability.
    pub probability: f32,
}

/// Results of a network on a data set.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Number of images.
    pub images: usize,
    /// Images whose largest logit (the first of equals) is the label's.
    pub correct: usize,
    /// Images whose label's logit is among the five largest.
    pub correct_in_top_5: usize,
    /// Confusion matrix: images by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<usize>>,
    /// The prediction for each image, in the data's order.
    pub guesses: Vec<Guess>,
}

impl Evaluation {
    /// Fraction of correct predictions, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }

    fn add(&mut self, logits: &[f32], labels: &[u16]) {
        for (logits, &label) in logits.chunks_exact(self.confusion.len()).zip(labels) {
            let label = usize::from(label);
            let prediction = Prediction::new(logits.to_vec());
            let best = prediction.class;
            self.loss += prediction.cross_entropy(label);
            self.confusion[label][best] += 1;
            self.images += 1;
            self.correct += usize::from(best == label);
            self.correct_in_top_5 += usize::from(rank(logits, label) < TOP);
            self.guesses.push(Guess { class: best as u16, probability: prediction.probabilities[best] as f32 });
        }
    }
}

/// Rank of the element at `position` in descending order, from 0; ties keep their order.
fn rank(values: &[f32], position: usize) -> usize {
    let value = values[position];
    values.iter().enumerate().filter(|&(i, &other)| other > value || (other == value && i < position)).count()
}

/// Runs the network, without dropout, on all images of a data set in order; averages the logits of the views of each image.
///
/// `images` and `dataset` are the same data, on the device and on the host; `progress` is called with the number of images done.
pub(crate) async fn evaluate(
    network: &Network,
    images: &DeviceDataset,
    dataset: &Dataset,
    batch_size: usize,
    tta: TestTimeAugmentation,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation> {
    let classes = dataset.num_classes();
    let outputs = network.architecture().num_classes()?;
    if outputs != classes {
        return Err(Error::shape("evaluate", format!("{outputs} logits for data of {classes} classes")));
    }
    let mut evaluation = Evaluation {
        loss: 0.0,
        images: 0,
        correct: 0,
        correct_in_top_5: 0,
        confusion: vec![vec![0; classes]; classes],
        guesses: Vec::with_capacity(dataset.len()),
    };
    let indices: Vec<u32> = (0..dataset.len() as u32).collect();
    // The device works on a batch while the host evaluates the previous one.
    let mut before: Option<(HostRead, &[u16])> = None;
    let labels = dataset.labels();
    let mut finish = async |read: Option<(HostRead, &[u16])>| -> Result<()> {
        if let Some((logits, labels)) = read {
            evaluation.add(&bytemuck::pod_collect_to_vec::<u8, f32>(&logits.wait_async().await?), labels);
            progress(evaluation.images);
        }
        Ok(())
    };
    let release = || {
        if let Device::Cpu(cpu) = network.device() {
            cpu.release_free();
        }
    };
    // Training uses buffers of other sizes.
    release();
    let mut inference = Inference::new(network, images, batch_size.min(indices.len()), tta)?;
    for (indices, labels) in indices.chunks(batch_size).zip(labels.chunks(batch_size)) {
        if indices.len() < batch_size {
            release();
        }
        finish(before.replace((inference.logits(indices)?.start_read()?, labels))).await?;
    }
    finish(before).await?;
    release();
    evaluation.loss /= evaluation.images as f64;
    Ok(evaluation)
}

/// A network, without dropout, on batches of a data set; full ones are captured once and replayed.
#[derive(Debug)]
pub(crate) struct Inference<'a> {
    network: &'a Network,
    images: &'a DeviceDataset,
    indices: Tensor,
    /// Changes of the image and weights of the views, on the device, if there are several.
    views: Vec<(Augmentation, Tensor)>,
    state: Tensor,
    replay: Replay<Tensor>,
}

impl<'a> Inference<'a> {
    pub(crate) fn new(
        network: &'a Network,
        images: &'a DeviceDataset,
        batch_size: usize,
        tta: TestTimeAugmentation,
    ) -> Result<Self> {
        let device = network.device();
        let indices = device.allocate(&[batch_size], DType::U32)?;
        let on_device = |(view, weight)| Ok((view, device.tensor(&[1], &[weight])?));
        let views = match tta {
            TestTimeAugmentation::None => Vec::new(),
            _ => tta.views().into_iter().map(on_device).collect::<Result<_>>()?,
        };
        let state = StepState::new(0, 0, 0.0).tensor(device)?;
        Ok(Inference { network, images, indices, views, state, replay: Replay::default() })
    }

    fn forward(&self, indices: &Tensor) -> Result<Tensor> {
        let look = |view: Option<&Augmentation>| -> Result<Tensor> {
            let augmentation = view.filter(|view| **view != Augmentation::NONE).map(|view| (view, &self.state));
            let batch = self.images.assemble(indices, self.network.dtype(), augmentation)?;
            let tape = Tape::inference();
            Ok(self.network.forward(&tape, &tape.constant(&batch.images))?.tensor().clone())
        };
        let mut average: Option<Tensor> = None;
        for (view, weight) in &self.views {
            let weighted = elementwise::scale(&look(Some(view))?, weight)?;
            average = Some(match average {
                Some(sum) => elementwise::add(&sum, &weighted)?,
                None => weighted,
            });
        }
        average.map_or_else(|| look(None), Ok)
    }

    /// The logits `[batch, classes]` of the images at `indices`, until the next call.
    pub(crate) fn logits(&mut self, indices: &[u32]) -> Result<Tensor> {
        self.images.check(indices)?;
        let device = self.network.device();
        if indices.len() != self.indices.len() {
            return self.forward(&device.tensor_u32(&[indices.len()], indices)?);
        }
        self.indices.write_u32(indices)?;
        let mut replay = std::mem::take(&mut self.replay);
        let result = replay.run(device, || self.forward(&self.indices));
        self.replay = replay;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_and_ranks_of_known_logits() {
        let confusion = vec![vec![0; 7]; 7];
        let mut evaluation =
            Evaluation { loss: 0.0, images: 0, correct: 0, correct_in_top_5: 0, confusion, guesses: Vec::new() };
        // The label's logit is the largest, the fifth, the sixth, and one of seven equals.
        let logits = [
            [9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0],
            [5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0],
            [0.0; 7],
        ];
        evaluation.add(&logits.concat(), &[0, 4, 5, 6]);
        assert_eq!((evaluation.images, evaluation.correct, evaluation.correct_in_top_5), (4, 1, 2));
        assert!(evaluation.guesses.iter().all(|guess| guess.class == 0));
        assert!((evaluation.guesses[3].probability - 1.0 / 7.0).abs() < 1e-6);
    }
}
