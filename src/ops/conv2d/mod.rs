//! Two-dimensional convolution (cross-correlation, as usual in deep learning) with bias and optionally fused ReLU and dropout.

pub(super) mod cases;
mod cpu;
mod geometry;
mod gpu;
mod matrix_product;
mod operands;
mod phase;
mod plan;
pub mod tune;
mod window;
mod winograd;

pub use geometry::Conv2dGeometry;
use geometry::Splits;
pub use plan::{Algorithm, DeviceKind, Direction, Plan, Plans, Sums, Target, Tiling, UnknownPlan};

use std::sync::Arc;

use winograd::WinogradGeometry;

use super::dropout::DropoutMask;
use super::{
    Context, Cotangents, Gate, GateEffect, Op, Output, Padding, StepState, Upstream, Wanted, common_device, expect,
    expect_real, relu,
};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Activation fused into a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// `max(·, 0)`.
    Relu,
    /// ReLU, followed in training by dropout with this probability: the same as a separate [`super::dropout::Dropout`].
    ReluDropout(f32),
}

impl Activation {
    /// The epilogue in the context of a tape.
    pub(super) fn epilogue<'a>(self, context: &Context<'a>, geometry: &Conv2dGeometry) -> Epilogue<'a> {
        match self {
            Activation::Identity => Epilogue::default(),
            Activation::Relu => Epilogue::RELU,
            Activation::ReluDropout(probability) => {
                let image_elements = geometry.output_shape().iter().skip(1).product::<usize>() as u32;
                let mask = |state| (DropoutMask { probability, stream: context.next_stream(), image_elements }, state);
                Epilogue { relu: true, dropout: context.step_state().map(mask) }
            }
        }
    }
}

/// Operations fused into a convolution after the bias.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Whether ReLU follows.
    pub relu: bool,
    /// Dropout after it, with the step's state; the random numbers are those of [`super::dropout::apply`] for the same output.
    pub dropout: Option<(DropoutMask, &'a Tensor)>,
}

impl Epilogue<'_> {
    /// ReLU alone.
    pub const RELU: Epilogue<'static> = Epilogue { relu: true, dropout: None };

    /// Its effect on the gate of a ReLU.
    pub(super) fn gate(&self) -> GateEffect {
        match self.dropout {
            _ if !self.relu => GateEffect::Ends,
            Some((mask, _)) => GateEffect::Makes(mask.scale()),
            None => GateEffect::Makes(1.0),
        }
    }
}

/// Processing of sums before they are stored; `S` is the type of the step's state.
#[derive(Debug, Clone, Copy)]
enum Finish<T, S> {
    /// The bias of their channel is added if there is one, then ReLU if `relu`, then dropout.
    Activate { bias: Option<T>, relu: bool, dropout: Option<(DropoutMask, S)> },
    /// The gate, of the same shape, is applied. Without one the sums are unchanged.
    Gate(Option<Gate<T>>),
}

impl<T, S: Copy> Finish<T, S> {
    fn as_ref(&self) -> Finish<&T, S> {
        match self {
            Finish::Activate { bias, relu, dropout } => {
                Finish::Activate { bias: bias.as_ref(), relu: *relu, dropout: *dropout }
            }
            Finish::Gate(gate) => Finish::Gate(gate.as_ref().map(Gate::as_ref)),
        }
    }

    fn try_map<U, V>(
        self,
        operand: impl FnOnce(T) -> Result<U>,
        state: impl FnOnce(S) -> Result<V>,
    ) -> Result<Finish<U, V>> {
        Ok(match self {
            Finish::Activate { bias, relu, dropout } => {
                let bias = bias.map(operand).transpose()?;
                Finish::Activate { bias, relu, dropout: map_state(dropout, state)? }
            }
            Finish::Gate(gate) => Finish::Gate(gate.map(|gate| gate.try_map(operand)).transpose()?),
        })
    }
}

/// The same dropout, with the step's state in another form.
fn map_state<S, V>(
    dropout: Option<(DropoutMask, S)>,
    state: impl FnOnce(S) -> Result<V>,
) -> Result<Option<(DropoutMask, V)>> {
    dropout.map(|(dropout, words)| Ok((dropout, state(words)?))).transpose()
}

/// `output = conv2d(input, weight) + bias`, without `bias` if there is none, followed by `epilogue`.
///
/// # Errors
/// If an operand's shape differs from the geometry's, or they are on different devices.
pub fn forward(
    geometry: &Conv2dGeometry,
    epilogue: Epilogue<'_>,
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    forward_by(Plan::usual(Target::of(input), Direction::Forward, geometry), geometry, epilogue, input, weight, bias)
}

/// Like [`forward`], computed by `plan`.
pub fn forward_by(
    plan: Plan,
    geometry: &Conv2dGeometry,
    epilogue: Epilogue<'_>,
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    const OP: &str = "conv2d_forward";
    let Epilogue { relu, dropout } = epilogue;
    let operands: Vec<_> = [input, weight].into_iter().chain(bias).chain(dropout.map(|(_, state)| state)).collect();
    let device = common_device(OP, &operands)?;
    if let Some((dropout, state)) = dropout {
        dropout.expect(OP, state)?;
    }
    expect_real(OP, "input", input, &geometry.input_shape())?;
    expect(OP, "weight", weight, &geometry.weight_shape(), input.dtype())?;
    if let Some(bias) = bias {
        expect(OP, "bias", bias, &[geometry.out_c], DType::F32)?;
    }
    let output = device.allocate(&geometry.output_shape(), input.dtype())?;
    if let Algorithm::Winograd { outputs } = plan.algorithm {
        expect(OP, "input", input, &geometry.input_shape(), DType::F32)?;
        let w = WinogradGeometry::new(geometry, outputs)?;
        winograd::forward(&w, plan.tiling, false, input, weight, Finish::Activate { bias, relu, dropout }, &output)?;
        return Ok(output);
    }
    match device {
        Device::Cpu(_) => cpu::conv2d_forward(
            geometry,
            relu,
            map_state(dropout, |state| StepState::read(OP, state))?,
            &input.floats(OP)?,
            &weight.floats(OP)?,
            bias.map(|bias| bias.floats(OP)).transpose()?.as_deref(),
            &mut output.floats_mut(OP)?,
        ),
        Device::Gpu(gpu) => {
            let dtype = input.dtype();
            let dropout = map_state(dropout, |state| state.gpu(OP))?;
            // Matrix units take both operands with the channels that they contract side by side.
            let exchanged = plan.tiling.is_cooperative().then(|| transpose_weight(geometry, weight)).transpose()?;
            let weight = exchanged.as_ref().unwrap_or(weight);
            let (input, weight, output) = (input.gpu(OP)?, weight.gpu(OP)?, output.gpu(OP)?);
            let bias = bias.map(|bias| bias.gpu(OP)).transpose()?;
            gpu::conv2d_forward(gpu, dtype, geometry, plan.tiling, relu, dropout, input, weight, bias, output)?;
        }
    }
    Ok(output)
}

/// Cotangent of the input, from that of the output before its ReLU.
pub fn backward_input(geometry: &Conv2dGeometry, d_output: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let plan = Plan::usual(Target::of(d_output), Direction::BackwardInput, geometry);
    backward_input_by(plan, geometry, d_output, weight, None)
}

/// Like [`backward_input`], computed by `plan`; applies the gate of the input, if it comes from a ReLU.
pub fn backward_input_by(
    plan: Plan,
    geometry: &Conv2dGeometry,
    d_output: &Tensor,
    weight: &Tensor,
    gate: Option<Gate<&Tensor>>,
) -> Result<Tensor> {
    const OP: &str = "conv2d_backward_input";
    let operands: Vec<_> = [d_output, weight].into_iter().chain(gate.map(|gate| gate.output)).collect();
    let device = common_device(OP, &operands)?;
    if let Some(Gate { output, .. }) = gate {
        expect(OP, "the input that gates", output, &geometry.input_shape(), d_output.dtype())?;
    }
    expect_real(OP, "d_output", d_output, &geometry.output_shape())?;
    expect(OP, "weight", weight, &geometry.weight_shape(), d_output.dtype())?;
    if let Algorithm::Winograd { outputs } = plan.algorithm {
        expect(OP, "d_output", d_output, &geometry.output_shape(), DType::F32)?;
        let d_input = device.empty(&geometry.input_shape())?;
        let w = WinogradGeometry::flipped(geometry, outputs)?;
        winograd::forward(&w, plan.tiling, true, d_output, weight, Finish::Gate(gate), &d_input)?;
        return Ok(d_input);
    }
    // Matrix units take both operands with the channels that they contract side by side, as the output's are in the weight.
    let takes_weight = plan.tiling.is_cooperative() && matches!(device, Device::Gpu(_));
    let transposed = if takes_weight { weight.clone() } else { transpose_weight(geometry, weight)? };
    let d_input = device.allocate(&geometry.input_shape(), d_output.dtype())?;
    match device {
        Device::Cpu(_) => {
            let gate = gate.map(|gate| gate.try_map(|output| output.floats(OP))).transpose()?;
            cpu::conv2d_backward_input(
                geometry,
                &d_output.floats(OP)?,
                &transposed.floats(OP)?,
                gate.as_ref().map(|gate| Gate { output: &*gate.output, factor: gate.factor }),
                &mut d_input.floats_mut(OP)?,
            );
        }
        Device::Gpu(gpu) => {
            let (from, transposed) = (d_output.gpu(OP)?, transposed.gpu(OP)?);
            let dtype = d_output.dtype();
            let gate = gate.map(|gate| gate.try_map(|output| output.gpu(OP))).transpose()?;
            let d_input = d_input.gpu(OP)?;
            gpu::conv2d_backward_input(gpu, dtype, geometry, plan.tiling, from, transposed, gate, d_input)?;
        }
    }
    Ok(d_input)
}

/// The weight with its last two axes exchanged: `[kernel_h, kernel_w, out, in]`.
pub fn transpose_weight(geometry: &Conv2dGeometry, weight: &Tensor) -> Result<Tensor> {
    const OP: &str = "conv2d_transpose_weight";
    expect_real(OP, "weight", weight, &geometry.weight_shape())?;
    let [kernel_h, kernel_w, in_c, out_c] = geometry.weight_shape();
    let transposed = weight.device().allocate(&[kernel_h, kernel_w, out_c, in_c], weight.dtype())?;
    match weight.device() {
        Device::Cpu(_) => {
            cpu::conv2d_transpose_weight(geometry, &weight.floats(OP)?, &mut transposed.floats_mut(OP)?);
        }
        Device::Gpu(gpu) => {
            gpu::conv2d_transpose_weight(gpu, weight.dtype(), geometry, weight.gpu(OP)?, transposed.gpu(OP)?)?;
        }
    }
    Ok(transposed)
}

/// Gradients of weight and bias, from the cotangent of the output before its ReLU.
pub fn backward_weight(geometry: &Conv2dGeometry, input: &Tensor, d_output: &Tensor) -> Result<(Tensor, Tensor)> {
    let d_weight = input.device().empty(&geometry.weight_shape())?;
    let d_bias = input.device().empty(&[geometry.out_c])?;
    let plan = Plan::usual(Target::of(input), Direction::BackwardWeight, geometry);
    backward_weight_by(plan, geometry, input, d_output, &d_weight, &d_bias)?;
    Ok((d_weight, d_bias))
}

/// Like [`backward_weight`], computed by `plan`, into `d_weight [kernel_h, kernel_w, in_c, out_c]` and `d_bias [out_c]`.
pub fn backward_weight_by(
    plan: Plan,
    geometry: &Conv2dGeometry,
    input: &Tensor,
    d_output: &Tensor,
    d_weight: &Tensor,
    d_bias: &Tensor,
) -> Result<()> {
    const OP: &str = "conv2d_backward_weight";
    let device = common_device(OP, &[input, d_output])?;
    expect_real(OP, "input", input, &geometry.input_shape())?;
    expect(OP, "d_output", d_output, &geometry.output_shape(), input.dtype())?;
    expect(OP, "d_weight", d_weight, &geometry.weight_shape(), DType::F32)?;
    expect(OP, "d_bias", d_bias, &[geometry.out_c], DType::F32)?;
    if let Algorithm::Winograd { outputs } = plan.algorithm {
        expect(OP, "input", input, &geometry.input_shape(), DType::F32)?;
        let w = WinogradGeometry::new(geometry, outputs)?;
        return winograd::backward_weight(&w, plan.tiling, input, d_output, d_weight, d_bias);
    }
    let splits = geometry.splits();
    let partial = device.empty(&geometry.partial_sums_shape())?;
    match device {
        Device::Cpu(_) => cpu::conv2d_backward_weight(
            geometry,
            splits,
            &input.floats(OP)?,
            &d_output.floats(OP)?,
            &mut partial.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => {
            let dtype = input.dtype();
            let (input, d_output) = (input.gpu(OP)?, d_output.gpu(OP)?);
            gpu::conv2d_backward_weight(gpu, dtype, geometry, plan.tiling, splits, input, d_output, partial.gpu(OP)?)?;
        }
    }
    split_k_reduce_into(&partial, d_weight, d_bias)
}

/// Adds up the partial sums `[splits, K + 1, out]` of a split-K product, in order: gradients of weight and bias.
pub fn split_k_reduce(partial: &Tensor, weight_shape: &[usize]) -> Result<(Tensor, Tensor)> {
    let d_weight = partial.device().empty(weight_shape)?;
    let d_bias = partial.device().empty(weight_shape.last().map_or(&[], std::slice::from_ref))?;
    split_k_reduce_into(partial, &d_weight, &d_bias)?;
    Ok((d_weight, d_bias))
}

/// Like [`split_k_reduce`], into `d_weight [.., out]`, of K elements for each of `out`, and `d_bias [out]`.
pub fn split_k_reduce_into(partial: &Tensor, d_weight: &Tensor, d_bias: &Tensor) -> Result<()> {
    const OP: &str = "split_k_reduce";
    let weight_shape = d_weight.shape();
    let products: usize = weight_shape.iter().rev().skip(1).product();
    let &[splits, rows, out_c] = partial.shape() else {
        return Err(Error::shape(OP, format!("partial sums have shape {:?}", partial.shape())));
    };
    if rows != products + 1 || weight_shape.last() != Some(&out_c) {
        return Err(Error::shape(OP, format!("partial sums {:?} for a weight {weight_shape:?}", partial.shape())));
    }
    let device = common_device(OP, &[partial, d_weight, d_bias])?;
    expect(OP, "d_weight", d_weight, weight_shape, DType::F32)?;
    expect(OP, "d_bias", d_bias, &[out_c], DType::F32)?;
    match device {
        Device::Cpu(_) => {
            let (partial, count) = (partial.cpu(OP)?.read(), d_weight.len() + out_c);
            // Written one after the other: both may be views of the same tensor.
            cpu::split_k_reduce(splits, count, 0, &partial, &mut d_weight.cpu(OP)?.write());
            cpu::split_k_reduce(splits, count, d_weight.len(), &partial, &mut d_bias.cpu(OP)?.write());
        }
        Device::Gpu(gpu) => {
            let (weights, biases) = (d_weight.len(), d_bias.len());
            gpu::split_k_reduce(gpu, splits, weights, biases, partial.gpu(OP)?, d_weight.gpu(OP)?, d_bias.gpu(OP)?)?;
        }
    }
    Ok(())
}

/// The operation of a tape: the convolution of an input with a weight, and a bias if a third input is given.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Stride in pixels.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// The fused activation.
    pub activation: Activation,
    /// Plans for its products; the default ones compute the others.
    pub plans: Arc<Plans>,
}

impl Default for Conv2d {
    /// A convolution with stride 1, no padding, and no activation.
    fn default() -> Self {
        Conv2d { stride: 1, padding: Padding::Valid, activation: Activation::Identity, plans: Arc::default() }
    }
}

impl Conv2d {
    /// The same with this stride.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Conv2d { stride, ..self }
    }

    /// The same with zeros around the input.
    #[must_use]
    pub fn padding(self, padding: Padding) -> Self {
        Conv2d { padding, ..self }
    }

    /// The same with a fused activation.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        Conv2d { activation, ..self }
    }

    /// The same with a fused ReLU.
    #[must_use]
    pub fn relu(self) -> Self {
        self.activation(Activation::Relu)
    }

    fn plan(&self, operand: &Tensor, direction: Direction, geometry: &Conv2dGeometry) -> Plan {
        self.plans.get(Target::of(operand), direction, geometry)
    }

    fn forward_plan(&self, input: &Tensor, context: &Context<'_>, geometry: &Conv2dGeometry) -> Plan {
        let is_inference = !(0..3).any(|input| context.wants(input));
        self.plans.get(Target { is_inference, ..Target::of(input) }, Direction::Forward, geometry)
    }
}

/// Values that a convolution saves for its backward pass.
#[derive(Debug)]
pub struct Conv2dSaved {
    geometry: Conv2dGeometry,
    /// The input, if weight or bias needs a gradient or the input gates its own cotangent.
    input: Option<Tensor>,
    /// The weight, if the input needs a cotangent.
    weight: Option<Tensor>,
    /// The gate of the output, if a ReLU is fused.
    output_gate: Option<Gate>,
    has_bias: bool,
}

impl Op for Conv2d {
    type Saved = Conv2dSaved;

    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn forward(&self, inputs: &[&Tensor], context: &Context<'_>) -> Result<Output<Conv2dSaved>> {
        let (input, weight, bias) = with_optional_bias(self.name(), inputs)?;
        let geometry = Conv2dGeometry::new(input.shape(), weight.shape(), self.stride, self.padding)?;
        let plan = self.forward_plan(input, context, &geometry);
        let epilogue = self.activation.epilogue(context, &geometry);
        let output = forward_by(plan, &geometry, epilogue, input, weight, bias)?;
        let needs_input = context.wants(1) || context.wants(2) || context.wants(0) && context.input_has_gate();
        let output_gate = match epilogue.gate() {
            GateEffect::Makes(factor) => Some(Gate { output: output.clone(), factor }),
            GateEffect::Ends | GateEffect::Passes(_) => None,
        };
        let saved = Conv2dSaved {
            geometry,
            input: needs_input.then(|| input.clone()),
            weight: context.wants(0).then(|| weight.clone()),
            output_gate,
            has_bias: bias.is_some(),
        };
        Ok(Output::new(output, saved).with_gate(epilogue.gate()))
    }

    fn backward(&self, saved: Conv2dSaved, upstream: Upstream<'_>) -> Result<Cotangents> {
        let Conv2dSaved { geometry, input, weight, output_gate, has_bias } = saved;
        let output_gate = output_gate.filter(|_| !upstream.is_gated);
        let gated = output_gate.map(|gate| relu::backward(gate.as_ref(), upstream.cotangent)).transpose()?;
        let cotangent = gated.as_ref().unwrap_or(upstream.cotangent);
        let wants = |index: usize| upstream.wanted.get(index).is_some_and(Wanted::is_some);
        let gate = input.as_ref().zip(upstream.input_gate).map(|(output, factor)| Gate { output, factor });
        let d_input = match &weight {
            Some(weight) if wants(0) => {
                let plan = self.plan(cotangent, Direction::BackwardInput, &geometry);
                Some(backward_input_by(plan, &geometry, cotangent, weight, gate)?)
            }
            _ => None,
        };
        let first_is_gated = d_input.is_some() && gate.is_some();
        let mut inputs = vec![d_input, None];
        inputs.resize(if has_bias { 3 } else { 2 }, None);
        if let Some(input) = input.as_ref().filter(|_| wants(1) || wants(2)) {
            let place = |index: usize, shape: &[usize]| {
                upstream.wanted.get(index).unwrap_or(&Wanted::Nothing).place(input.device(), shape)
            };
            let (d_weight, d_bias) = (place(1, &geometry.weight_shape())?, place(2, &[geometry.out_c])?);
            let plan = self.plan(input, Direction::BackwardWeight, &geometry);
            backward_weight_by(plan, &geometry, input, cotangent, &d_weight, &d_bias)?;
            // The kernel computes both; without a bias, its gradient is unused.
            inputs.splice(1.., [Some(d_weight), Some(d_bias)].into_iter().take(inputs.len() - 1));
        }
        Ok(Cotangents { inputs, first_is_gated })
    }
}

/// Input, weight and, where a third is given, bias.
pub(super) fn with_optional_bias<'a>(
    op: &'static str,
    inputs: &[&'a Tensor],
) -> Result<(&'a Tensor, &'a Tensor, Option<&'a Tensor>)> {
    match *inputs {
        [input, weight] => Ok((input, weight, None)),
        [input, weight, bias] => Ok((input, weight, Some(bias))),
        _ => Err(Error::shape(
            op,
            format!("takes an input, a weight and an optional bias; {} inputs are given", inputs.len()),
        )),
    }
}
