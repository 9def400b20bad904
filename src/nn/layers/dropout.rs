//! Dropout.

use crate::error::{Error, Result};
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, Role, layer_basics};
use crate::ops::dropout;
use crate::tape::Var;

/// Dropout (Srivastava et al., 2014): in training, elements become zero at random and the others are scaled up.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// Share of elements that become zero, in [0, 1).
    pub probability: f32,
}

impl Layer for Dropout {
    layer_basics!("dropout");

    fn description(&self) -> String {
        format!("dropout {}", self.probability)
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        if !(0.0..1.0).contains(&self.probability) {
            return Err(Error::shape("dropout", format!("probability {} is not in [0, 1)", self.probability)));
        }
        Ok(input.to_vec())
    }

    fn flops(&self, _input: &[usize], _output: &[usize]) -> u64 {
        0
    }

    fn forward(&self, input: &Var, _pass: &mut ForwardPass<'_>) -> Result<Var> {
        match self.probability {
            0.0 => Ok(input.clone()),
            probability => input.apply(dropout::Dropout { probability }),
        }
    }

    fn role(&self) -> Role {
        Role::Dropout(self.probability)
    }

    fn dropout_mut(&mut self) -> Option<&mut f32> {
        Some(&mut self.probability)
    }
}
