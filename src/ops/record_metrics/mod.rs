//! Keeping a step's metrics on the device, to be read back many at a time.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{StepState, common_device, expect};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Puts `loss [1]` and `correct [1]` into the slot of `history [slots, 4]` that `state` names; the results of the parts of a batch
/// are added up, losses by their share of the images. The other two numbers are
/// [`update_guard`](crate::ops::update_guard::update_guard)'s.
///
/// The slot must be within the history; the caller ensures that.
pub fn record_metrics(state: &Tensor, loss: &Tensor, correct: &Tensor, history: &Tensor) -> Result<()> {
    const OP: &str = "record_metrics";
    let device = common_device(OP, &[state, loss, correct, history])?;
    StepState::expect(OP, state)?;
    expect(OP, "loss", loss, &[1], DType::F32)?;
    expect(OP, "correct", correct, &[1], DType::F32)?;
    let &[slots, 4] = history.shape() else {
        return Err(Error::shape(OP, format!("history {:?} must be [slots, 4]", history.shape())));
    };
    expect(OP, "history", history, &[slots, 4], DType::F32)?;
    match device {
        Device::Cpu(_) => {
            let state = StepState::read(OP, state)?;
            if state.slot as usize >= slots {
                return Err(Error::shape(OP, format!("slot {} of {slots}", state.slot)));
            }
            cpu::record_metrics(&state, &loss.cpu(OP)?.read(), &correct.cpu(OP)?.read(), &mut history.cpu(OP)?.write());
        }
        Device::Gpu(gpu) => {
            gpu::record_metrics(gpu, state.gpu(OP)?, loss.gpu(OP)?, correct.gpu(OP)?, history.gpu(OP)?)?;
        }
    }
    Ok(())
}
