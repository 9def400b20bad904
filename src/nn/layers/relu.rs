//! Rectified linear units.

use crate::error::Result;
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, Role, count, layer_basics};
use crate::ops::relu;
use crate::tape::Var;

/// `max(·, 0)`.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relu {}

impl Layer for Relu {
    layer_basics!("relu");

    fn description(&self) -> String {
        "ReLU".into()
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(input.to_vec())
    }

    fn flops(&self, _input: &[usize], output: &[usize]) -> u64 {
        count(output)
    }

    fn forward(&self, input: &Var, _pass: &mut ForwardPass<'_>) -> Result<Var> {
        input.apply(relu::Relu)
    }

    fn role(&self) -> Role {
        Role::Relu
    }
}
