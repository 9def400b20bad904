//! Reverse-mode automatic differentiation: a tape of what was computed, over either device.

mod backward;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::ops::batch_norm::{self, BatchNormBackward, Running, Statistics};
use crate::ops::conv2d::{self, Conv2dBackward, Conv2dGeometry, Direction, Epilogue, Padding, Plans, Target};
use crate::ops::convert::{self, ConvertBackward};
use crate::ops::dropout::{self, Dropout, DropoutBackward};
use crate::ops::global_avg_pool::{self, GlobalAvgPoolBackward};
use crate::ops::linear::{self, LinearBackward};
use crate::ops::max_pool2d::{self, MaxPool2dBackward, MaxPool2dGeometry};
use crate::ops::relu::{self, ReluBackward};
use crate::ops::softmax_cross_entropy::{self, SoftmaxCrossEntropyBackward};
use crate::ops::{Backward, Gate, Wanted, elementwise};
use crate::tensor::{DType, Tensor};
pub use backward::Gradients;

/// Records operations so that [`Var::backward`] can go through them in reverse. Clones share the record.
#[derive(Clone)]
pub struct Tape {
    shared: Rc<Shared>,
    plans: Rc<Plans>,
}

struct Shared {
    recording: bool,
    /// The step's state if this is training with dropout.
    step_state: Option<Tensor>,
    dropouts: Cell<u32>,
    nodes: RefCell<Vec<Node>>,
    /// Whether backward has run, which uses the nodes up.
    used: Cell<bool>,
    parameters: RefCell<HashMap<String, usize>>,
    places: RefCell<Vec<Place>>,
}

/// Where a parameter lies in a tensor that holds several.
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
    rule: Option<Box<dyn Backward>>,
}

/// A value on a tape: a tensor, and where it came from if something it depends on wants a gradient.
#[derive(Clone)]
pub struct Var {
    tape: Tape,
    tensor: Tensor,
    node: Option<usize>,
    /// The factor of its gate, if it comes from a ReLU by ways on which what is not positive stays so.
    gate: Option<f32>,
}

/// What follows a layer's sums and bias, computed with them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(·, 0)`.
    Relu,
    /// ReLU, and when training dropout with this probability: the same as [`Tape::dropout`] behind it.
    ReluDropout(f32),
}

/// The factor of the gate of an output.
fn gate_of(epilogue: Epilogue<'_>) -> Option<f32> {
    epilogue.relu.then(|| epilogue.dropout.map_or(1.0, |(dropout, _)| dropout.scale()))
}

/// A batch's mean loss, and how many of it were right.
pub struct Loss {
    /// Mean cross-entropy in nats.
    pub loss: Var,
    /// Number of images whose largest logit is the label's, `[1]`, as a float.
    pub correct: Tensor,
}

impl std::ops::Deref for Loss {
    type Target = Var;

    fn deref(&self) -> &Var {
        &self.loss
    }
}

impl Tape {
    /// A tape for training. Dropout draws its numbers with the seed and step in `step_state`, and is off without one.
    pub fn recording(step_state: Option<Tensor>) -> Self {
        Tape::make(true, step_state)
    }

    /// A tape for inference: records nothing, keeps nothing, drops nothing out.
    pub fn inference() -> Self {
        Tape::make(false, None)
    }

    fn make(recording: bool, step_state: Option<Tensor>) -> Self {
        let shared = Shared {
            recording,
            step_state,
            dropouts: Cell::new(0),
            nodes: RefCell::default(),
            used: Cell::new(false),
            parameters: RefCell::default(),
            places: RefCell::default(),
        };
        Tape { shared: Rc::new(shared), plans: Rc::default() }
    }

    /// The same record; convolutions that are recorded through this handle are computed as `plans` say.
    pub fn with_plans(&self, plans: Rc<Plans>) -> Self {
        Tape { plans, ..self.clone() }
    }

    /// A value that wants no gradient.
    pub fn constant(&self, tensor: &Tensor) -> Var {
        Var { tape: self.clone(), tensor: tensor.clone(), node: None, gate: None }
    }

    /// A value that wants a gradient and has no name.
    pub fn variable(&self, tensor: &Tensor) -> Var {
        let node = self.shared.recording.then(|| self.push(Node { parents: Vec::new(), rule: None }));
        Var { tape: self.clone(), tensor: tensor.clone(), node, gate: None }
    }

    /// A value that wants a gradient, which [`Gradients::parameter`] finds by its name.
    ///
    /// Asking for one name again gives the same value, whose uses add up.
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
    /// The gradients of all such parameters lie in one tensor, too, each in the same place: see [`Gradients::flat`].
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

    /// Puts the result of an operation on the tape if any of its inputs wants a gradient.
    ///
    /// `rule` is told which do, so as to keep only what these need.
    fn record<R: Backward + 'static>(
        &self,
        inputs: &[&Var],
        output: Tensor,
        rule: impl FnOnce(&[bool], &Tensor) -> Result<R>,
    ) -> Result<Var> {
        if self.shared.used.get() {
            return Err(Error::Tape("backward has run on this tape: record on a new one".into()));
        }
        if inputs.iter().any(|v| !Rc::ptr_eq(&v.tape.shared, &self.shared)) {
            return Err(Error::Tape("an input is on another tape".into()));
        }
        let parents: Vec<_> = inputs.iter().map(|v| v.node).collect();
        let wanted: Vec<_> = parents.iter().map(Option::is_some).collect();
        let node = if wanted.contains(&true) {
            let rule: Box<dyn Backward> = Box::new(rule(&wanted, &output)?);
            Some(self.push(Node { parents, rule: Some(rule) }))
        } else {
            None
        };
        Ok(Var { tape: self.clone(), tensor: output, node, gate: None })
    }

    /// Convolution with bias and activation; see [`conv2d::forward`] for the shapes.
    pub fn conv2d(
        &self,
        input: &Var,
        weight: &Var,
        bias: &Var,
        stride: usize,
        padding: Padding,
        activation: Activation,
    ) -> Result<Var> {
        let geometry = Conv2dGeometry::new(input.shape(), weight.shape(), stride, padding)?;
        let plan = self.plans.get(Target::of(&input.tensor), Direction::Forward, &geometry);
        let epilogue = self.epilogue(activation);
        let output = conv2d::forward_by(plan, &geometry, epilogue, &input.tensor, &weight.tensor, &bias.tensor)?;
        let gate = gate_of(epilogue);
        let output = self.record(&[input, weight, bias], output, |wanted, output| {
            let input_is_needed = wanted[1] || wanted[2] || wanted[0] && input.gate.is_some();
            Ok(Conv2dBackward {
                geometry,
                plans: self.plans.clone(),
                input: input_is_needed.then(|| input.tensor.clone()),
                input_gate: input.gate,
                weight: wanted[0].then(|| weight.tensor.clone()),
                output_gate: gate.map(|factor| Gate { output: output.clone(), factor }),
            })
        })?;
        Ok(Var { gate, ..output })
    }

    /// Fully connected layer with bias and activation: `[batch, in]` times `[in, out]`.
    pub fn linear(&self, input: &Var, weight: &Var, bias: &Var, activation: Activation) -> Result<Var> {
        let epilogue = self.epilogue(activation);
        let output = linear::forward(&self.plans, epilogue, &input.tensor, &weight.tensor, &bias.tensor)?;
        let gate = gate_of(epilogue);
        let output = self.record(&[input, weight, bias], output, |wanted, output| {
            let input_is_needed = wanted[1] || wanted[2] || wanted[0] && input.gate.is_some();
            LinearBackward::new(
                linear::geometry(input.shape(), weight.shape())?,
                self.plans.clone(),
                input_is_needed.then_some(&input.tensor),
                input.gate,
                wanted[0].then_some(&weight.tensor),
                gate.map(|factor| Gate { output, factor }),
            )
        })?;
        Ok(Var { gate, ..output })
    }

    /// Batch normalization, then ReLU if `relu`: on a recording tape with the batch's statistics, towards which the running
    /// ones move, else with the running ones; see [`batch_norm::forward`] for the shapes.
    pub fn batch_norm(&self, input: &Var, weight: &Var, bias: &Var, running: Running<'_>, relu: bool) -> Result<Var> {
        let kind = if self.shared.recording { Statistics::Batch } else { Statistics::Running };
        let (output, statistics) =
            batch_norm::forward(kind, relu, &input.tensor, &weight.tensor, &bias.tensor, running)?;
        let output = self.record(&[input, weight, bias], output, |_, output| {
            Ok(BatchNormBackward {
                input: input.tensor.clone(),
                weight: weight.tensor.clone(),
                statistics,
                relu_output: relu.then(|| output.clone()),
            })
        })?;
        Ok(Var { gate: relu.then_some(1.0), ..output })
    }

    /// `max(input, 0)`.
    pub fn relu(&self, input: &Var) -> Result<Var> {
        let output = relu::forward(&input.tensor)?;
        let rule = |_: &[bool], output: &Tensor| Ok(ReluBackward { output: output.clone(), gated: false });
        let output = self.record(&[input], output, rule)?;
        Ok(Var { gate: Some(1.0), ..output })
    }

    /// Largest element of each window; see [`max_pool2d::forward`].
    pub fn max_pool2d(&self, input: &Var, kernel: usize, stride: usize) -> Result<Var> {
        let geometry = MaxPool2dGeometry::new(input.shape(), [kernel, kernel], stride)?;
        let (output, choice) = max_pool2d::forward(&geometry, &input.tensor)?;
        let output = self.record(&[input], output, |_, _| Ok(MaxPool2dBackward { geometry, choice }))?;
        Ok(Var { gate: input.gate, ..output })
    }

    /// Mean over all pixels: `[batch, channels]`.
    pub fn global_avg_pool(&self, input: &Var) -> Result<Var> {
        let output = global_avg_pool::forward(&input.tensor)?;
        let shape = input.shape();
        self.record(&[input], output, |_, _| {
            Ok(GlobalAvgPoolBackward { input_shape: [shape[0], shape[1], shape[2], shape[3]] })
        })
    }

    /// The same numbers as floats of another width, rounded if it is narrower.
    pub fn convert(&self, input: &Var, dtype: DType) -> Result<Var> {
        if input.tensor.dtype() == dtype {
            return Ok(input.clone());
        }
        let output = convert::convert(&input.tensor, dtype)?;
        let from = input.tensor.dtype();
        self.record(&[input], output, |_, _| Ok(ConvertBackward { dtype: from }))
    }

    /// Zeroes elements at random when training; does nothing otherwise.
    pub fn dropout(&self, input: &Var, probability: f32) -> Result<Var> {
        let Some((dropout, state)) = self.next_dropout(probability) else {
            return Ok(input.clone());
        };
        let output = dropout::apply(dropout, state, &input.tensor)?;
        let rule = DropoutBackward { dropout, state: state.clone(), gated: false };
        let output = self.record(&[input], output, |_, _| Ok(rule))?;
        Ok(Var { gate: input.gate.map(|factor| factor * dropout.scale()), ..output })
    }

    /// The next use of dropout with the step's state, if this is training with it.
    fn next_dropout(&self, probability: f32) -> Option<(Dropout, &Tensor)> {
        let state = self.shared.step_state.as_ref()?;
        let stream = self.shared.dropouts.get();
        self.shared.dropouts.set(stream + 1);
        Some((Dropout { probability, stream }, state))
    }

    fn epilogue(&self, activation: Activation) -> Epilogue<'_> {
        match activation {
            Activation::Identity => Epilogue::default(),
            Activation::Relu => Epilogue::RELU,
            Activation::ReluDropout(probability) => Epilogue { relu: true, dropout: self.next_dropout(probability) },
        }
    }

    /// All of an image in one row: `[batch, elements]`, in the order in which they lie in memory.
    pub fn flatten(&self, input: &Var) -> Result<Var> {
        let shape = input.shape();
        let [batch, rest @ ..] = shape else {
            return Err(Error::shape("flatten", "the input has no axes"));
        };
        let output = input.tensor.reshape(&[*batch, rest.iter().product()])?;
        let rule = ReshapeBackward { input_shape: shape.to_vec() };
        let output = self.record(&[input], output, |_, _| Ok(rule))?;
        Ok(Var { gate: input.gate, ..output })
    }

    /// `a + b`, of one shape.
    pub fn add(&self, a: &Var, b: &Var) -> Result<Var> {
        let output = elementwise::add(&a.tensor, &b.tensor)?;
        self.record(&[a, b], output, |_, _| Ok(AddBackward))
    }

    /// Mean cross-entropy of `logits [batch, classes]` with `labels [batch]`, and the number of right answers.
    pub fn softmax_cross_entropy(&self, logits: &Var, labels: &Tensor) -> Result<Loss> {
        self.smoothed_cross_entropy(logits, labels, 0.0)
    }

    /// Like [`Tape::softmax_cross_entropy`], the share `smoothing` of each label's probability spread evenly over all classes.
    pub fn smoothed_cross_entropy(&self, logits: &Var, labels: &Tensor, smoothing: f32) -> Result<Loss> {
        let result = softmax_cross_entropy::forward(smoothing, &logits.tensor, labels)?;
        let d_logits = result.d_logits;
        let loss = self.record(&[logits], result.loss, |_, _| Ok(SoftmaxCrossEntropyBackward { d_logits }))?;
        Ok(Loss { loss, correct: result.correct })
    }
}

struct ReshapeBackward {
    input_shape: Vec<usize>,
}

impl Backward for ReshapeBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cotangent.reshape(&self.input_shape)?)])
    }

    fn passes_gate(&self) -> bool {
        true
    }
}

struct AddBackward;

impl Backward for AddBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cotangent.clone()), Some(cotangent.clone())])
    }
}

impl Var {
    /// The value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Length along each axis.
    pub fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    /// The same value on the tape, computed with as `tensor`: a copy of it that is rounded.
    ///
    /// Its cotangents have whatever type the operations that use it give them.
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
