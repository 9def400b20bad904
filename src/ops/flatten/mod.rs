//! Flattening: a reshape without a kernel.

pub(super) mod cases;

use super::{Context, Cotangents, GateEffect, Op, Output, Upstream, operands};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The operation of a tape: `[batch, …]` as `[batch, elements]`, in the order in which they lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct Flatten;

impl Op for Flatten {
    /// Shape of the input.
    type Saved = Vec<usize>;

    fn name(&self) -> &'static str {
        "flatten"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Vec<usize>>> {
        let [input] = operands(self.name(), inputs)?;
        let shape = input.shape();
        let [batch, rest @ ..] = shape else {
            return Err(Error::shape(self.name(), "the input has no axes"));
        };
        let output = input.reshape(&[*batch, rest.iter().product()])?;
        Ok(Output::new(output, shape.to_vec()).with_gate(GateEffect::Passes(1.0)))
    }

    fn backward(&self, input_shape: Vec<usize>, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(upstream.cotangent.reshape(&input_shape)?.into())
    }
}
