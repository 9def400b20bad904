//! Batch normalization.

use super::expect_image;
use crate::error::{Error, Result};
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, LayerInput, ParameterSpec, Role, Start, count, layer_basics};
use crate::ops::batch_norm::{self, Running, Settings, USUAL_EPSILON, USUAL_MOMENTUM};
use crate::tape::{Layout, Var};

/// Batch normalization of every channel (Ioffe and Szegedy, 2015), as PyTorch's `BatchNorm2d`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// Prefix of its parameters' and running statistics' names.
    pub name: String,
    /// Added to the variance.
    #[serde(default = "usual_epsilon")]
    pub epsilon: f32,
    /// Weight of the batch statistics in the update of the running statistics.
    #[serde(default = "usual_momentum")]
    pub momentum: f32,
}

fn usual_epsilon() -> f32 {
    USUAL_EPSILON
}

fn usual_momentum() -> f32 {
    USUAL_MOMENTUM
}

impl Layer for BatchNorm {
    layer_basics!("batch_norm");

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn description(&self) -> String {
        "batch norm".into()
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        expect_image("batch_norm", input)?;
        let BatchNorm { epsilon, momentum, .. } = *self;
        if !(epsilon > 0.0 && epsilon.is_finite() && (0.0..=1.0).contains(&momentum)) {
            let message = format!("epsilon {epsilon} must be positive and momentum {momentum} from 0 to 1");
            return Err(Error::shape("batch_norm", message));
        }
        Ok(input.to_vec())
    }

    fn parameters(&self, input: LayerInput<'_>) -> Vec<ParameterSpec> {
        let layout = Layout::Bias(input.shape.last().copied().unwrap_or_default());
        let starts =
            [("weight", 1.0, true), ("bias", 0.0, true), ("running_mean", 0.0, false), ("running_var", 1.0, false)];
        let spec =
            |(suffix, value, is_trained)| ParameterSpec { suffix, layout, start: Start::Constant(value), is_trained };
        starts.map(spec).to_vec()
    }

    fn flops(&self, _input: &[usize], output: &[usize]) -> u64 {
        2 * count(output)
    }

    fn forward(&self, input: &Var, pass: &mut ForwardPass<'_>) -> Result<Var> {
        let (weight, bias) = (pass.parameter()?, pass.parameter()?);
        let running = Running { mean: pass.statistic()?, variance: pass.statistic()? };
        let settings = Settings { epsilon: self.epsilon, momentum: self.momentum, relu: pass.absorb_relu() };
        pass.tape().apply(batch_norm::BatchNorm { settings, running }, &[input, &weight, &bias])
    }

    fn batch_norm_momentum_mut(&mut self) -> Option<&mut f32> {
        Some(&mut self.momentum)
    }

    fn role(&self) -> Role {
        Role::BatchNorm { epsilon: self.epsilon }
    }
}
