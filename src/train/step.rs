//! Settings, metrics and state of training steps.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ops::batch_assembly::Augmentation;

/// Settings of a step besides the optimizer's.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StepSettings {
    /// Seed of dropout and augmentation.
    pub seed: u64,
    /// Whether dropout is on.
    pub dropout: bool,
    /// Random changes to the images.
    pub augmentation: Augmentation,
    /// Share of each label's probability that is spread over all classes.
    pub label_smoothing: f32,
    /// Weights of the classes in the loss; `None` for 1 each.
    pub class_weights: Option<Vec<f32>>,
    /// Maximum global gradient norm.
    pub clip_norm: Option<f32>,
    /// Decay of the running average of the weights, reached after many steps.
    pub average_decay: Option<f64>,
    /// Images that are computed at a time, an even number: the gradients of a larger batch are added up from its parts. Batch
    /// normalization uses the statistics of a part.
    pub micro_batch: Option<usize>,
    /// What follows if loss or gradients are not finite.
    pub on_non_finite: OnNonFinite,
}

impl StepSettings {
    /// These settings with some changes.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Weight of the current parameters in the running average at this update, counted from 1. As in TensorFlow, it is larger at
    /// first.
    pub(super) fn average_share(&self, update: u64) -> f32 {
        let update = update as f64;
        self.average_decay.map_or(1.0, |decay| 1.0 - decay.min((1.0 + update) / (10.0 + update))) as f32
    }
}

/// What follows a step whose loss or gradients are not finite, and whose update is called off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnNonFinite {
    /// Training stops.
    #[default]
    Stop,
    /// Training goes on with the next step.
    Skip,
}

/// Resumable training state: all values that change from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepperState {
    /// Number of the next step.
    pub step: u64,
    /// Elements of parameters, optimizer, loss scaling and average, by name.
    pub tensors: BTreeMap<String, Vec<f32>>,
}

impl StepperState {
    /// Whether all its numbers are finite.
    pub fn is_finite(&self) -> bool {
        self.tensors.values().flatten().all(|value| value.is_finite())
    }
}

/// Metrics of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMetrics {
    /// Number of the step from 0.
    pub step: u64,
    /// Learning rate.
    pub lr: f64,
    /// Mean loss of the batch in nats.
    pub loss: f32,
    /// Images of the batch.
    pub images: usize,
    /// Number of correct predictions.
    pub correct: usize,
    /// Euclidean norm of the gradients, without a loss scale, before clipping. Not finite if a scaled gradient overflowed.
    pub gradient_norm: f32,
    /// Euclidean norm of the parameters before the update.
    pub weight_norm: f32,
    /// Whether the loss is scaled, so that gradients that are not finite only make the scale smaller.
    pub is_scaled: bool,
}

impl StepMetrics {
    /// What is not finite, if anything is that should be: then the update was called off.
    pub fn fault(&self) -> Option<NonFinite> {
        let Self { loss, gradient_norm, weight_norm, is_scaled, .. } = *self;
        if !weight_norm.is_finite() {
            Some(NonFinite::Weights(weight_norm))
        } else if !loss.is_finite() {
            Some(NonFinite::Loss(loss))
        } else {
            (!is_scaled && !gradient_norm.is_finite()).then_some(NonFinite::Gradients(gradient_norm))
        }
    }

    /// # Errors
    /// [`Error::Diverged`] if loss, gradients or weights are not finite.
    pub fn check(&self) -> Result<()> {
        match self.fault() {
            None => Ok(()),
            Some(what) => Err(Error::Diverged { step: self.step, what: what.to_string(), place: None }),
        }
    }
}

/// What is not finite in a step, and its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NonFinite {
    /// The loss.
    Loss(f32),
    /// The norm of the gradients.
    Gradients(f32),
    /// The norm of the parameters.
    Weights(f32),
}

impl std::fmt::Display for NonFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NonFinite::Loss(value) => write!(f, "the loss became {value}"),
            NonFinite::Gradients(value) => write!(f, "the norm of the gradients became {value}"),
            NonFinite::Weights(value) => write!(f, "the norm of the weights became {value}"),
        }
    }
}

/// Host time of training steps, without the first step of each batch size, which sets up the later ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostTime {
    /// Steps counted.
    pub steps: u64,
    /// Time in [`Stepper::step`](crate::train::Stepper::step) without the waiting.
    pub busy: Duration,
    /// Minimum over the steps: the cost on an otherwise idle host.
    pub least_busy: Duration,
    /// Time in [`Stepper::step`](crate::train::Stepper::step) waiting for the device.
    pub waiting: Duration,
}

impl HostTime {
    pub(super) fn add(&mut self, busy: Duration, waiting: Duration) {
        self.least_busy = if self.steps == 0 { busy } else { self.least_busy.min(busy) };
        self.steps += 1;
        self.busy += busy;
        self.waiting += waiting;
    }

    /// Mean host time per step; zero if none was counted.
    pub fn busy_per_step(&self) -> Duration {
        u32::try_from(self.steps).ok().and_then(|steps| self.busy.checked_div(steps)).unwrap_or_default()
    }
}
