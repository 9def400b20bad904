//! Fully connected layers.

use super::batch_of_one;
use crate::error::{Error, Result};
use crate::nn::Init;
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, LayerInput, Outputs, ParameterSpec, Role, Start, count, layer_basics};
use crate::ops::conv2d::Conv2dGeometry;
use crate::ops::linear;
use crate::tape::{Layout, Var};

/// A fully connected layer, with a bias if `bias`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Prefix of its parameters' names.
    pub name: String,
    /// Output features.
    pub features: Outputs,
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

impl Linear {
    fn geometry(&self, input: &[usize]) -> Result<Conv2dGeometry> {
        let &[_, features] = input else {
            return Err(Error::shape("linear", "takes [features]: put a flatten layer before it"));
        };
        linear::geometry(input, &[features, self.features.count()])
    }
}

impl Layer for Linear {
    layer_basics!("linear");

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn description(&self) -> String {
        "linear".into()
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(vec![self.geometry(&batch_of_one(input))?.out_c])
    }

    fn parameters(&self, input: LayerInput<'_>) -> Vec<ParameterSpec> {
        let features = count(input.shape) as usize;
        let channels = input.flattened_from.and_then(|shape| shape.last().copied()).unwrap_or(features);
        let (out_features, init) = (self.features.count(), self.init.unwrap_or_default());
        let weight = ParameterSpec {
            suffix: "weight",
            layout: Layout::LinearWeight { out_features, channels, pixels: features / channels.max(1) },
            start: Start::Weight { init, fan_in: features, fan_out: out_features },
            is_trained: true,
        };
        let bias = ParameterSpec {
            suffix: "bias",
            layout: Layout::Bias(out_features),
            start: Start::Bias { init, fan_in: features },
            is_trained: true,
        };
        [weight].into_iter().chain(self.bias.then_some(bias)).collect()
    }

    fn flops(&self, input: &[usize], output: &[usize]) -> u64 {
        2 * count(input) * count(output)
    }

    fn product(&self, input: &[usize]) -> Result<Option<Conv2dGeometry>> {
        self.geometry(input).map(Some)
    }

    fn forward(&self, input: &Var, pass: &mut ForwardPass<'_>) -> Result<Var> {
        let weight = pass.parameter()?;
        let bias = self.bias.then(|| pass.parameter()).transpose()?;
        let op = linear::Linear { activation: pass.absorb_activation(), plans: pass.plans() };
        let inputs: Vec<_> = [input, &weight].into_iter().chain(&bias).collect();
        pass.tape().apply(op, &inputs)
    }

    fn role(&self) -> Role {
        Role::Affine
    }

    fn outputs_mut(&mut self) -> Option<&mut Outputs> {
        Some(&mut self.features)
    }

    fn init_mut(&mut self) -> Option<&mut Option<Init>> {
        Some(&mut self.init)
    }

    fn bias_mut(&mut self) -> Option<&mut bool> {
        Some(&mut self.bias)
    }
}
