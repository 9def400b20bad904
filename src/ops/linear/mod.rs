//! Fully connected layers: a 1×1 convolution of one-pixel images, run by the convolution kernels.

use std::rc::Rc;

use super::conv2d::{self, Conv2dBackward, Conv2dGeometry, Direction, Epilogue, Padding, Plans, Target};
use super::{Backward, Gate, Wanted};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The convolution that a product of `input [batch, in]` with `weight [in, out]` is.
///
/// # Errors
/// If the shapes do not fit together.
pub fn geometry(input: &[usize], weight: &[usize]) -> Result<Conv2dGeometry> {
    match (input, weight) {
        (&[batch, features], &[in_features, out_features]) if features == in_features => {
            Conv2dGeometry::new(&[batch, 1, 1, in_features], &[1, 1, in_features, out_features], 1, Padding::Valid)
        }
        _ => Err(Error::shape("linear", format!("input {input:?} does not fit weight {weight:?}"))),
    }
}

/// `output = input · weight + bias`, then what `epilogue` says: `[batch, out]`; computed as `plans` say.
pub fn forward(
    plans: &Plans,
    epilogue: Epilogue<'_>,
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    let g = geometry(input.shape(), weight.shape())?;
    let (input, weight) = (input.reshape(&g.input_shape())?, weight.reshape(&g.weight_shape())?);
    let plan = plans.get(Target::of(&input), Direction::Forward, &g);
    conv2d::forward_by(plan, &g, epilogue, &input, &weight, bias)?.reshape(&[g.batch, g.out_c])
}

/// The tape rule of [`forward`]; inputs are input, weight and bias.
#[derive(Debug)]
pub struct LinearBackward {
    convolution: Conv2dBackward,
}

impl LinearBackward {
    /// Keeps what the backward half needs: each as in [`Conv2dBackward`], in the shapes of [`forward`].
    pub fn new(
        geometry: Conv2dGeometry,
        plans: Rc<Plans>,
        input: Option<&Tensor>,
        input_gate: Option<f32>,
        weight: Option<&Tensor>,
        output_gate: Option<Gate<&Tensor>>,
    ) -> Result<Self> {
        let reshape = |tensor: Option<&Tensor>, shape: [usize; 4]| tensor.map(|t| t.reshape(&shape)).transpose();
        Ok(LinearBackward {
            convolution: Conv2dBackward {
                geometry,
                plans,
                input: reshape(input, geometry.input_shape())?,
                input_gate,
                weight: reshape(weight, geometry.weight_shape())?,
                output_gate: output_gate
                    .map(|gate| gate.try_map(|output| output.reshape(&geometry.output_shape())))
                    .transpose()?,
            },
        })
    }
}

impl Backward for LinearBackward {
    fn backward(&self, cotangent: &Tensor, wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        let g = &self.convolution.geometry;
        let shapes: [&[usize]; 3] = [&[g.batch, g.in_c], &[g.in_c, g.out_c], &[g.out_c]];
        let mut wanted = wanted.to_vec();
        if let Some(Wanted::In(weight)) = wanted.get_mut(1) {
            *weight = weight.reshape(&g.weight_shape())?;
        }
        let gradients = self.convolution.backward(&cotangent.reshape(&g.output_shape())?, &wanted)?;
        gradients.into_iter().zip(shapes).map(|(g, shape)| g.map(|g| g.reshape(shape)).transpose()).collect()
    }

    fn cotangent_is_gated(&mut self) {
        self.convolution.cotangent_is_gated();
    }

    fn input_is_shared(&mut self) {
        self.convolution.input_is_shared();
    }

    fn gates_input(&self) -> bool {
        self.convolution.gates_input()
    }
}
