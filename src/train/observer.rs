//! What a run tells whoever watches it.

use std::path::{Path, PathBuf};

use crate::optim::ScalerState;
use crate::profile::Profile;
use crate::train::TrainConfig;
use crate::train::autotune::Tuning;
use crate::train::stepper::StepMetrics;

/// What is known when training starts.
#[derive(Debug)]
pub struct Start<'a> {
    /// The settings.
    pub config: &'a TrainConfig,
    /// The device in one line.
    pub device: String,
    /// Where the data come from.
    pub source: &'a str,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
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
    /// Mean training loss in nats, with dropout, augmentation and label smoothing as set.
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

/// Hears how the run goes. `stepped` and `tested` are called often: they must be quick.
pub trait Observer {
    /// The kernels of a convolution were chosen.
    fn tuned(&mut self, _tuning: &Tuning) {}
    /// A checkpoint could not be used, so that an earlier one is tried.
    fn checkpoint_refused(&mut self, _file: &Path, _why: &str) {}
    /// The kernels of `steps` steps were timed; the trace is in a file.
    fn profiled(&mut self, _profile: &Profile, _steps: u64, _memory: PeakMemory, _trace: &Path) {}
    /// Training begins.
    fn started(&mut self, _start: &Start<'_>) {}
    /// Steps were done.
    fn stepped(&mut self, _epoch: u32, _steps: &[StepMetrics]) {}
    /// Some of the test images were evaluated.
    fn tested(&mut self, _images: usize, _of: usize) {}
    /// An epoch is over.
    fn epoch_done(&mut self, _metrics: &EpochMetrics) {}
}

/// What a run has come to.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// Metrics of the last epoch.
    pub last: EpochMetrics,
    /// The run folder.
    pub run: PathBuf,
    /// The weights' file.
    pub weights: PathBuf,
}
