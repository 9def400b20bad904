//! Dropout (Srivastava et al., 2014), inverted: what stays is scaled up, so inference needs no change.

mod cpu;
mod gpu;

use super::{Backward, StepState, Wanted, common_device, expect_real};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// One use of dropout: how much to drop and which random numbers to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of elements that become zero, in [0, 1).
    pub probability: f32,
    /// Number that keeps this use's random numbers apart from those of other uses in the step.
    pub stream: u32,
}

impl Dropout {
    /// An element is dropped if its 32 random bits are below this.
    fn threshold(&self) -> u32 {
        (f64::from(self.probability) * 2_f64.powi(32)) as u32
    }

    fn scale(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }
}

/// Zeroes elements of `input` at random and scales up the rest; applied to a cotangent it is its own backward.
///
/// The random numbers depend on seed and step in `state`, the stream, and the element's index: nothing is stored.
pub fn apply(dropout: Dropout, state: &Tensor, input: &Tensor) -> Result<Tensor> {
    const OP: &str = "dropout";
    if !(0.0..1.0).contains(&dropout.probability) {
        return Err(Error::shape(OP, format!("probability {} is not in [0, 1)", dropout.probability)));
    }
    let device = common_device(OP, &[state, input])?;
    StepState::expect(OP, state)?;
    expect_real(OP, "input", input, input.shape())?;
    let output = device.allocate(input.shape(), input.dtype())?;
    match device {
        Device::Cpu(_) => {
            let state = StepState::from_words(&state.cpu(OP)?.read());
            cpu::dropout(dropout, &state, &input.floats(OP)?, &mut output.floats_mut(OP)?);
        }
        Device::Gpu(gpu) => {
            gpu::dropout(gpu, input.dtype(), input.len(), dropout, state.gpu(OP)?, input.gpu(OP)?, output.gpu(OP)?)?;
        }
    }
    Ok(output)
}

/// The tape rule of [`apply`].
#[derive(Debug)]
pub struct DropoutBackward {
    /// Which elements were dropped.
    pub dropout: Dropout,
    /// The step's state, unchanged since the forward half.
    pub state: Tensor,
    /// Whether the cotangent is zero where the output is not positive, which then holds for the input, too.
    pub masked: bool,
}

impl Backward for DropoutBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(apply(self.dropout, &self.state, cotangent)?)])
    }

    fn cotangent_is_masked(&mut self) {
        self.masked = true;
    }

    fn masks_input(&self) -> bool {
        self.masked
    }
}
