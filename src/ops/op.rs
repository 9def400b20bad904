//! What an operation is to a tape: the one door, for the operations of this crate and for those of its users.

use std::cell::Cell;

use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// A differentiable operation: what it computes, what it keeps, and how cotangents go back through it.
///
/// [`Tape::apply`](crate::tape::Tape::apply) records one. `examples/custom_op.rs` has a complete one with kernels of its own.
pub trait Op {
    /// What the forward half keeps for the backward half. It is dropped right after its use.
    type Saved: 'static;

    /// Name in error messages.
    fn name(&self) -> &'static str;

    /// The output, and what the backward half needs.
    ///
    /// # Errors
    /// If the inputs do not fit, are on different devices, or the device fails.
    fn forward(&self, inputs: &[&Tensor], context: &Context<'_>) -> Result<Output<Self::Saved>>;

    /// Cotangents of the inputs from that of the output: one for each input, `None` only where none is wanted.
    ///
    /// # Errors
    /// If the device fails.
    fn backward(&self, saved: Self::Saved, upstream: Upstream<'_>) -> Result<Cotangents>;
}

/// What [`Op::forward`] is told about the tape.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) is_recording: bool,
    pub(crate) wanted: &'a [bool],
    pub(crate) input_gate: Option<f32>,
    pub(crate) step_state: Option<&'a Tensor>,
    pub(crate) streams: &'a Cell<u32>,
}

impl<'a> Context<'a> {
    /// Whether this is training: statistics are those of the batch.
    pub fn is_recording(&self) -> bool {
        self.is_recording
    }

    /// Whether the cotangent of input number `input` is wanted.
    pub fn wants(&self, input: usize) -> bool {
        self.wanted.get(input).copied().unwrap_or(false)
    }

    /// Whether the first input comes from a ReLU, so that the operation may put its cotangent through the ReLU's gate.
    pub fn input_has_gate(&self) -> bool {
        self.input_gate.is_some()
    }

    /// The step's state, a tensor of [`StepState`](super::StepState), if random numbers shall be drawn: when training with dropout.
    pub fn step_state(&self) -> Option<&'a Tensor> {
        self.step_state
    }

    /// A number that keeps the random numbers of this use apart from those of other uses in the step.
    pub fn next_stream(&self) -> u32 {
        let stream = self.streams.get();
        self.streams.set(stream + 1);
        stream
    }
}

/// What [`Op::forward`] returns.
#[derive(Debug)]
pub struct Output<S> {
    /// The value.
    pub tensor: Tensor,
    /// What the backward half needs.
    pub saved: S,
    /// What the operation does to the gate of a ReLU.
    pub gate: GateEffect,
}

impl<S> Output<S> {
    /// An output of an operation that has nothing to do with gates.
    pub fn new(tensor: Tensor, saved: S) -> Self {
        Output { tensor, saved, gate: GateEffect::Ends }
    }

    /// The same with another effect on gates.
    #[must_use]
    pub fn with_gate(self, gate: GateEffect) -> Self {
        Output { gate, ..self }
    }
}

/// What an operation does to the [`Gate`] of a ReLU: stated once, when the operation runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum GateEffect {
    /// The output's zeros say nothing about a ReLU before it.
    #[default]
    Ends,
    /// The output is positive only where what it was taken from in the first input is positive, and the cotangent goes back
    /// the same way: pooling by maxima, flattening (factor 1), dropout (the factor that it scales up by).
    Passes(f32),
    /// The operation ends in a ReLU, with dropout of this factor behind it (1 without).
    Makes(f32),
}

/// What [`Op::backward`] is given.
#[derive(Debug)]
pub struct Upstream<'a> {
    /// The cotangent of the output, of its shape.
    pub cotangent: &'a Tensor,
    /// What is wanted of each input's cotangent.
    pub wanted: &'a [Wanted],
    /// Whether the cotangent has gone through the gate of the output already.
    pub is_gated: bool,
    /// The factor of the first input's gate, if the operation may put that input's cotangent through it: the first input comes
    /// from a ReLU and nothing else uses it.
    pub input_gate: Option<f32>,
}

/// What [`Op::backward`] returns.
#[derive(Debug)]
pub struct Cotangents {
    /// The cotangent of each input, `None` where none was wanted.
    pub inputs: Vec<Option<Tensor>>,
    /// Whether that of the first input has gone through the input's gate.
    pub first_is_gated: bool,
}

impl From<Vec<Option<Tensor>>> for Cotangents {
    fn from(inputs: Vec<Option<Tensor>>) -> Self {
        Cotangents { inputs, first_is_gated: false }
    }
}

impl From<Tensor> for Cotangents {
    /// That of an operation with one input.
    fn from(cotangent: Tensor) -> Self {
        vec![Some(cotangent)].into()
    }
}

/// What a ReLU, and the dropout behind it, do to the cotangent of their output on its way to their input: it becomes zero
/// where the output is not positive, and is multiplied elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Gate<T = Tensor> {
    /// That output.
    pub output: T,
    /// What dropout scaled up by, else 1.
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

/// What is wanted of an input's cotangent.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// The cotangent.
    Value,
    /// The cotangent, in this tensor of its shape, or elsewhere if the operation has no use for the place.
    In(Tensor),
}

impl Wanted {
    /// Whether the cotangent is wanted at all.
    pub fn is_some(&self) -> bool {
        !matches!(self, Wanted::Nothing)
    }

    /// The tensor that the cotangent shall be in, or else a new one.
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
/// [`Error::Shape`] that says how many were given.
pub fn operands<'a, const N: usize>(op: &'static str, inputs: &[&'a Tensor]) -> Result<[&'a Tensor; N]> {
    inputs.try_into().map_err(|_| Error::shape(op, format!("takes {N} inputs, {} are given", inputs.len())))
}
