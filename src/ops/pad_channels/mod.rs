//! Zero-padding of the channels of every pixel, for shortcuts without parameters of residual blocks that have more channels than
//! their input (He et al., "Deep Residual Learning for Image Recognition", 2015, option A).

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{Context, Cotangents, GateEffect, Op, Output, Upstream, as_u32, expect_real, operands};
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// How channels are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChannelPadding {
    pixels: usize,
    in_c: usize,
    out_c: usize,
    /// Zeros before the input's channels.
    before: usize,
}

impl ChannelPadding {
    /// Half of the zeros go before the input's channels; an odd one goes after them.
    fn new(op: &'static str, input: &[usize], channels: usize) -> Result<Self> {
        let &[batch, height, width, in_c] = input else {
            return Err(Error::shape(op, format!("input {input:?} must have four axes")));
        };
        let added = channels.checked_sub(in_c).ok_or_else(|| {
            Error::shape(op, format!("input {input:?} has more than {channels} channels, the number to pad to"))
        })?;
        let pixels = batch * height * width;
        as_u32(op, pixels.saturating_mul(channels))?;
        Ok(ChannelPadding { pixels, in_c, out_c: channels, before: added / 2 })
    }
}

/// `input [batch, height, width, channels]` with zeros before and after its channels, so that there are `channels`.
///
/// # Errors
/// If the input has more channels than that, or the device fails.
pub fn forward(channels: usize, input: &Tensor) -> Result<Tensor> {
    const OP: &str = "pad_channels_forward";
    let g = ChannelPadding::new(OP, input.shape(), channels)?;
    expect_real(OP, "input", input, input.shape())?;
    let mut shape = input.shape().to_vec();
    shape[3] = channels;
    let output = input.device().allocate(&shape, input.dtype())?;
    match input.device() {
        Device::Cpu(_) => cpu::pad_channels_forward(&g, &input.floats(OP)?, &mut output.floats_mut(OP)?),
        Device::Gpu(gpu) => {
            gpu::pad_channels_forward(gpu, input.dtype(), &g, input.gpu(OP)?, output.gpu(OP)?)?;
        }
    }
    Ok(output)
}

/// Cotangent of an input of shape `input_shape` from that of the padded output.
///
/// # Errors
/// If the shapes do not fit, or the device fails.
pub fn backward(input_shape: &[usize], d_output: &Tensor) -> Result<Tensor> {
    const OP: &str = "pad_channels_backward";
    let channels = d_output.shape().last().copied().unwrap_or_default();
    let g = ChannelPadding::new(OP, input_shape, channels)?;
    let mut shape = input_shape.to_vec();
    shape[3] = channels;
    expect_real(OP, "d_output", d_output, &shape)?;
    let d_input = d_output.device().allocate(input_shape, d_output.dtype())?;
    match d_output.device() {
        Device::Cpu(_) => cpu::pad_channels_backward(&g, &d_output.floats(OP)?, &mut d_input.floats_mut(OP)?),
        Device::Gpu(gpu) => {
            gpu::pad_channels_backward(gpu, d_output.dtype(), &g, d_output.gpu(OP)?, d_input.gpu(OP)?)?;
        }
    }
    Ok(d_input)
}

/// The operation of a tape.
#[derive(Debug, Clone, Copy)]
pub struct PadChannels {
    /// Channels of the output.
    pub channels: usize,
}

impl Op for PadChannels {
    /// Shape of the input.
    type Saved = Vec<usize>;

    fn name(&self) -> &'static str {
        "pad_channels"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Vec<usize>>> {
        let [input] = operands(self.name(), inputs)?;
        let output = forward(self.channels, input)?;
        Ok(Output::new(output, input.shape().to_vec()).with_gate(GateEffect::Passes(1.0)))
    }

    fn backward(&self, input_shape: Vec<usize>, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(backward(&input_shape, upstream.cotangent)?.into())
    }
}
