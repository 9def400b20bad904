//! Flattening.

use crate::error::Result;
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, Role, layer_basics};
use crate::ops::flatten;
use crate::tape::Var;

/// Flattens an image into a vector. Weights files use PyTorch's order, channels first.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flatten {}

impl Layer for Flatten {
    layer_basics!("flatten");

    fn description(&self) -> String {
        "flatten".into()
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(vec![input.iter().product()])
    }

    fn flops(&self, _input: &[usize], _output: &[usize]) -> u64 {
        0
    }

    fn forward(&self, input: &Var, _pass: &mut ForwardPass<'_>) -> Result<Var> {
        input.apply(flatten::Flatten)
    }

    fn role(&self) -> Role {
        Role::Flatten
    }
}
