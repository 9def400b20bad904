//! What a run tells whoever watches it.

use std::path::{Path, PathBuf};

use crate::data::Dataset;
use crate::error::Result;
use crate::nn::Network;
use crate::optim::ScalerState;
use crate::profile::Profile;
use crate::tensor::ImageShape;
use crate::train::{Evaluation, StepMetrics, TrainConfig, Tuning};

/// What is known when training starts.
#[derive(Debug)]
pub struct Start<'a> {
    /// The settings.
    pub config: &'a TrainConfig,
    /// The network's name.
    pub network: &'a str,
    /// The device in one line.
    pub device: String,
    /// Where the data come from.
    pub source: &'a str,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// The shape of all images.
    pub image_shape: ImageShape,
    /// Number of parameters.
    pub parameters: usize,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Steps that an earlier part of the run has done.
    pub first_step: u64,
    /// The run folder.
    pub run: &'a Path,
}

/// Metrics of one epoch, or of the part of it before the run ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EpochMetrics {
    /// Number of the epoch from 1.
    pub epoch: u32,
    /// Steps done since the start of the run.
    pub steps: u64,
    /// Learning rate of the last of them; runs of early versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Mean training loss in nats, with dropout, augmentation and label smoothing as set; runs of early versions may
    /// have one that is not a number, where 16 bits were too few.
    #[serde(deserialize_with = "number_or_nan")]
    pub train_loss: f64,
    /// Share of training images that were right, likewise.
    pub train_accuracy: f64,
    /// Mean test loss in nats.
    pub test_loss: f64,
    /// Share of test images that were right.
    pub test_accuracy: f64,
    /// Training images a second, without the test.
    pub images_per_second: f64,
    /// Seconds since the start of the run, without the time between its parts.
    pub seconds: f64,
    /// What the loss is scaled by, and how often that was too much, with 16-bit activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scaling: Option<ScalerState>,
}

/// The most memory that was held at any time, in bytes, where it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeakMemory {
    /// In tensors on a GPU.
    pub device_bytes: Option<u64>,
    /// By the process.
    pub process_bytes: Option<u64>,
}

/// A number; JSON knows none that is not finite, and says `null` for it.
fn number_or_nan<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + From<f32>,
{
    <Option<T> as serde::Deserialize>::deserialize(deserializer).map(|number| number.unwrap_or(T::from(f32::NAN)))
}

/// A line of `metrics.jsonl` for a step.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepLine {
    /// Number of the step from 0.
    pub step: u64,
    /// Number of the epoch from 1.
    pub epoch: u32,
    /// Mean loss of its images; in runs of early versions not a number where 16 bits were too few for it.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f32,
    /// Learning rate.
    pub lr: f64,
}

/// What is known of a run that has come to its end, with its weights saved.
#[derive(Debug)]
pub struct Finish<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// The network as saved.
    pub network: &'a Network,
    /// The images that it was tested on.
    pub test_set: &'a Dataset,
    /// How it did on them.
    pub evaluation: &'a Evaluation,
}

/// Hears how the run goes. `stepped` and `tested` are called often: they must be quick.
pub trait Observer {
    /// The kernels of a convolution were chosen.
    fn tuned(&mut self, _tuning: &Tuning) {}
    /// A checkpoint could not be used, so that an earlier one is tried.
    fn checkpoint_refused(&mut self, _file: &Path, _why: &str) {}
    /// The kernels of `steps` steps were timed; the trace is in a file.
    fn profiled(&mut self, _profile: &Profile, _steps: u64, _memory: PeakMemory, _trace: &Path) {}
    /// Training begins. An error ends the run.
    fn started(&mut self, _start: &Start<'_>) -> Result<()> {
        Ok(())
    }
    /// Steps were done.
    fn stepped(&mut self, _epoch: u32, _steps: &[StepMetrics]) {}
    /// Some of the test images were evaluated.
    fn tested(&mut self, _images: usize, _of: usize) {}
    /// An epoch is over: its metrics, weights and checkpoint are saved. An error ends the run, which can be resumed.
    fn epoch_done(&mut self, _metrics: &EpochMetrics) -> Result<()> {
        Ok(())
    }
    /// The run has come to its end, and everything that it needs is saved. An error becomes the run's.
    fn finished(&mut self, _finish: &Finish<'_>) -> Result<()> {
        Ok(())
    }
    /// Whether `finished` did all it had to in this folder, so that a complete run is not tested again for it.
    fn has_finished(&self, _run: &Path) -> bool {
        true
    }
}

/// What a run has come to.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// Metrics of the last epoch.
    pub last: EpochMetrics,
    /// Whether that epoch is whole.
    pub is_whole_epoch: bool,
    /// Which images it was held against: `test`, `validation` or `training`.
    pub tested_on: &'static str,
    /// The run folder.
    pub run: PathBuf,
    /// The weights' file.
    pub weights: PathBuf,
}
