//! One training step, again and again, without waiting for the device.

use std::collections::VecDeque;

use crate::device::{Device, Submission};
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::ops::StepState;
use crate::ops::record_metrics::record_metrics;
use crate::optim::Optimizer;
use crate::tape::Tape;
use crate::tensor::{DType, Tensor};
use crate::train::dataset::DeviceDataset;

/// Steps whose metrics stay on the device before they are read back.
const HISTORY_SLOTS: usize = 32;
/// Steps that the host may be ahead of the device: one runs while the next is prepared.
const STEPS_IN_FLIGHT: usize = 2;

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
    /// How many of them were right.
    pub correct: usize,
}

/// Runs training steps on a network and keeps their metrics on the device until they are asked for.
#[derive(Debug)]
pub struct Stepper {
    optimizer: Optimizer,
    state: Tensor,
    history: Tensor,
    seed: u64,
    dropout: bool,
    step: u64,
    /// What is known of the steps in the history: step, rate, images.
    waiting: Vec<(u64, f64, usize)>,
    in_flight: VecDeque<Submission>,
}

impl Stepper {
    /// A stepper at step 0.
    pub fn new(device: &Device, optimizer: Optimizer, seed: u64, dropout: bool) -> Result<Self> {
        Ok(Stepper {
            optimizer,
            state: StepState::new(seed, 0, 0.0).tensor(device)?,
            history: device.zeros(&[HISTORY_SLOTS, 2], DType::F32)?,
            seed,
            dropout,
            step: 0,
            waiting: Vec::new(),
            in_flight: VecDeque::new(),
        })
    }

    /// Number of the next step.
    pub fn next_step(&self) -> u64 {
        self.step
    }

    /// Whether the history is full: [`Stepper::drain`] must come before the next [`Stepper::step`].
    pub fn is_full(&self) -> bool {
        self.waiting.len() == HISTORY_SLOTS
    }

    /// Forward, loss, backward and update on the images at `indices`, in one submission.
    ///
    /// # Errors
    /// If the device fails, an index is past the last image, or the history is full.
    pub fn step(&mut self, network: &Network, images: &mut DeviceDataset, indices: &[u32], lr: f64) -> Result<()> {
        if self.is_full() {
            return Err(Error::Tape("the metrics' history is full: drain it first".into()));
        }
        // The generator's counter has 32 bits; wrapping repeats numbers after four billion steps.
        let mut state = StepState::new(self.seed, self.step as u32, lr as f32);
        state.slot = self.waiting.len() as u32;
        self.optimizer.begin_step(&mut state);
        // Everything that the host writes comes before anything is recorded: a write submits what was.
        state.store(&self.state)?;
        let batch = images.batch(indices)?;

        let tape = Tape::recording(self.dropout.then(|| self.state.clone()));
        let logits = network.forward(&tape, &tape.constant(&batch.images))?;
        let loss = tape.softmax_cross_entropy(&logits, &batch.labels)?;
        record_metrics(&self.state, loss.tensor(), &loss.correct, &self.history)?;
        let gradients = loss.backward()?;
        self.optimizer.step(&self.state, network.parameters(), &gradients)?;

        self.in_flight.push_back(network.device().submit()?);
        if self.in_flight.len() > STEPS_IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            oldest.wait()?;
        }
        self.waiting.push((self.step, lr, indices.len()));
        self.step += 1;
        Ok(())
    }

    /// Waits for the steps done so far and returns their metrics.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a loss is not finite.
    pub fn drain(&mut self) -> Result<Vec<StepMetrics>> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let history = self.history.to_vec()?;
        self.in_flight.clear();
        let waiting = std::mem::take(&mut self.waiting);
        waiting
            .into_iter()
            .zip(history.chunks_exact(2))
            .map(|((step, lr, images), slot)| {
                if !slot[0].is_finite() {
                    return Err(Error::Diverged { step, loss: slot[0] });
                }
                Ok(StepMetrics { step, lr, loss: slot[0], images, correct: slot[1] as usize })
            })
            .collect()
    }
}
