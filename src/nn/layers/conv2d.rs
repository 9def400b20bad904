//! Convolution.

use super::{Sides, batch_of_one, expect_image, one, step_and_padding};
use crate::error::Result;
use crate::nn::Init;
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, LayerInput, Outputs, ParameterSpec, Role, Start, count, layer_basics};
use crate::ops::Padding;
use crate::ops::conv2d::{self, Conv2dGeometry};
use crate::tape::{Layout, Var};

/// A two-dimensional convolution, with a bias if `bias`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Prefix of its parameters' names.
    pub name: String,
    /// Output channels.
    pub channels: Outputs,
    /// Kernel size in pixels.
    pub kernel: Sides,
    /// Stride in pixels.
    #[serde(default = "one")]
    pub stride: usize,
    /// Zeros around the input.
    #[serde(default)]
    pub padding: Padding,
    /// Whether a bias is added.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Distribution of the initial weight and bias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

fn yes() -> bool {
    true
}

impl Conv2d {
    fn geometry(&self, input: &[usize]) -> Result<Conv2dGeometry> {
        expect_image("conv2d", &input[1..])?;
        let [height, width] = self.kernel.height_width();
        let weight = [height, width, input[3], self.channels.count()];
        Conv2dGeometry::new(input, &weight, self.stride, self.padding)
    }
}

impl Layer for Conv2d {
    layer_basics!("conv2d");

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn description(&self) -> String {
        format!("conv {}{}", self.kernel, step_and_padding(self.stride, self.padding))
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(self.geometry(&batch_of_one(input))?.output_shape()[1..].to_vec())
    }

    fn parameters(&self, input: LayerInput<'_>) -> Vec<ParameterSpec> {
        let (in_c, out_c) = (input.shape.last().copied().unwrap_or_default(), self.channels.count());
        let kernel = self.kernel.height_width();
        let taps = kernel[0] * kernel[1];
        let init = self.init.unwrap_or_default();
        let (fan_in, fan_out) = (in_c * taps, out_c * taps);
        let weight = ParameterSpec {
            suffix: "weight",
            layout: Layout::Conv2dWeight { out_c, in_c, kernel },
            start: Start::Weight { init, fan_in, fan_out },
            is_trained: true,
        };
        let bias = ParameterSpec {
            suffix: "bias",
            layout: Layout::Bias(out_c),
            start: Start::Bias { init, fan_in },
            is_trained: true,
        };
        [weight].into_iter().chain(self.bias.then_some(bias)).collect()
    }

    fn flops(&self, input: &[usize], output: &[usize]) -> u64 {
        let [height, width] = self.kernel.height_width();
        2 * (height * width * input.last().copied().unwrap_or_default()) as u64 * count(output)
    }

    fn product(&self, input: &[usize]) -> Result<Option<Conv2dGeometry>> {
        self.geometry(input).map(Some)
    }

    fn forward(&self, input: &Var, pass: &mut ForwardPass<'_>) -> Result<Var> {
        let weight = pass.parameter()?;
        let bias = self.bias.then(|| pass.parameter()).transpose()?;
        let op = conv2d::Conv2d {
            stride: self.stride,
            padding: self.padding,
            activation: pass.absorb_activation(),
            plans: pass.plans(),
        };
        let inputs: Vec<_> = [input, &weight].into_iter().chain(&bias).collect();
        pass.tape().apply(op, &inputs)
    }

    fn role(&self) -> Role {
        Role::Affine
    }

    fn outputs_mut(&mut self) -> Option<&mut Outputs> {
        Some(&mut self.channels)
    }

    fn init_mut(&mut self) -> Option<&mut Option<Init>> {
        Some(&mut self.init)
    }

    fn bias_mut(&mut self) -> Option<&mut bool> {
        Some(&mut self.bias)
    }
}
