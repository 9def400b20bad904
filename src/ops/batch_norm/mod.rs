//! Batch normalization (Ioffe and Szegedy, 2015), as PyTorch's `BatchNorm2d`, optionally with a fused ReLU.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{
    Context, Cotangents, GateEffect, Op, Output, Upstream, as_u32, common_device, expect, expect_real, operands,
};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// PyTorch's default for the term added to the variance.
pub const USUAL_EPSILON: f32 = 1e-5;
/// PyTorch's default for the weight of the batch statistics in the update of the running statistics.
pub const USUAL_MOMENTUM: f32 = 0.1;
/// Minimum number of rows of a partial sum.
const ROWS_PER_PART: usize = 64;
/// Maximum number of parts that the rows are split into.
const MOST_PARTS: usize = 256;

/// The split of rows into parts; a function of their number alone, so that the order of sums is fixed.
#[derive(Debug, Clone, Copy)]
struct Parts {
    rows: usize,
    rows_per_part: usize,
    count: usize,
}

impl Parts {
    fn of(rows: usize) -> Self {
        let rows_per_part = rows.div_ceil(MOST_PARTS).max(ROWS_PER_PART);
        Parts { rows, rows_per_part, count: rows.div_ceil(rows_per_part) }
    }
}

/// The statistics used for normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch, which also update the running ones: for training.
    Batch,
    /// The running ones: for inference.
    Running,
}

/// The running mean and variance of every channel, `[channels]` each.
#[derive(Debug, Clone)]
pub struct Running {
    /// Running mean.
    pub mean: Tensor,
    /// Running variance, with n − 1.
    pub variance: Tensor,
}

/// Settings of batch normalization.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Added to the variance, positive.
    pub epsilon: f32,
    /// Weight of the batch statistics in the update of the running statistics, from 0 to 1, as in PyTorch. (Keras's momentum is 1
    /// minus this.)
    pub momentum: f32,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Default for Settings {
    /// PyTorch's defaults, without ReLU.
    fn default() -> Self {
        Settings { epsilon: USUAL_EPSILON, momentum: USUAL_MOMENTUM, relu: false }
    }
}

impl Settings {
    fn validate(&self, op: &'static str) -> Result<()> {
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::shape(op, format!("epsilon {} is not positive", self.epsilon)));
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::shape(op, format!("momentum {} is not in [0, 1]", self.momentum)));
        }
        Ok(())
    }
}

/// Normalizes each channel of `input [batch, height, width, channels]`, scales it by `weight` and shifts it by `bias`
/// (`[channels]` each), then ReLU if `settings` say so. Also returns the statistics used, `[2, channels]`: the mean, and
/// 1 / √(variance + ε).
///
/// # Errors
/// If the shapes do not fit, or the batch's statistics are those of a single pixel.
pub fn forward(
    kind: Statistics,
    settings: Settings,
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running: &Running,
) -> Result<(Tensor, Tensor)> {
    const OP: &str = "batch_norm_forward";
    settings.validate(OP)?;
    let Settings { epsilon, momentum, relu } = settings;
    let device = common_device(OP, &[input, weight, bias, &running.mean, &running.variance])?;
    let (rows, channels) = rows_and_channels(OP, input)?;
    expect_real(OP, "input", input, input.shape())?;
    for (what, tensor) in
        [("weight", weight), ("bias", bias), ("running mean", &running.mean), ("running variance", &running.variance)]
    {
        expect(OP, what, tensor, &[channels], DType::F32)?;
    }
    if kind == Statistics::Batch && rows < 2 {
        return Err(Error::shape(OP, "a single pixel has no variance: use larger batches"));
    }
    let parts = Parts::of(rows);
    let statistics = device.empty(&[2, channels])?;
    let output = device.allocate(input.shape(), input.dtype())?;
    let partial = match kind {
        Statistics::Batch => Some(device.empty(&[parts.count, 2, channels])?),
        Statistics::Running => None,
    };
    match device {
        Device::Cpu(_) => {
            match &partial {
                Some(partial) => {
                    cpu::batch_norm_partial(parts, channels, &input.floats(OP)?, &mut partial.cpu(OP)?.write());
                    // Written one after the other: both may be views of the same tensor.
                    let mut mean = running.mean.floats(OP)?.to_vec();
                    let mut variance = running.variance.floats(OP)?.to_vec();
                    let mut statistics = statistics.cpu(OP)?.write();
                    let partial = partial.cpu(OP)?.read();
                    cpu::batch_norm_statistics(
                        parts,
                        channels,
                        [epsilon, momentum],
                        &partial,
                        &mut mean,
                        &mut variance,
                        &mut statistics,
                    );
                    running.mean.write(&mean)?;
                    running.variance.write(&variance)?;
                }
                None => cpu::batch_norm_running(
                    channels,
                    epsilon,
                    &running.mean.cpu(OP)?.read(),
                    &running.variance.cpu(OP)?.read(),
                    &mut statistics.cpu(OP)?.write(),
                ),
            }
            cpu::batch_norm_forward(
                relu,
                &input.floats(OP)?,
                &statistics.cpu(OP)?.read(),
                &weight.cpu(OP)?.read(),
                &bias.cpu(OP)?.read(),
                &mut output.floats_mut(OP)?,
            );
        }
        Device::Gpu(gpu) => {
            let dtype = input.dtype();
            if let Some(partial) = &partial {
                gpu::batch_norm_partial(gpu, dtype, parts, channels, input.gpu(OP)?, partial.gpu(OP)?)?;
            }
            let partial = partial.as_ref().map(|partial| partial.gpu(OP)).transpose()?;
            let (mean, variance) = (running.mean.gpu(OP)?, running.variance.gpu(OP)?);
            gpu::batch_norm_statistics(
                gpu,
                parts,
                channels,
                [epsilon, momentum],
                partial,
                mean,
                variance,
                statistics.gpu(OP)?,
            )?;
            gpu::batch_norm_forward(
                gpu,
                dtype,
                input.len(),
                channels,
                relu,
                input.gpu(OP)?,
                statistics.gpu(OP)?,
                weight.gpu(OP)?,
                bias.gpu(OP)?,
                output.gpu(OP)?,
            )?;
        }
    }
    Ok((output, statistics))
}

/// Cotangents of input, weight and bias for the statistics of a batch, as [`forward`] returned them; the latter two go into
/// `d_weight` and `d_bias`. `output` is that of the fused ReLU, if it must mask the cotangent.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(
    input: &Tensor,
    statistics: &Tensor,
    weight: &Tensor,
    d_output: &Tensor,
    output: Option<&Tensor>,
    d_weight: &Tensor,
    d_bias: &Tensor,
) -> Result<Tensor> {
    const OP: &str = "batch_norm_backward";
    let device = common_device(OP, &[input, statistics, weight, d_output, d_weight, d_bias])?;
    let (rows, channels) = rows_and_channels(OP, input)?;
    expect(OP, "statistics", statistics, &[2, channels], DType::F32)?;
    expect(OP, "d_output", d_output, input.shape(), input.dtype())?;
    for (what, tensor) in [("weight", weight), ("d_weight", d_weight), ("d_bias", d_bias)] {
        expect(OP, what, tensor, &[channels], DType::F32)?;
    }
    if let Some(output) = output {
        expect(OP, "output", output, input.shape(), input.dtype())?;
    }
    let parts = Parts::of(rows);
    let partial = device.empty(&[parts.count, 2, channels])?;
    let d_input = device.allocate(input.shape(), input.dtype())?;
    match device {
        Device::Cpu(_) => {
            let (input, d_output) = (input.floats(OP)?, d_output.floats(OP)?);
            let output = output.map(|output| output.floats(OP)).transpose()?;
            let output = output.as_deref();
            let statistics = statistics.cpu(OP)?.read();
            let sums = partial.cpu(OP)?;
            let mut totals = [vec![0.0; channels], vec![0.0; channels]];
            cpu::batch_norm_backward_partial(
                parts,
                channels,
                &input,
                &statistics,
                &d_output,
                output,
                &mut sums.write(),
            );
            let [products, biases] = &mut totals;
            cpu::batch_norm_backward_weight(channels, &sums.read(), products, biases);
            d_weight.write(products)?;
            d_bias.write(biases)?;
            let (weight, target) = (weight.cpu(OP)?.read(), &mut d_input.floats_mut(OP)?);
            cpu::batch_norm_backward_input(
                rows,
                &input,
                &statistics,
                &weight,
                products,
                biases,
                &d_output,
                output,
                target,
            );
        }
        Device::Gpu(gpu) => {
            let dtype = input.dtype();
            let (input, d_output) = (input.gpu(OP)?, d_output.gpu(OP)?);
            let output = output.map(|output| output.gpu(OP)).transpose()?;
            let (statistics, sums) = (statistics.gpu(OP)?, partial.gpu(OP)?);
            let (d_weight, d_bias) = (d_weight.gpu(OP)?, d_bias.gpu(OP)?);
            gpu::batch_norm_backward_partial(gpu, dtype, parts, channels, input, statistics, d_output, output, sums)?;
            gpu::batch_norm_backward_weight(gpu, parts, channels, sums, d_weight, d_bias)?;
            gpu::batch_norm_backward_input(
                gpu,
                dtype,
                rows,
                channels,
                input,
                statistics,
                weight.gpu(OP)?,
                d_weight,
                d_bias,
                d_output,
                output,
                d_input.gpu(OP)?,
            )?;
        }
    }
    Ok(d_input)
}

fn rows_and_channels(op: &'static str, input: &Tensor) -> Result<(usize, usize)> {
    let &[batch, height, width, channels] = input.shape() else {
        return Err(Error::shape(op, format!("input {:?} must have four axes", input.shape())));
    };
    as_u32(op, input.len())?;
    Ok((batch * height * width, channels))
}

/// The operation of a tape: the inputs are input, weight and bias. A recording tape uses the statistics of the batch and updates
/// the running ones; other tapes use the running ones.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Epsilon, momentum, and whether ReLU follows.
    pub settings: Settings,
    /// The running statistics.
    pub running: Running,
}

/// Values that batch normalization saves for its backward pass.
#[derive(Debug)]
pub struct BatchNormSaved {
    input: Tensor,
    weight: Tensor,
    /// The statistics that [`forward`] returned.
    statistics: Tensor,
    /// The output, if a ReLU follows.
    relu_output: Option<Tensor>,
}

impl Op for BatchNorm {
    type Saved = BatchNormSaved;

    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn forward(&self, inputs: &[&Tensor], context: &Context<'_>) -> Result<Output<BatchNormSaved>> {
        let [input, weight, bias] = operands(self.name(), inputs)?;
        let kind = if context.is_recording() { Statistics::Batch } else { Statistics::Running };
        let (output, statistics) = forward(kind, self.settings, input, weight, bias, &self.running)?;
        let relu = self.settings.relu;
        let relu_output = relu.then(|| output.clone());
        let saved = BatchNormSaved { input: input.clone(), weight: weight.clone(), statistics, relu_output };
        Ok(Output::new(output, saved).with_gate(if relu { GateEffect::Makes(1.0) } else { GateEffect::Ends }))
    }

    fn backward(&self, saved: BatchNormSaved, upstream: Upstream<'_>) -> Result<Cotangents> {
        let BatchNormSaved { input, weight, statistics, relu_output } = saved;
        let [_, wanted_weight, wanted_bias] = upstream.wanted else {
            return Err(Error::shape(self.name(), "has three inputs"));
        };
        let device = upstream.cotangent.device();
        let d_weight = wanted_weight.place(device, weight.shape())?;
        let d_bias = wanted_bias.place(device, weight.shape())?;
        let output = relu_output.as_ref().filter(|_| !upstream.is_gated);
        let d_input = backward(&input, &statistics, &weight, upstream.cotangent, output, &d_weight, &d_bias)?;
        Ok(vec![Some(d_input), Some(d_weight), Some(d_bias)].into())
    }
}
