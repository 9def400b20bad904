//! Reverse-mode automatic differentiation: a tape of operations, on either device.

mod backward;
mod parameter;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::ops::{Context, Cotangents, GateEffect, Op, Output, Upstream};
use crate::tensor::Tensor;
pub use backward::Gradients;
pub use parameter::{Layout, Parameter, Parameters};

/// Records operations so that [`Var::backward`] can traverse them in reverse. Clones share the record. A tape and its variables belong
/// to one thread; several threads may share devices, tensors and networks:
///
/// ```compile_fail
/// let tape = cifar_gpu::Tape::inference();
/// std::thread::spawn(move || drop(tape));
/// ```
#[derive(Clone)]
pub struct Tape {
    shared: Rc<Shared>,
}

struct Shared {
    recording: bool,
    /// The step's state if this is training with dropout.
    step_state: Option<Tensor>,
    /// Number of the next stream of random numbers.
    streams: Cell<u32>,
    nodes: RefCell<Vec<Node>>,
    /// Whether backward has run, which consumes the nodes.
    used: Cell<bool>,
    parameters: RefCell<HashMap<String, usize>>,
    places: RefCell<Vec<Place>>,
}

/// Position of a parameter in a tensor that holds several.
struct Place {
    node: usize,
    /// That tensor.
    flat: Tensor,
    /// The parameter's first element in it.
    start: usize,
    shape: Vec<usize>,
}

/// One recorded value: how its cotangent becomes those of what it was computed from.
struct Node {
    parents: Vec<Option<usize>>,
    /// `None` for a leaf.
    rule: Option<Box<dyn Rule>>,
    /// Whether the output has the gate of the first input.
    passes_gate: bool,
    /// The factor of the first input's gate.
    input_gate: Option<f32>,
}

/// An operation of any type with its saved values.
trait Rule {
    fn backward(self: Box<Self>, upstream: Upstream<'_>) -> Result<Cotangents>;
}

struct Recorded<O: Op> {
    op: O,
    saved: O::Saved,
    input_shapes: Vec<Vec<usize>>,
}

impl<O: Op> Rule for Recorded<O> {
    fn backward(self: Box<Self>, upstream: Upstream<'_>) -> Result<Cotangents> {
        let Recorded { op, saved, input_shapes } = *self;
        let wanted = upstream.wanted.to_vec();
        let cotangents = op.backward(saved, upstream)?;
        // Check the results of user-defined operations.
        let fits = cotangents.inputs.len() == input_shapes.len()
            && cotangents.inputs.iter().zip(&input_shapes).zip(&wanted).all(|((cotangent, shape), wanted)| {
                match cotangent {
                    Some(cotangent) => cotangent.shape() == shape.as_slice(),
                    None => !wanted.is_some(),
                }
            });
        if !fits {
            let shapes: Vec<_> = cotangents.inputs.iter().map(|c| c.as_ref().map(|c| c.shape().to_vec())).collect();
            let message = format!("its backward half returned cotangents {shapes:?} for inputs {input_shapes:?}");
            return Err(Error::shape(op.name(), message));
        }
        Ok(cotangents)
    }
}

/// A value on a tape: a tensor, and its node if it depends on a value that requires a gradient.
#[derive(Clone)]
pub struct Var {
    tape: Tape,
    tensor: Tensor,
    node: Option<usize>,
    /// The factor of its gate, if it comes from a ReLU through operations that keep non-positive elements non-positive.
    gate: Option<f32>,
}

impl Tape {
    /// A tape for training. Dropout draws its numbers with the seed and step in `step_state`, and is off without one.
    pub fn recording(step_state: Option<Tensor>) -> Self {
        Tape::make(true, step_state)
    }

    /// A tape for inference: records and saves nothing; dropout is off.
    pub fn inference() -> Self {
        Tape::make(false, None)
    }

    fn make(recording: bool, step_state: Option<Tensor>) -> Self {
        let shared = Shared {
            recording,
            step_state,
            streams: Cell::new(0),
            nodes: RefCell::default(),
            used: Cell::new(false),
            parameters: RefCell::default(),
            places: RefCell::default(),
        };
        Tape { shared: Rc::new(shared) }
    }

    /// A value that requires no gradient.
    pub fn constant(&self, tensor: &Tensor) -> Var {
        Var { tape: self.clone(), tensor: tensor.clone(), node: None, gate: None }
    }

    /// A value without a name that requires a gradient.
    pub fn variable(&self, tensor: &Tensor) -> Var {
        let leaf = || Node { parents: Vec::new(), rule: None, passes_gate: false, input_gate: None };
        let node = self.shared.recording.then(|| self.push(leaf()));
        Var { tape: self.clone(), tensor: tensor.clone(), node, gate: None }
    }

    /// A named value that requires a gradient, which [`Gradients::parameter`] returns.
    ///
    /// A second call with the same name returns the same value; the gradients of all its uses are summed.
    pub fn parameter(&self, name: &str, tensor: &Tensor) -> Var {
        let known = self.shared.parameters.borrow().get(name).copied();
        if let Some(node) = known {
            return Var { tape: self.clone(), tensor: tensor.clone(), node: Some(node), gate: None };
        }
        let var = self.variable(tensor);
        if let Some(node) = var.node {
            self.shared.parameters.borrow_mut().insert(name.to_owned(), node);
        }
        var
    }

    /// Like [`Tape::parameter`], for the view of `flat` from element `start` on.
    ///
    /// The gradients of all such parameters are in one tensor, too, at the same positions: see [`Gradients::flat`].
    ///
    /// # Errors
    /// If `flat` has no such view.
    pub fn parameter_in(&self, name: &str, flat: &Tensor, start: usize, shape: &[usize]) -> Result<Var> {
        let var = self.parameter(name, &flat.view(start, shape)?);
        let mut places = self.shared.places.borrow_mut();
        if let Some(node) = var.node
            && places.iter().all(|place| place.node != node)
        {
            places.push(Place { node, flat: flat.clone(), start, shape: shape.to_vec() });
        }
        Ok(var)
    }

    fn push(&self, node: Node) -> usize {
        let mut nodes = self.shared.nodes.borrow_mut();
        nodes.push(node);
        nodes.len() - 1
    }

    /// Computes an operation and records its result on the tape, with its backward rule if any input requires a gradient.
    ///
    /// # Errors
    /// Those of the operation; if backward has run on this tape, or an input is on another one.
    pub fn apply<O: Op + 'static>(&self, op: O, inputs: &[&Var]) -> Result<Var> {
        let shared = &self.shared;
        if shared.used.get() {
            return Err(Error::Tape("backward has run on this tape: record on a new one".into()));
        }
        if inputs.iter().any(|v| !Rc::ptr_eq(&v.tape.shared, shared)) {
            return Err(Error::Tape("an input is on another tape".into()));
        }
        let parents: Vec<_> = inputs.iter().map(|v| v.node).collect();
        let wanted: Vec<_> = parents.iter().map(Option::is_some).collect();
        let input_gate = inputs.first().and_then(|v| v.gate);
        let context = Context {
            is_recording: shared.recording,
            wanted: &wanted,
            input_gate,
            step_state: shared.step_state.as_ref(),
            streams: &shared.streams,
        };
        let tensors: Vec<_> = inputs.iter().map(|v| &v.tensor).collect();
        let Output { tensor, saved, gate } = op.forward(&tensors, &context)?;
        let node = wanted.contains(&true).then(|| {
            let input_shapes = tensors.iter().map(|tensor| tensor.shape().to_vec()).collect();
            let rule = Box::new(Recorded { op, saved, input_shapes });
            let passes_gate = matches!(gate, GateEffect::Passes(_));
            self.push(Node { parents, rule: Some(rule), passes_gate, input_gate })
        });
        let gate = match gate {
            GateEffect::Ends => None,
            GateEffect::Passes(factor) => input_gate.map(|own| own * factor),
            GateEffect::Makes(factor) => Some(factor),
        };
        Ok(Var { tape: self.clone(), tensor, node, gate })
    }
}

impl Var {
    /// The value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The tape that it is on.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Length along each axis.
    pub fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    /// Applies an operation of one input to this value; see [`Tape::apply`].
    ///
    /// # Errors
    /// As for [`Tape::apply`].
    pub fn apply<O: Op + 'static>(&self, op: O) -> Result<Var> {
        self.tape.apply(op, &[self])
    }

    /// The same value on the tape, with `tensor`, a rounded copy, used in computations.
    ///
    /// The operations that use it determine the type of its cotangents.
    ///
    /// # Errors
    /// If the shape differs.
    pub fn rounded(self, tensor: Tensor) -> Result<Var> {
        if tensor.shape() != self.shape() {
            return Err(Error::Tape(format!("a copy {:?} of a value {:?}", tensor.shape(), self.shape())));
        }
        Ok(Var { tensor, ..self })
    }
}
