//! Random operands of a convolution, to check and time its three products.

use super::{Conv2dGeometry, Direction, Epilogue, Plan};
use crate::error::Result;
use crate::ops::Gate;
use crate::ops::random::uniform_tensor;
use crate::tensor::{DType, Device, Tensor};

/// The operands of a convolution's three products.
#[derive(Debug)]
pub(crate) struct Operands {
    pub(super) geometry: Conv2dGeometry,
    pub(super) input: Tensor,
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) d_output: Tensor,
}

impl Operands {
    /// Random ones, the same for the same shapes.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub(super) fn random(device: &Device, dtype: DType, g: &Conv2dGeometry, has_bias: bool) -> Result<Self> {
        Ok(Operands {
            geometry: *g,
            input: uniform_tensor(device, dtype, &g.input_shape(), 1)?,
            weight: uniform_tensor(device, dtype, &g.weight_shape(), 2)?,
            bias: has_bias.then(|| uniform_tensor(device, DType::F32, &[g.out_c], 3)).transpose()?,
            d_output: uniform_tensor(device, dtype, &g.output_shape(), 4)?,
        })
    }

    /// The convolution.
    #[cfg(test)]
    pub(crate) fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    /// The output.
    pub(super) fn forward(&self, plan: Plan, epilogue: Epilogue<'_>) -> Result<Tensor> {
        super::forward_by(plan, &self.geometry, epilogue, &self.input, &self.weight, self.bias.as_ref())
    }

    /// The cotangent of the input, through the gate of the input with this factor if there is one.
    pub(super) fn backward_input(&self, plan: Plan, gate_factor: Option<f32>) -> Result<Tensor> {
        let gate = gate_factor.map(|factor| Gate { output: &self.input, factor });
        super::backward_input_by(plan, &self.geometry, &self.d_output, &self.weight, gate)
    }

    /// The gradients of weight and bias.
    pub(super) fn backward_weight(&self, plan: Plan) -> Result<[Tensor; 2]> {
        let (device, g) = (self.input.device(), &self.geometry);
        let (d_weight, d_bias) = (device.empty(&g.weight_shape())?, device.empty(&[g.out_c])?);
        super::backward_weight_by(plan, g, &self.input, &self.d_output, &d_weight, &d_bias)?;
        Ok([d_weight, d_bias])
    }

    /// A product as networks use it: with a fused ReLU, or with an input from a ReLU.
    pub(super) fn product(&self, direction: Direction, plan: Plan) -> Result<Vec<Tensor>> {
        Ok(match direction {
            Direction::Forward => vec![self.forward(plan, Epilogue::RELU)?],
            Direction::BackwardInput => vec![self.backward_input(plan, Some(1.0))?],
            Direction::BackwardWeight => self.backward_weight(plan)?.into(),
        })
    }
}
