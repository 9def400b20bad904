//! Observers of runs, and the data that they receive.

use std::path::{Path, PathBuf};

use crate::data::Dataset;
use crate::error::Result;
use crate::nn::Network;
use crate::profile::Profile;
use crate::tensor::ImageShape;
use crate::train::{EpochMetrics, Evaluation, NonFinite, StepMetrics, TrainConfig, Tuning, number_or_nan};

/// Information at the start of training.
#[derive(Debug)]
pub struct Start<'a> {
    /// The settings.
    pub config: &'a TrainConfig,
    /// The network's name.
    pub network: &'a str,
    /// The device in one line.
    pub device: String,
    /// Source of the data.
    pub source: &'a str,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// The shape of all images.
    pub image_shape: ImageShape,
    /// The names of the classes.
    pub class_names: &'a [String],
    /// Number of parameters.
    pub parameters: usize,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Steps done before the run was resumed.
    pub first_step: u64,
    /// The run folder.
    pub run: &'a Path,
}

/// Peak memory in bytes, where known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeakMemory {
    /// In tensors on a GPU.
    pub device_bytes: Option<u64>,
    /// By the process.
    pub process_bytes: Option<u64>,
}

/// A line of `metrics.jsonl` for a step.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepLine {
    /// Number of the step from 0.
    pub step: u64,
    /// Number of the epoch from 1.
    pub epoch: u32,
    /// Mean loss of its images; NaN in runs of early versions after 16-bit overflow.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f32,
    /// Learning rate.
    pub lr: f64,
}

/// Information on a finished run whose weights are saved.
#[derive(Debug)]
pub struct Finish<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// The network as saved.
    pub network: &'a Network,
    /// The images that it was tested on.
    pub test_set: &'a Dataset,
    /// Its results on them.
    pub evaluation: &'a Evaluation,
    /// Its results with test-time augmentation, if that was requested.
    pub with_tta: Option<&'a Evaluation>,
}

/// Receives the events of a run. `stepped` and `tested` are called often and must be fast.
pub trait Observer {
    /// The kernels of a convolution were chosen.
    fn tuned(&mut self, _tuning: &Tuning) {}
    /// A checkpoint is unusable; an earlier one is tried next.
    fn checkpoint_refused(&mut self, _file: &Path, _why: &str) {}
    /// The kernels of `steps` steps were timed; the trace is in a file.
    fn profiled(&mut self, _profile: &Profile, _steps: u64, _memory: PeakMemory, _trace: &Path) {}
    /// Training begins. An error ends the run.
    fn started(&mut self, _start: &Start<'_>) -> Result<()> {
        Ok(())
    }
    /// Steps were done.
    fn stepped(&mut self, _epoch: u32, _steps: &[StepMetrics]) {}
    /// A step was done without an update, because this is not finite.
    fn skipped(&mut self, _step: &StepMetrics, _what: NonFinite) {}
    /// Some of the test images were evaluated.
    fn tested(&mut self, _images: usize, _of: usize) {}
    /// An epoch has ended: its metrics, weights and checkpoint are saved. An error ends the run, which can be resumed.
    fn epoch_done(&mut self, _metrics: &EpochMetrics) -> Result<()> {
        Ok(())
    }
    /// The run has finished and is saved. An error becomes the run's.
    fn finished(&mut self, _finish: &Finish<'_>) -> Result<()> {
        Ok(())
    }
    /// Whether `finished` has completed its work in this folder, so that a finished run need not be tested again.
    fn has_finished(&self, _run: &Path) -> bool {
        true
    }
}

/// Result of a run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// Metrics of the last epoch.
    pub last: EpochMetrics,
    /// Whether that epoch is whole.
    pub is_whole_epoch: bool,
    /// Accuracy on the same images with test-time augmentation, if that was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tta_accuracy: Option<f64>,
    /// The images that it was tested on: `test`, `validation` or `training`.
    pub tested_on: &'static str,
    /// The run folder.
    pub run: PathBuf,
    /// The weights' file.
    pub weights: PathBuf,
}
