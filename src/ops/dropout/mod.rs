//! Dropout (Srivastava et al., 2014), inverted: what stays is scaled up, so inference needs no change.

mod cpu;
mod gpu;

pub(super) use cpu::drop_out;

use super::{Backward, StepState, Wanted, common_device, expect_real};
use crate::error::{Error, Result};
use crate::tensor::Device;
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
    /// Checks it, and that `state` is a step's.
    pub(super) fn expect(&self, op: &'static str, state: &Tensor) -> Result<()> {
        if !(0.0..1.0).contains(&self.probability) {
            return Err(Error::shape(op, format!("probability {} of dropout is not in [0, 1)", self.probability)));
        }
        StepState::expect(op, state)
    }

    /// An element is dropped if its 32 random bits are below this.
    pub(super) fn threshold(&self) -> u32 {
        (f64::from(self.probability) * 2_f64.powi(32)) as u32
    }

    /// What the kernels must know of it: stream, threshold and, as bits, scale.
    pub(super) fn parameters(&self) -> [u32; 3] {
        [self.stream, self.threshold(), self.scale().to_bits()]
    }

    /// What an element that stays is multiplied by.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }
}

/// Zeroes elements of `input` at random and scales up the rest; applied to a cotangent it is its own backward.
///
/// The random numbers depend on seed and step in `state`, the stream, and the element's index: nothing is stored.
pub fn apply(dropout: Dropout, state: &Tensor, input: &Tensor) -> Result<Tensor> {
    const OP: &str = "dropout";
    let device = common_device(OP, &[state, input])?;
    dropout.expect(OP, state)?;
    expect_real(OP, "input", input, input.shape())?;
    let output = device.allocate(input.shape(), input.dtype())?;
    match device {
        Device::Cpu(_) => {
            cpu::dropout(dropout, &StepState::read(OP, state)?, &input.floats(OP)?, &mut output.floats_mut(OP)?);
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
    /// Whether the cotangent has gone through the output's gate, which does what dropout does.
    pub gated: bool,
}

impl Backward for DropoutBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        let d_input = if self.gated { cotangent.clone() } else { apply(self.dropout, &self.state, cotangent)? };
        Ok(vec![Some(d_input)])
    }

    fn cotangent_is_gated(&mut self) {
        self.gated = true;
    }

    fn passes_gate(&self) -> bool {
        true
    }
}
