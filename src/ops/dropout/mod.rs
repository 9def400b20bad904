//! Dropout (Srivastava et al., 2014), inverted: the remaining elements are scaled up, so inference needs no change.

pub(super) mod cases;
mod cpu;
mod gpu;

pub(super) use cpu::drop_out;

use super::{Context, Cotangents, GateEffect, Op, Output, StepState, Upstream, common_device, expect_real, operands};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::Tensor;

/// The elements that one use of dropout drops: probability and random stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutMask {
    /// Share of elements that become zero, in [0, 1).
    pub probability: f32,
    /// Stream number, which separates this use's random numbers from those of other uses in the step.
    pub stream: u32,
    /// Elements of an image.
    pub image_elements: u32,
}

impl DropoutMask {
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

    /// The kernels' parameters: stream, threshold, scale as bits, and elements of an image.
    pub(super) fn parameters(&self) -> [u32; 4] {
        [self.stream, self.threshold(), self.scale().to_bits(), self.image_elements]
    }

    /// Factor of the remaining elements.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }
}

/// Zeroes elements of `input` at random and scales up the rest; applied to a cotangent it is its own backward.
///
/// The random numbers depend on seed and step in `state`, the stream, and the element's index in the batch: nothing is stored.
pub fn apply(dropout: DropoutMask, state: &Tensor, input: &Tensor) -> Result<Tensor> {
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

/// The operation of a tape: drops elements out when training with a step's state, and does nothing otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Share of elements that become zero, in [0, 1).
    pub probability: f32,
}

impl Op for Dropout {
    /// The mask with the step's state, if dropout was on.
    type Saved = Option<(DropoutMask, Tensor)>;

    fn name(&self) -> &'static str {
        "dropout"
    }

    fn forward(&self, inputs: &[&Tensor], context: &Context<'_>) -> Result<Output<Self::Saved>> {
        let [input] = operands(self.name(), inputs)?;
        let Some(state) = context.step_state() else {
            return Ok(Output::new(input.clone(), None).with_gate(GateEffect::Passes(1.0)));
        };
        let image_elements = input.shape().iter().skip(1).product::<usize>() as u32;
        let mask = DropoutMask { probability: self.probability, stream: context.next_stream(), image_elements };
        let output = apply(mask, state, input)?;
        Ok(Output::new(output, Some((mask, state.clone()))).with_gate(GateEffect::Passes(mask.scale())))
    }

    fn backward(&self, saved: Self::Saved, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(match saved {
            // The output's gate already applies dropout.
            Some((mask, state)) if !upstream.is_gated => apply(mask, &state, upstream.cotangent)?,
            _ => upstream.cotangent.clone(),
        }
        .into())
    }
}
