//! Values that change from step to step, kept in a tensor so that the recorded commands of a step stay the same.

use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// The step's number, random seed and optimizer scalars, as kernels read them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct StepState {
    /// Key of the random generator, low word first.
    pub seed: [u32; 2],
    /// Number of the step from 0.
    pub step: u32,
    /// Slot of this step's metrics in the history.
    pub slot: u32,
    /// Learning rate.
    pub learning_rate: f32,
    /// Adam's `1 − β₁ᵗ`.
    pub first_moment_correction: f32,
    /// Adam's `1 − β₂ᵗ`.
    pub second_moment_correction: f32,
    /// The optimizer's gradient factor; if negative, the update is skipped. The device may change it during the step.
    pub gradient_factor: f32,
    /// Number of the epoch from 0.
    pub epoch: u32,
    /// Weight of the parameters in the update of their running average.
    pub average_share: f32,
    /// Number of the first image within the step's batch, an even number, if the batch is computed in parts.
    pub first_image: u32,
    /// This part's share of the images of the batch.
    pub share: f32,
}

impl StepState {
    /// Number of 32-bit words of a tensor that holds the state.
    pub const WORDS: usize = size_of::<StepState>() / 4;

    /// State of step `step` in the first epoch with this seed, learning rate and no moment correction.
    pub fn new(seed: u64, step: u32, learning_rate: f32) -> Self {
        StepState {
            seed: [seed as u32, (seed >> 32) as u32],
            step,
            slot: 0,
            learning_rate,
            first_moment_correction: 1.0,
            second_moment_correction: 1.0,
            gradient_factor: 1.0,
            epoch: 0,
            average_share: 1.0,
            first_image: 0,
            share: 1.0,
        }
    }

    /// A tensor that holds the state on a device.
    pub fn tensor(&self, device: &Device) -> Result<Tensor> {
        let tensor = device.allocate(&[StepState::WORDS], DType::U32)?;
        self.store(&tensor)?;
        Ok(tensor)
    }

    /// Replaces the state in such a tensor.
    pub fn store(&self, tensor: &Tensor) -> Result<()> {
        tensor.write_u32(&self.words())
    }

    /// The state as the words of such a tensor.
    pub fn words(&self) -> [u32; StepState::WORDS] {
        bytemuck::cast(*self)
    }

    /// Checks that `tensor` is one of [`StepState::tensor`].
    pub(super) fn expect(op: &'static str, tensor: &Tensor) -> Result<()> {
        super::expect(op, "the step state", tensor, &[StepState::WORDS], DType::U32)
    }

    /// The state in such a tensor on the CPU, for the twin of operation `op`.
    pub(super) fn read(op: &'static str, tensor: &Tensor) -> Result<Self> {
        Ok(StepState::from_words(&tensor.cpu(op)?.read()))
    }

    /// The state in a host copy of such a tensor.
    pub(super) fn from_words(words: &[u32]) -> Self {
        bytemuck::pod_read_unaligned(bytemuck::cast_slice(words))
    }
}
