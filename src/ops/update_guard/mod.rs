//! Calling off the update of a step whose numbers went wrong, without a readback: the host learns of it with the metrics.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{StepState, common_device, expect};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Operands of [`update_guard`].
#[derive(Debug, Clone, Copy)]
pub struct Guarded<'a> {
    /// [`sum_of_squares`](crate::ops::loss_scaling::sum_of_squares) of the gradients.
    pub gradients: &'a Tensor,
    /// The same of the parameters before the update.
    pub parameters: &'a Tensor,
    /// Metrics `[slots, 4]`: the loss and correct predictions, which [`record_metrics`](crate::ops::record_metrics::record_metrics)
    /// wrote, and the norms of gradients and parameters, which are written.
    pub history: &'a Tensor,
    /// One word: 1 after a step that halted the training, else 0.
    pub halted: &'a Tensor,
}

/// Makes the state's `gradient_factor` negative, so that the optimizer skips the update, if the step's loss or a norm is not
/// finite, or training is halted. A step halts it if `halts` and its loss or gradients are not finite, or if its parameters are
/// not. Where the factor is negative already, the loss is scaled and gradients that are not finite halt nothing.
///
/// The state's slot must be within the history; the caller ensures that.
///
/// # Errors
/// If the shapes do not fit.
pub fn update_guard(halts: bool, guarded: Guarded<'_>, state: &Tensor) -> Result<()> {
    const OP: &str = "update_guard";
    let Guarded { gradients, parameters, history, halted } = guarded;
    let device = common_device(OP, &[gradients, parameters, history, halted, state])?;
    expect(OP, "the gradients' sums", gradients, gradients.shape(), DType::F32)?;
    expect(OP, "the parameters' sums", parameters, gradients.shape(), DType::F32)?;
    let &[slots, 4] = history.shape() else {
        return Err(Error::shape(OP, format!("history {:?} must be [slots, 4]", history.shape())));
    };
    expect(OP, "history", history, &[slots, 4], DType::F32)?;
    expect(OP, "halted", halted, &[1], DType::U32)?;
    StepState::expect(OP, state)?;
    match device {
        Device::Cpu(_) => {
            let mut words = state.cpu(OP)?.write();
            let mut step = StepState::from_words(&words);
            if step.slot as usize >= slots {
                return Err(Error::shape(OP, format!("slot {} of {slots}", step.slot)));
            }
            let (mut history, mut halted) = (history.cpu(OP)?.write(), halted.cpu(OP)?.write());
            let sums = [&*gradients.cpu(OP)?.read(), &*parameters.cpu(OP)?.read()];
            cpu::update_guard(halts, sums, &mut history, &mut halted, &mut step);
            words.copy_from_slice(&step.words());
        }
        Device::Gpu(gpu) => {
            let sums = [gradients.gpu(OP)?, parameters.gpu(OP)?];
            gpu::update_guard(gpu, gradients.len(), halts, sums, history.gpu(OP)?, halted.gpu(OP)?, state.gpu(OP)?)?;
        }
    }
    Ok(())
}
