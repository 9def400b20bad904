//! Finite-difference checks of the tape as a whole: gates, values that are used twice, residual blocks. What is checked stands
//! mid-graph, between two others, and its result is summed with random weights, because a backward that drops its upstream
//! cotangent does not show under a uniform one. Operations on their own have such checks among their cases.

use rand::RngExt;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use cifar_gpu::ops::Padding;
use cifar_gpu::ops::batch_norm::{BatchNorm, Running, Settings};
use cifar_gpu::ops::conv2d::{Activation, Conv2d};
use cifar_gpu::ops::dropout::Dropout;
use cifar_gpu::ops::elementwise::Add;
use cifar_gpu::ops::linear::Linear;
use cifar_gpu::ops::max_pool2d::MaxPool2d;
use cifar_gpu::ops::random::RandomStream;
use cifar_gpu::ops::relu::Relu;
use cifar_gpu::ops::softmax::Softmax;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::ops::{Context, Cotangents, Op, Output as OpOutput, StepState, Upstream, operands};
use cifar_gpu::tape::{Tape, Var};
use cifar_gpu::{Device, Tensor};

use crate::Outcome;

/// A case's body, run on each device.
pub type Run = Arc<dyn Fn(&Device) -> Outcome + Send + Sync>;

/// Step of the central difference; piecewise linear operations have no other error than rounding within it.
const EPSILON: f32 = 1e-3;
/// Largest relative difference between gradient and difference quotient.
const TOLERANCE: f64 = 2e-3;

/// What is checked: from an input `[2, 6, 6, 4]` to anything.
type Operation = fn(&Tape, &Var, &Device) -> cifar_gpu::Result<Var>;

pub fn all() -> Vec<(String, Run)> {
    let operations: Vec<(&str, Operation)> = vec![
        ("batch_norm_relu", |tape, x, device| {
            pointwise(tape, &normalized(tape, x, device, true)?, device, Activation::Relu)
        }),
        ("add_of_a_value_to_itself", |tape, x, _| tape.apply(Add::default(), &[x, &x.apply(Relu)?])),
        ("add_relu", |tape, x, device| {
            let other = pointwise(tape, x, device, Activation::Identity)?;
            pointwise(tape, &tape.apply(Add { relu: true }, &[x, &other])?, device, Activation::Identity)
        }),
        ("residual_block_behind_a_relu", |tape, x, device| {
            let rectified = pointwise(tape, x, device, Activation::Relu)?;
            let body = pointwise(tape, &rectified, device, Activation::Relu)?;
            let body = pointwise(tape, &body, device, Activation::Identity)?;
            let sum = tape.apply(Add { relu: true }, &[&body, &rectified])?;
            tape.apply(Add::default(), &[&pointwise(tape, &sum, device, Activation::Identity)?, &sum])
        }),
        ("parameter_used_twice", |tape, x, device| {
            let (w, b) = (parameter(tape, device, "w", &[1, 1, 4, 4])?, parameter(tape, device, "b", &[4])?);
            let once = tape.apply(Conv2d::default().padding(Padding::Same), &[x, &w, &b])?;
            let (w, b) = (parameter(tape, device, "w", &[1, 1, 4, 4])?, parameter(tape, device, "b", &[4])?);
            tape.apply(Conv2d::default().padding(Padding::Same), &[&once, &w, &b])
        }),
        // What comes after a ReLU does its and the dropout's part in the backward half, unless something else uses the value.
        ("rectified_input", |tape, x, device| {
            pointwise(tape, &pointwise(tape, x, device, Activation::Relu)?, device, Activation::Relu)
        }),
        ("rectified_input_through_dropout_and_pooling", |tape, x, device| {
            let rectified = pointwise(tape, x, device, Activation::Relu)?;
            let pooled = rectified.apply(Dropout { probability: 0.4 })?.apply(MaxPool2d::new(3, 2))?;
            pointwise(tape, &pooled, device, Activation::Identity)
        }),
        ("rectified_input_used_twice", |tape, x, device| {
            let rectified = pointwise(tape, x, device, Activation::Relu)?;
            tape.apply(Add::default(), &[&pointwise(tape, &rectified, device, Activation::Identity)?, &rectified])
        }),
        ("dropout_in_the_layer", |tape, x, device| pointwise(tape, x, device, Activation::ReluDropout(0.4))),
        ("input_from_a_layer_with_dropout", |tape, x, device| {
            let dropped = pointwise(tape, x, device, Activation::ReluDropout(0.4))?;
            let pooled = dropped.apply(MaxPool2d::new(3, 2))?.apply(Dropout { probability: 0.25 })?;
            pointwise(tape, &pooled, device, Activation::Identity)
        }),
        ("dropped_out_input_used_twice", |tape, x, device| {
            let pooled = pointwise(tape, x, device, Activation::ReluDropout(0.4))?.apply(MaxPool2d::new(3, 2))?;
            let dropped = pooled.apply(Dropout { probability: 0.25 })?;
            tape.apply(Add::default(), &[&pointwise(tape, &dropped, device, Activation::Identity)?, &dropped])
        }),
        ("input_used_before_its_dropout", |tape, x, device| {
            let rectified = pointwise(tape, x, device, Activation::ReluDropout(0.4))?;
            let dropped = rectified.apply(Dropout { probability: 0.25 })?;
            tape.apply(Add::default(), &[&pointwise(tape, &dropped, device, Activation::Identity)?, &rectified])
        }),
    ];
    let mut all: Vec<(String, Run)> = operations
        .into_iter()
        .map(|(name, operation)| {
            let run: Run = Arc::new(move |device: &Device| check(device, operation));
            (format!("tape/{name}"), run)
        })
        .collect();
    all.push(("tape/probabilities".into(), Arc::new(check_probabilities)));
    all.push(("tape/missing_gradient_is_named".into(), Arc::new(missing_gradient)));
    all
}

/// Random numbers in [-1, 1), the same for the same stream.
fn numbers(count: usize, stream: u32) -> Vec<f32> {
    let mut random = RandomStream::new(0xc1fa, stream);
    (0..count).map(|_| random.random::<f32>() * 2.0 - 1.0).collect()
}

/// A 1×1 convolution that keeps the shape.
fn pointwise(tape: &Tape, x: &Var, device: &Device, activation: Activation) -> cifar_gpu::Result<Var> {
    let weight = tape.constant(&device.tensor(&[1, 1, 4, 4], &numbers(16, 31))?);
    let bias = tape.constant(&device.tensor(&[4], &numbers(4, 32))?);
    tape.apply(Conv2d::default().activation(activation), &[x, &weight, &bias])
}

fn normalized(tape: &Tape, x: &Var, device: &Device, relu: bool) -> cifar_gpu::Result<Var> {
    let running = Running { mean: device.tensor(&[4], &[0.0; 4])?, variance: device.tensor(&[4], &[1.0; 4])? };
    let (weight, bias) = (parameter(tape, device, "w", &[4])?, parameter(tape, device, "b", &[4])?);
    let settings = Settings { epsilon: 1e-3, momentum: 0.3, relu };
    tape.apply(BatchNorm { settings, running }, &[x, &weight, &bias])
}

fn parameter(tape: &Tape, device: &Device, name: &str, shape: &[usize]) -> cifar_gpu::Result<Var> {
    ASKED.with_borrow_mut(|asked| asked.insert(name.to_owned()));
    let moved = MOVED.with_borrow(|moved| moved.clone().filter(|(moved, _)| moved == name));
    let usual = || device.tensor(shape, &numbers(shape.iter().product(), 20 + shape.len() as u32));
    Ok(tape.parameter(name, &moved.map_or_else(usual, |(_, tensor)| Ok(tensor))?))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn agree(gradient: f64, quotient: f64, scale: f64) -> Outcome {
    if (gradient - quotient).abs() <= TOLERANCE * scale.max(quotient.abs()) {
        Ok(())
    } else {
        Err(format!("gradient {gradient}, difference quotient {quotient}").into())
    }
}

/// Before the operation: a 1×1 convolution that keeps values apart from each other and from the kinks at zero.
fn before(tape: &Tape, x: &Var, device: &Device) -> cifar_gpu::Result<Var> {
    let mut weight = [0.0; 16];
    for c in 0..4 {
        weight[c * 4 + (c + 1) % 4] = 1.5;
    }
    let weight = tape.constant(&device.tensor(&[1, 1, 4, 4], &weight)?);
    let bias = tape.constant(&device.tensor(&[4], &[0.0; 4])?);
    tape.apply(Conv2d::default(), &[x, &weight, &bias])
}

fn check(device: &Device, operation: Operation) -> Outcome {
    const SHAPE: [usize; 4] = [2, 6, 6, 4];
    const COUNT: usize = 288;
    // All different, at least 0.01 apart and 0.005 from zero, in a scattered order: no kink lies within EPSILON.
    let x: Vec<f32> = (0..COUNT).map(|i| ((i * 89 % COUNT) as f32 - 143.5) * 0.01).collect();
    let direction = numbers(COUNT, 11);
    let state = StepState::new(3, 5, 0.0).tensor(device)?;
    let evaluate = |x: &[f32]| -> cifar_gpu::Result<(Tape, Var, Var)> {
        let tape = Tape::recording(Some(state.clone()));
        let x = tape.variable(&device.tensor(&SHAPE, x)?);
        let y = operation(&tape, &before(&tape, &x, device)?, device)?;
        // After the operation: an addition, so that the cotangent does not come straight from outside.
        let sum = tape.apply(Add::default(), &[&y, &y])?;
        Ok((tape, x, sum))
    };
    ASKED.with_borrow_mut(BTreeSet::clear);
    let (_, leaf, output) = evaluate(&x)?;
    let named = ASKED.take();
    let weights = numbers(output.tensor().len(), 12);
    let gradients = output.backward_from(&device.tensor(output.shape(), &weights)?)?;
    let gradient = gradients.get(&leaf).ok_or("no gradient")?.to_vec()?;
    let shifted = |sign: f32| -> cifar_gpu::Result<f64> {
        let x: Vec<f32> = x.iter().zip(&direction).map(|(x, d)| x + sign * EPSILON * d).collect();
        Ok(dot(&evaluate(&x)?.2.tensor().to_vec()?, &weights))
    };
    let quotient = (shifted(1.0)? - shifted(-1.0)?) / (2.0 * f64::from(EPSILON));
    let norm = |values: &[f32]| dot(values, values).sqrt();
    agree(dot(&gradient, &direction), quotient, norm(&gradient))?;

    // Parameters, if the operation has any: it is linear in each of them, so a large step is exact but for ReLU.
    for name in named {
        let gradient = gradients.parameter(&name)?;
        let (gradient, shape) = (gradient.to_vec()?, gradient.shape().to_vec());
        let direction = numbers(gradient.len(), 13);
        let shifted = |sign: f32| -> cifar_gpu::Result<f64> {
            let tape = Tape::recording(Some(state.clone()));
            let start = numbers(gradient.len(), 20 + shape.len() as u32);
            let moved: Vec<f32> = start.iter().zip(&direction).map(|(p, d)| p + sign * EPSILON * d).collect();
            let moved = device.tensor(&shape, &moved)?;
            let x = before(&tape, &tape.constant(&device.tensor(&SHAPE, &x)?), device)?;
            let y = with_parameter(&tape, device, operation, &name, &moved, &x)?;
            Ok(dot(&tape.apply(Add::default(), &[&y, &y])?.tensor().to_vec()?, &weights))
        };
        let quotient = (shifted(1.0)? - shifted(-1.0)?) / (2.0 * f64::from(EPSILON));
        agree(dot(&gradient, &direction), quotient, norm(&gradient)).map_err(|e| format!("{name}: {e:?}"))?;
    }
    Ok(())
}

thread_local! {
    /// A parameter's value that replaces the usual one.
    static MOVED: RefCell<Option<(String, Tensor)>> = const { RefCell::new(None) };
    /// The parameters that an operation has asked for.
    static ASKED: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

fn with_parameter(
    tape: &Tape,
    device: &Device,
    operation: Operation,
    name: &str,
    moved: &Tensor,
    x: &Var,
) -> cifar_gpu::Result<Var> {
    MOVED.set(Some((name.to_owned(), moved.clone())));
    let result = operation(tape, x, device);
    MOVED.set(None);
    result
}

/// A softmax amid others, one of them from outside the crate.
fn check_probabilities(device: &Device) -> Outcome {
    let mixing = device.tensor(&[10, 1], &numbers(10, 3))?;
    check_scalar(device, &|logits| {
        let tape = logits.tape();
        let one = device.tensor(&[1, 5], &numbers(5, 4))?;
        let mixed = tape.apply(Linear::default(), &[&logits.apply(Softmax)?, &tape.constant(&mixing)])?;
        let row = tape.apply(Reshape, &[&mixed])?;
        let column = tape.constant(&one.reshape(&[5, 1])?);
        tape.apply(Linear::default(), &[&row, &column])
    })
}

/// The gradient of a number that is computed from logits `[5, 10]`.
fn check_scalar(device: &Device, compute: &dyn Fn(&Var) -> cifar_gpu::Result<Var>) -> Outcome {
    let (logits, direction) = (numbers(50, 1), numbers(50, 2));
    let evaluate = |logits: &[f32]| -> cifar_gpu::Result<(Var, Var)> {
        let tape = Tape::recording(None);
        let leaf = tape.variable(&device.tensor(&[5, 10], logits)?);
        let doubled = tape.apply(Add::default(), &[&leaf, &leaf])?;
        let loss = compute(&doubled)?;
        Ok((leaf, loss))
    };
    let (leaf, loss) = evaluate(&logits)?;
    let gradients = loss.backward_from(&device.tensor(loss.shape(), &[1.75])?)?;
    let gradient = gradients.get(&leaf).ok_or("no gradient")?.to_vec()?;
    let epsilon = 1e-2;
    let shifted = |sign: f32| -> cifar_gpu::Result<f64> {
        let moved: Vec<f32> = logits.iter().zip(&direction).map(|(l, d)| l + sign * epsilon * d).collect();
        Ok(1.75 * f64::from(evaluate(&moved)?.1.tensor().to_vec()?[0]))
    };
    let quotient = (shifted(1.0)? - shifted(-1.0)?) / (2.0 * f64::from(epsilon));
    agree(dot(&gradient, &direction), quotient, 0.0)
}

/// An operation from outside the crate: `[rows, 1]` as `[1, rows]` and back.
#[derive(Debug)]
struct Reshape;

impl Op for Reshape {
    type Saved = Vec<usize>;

    fn name(&self) -> &'static str {
        "reshape"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> cifar_gpu::Result<OpOutput<Vec<usize>>> {
        let [input] = operands(self.name(), inputs)?;
        let shape: Vec<usize> = input.shape().iter().rev().copied().collect();
        Ok(OpOutput::new(input.reshape(&shape)?, input.shape().to_vec()))
    }

    fn backward(&self, shape: Vec<usize>, upstream: Upstream<'_>) -> cifar_gpu::Result<Cotangents> {
        Ok(upstream.cotangent.reshape(&shape)?.into())
    }
}

fn missing_gradient(device: &Device) -> Outcome {
    let tape = Tape::recording(None);
    let used = tape.parameter("used", &device.tensor(&[1, 2], &[1.0, 2.0])?);
    tape.parameter("forgotten", &device.tensor(&[1], &[1.0])?);
    let loss = used.apply(SoftmaxCrossEntropy::new(&device.tensor_u32(&[1], &[0])?)?)?;
    let gradients = loss.backward()?;
    gradients.parameter("used")?;
    match gradients.parameter("forgotten").map_err(|e| e.to_string()) {
        Err(message) if message.contains("forgotten") => {}
        other => return Err(format!("{:?} does not name the parameter", other.map(Tensor::shape)).into()),
    }
    if loss.backward().is_ok() || used.apply(Relu).is_ok() {
        return Err("a tape was used twice".into());
    }
    if Tape::recording(None).apply(Add::default(), &[&used, &used]).is_ok() {
        return Err("a value of another tape was taken".into());
    }
    Ok(())
}
