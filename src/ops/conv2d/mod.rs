//! Two-dimensional convolution (cross-correlation, as everywhere in this field) with bias and, if wanted, ReLU and dropout.

mod cpu;
mod geometry;
mod gpu;
mod phase;
mod plan;
pub mod tune;
mod window;
mod winograd;

use geometry::Splits;
pub use geometry::{Conv2dGeometry, Padding};
pub use plan::{Algorithm, DeviceKind, Direction, Plan, Plans, Target, Tiling, UnknownPlan};

use std::rc::Rc;

use winograd::WinogradGeometry;

use super::dropout::Dropout;
use super::{Backward, Gate, StepState, Wanted, common_device, expect, expect_real, relu};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// What follows the bias before a convolution's output is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Whether ReLU follows.
    pub relu: bool,
    /// Dropout behind it, with the step's state; it draws as [`super::dropout::apply`] would for the same output.
    pub dropout: Option<(Dropout, &'a Tensor)>,
}

impl Epilogue<'_> {
    /// ReLU alone.
    pub const RELU: Epilogue<'static> = Epilogue { relu: true, dropout: None };
}

/// What becomes of sums before they are stored; `S` is the step's state.
#[derive(Debug, Clone, Copy)]
enum Finish<T, S> {
    /// The bias of their channel is added, then ReLU if `relu`, then dropout.
    Bias { bias: T, relu: bool, dropout: Option<(Dropout, S)> },
    /// They go through the gate, of the same shape. Without one they stay.
    Gate(Option<Gate<T>>),
}

impl<T, S: Copy> Finish<T, S> {
    fn as_ref(&self) -> Finish<&T, S> {
        match self {
            Finish::Bias { bias, relu, dropout } => Finish::Bias { bias, relu: *relu, dropout: *dropout },
            Finish::Gate(gate) => Finish::Gate(gate.as_ref().map(Gate::as_ref)),
        }
    }

    fn try_map<U, V>(
        self,
        operand: impl FnOnce(T) -> Result<U>,
        state: impl FnOnce(S) -> Result<V>,
    ) -> Result<Finish<U, V>> {
        Ok(match self {
            Finish::Bias { bias, relu, dropout } => {
                Finish::Bias { bias: operand(bias)?, relu, dropout: map_state(dropout, state)? }
            }
            Finish::Gate(gate) => Finish::Gate(gate.map(|gate| gate.try_map(operand)).transpose()?),
        })
    }
}

/// The same dropout, with the step's state in another form.
fn map_state<S, V>(dropout: Option<(Dropout, S)>, state: impl FnOnce(S) -> Result<V>) -> Result<Option<(Dropout, V)>> {
    dropout.map(|(dropout, words)| Ok((dropout, state(words)?))).transpose()
}

/// `output = conv2d(input, weight) + bias`, then what `epilogue` says.
///
/// # Errors
/// If an operand's shape differs from the geometry's, or they are on different devices.
pub fn forward(
    geometry: &Conv2dGeometry,
    epilogue: Epilogue<'_>,
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    forward_by(Plan::usual(Target::of(input), Direction::Forward, geometry), geometry, epilogue, input, weight, bias)
}

/// Like [`forward`], computed as `plan` says.
pub fn forward_by(
    plan: Plan,
    geometry: &Conv2dGeometry,
    epilogue: Epilogue<'_>,
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    const OP: &str = "conv2d_forward";
    let Epilogue { relu, dropout } = epilogue;
    let operands: Vec<_> = [input, weight, bias].into_iter().chain(dropout.map(|(_, state)| state)).collect();
    let device = common_device(OP, &operands)?;
    if let Some((dropout, state)) = dropout {
        dropout.expect(OP, state)?;
    }
    expect_real(OP, "input", input, &geometry.input_shape())?;
    expect(OP, "weight", weight, &geometry.weight_shape(), input.dtype())?;
    expect(OP, "bias", bias, &[geometry.out_c], DType::F32)?;
    let output = device.allocate(&geometry.output_shape(), input.dtype())?;
    if let Algorithm::Winograd { outputs } = plan.algorithm {
        expect(OP, "input", input, &geometry.input_shape(), DType::F32)?;
        let w = WinogradGeometry::new(geometry, outputs)?;
        winograd::forward(&w, plan.tiling, false, input, weight, Finish::Bias { bias, relu, dropout }, &output)?;
        return Ok(output);
    }
    match device {
        Device::Cpu(_) => cpu::conv2d_forward(
            geometry,
            relu,
            map_state(dropout, |state| StepState::read(OP, state))?,
            &input.floats(OP)?,
            &weight.floats(OP)?,
            &bias.cpu(OP)?.read(),
            &mut output.floats_mut(OP)?,
        ),
        Device::Gpu(gpu) => {
            let dtype = input.dtype();
            let dropout = map_state(dropout, |state| state.gpu(OP))?;
            let (input, weight, bias) = (input.gpu(OP)?, weight.gpu(OP)?, bias.gpu(OP)?);
            let output = output.gpu(OP)?;
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

/// Like [`backward_input`], computed as `plan` says, and then through the gate of the input, if it comes from a ReLU.
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
        let w = WinogradGeometry::turned(geometry, outputs)?;
        winograd::forward(&w, plan.tiling, true, d_output, weight, Finish::Gate(gate), &d_input)?;
        return Ok(d_input);
    }
    let transposed = transpose_weight(geometry, weight)?;
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

/// Like [`backward_weight`], computed as `plan` says, into `d_weight [kernel_h, kernel_w, in_c, out_c]` and
/// `d_bias [out_c]`.
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
            // One after the other: both may be views of one tensor.
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

/// The tape rule of [`forward`]; inputs are input, weight and bias.
#[derive(Debug)]
pub struct Conv2dBackward {
    /// Geometry of the forward call.
    pub geometry: Conv2dGeometry,
    /// How the gradients shall be computed.
    pub plans: Rc<Plans>,
    /// The input, if weight or bias wants a gradient or it gates its own cotangent.
    pub input: Option<Tensor>,
    /// The factor of the input's gate, if it comes from a ReLU.
    pub input_gate: Option<f32>,
    /// The weight, if the input wants a cotangent.
    pub weight: Option<Tensor>,
    /// The gate of the output, if it went through ReLU.
    pub output_gate: Option<Gate>,
}

impl Conv2dBackward {
    fn plan(&self, operand: &Tensor, direction: Direction) -> Plan {
        self.plans.get(Target::of(operand), direction, &self.geometry)
    }
}

impl Backward for Conv2dBackward {
    fn backward(&self, cotangent: &Tensor, wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        let gated = self.output_gate.as_ref().map(|gate| relu::backward(gate.as_ref(), cotangent)).transpose()?;
        let cotangent = gated.as_ref().unwrap_or(cotangent);
        let d_input = match &self.weight {
            Some(weight) if wanted[0].is_some() => {
                let plan = self.plan(cotangent, Direction::BackwardInput);
                let gate = self.input.as_ref().zip(self.input_gate).map(|(output, factor)| Gate { output, factor });
                Some(backward_input_by(plan, &self.geometry, cotangent, weight, gate)?)
            }
            _ => None,
        };
        let (d_weight, d_bias) = match &self.input {
            Some(input) if wanted[1].is_some() || wanted[2].is_some() => {
                let d_weight = wanted[1].place(input.device(), &self.geometry.weight_shape())?;
                let d_bias = wanted[2].place(input.device(), &[self.geometry.out_c])?;
                let plan = self.plan(input, Direction::BackwardWeight);
                backward_weight_by(plan, &self.geometry, input, cotangent, &d_weight, &d_bias)?;
                (Some(d_weight), Some(d_bias))
            }
            _ => (None, None),
        };
        Ok(vec![d_input, d_weight, d_bias])
    }

    fn cotangent_is_gated(&mut self) {
        self.output_gate = None;
    }

    fn input_is_shared(&mut self) {
        self.input_gate = None;
    }

    fn gates_input(&self) -> bool {
        self.input_gate.is_some() && self.input.is_some()
    }
}
