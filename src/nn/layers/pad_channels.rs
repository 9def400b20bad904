//! Zero-padding of channels.

use super::expect_image;
use crate::error::{Error, Result};
use crate::nn::forward::ForwardPass;
use crate::nn::layer::{Layer, layer_basics};
use crate::ops::pad_channels;
use crate::tape::Var;

/// Pads the channels of every pixel with zeros to `channels`: half of the zeros before, the other half after, where an odd one
/// goes. Used in shortcuts without parameters (He et al., 2015, option A).
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadChannels {
    /// Channels of the output.
    pub channels: usize,
}

impl Layer for PadChannels {
    layer_basics!("pad_channels");

    fn description(&self) -> String {
        format!("channels padded to {}", self.channels)
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        expect_image("pad_channels", input)?;
        if input[2] > self.channels {
            let message = format!("its input {input:?} has more than the {} channels it pads to", self.channels);
            return Err(Error::shape("pad_channels", message));
        }
        Ok(vec![input[0], input[1], self.channels])
    }

    fn flops(&self, _input: &[usize], _output: &[usize]) -> u64 {
        0
    }

    fn forward(&self, input: &Var, _pass: &mut ForwardPass<'_>) -> Result<Var> {
        input.apply(pad_channels::PadChannels { channels: self.channels })
    }
}
