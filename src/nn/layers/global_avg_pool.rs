//! Global average pooling.

use super::expect_image;
use crate::error::Result;
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, count, layer_basics};
use crate::ops::global_avg_pool;
use crate::tape::Var;

/// Mean of every channel over all pixels. Networks that end in it accept images of any size.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalAvgPool {}

impl Layer for GlobalAvgPool {
    layer_basics!("global_avg_pool");

    fn description(&self) -> String {
        "global average pool".into()
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        expect_image("global_avg_pool", input)?;
        Ok(input[2..].to_vec())
    }

    fn flops(&self, input: &[usize], _output: &[usize]) -> u64 {
        count(input)
    }

    fn forward(&self, input: &Var, _pass: &mut ForwardPass<'_>) -> Result<Var> {
        input.apply(global_avg_pool::GlobalAvgPool)
    }
}
