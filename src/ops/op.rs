//! The interface between operations and the tape, for the operations of this crate and of its users.

use std::cell::Cell;

use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// A differentiable operation: forward computation, saved values, and backward computation.
///
/// [`Tape::apply`](crate::tape::Tape::apply) records one. `examples/custom_op.rs` is a complete example with custom kernels.
pub trait Op {
    /// Values saved by the forward pass for the backward pass. They are dropped right after use.
    type Saved: 'static;

    /// Name in error messages.
    fn name(&self) -> &'static str;

    /// The output, and the saved values for the backward pass.
    ///
    /// # Errors
    /// If the inputs do not fit, are on different devices, or the device fails.
    fn forward(&self, inputs: &[&Tensor], context: &Context<'_>) -> Result<Output<Self::Saved>>;

    /// Cotangents of the inputs from that of the output: one per input, `None` only where none is needed.
    ///
    /// # Errors
    /// If the device fails.
    fn backward(&self, saved: Self::Saved, upstream: Upstream<'_>) -> Result<Cotangents>;
}

/// Context of the tape, passed to [`Op::forward`].
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) is_recording: bool,
    pub(crate) wanted: &'a [bool],
    pub(crate) input_gate: Option<f32>,
    pub(crate) step_state: Option<&'a Tensor>,
    pub(crate) streams: &'a Cell<u32>,
}

impl<'a> Context<'a> {
    /// Whether this is training, where normalization uses the statistics of the batch.
    pub fn is_recording(&self) -> bool {
        self.is_recording
    }

    /// Whether the cotangent of input number `input` is needed.
    pub fn wants(&self, input: usize) -> bool {
        self.wanted.get(input).copied().unwrap_or(false)
    }

    /// Whether the first input comes from a ReLU, so that the operation may apply the ReLU's gate to the input's cotangent.
    pub fn input_has_gate(&self) -> bool {
        self.input_gate.is_some()
    }

    /// The step's state, a tensor of [`StepState`](super::StepState), if random numbers are needed: when training with dropout.
    pub fn step_state(&self) -> Option<&'a Tensor> {
        self.step_state
    }

    /// A stream number, which separates the random numbers of this use from those of other uses in the step.
    pub fn next_stream(&self) -> u32 {
        let stream = self.streams.get();
        self.streams.set(stream + 1);
        stream
    }
}

/// The result of [`Op::forward`].
#[derive(Debug)]
pub struct Output<S> {
    /// The value.
    pub tensor: Tensor,
    /// The saved values for the backward pass.
    pub saved: S,
    /// The operation's effect on the gate of a ReLU.
    pub gate: GateEffect,
}

impl<S> Output<S> {
    /// An output of an operation without effect on gates.
    pub fn new(tensor: Tensor, saved: S) -> Self {
        Output { tensor, saved, gate: GateEffect::Ends }
    }

    /// The same with another effect on gates.
    #[must_use]
    pub fn with_gate(self, gate: GateEffect) -> Self {
        Output { gate, ..self }
    }
}

/// An operation's effect on the [`Gate`] of a ReLU, stated when the operation runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum GateEffect {
    /// The output's sign carries no information about a ReLU before the operation.
    #[default]
    Ends,
    /// An output element is positive only if its source element of the first input is, and its cotangent goes to that element:
    /// max-pooling and flattening (factor 1), dropout (the factor of its scaling).
    Passes(f32),
    /// The operation ends in a ReLU, followed by dropout with this factor (1 without dropout).
    Makes(f32),
}

/// The arguments of [`Op::backward`].
#[derive(Debug)]
pub struct Upstream<'a> {
    /// The cotangent of the output, of its shape.
    pub cotangent: &'a Tensor,
    /// The requested cotangent of each input.
    pub wanted: &'a [Wanted],
    /// Whether the output's gate has already been applied to the cotangent.
    pub is_gated: bool,
    /// The factor of the first input's gate, if the operation may apply the gate to that input's cotangent: the input comes from a
    /// ReLU and has no other use.
    pub input_gate: Option<f32>,
}

/// The result of [`Op::backward`].
#[derive(Debug)]
pub struct Cotangents {
    /// The cotangent of each input, `None` where none was requested.
    pub inputs: Vec<Option<Tensor>>,
    /// Whether the input's gate has been applied to that of the first input.
    pub first_is_gated: bool,
}

impl From<Vec<Option<Tensor>>> for Cotangents {
    fn from(inputs: Vec<Option<Tensor>>) -> Self {
        Cotangents { inputs, first_is_gated: false }
    }
}

impl From<Tensor> for Cotangents {
    /// The result for an operation with one input.
    fn from(cotangent: Tensor) -> Self {
        vec![Some(cotangent)].into()
    }
}

/// The backward rule of a ReLU and the dropout after it: the output's cotangent becomes zero where the output is not positive, and
/// is scaled elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Gate<T = Tensor> {
    /// The output.
    pub output: T,
    /// The scale factor of dropout, else 1.
    pub factor: f32,
}

impl<T> Gate<T> {
    pub(super) fn as_ref(&self) -> Gate<&T> {
        Gate { output: &self.output, factor: self.factor }
    }

    pub(super) fn try_map<U>(self, f: impl FnOnce(T) -> Result<U>) -> Result<Gate<U>> {
        Ok(Gate { output: f(self.output)?, factor: self.factor })
    }
}

/// Request for an input's cotangent.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Not needed.
    Nothing,
    /// The cotangent.
    Value,
    /// The cotangent, preferably written to this tensor, which has its shape.
    In(Tensor),
}

impl Wanted {
    /// Whether the cotangent is requested.
    pub fn is_some(&self) -> bool {
        !matches!(self, Wanted::Nothing)
    }

    /// The tensor for the cotangent: the given one, or a new one.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn place(&self, device: &Device, shape: &[usize]) -> Result<Tensor> {
        match self {
            Wanted::In(tensor) => Ok(tensor.clone()),
            Wanted::Nothing | Wanted::Value => device.empty(shape),
        }
    }
}

/// The inputs of an operation that takes exactly `N`.
///
/// # Errors
/// [`Error::Shape`] with the number given.
pub fn operands<'a, const N: usize>(op: &'static str, inputs: &[&'a Tensor]) -> Result<[&'a Tensor; N]> {
    inputs.try_into().map_err(|_| Error::shape(op, format!("takes {N} inputs, {} are given", inputs.len())))
}
