//! Fully connected layers: a 1×1 convolution of one-pixel images, run by the convolution kernels.

pub(super) mod cases;

use std::sync::Arc;

use super::conv2d::{self, Activation, Conv2d, Conv2dGeometry, Conv2dSaved, Direction, Epilogue, Plans, Target};
use super::{Context, Cotangents, Op, Output, Padding, Upstream, Wanted};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The convolution that computes the product of `input [batch, in]` and `weight [in, out]`.
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

/// `output = input · weight + bias`, without `bias` if there is none, followed by `epilogue`: `[batch, out]`. `plans` selects the
/// kernel.
///
/// # Errors
/// If the shapes do not fit together.
pub fn forward(
    plans: &Plans,
    epilogue: Epilogue<'_>,
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let g = geometry(input.shape(), weight.shape())?;
    let (input, weight) = (input.reshape(&g.input_shape())?, weight.reshape(&g.weight_shape())?);
    let plan = plans.get(Target::of(&input), Direction::Forward, &g);
    conv2d::forward_by(plan, &g, epilogue, &input, &weight, bias)?.reshape(&[g.batch, g.out_c])
}

/// The operation of a tape: `[batch, in]` times `[in, out]`, and a bias `[out]` if a third input is given.
#[derive(Debug, Clone, Default)]
pub struct Linear {
    /// The fused activation.
    pub activation: Activation,
    /// Plans for its products; the default ones compute the others.
    pub plans: Arc<Plans>,
}

impl Linear {
    /// The equivalent convolution.
    fn convolution(&self) -> Conv2d {
        Conv2d { activation: self.activation, plans: self.plans.clone(), ..Conv2d::default() }
    }
}

impl Op for Linear {
    type Saved = (Conv2dGeometry, Conv2dSaved);

    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, inputs: &[&Tensor], context: &Context<'_>) -> Result<Output<Self::Saved>> {
        let (input, weight, bias) = conv2d::with_optional_bias(self.name(), inputs)?;
        let g = geometry(input.shape(), weight.shape())?;
        let (input, weight) = (input.reshape(&g.input_shape())?, weight.reshape(&g.weight_shape())?);
        let operands: Vec<_> = [&input, &weight].into_iter().chain(bias).collect();
        let Output { tensor, saved, gate } = self.convolution().forward(&operands, context)?;
        Ok(Output { tensor: tensor.reshape(&[g.batch, g.out_c])?, saved: (g, saved), gate })
    }

    fn backward(&self, (g, saved): Self::Saved, upstream: Upstream<'_>) -> Result<Cotangents> {
        let shapes: [&[usize]; 3] = [&[g.batch, g.in_c], &[g.in_c, g.out_c], &[g.out_c]];
        let mut wanted = upstream.wanted.to_vec();
        if let Some(Wanted::In(weight)) = wanted.get_mut(1) {
            *weight = weight.reshape(&g.weight_shape())?;
        }
        let cotangent = &upstream.cotangent.reshape(&g.output_shape())?;
        let convolved = self.convolution().backward(saved, Upstream { cotangent, wanted: &wanted, ..upstream })?;
        let inputs = convolved.inputs.into_iter().zip(shapes).map(|(g, shape)| g.map(|g| g.reshape(shape)).transpose());
        Ok(Cotangents { inputs: inputs.collect::<Result<_>>()?, ..convolved })
    }
}
