//! How far a run has come.

use crate::optim::ScalerState;
use crate::train::StepMetrics;

/// Increment if checkpoints of older versions cannot be resumed from.
pub(super) const FORMAT: u32 = 1;

/// Sums over an epoch's steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Totals {
    pub loss: f64,
    pub images: usize,
    pub correct: usize,
    /// Steps that were skipped, which the other sums are without.
    #[serde(default)]
    pub skipped: u64,
}

impl Totals {
    pub fn add(&mut self, step: &StepMetrics) {
        self.loss += f64::from(step.loss) * step.images as f64;
        self.images += step.images;
        self.correct += step.correct;
    }
}

/// The epoch with the best test result so far.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Best {
    pub accuracy: f64,
    /// Steps done at its end.
    pub step: u64,
}

/// Progress of a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Progress {
    pub format: u32,
    /// Steps done in the whole run.
    pub step: u64,
    /// The current epoch, from 1.
    pub epoch: u32,
    /// Completed steps of this epoch.
    pub steps_in_epoch: u64,
    /// Sums over these steps.
    pub totals: Totals,
    /// Duration of these steps in seconds.
    pub epoch_seconds: f64,
    /// Duration of the whole run in seconds.
    pub seconds: f64,
    /// Length of `metrics.jsonl` in bytes; later lines are not part of this state.
    pub metrics_bytes: u64,
    pub best: Option<Best>,
}

impl Progress {
    /// Before the first step.
    pub fn start() -> Self {
        Progress {
            format: FORMAT,
            step: 0,
            epoch: 1,
            steps_in_epoch: 0,
            totals: Totals::default(),
            epoch_seconds: 0.0,
            seconds: 0.0,
            metrics_bytes: 0,
            best: None,
        }
    }

    /// Ends the epoch.
    pub fn next_epoch(&mut self) {
        self.epoch += 1;
        self.steps_in_epoch = 0;
        self.totals = Totals::default();
        self.epoch_seconds = 0.0;
    }
}

/// Metrics of one epoch, or of the part of it before the run ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EpochMetrics {
    /// Number of the epoch from 1.
    pub epoch: u32,
    /// Steps done since the start of the run.
    pub steps: u64,
    /// Learning rate of the last of them; missing in runs of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Mean training loss in nats, with dropout, augmentation and label smoothing as set. In runs of early versions it may be NaN,
    /// from 16-bit overflow.
    #[serde(deserialize_with = "number_or_nan")]
    pub train_loss: f64,
    /// Training accuracy, under the same conditions.
    pub train_accuracy: f64,
    /// Mean test loss in nats.
    pub test_loss: f64,
    /// Test accuracy.
    pub test_accuracy: f64,
    /// Training images per second, without the test.
    pub images_per_second: f64,
    /// Seconds since the start of the run, without the time before it was resumed.
    pub seconds: f64,
    /// Steps without an update, because their loss or gradients were not finite; the means are without them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_steps: u64,
    /// The loss scale and the number of steps that were skipped to lower it, with 16-bit activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scaling: Option<ScalerState>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A number. JSON has no non-finite numbers, so `null` stands for NaN.
pub(crate) fn number_or_nan<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + From<f32>,
{
    <Option<T> as serde::Deserialize>::deserialize(deserializer).map(|number| number.unwrap_or(T::from(f32::NAN)))
}
