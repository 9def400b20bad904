//! Max-pooling.

use super::{Sides, one, pooled, step_and_padding};
use crate::error::Result;
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, count, layer_basics};
use crate::ops::{Padding, max_pool2d};
use crate::tape::Var;

/// The largest element of square or rectangular windows; padding is never chosen.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool2d {
    /// Window size in pixels.
    pub kernel: Sides,
    /// Stride in pixels.
    #[serde(default = "one")]
    pub stride: usize,
    /// Pixels around the input.
    #[serde(default)]
    pub padding: Padding,
}

impl Layer for MaxPool2d {
    layer_basics!("max_pool2d");

    fn description(&self) -> String {
        format!("max-pool {}{}", self.kernel, step_and_padding(self.stride, self.padding))
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        pooled("max_pool2d", input, self.kernel, self.stride, self.padding)
    }

    fn flops(&self, _input: &[usize], output: &[usize]) -> u64 {
        let [height, width] = self.kernel.height_width();
        (height * width) as u64 * count(output)
    }

    fn forward(&self, input: &Var, _pass: &mut ForwardPass<'_>) -> Result<Var> {
        let kernel = self.kernel.height_width();
        input.apply(max_pool2d::MaxPool2d { kernel, stride: self.stride, padding: self.padding })
    }
}
