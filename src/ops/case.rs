//! Cases: calls of an operation's kernels with operands, and what is right. They stand beside the operation and serve all who
//! ask whether kernels are right, compile, or are fast.
//!
//! A case's body computes on the device of a [`Trial`] and hands every result to it, with a closure that computes what is right
//! in double precision. The kernel tests evaluate it; `devices --check` compares with the CPU twins instead, as it has no time
//! for oracles; a rehearsal, which computes nothing, collects the shaders; benches time the kernels.

use std::cell::Cell;
use std::sync::Arc;

use half::f16;

use super::random;
use super::{Context, Op, StepState, Upstream, Wanted};
use crate::error::{Error, Result};
use crate::gpu::GpuError;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::tensor::{DType, Device, HostRead, Tensor};

/// A number, and the sum of the magnitudes that it was added up from: what rounding errors are measured against.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conditioned {
    /// The number.
    pub value: f64,
    /// The sum of its terms' magnitudes.
    pub magnitude: f64,
}

impl Conditioned {
    /// A number that was not added up.
    pub fn exact(value: f64) -> Self {
        Conditioned { value, magnitude: value.abs() }
    }

    /// Adds a product.
    pub fn add(&mut self, product: f64) {
        self.value += product;
        self.magnitude += product.abs();
    }

    /// It times `factor`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Conditioned { value: self.value * factor, magnitude: self.magnitude * factor.abs() }
    }
}

/// Numbers that were not added up.
pub fn exact(values: impl IntoIterator<Item = f64>) -> Vec<Conditioned> {
    values.into_iter().map(Conditioned::exact).collect()
}

/// Largest error of a 32-bit sum, relative to the sum of its terms' magnitudes.
///
/// Rounding of a running sum of n terms is about √n half-units (6e-8) in the mean; the longest sums of the cases have a few
/// thousand terms.
pub const TOLERANCE: f64 = 4e-6;
/// Error that is let pass whatever the magnitude: below this, floats lose digits.
const FLOOR: f64 = 1e-37;

/// How numbers are kept, and how far sums may be off before they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exactness {
    /// Type of the numbers.
    pub dtype: DType,
    /// Largest error of a sum, relative to the sum of its terms' magnitudes.
    pub tolerance: f64,
}

impl Exactness {
    /// [`TOLERANCE`], and no other rounding.
    pub const WIDE: Exactness = Exactness { dtype: DType::F32, tolerance: TOLERANCE };

    /// [`TOLERANCE`], and the rounding to this type.
    pub fn of(dtype: DType) -> Self {
        Exactness { dtype, ..Exactness::WIDE }
    }

    /// The error that is let pass.
    fn allows(self, expected: &Conditioned) -> f64 {
        let sum = self.tolerance * expected.magnitude + FLOOR;
        match self.dtype {
            // Half a unit in the last of eleven digits, and below the smallest normal number half of the last one.
            DType::F16 => sum + (expected.value.abs() + sum) / 2048.0 + 2_f64.powi(-25),
            _ => sum,
        }
    }

    /// Says which number is wrong, if one is.
    ///
    /// # Errors
    /// A sentence with `what`, the element and both numbers.
    pub fn compare(self, what: &str, actual: &[f32], expected: &[Conditioned]) -> std::result::Result<(), String> {
        if actual.len() != expected.len() {
            return Err(format!("{what}: {} elements, expected {}", actual.len(), expected.len()));
        }
        for (i, (&actual, expected)) in actual.iter().zip(expected).enumerate() {
            let error = (f64::from(actual) - expected.value).abs();
            if error.is_nan() || error > self.allows(expected) {
                let Conditioned { value, magnitude } = expected;
                return Err(format!(
                    "{what}: element {i} is {actual}, expected {value} (error {error:e} of magnitude {magnitude})"
                ));
            }
        }
        Ok(())
    }
}

/// What a case is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Small and odd, for the kernel tests.
    Test,
    /// The same, and one of those that `devices --check` runs.
    Check,
    /// For `devices --check` on GPUs alone: software drivers, which are never given it, take minutes to compile it.
    CheckGpu,
    /// As large as in training, for benches.
    Bench,
    /// Of a random shape; see [`random_cases`](crate::ops::random_cases).
    Random,
    /// For rehearsals alone: its shaders are compiled by tests that need no device.
    Shaders,
}

type Suits = Arc<dyn Fn(&Device) -> bool + Send + Sync>;
type Body = Arc<dyn Fn(&mut Trial<'_>) -> Result<()> + Send + Sync>;

/// One call of an operation's kernels, or several that belong together.
#[derive(Clone)]
pub struct Case {
    /// `operation/what`.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Type of its activations.
    pub dtype: DType,
    /// Whether its results round by more than sums do, as those of Winograd's larger tiles.
    pub is_rough: bool,
    suits: Option<Suits>,
    body: Body,
}

impl Case {
    /// A case for the kernel tests, whose activations have 32 bits.
    pub fn new(name: impl Into<String>, body: impl Fn(&mut Trial<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        let (purpose, dtype) = (Purpose::Test, DType::F32);
        Case { name: name.into(), purpose, dtype, is_rough: false, suits: None, body: Arc::new(body) }
    }

    /// A case for the kernel tests, whose activations have type `dtype`; its name says so if they have 16 bits.
    pub fn of(dtype: DType, name: &str, body: impl Fn(&mut Trial<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        let suffix = if dtype == DType::F16 { "_f16" } else { "" };
        Case::new(format!("{name}{suffix}"), body).with_dtype(dtype)
    }

    /// The same case, whose activations have type `dtype`.
    #[must_use]
    pub fn with_dtype(self, dtype: DType) -> Self {
        Case { dtype, ..self }
    }

    /// Two cases, with activations of 32 and of 16 bits; the body is told which.
    pub fn both_widths(
        name: &str,
        body: impl Fn(&mut Trial<'_>, DType) -> Result<()> + Send + Sync + Clone + 'static,
    ) -> [Self; 2] {
        [DType::F32, DType::F16].map(|dtype| {
            let body = body.clone();
            Case::of(dtype, name, move |trial| body(trial, dtype))
        })
    }

    /// The gradient of an operation, checked by finite differences: see [`Trial::gradient`].
    pub fn gradient<O: Op>(
        name: &str,
        shapes: &[&[usize]],
        op: impl Fn(&Device) -> Result<O> + Send + Sync + 'static,
    ) -> Self {
        let shapes: Vec<Vec<usize>> = shapes.iter().map(|shape| shape.to_vec()).collect();
        Case::new(format!("gradient/{name}"), move |trial| {
            let op = op(trial.device())?;
            trial.gradient(&op, &shapes)
        })
    }

    /// The same case for another purpose.
    #[must_use]
    pub fn for_purpose(self, purpose: Purpose) -> Self {
        Case { purpose, ..self }
    }

    /// The same case, whose results round by more than sums do.
    #[must_use]
    pub fn rough(self, is_rough: bool) -> Self {
        Case { is_rough, ..self }
    }

    /// The same case, which `devices --check` runs where `suits` says that the device would ever be given it.
    #[must_use]
    pub fn where_it_suits(self, suits: impl Fn(&Device) -> bool + Send + Sync + 'static) -> Self {
        Case { suits: Some(Arc::new(suits)), ..self }
    }

    /// Whether `devices --check` runs it on this device.
    pub fn is_check_of(&self, device: &Device) -> bool {
        let is_wanted = match self.purpose {
            Purpose::Check => true,
            Purpose::CheckGpu => matches!(device, Device::Gpu(gpu) if !gpu.is_software()),
            Purpose::Test | Purpose::Random | Purpose::Bench | Purpose::Shaders => false,
        };
        let has_type = match device {
            Device::Cpu(_) => true,
            Device::Gpu(gpu) => self.dtype != DType::F16 || gpu.has_f16(),
        };
        is_wanted && has_type && self.suits.as_ref().is_none_or(|suits| suits(device))
    }

    /// Runs it and holds the results against what is right.
    ///
    /// # Errors
    /// [`Error::Case`] for a result that is wrong; else if the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn verify(&self, device: &Device) -> Result<()> {
        block_on(self.verify_async(device))
    }

    /// [`Case::verify`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Case::verify`].
    pub async fn verify_async(&self, device: &Device) -> Result<()> {
        match self.play(device, Mode::Verify).await?.is_empty() {
            // A case without a result could not fail.
            true => Err(fault(&self.name, "it hands over no result".into())),
            false => Ok(()),
        }
    }

    /// Runs it and returns its results by name.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn results(&self, device: &Device) -> Result<Vec<(String, Vec<f64>)>> {
        block_on(self.results_async(device))
    }

    /// [`Case::results`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Case::results`].
    pub async fn results_async(&self, device: &Device) -> Result<Vec<(String, Vec<f64>)>> {
        let mut done = Vec::new();
        for (what, outcome) in self.play(device, Mode::Collect).await? {
            let values = match outcome {
                Outcome::Numbers(values) => values,
                Outcome::Read(read, dtype) => numbers_of(&read.wait_async().await?, dtype),
            };
            done.push((what, values));
        }
        Ok(done)
    }

    /// Runs it to its end.
    ///
    /// A body cannot be suspended. So one that asks for numbers that are still on the device is given up, and run again, with these
    /// numbers at hand: it does the same again up to there.
    async fn play(&self, device: &Device, mode: Mode) -> Result<Vec<(String, Outcome)>> {
        let mut answers = Vec::new();
        loop {
            let mut trial = Trial { answers, ..Trial::new(device, mode) };
            let outcome = (self.body)(&mut trial);
            answers = trial.answers;
            match trial.awaited {
                Some(read) => answers.push(read.wait_async().await?),
                None => return outcome.map(|()| trial.results),
            }
        }
    }

    /// Runs it without looking at any result: for rehearsals, and for timing.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(&self, device: &Device) -> Result<()> {
        (self.body)(&mut Trial::new(device, Mode::Run))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Results are held against what is right.
    Verify,
    /// Results are kept.
    Collect,
    /// Results are not looked at.
    Run,
}

/// A result of a case.
enum Outcome {
    Numbers(Vec<f64>),
    /// Numbers of this type on their way from the device.
    Read(HostRead, DType),
}

/// Numbers of this type from their bytes.
fn numbers_of(bytes: &[u8], dtype: DType) -> Vec<f64> {
    match dtype {
        DType::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter().map(f64::from).collect(),
        DType::F16 => bytemuck::pod_collect_to_vec::<u8, f16>(bytes).into_iter().map(f64::from).collect(),
        DType::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(bytes).into_iter().map(f64::from).collect(),
        DType::U8 => bytes.iter().copied().map(f64::from).collect(),
    }
}

fn fault(what: &str, message: String) -> Error {
    Error::Case { case: what.to_owned(), message }
}

/// A case under way on a device.
pub struct Trial<'a> {
    device: &'a Device,
    mode: Mode,
    results: Vec<(String, Outcome)>,
    /// The bytes that its body asked for when it was run before, in this order; and how many of them it has asked for again.
    answers: Vec<Vec<u8>>,
    asked: usize,
    /// The bytes for which it was given up.
    awaited: Option<HostRead>,
}

/// Step of the central difference; piecewise linear operations have no other error than rounding within it.
const EPSILON: f32 = 1e-3;
/// Largest difference between a gradient and its difference quotient, relative to the gradient's norm.
const GRADIENT_TOLERANCE: f64 = 2e-3;

impl<'a> Trial<'a> {
    fn new(device: &'a Device, mode: Mode) -> Self {
        Trial { device, mode, results: Vec::new(), answers: Vec::new(), asked: 0, awaited: None }
    }

    /// The device that it runs on.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// Random numbers in [-1, 1), the same for the same stream.
    pub fn numbers(&self, count: usize, stream: u32) -> Vec<f32> {
        if self.is_rehearsal() { vec![0.0; count] } else { random::uniform(count, stream) }
    }

    fn is_rehearsal(&self) -> bool {
        matches!(self.device, Device::Gpu(gpu) if gpu.is_rehearsal())
    }

    /// Random numbers as `dtype` holds them, and a tensor of them.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn random(&self, dtype: DType, shape: &[usize], stream: u32) -> Result<(Vec<f32>, Tensor)> {
        self.tensor(dtype, shape, self.numbers(shape.iter().product(), stream))
    }

    /// These numbers as `dtype` holds them, and a tensor of them.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn tensor(&self, dtype: DType, shape: &[usize], mut values: Vec<f32>) -> Result<(Vec<f32>, Tensor)> {
        let tensor = self.device.allocate(shape, dtype)?;
        if self.is_rehearsal() {
            return Ok((values, tensor));
        }
        tensor.write(&values)?;
        if dtype == DType::F16 {
            values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        }
        Ok((values, tensor))
    }

    /// A result of floats, and what is right.
    ///
    /// # Errors
    /// [`Error::Case`] if it is not; if the device fails.
    pub fn close(
        &mut self,
        exactness: Exactness,
        what: &str,
        result: &Tensor,
        expected: impl FnOnce() -> Vec<Conditioned>,
    ) -> Result<()> {
        match self.mode {
            Mode::Run => Ok(()),
            Mode::Collect => self.keep(what, result),
            Mode::Verify => {
                let values = self.read(result)?;
                self.close_values(exactness, what, &values, expected)
            }
        }
    }

    /// Keeps a result as it is now.
    fn keep(&mut self, what: &str, result: &Tensor) -> Result<()> {
        self.results.push((what.to_owned(), Outcome::Read(result.start_read()?, result.dtype())));
        Ok(())
    }

    /// Like [`Trial::close`], of numbers that were read from results.
    ///
    /// # Errors
    /// [`Error::Case`] if they are not right.
    pub fn close_values(
        &mut self,
        exactness: Exactness,
        what: &str,
        actual: &[f32],
        expected: impl FnOnce() -> Vec<Conditioned>,
    ) -> Result<()> {
        match self.take(what, actual.iter().map(|&value| f64::from(value))) {
            Some(_) => exactness.compare(what, actual, &expected()).map_err(|message| fault(what, message)),
            None => Ok(()),
        }
    }

    /// A result of floats or integers that must be exactly right.
    ///
    /// # Errors
    /// As for [`Trial::close`].
    pub fn equal<T: Into<f64> + Copy>(
        &mut self,
        what: &str,
        result: &Tensor,
        expected: impl FnOnce() -> Vec<T>,
    ) -> Result<()> {
        match self.mode {
            Mode::Run => Ok(()),
            Mode::Collect => self.keep(what, result),
            Mode::Verify => {
                let values = numbers_of(&self.fetch(result)?, result.dtype());
                self.equal_values(what, values, expected)
            }
        }
    }

    /// Like [`Trial::equal`], of numbers that were read from results.
    ///
    /// # Errors
    /// [`Error::Case`] if they are not right.
    pub fn equal_values<A: Into<f64>, T: Into<f64> + Copy>(
        &mut self,
        what: &str,
        actual: impl IntoIterator<Item = A>,
        expected: impl FnOnce() -> Vec<T>,
    ) -> Result<()> {
        let Some(actual) = self.take(what, actual.into_iter().map(Into::into)) else { return Ok(()) };
        let expected: Vec<f64> = expected().into_iter().map(Into::into).collect();
        if actual.len() != expected.len() {
            return Err(fault(what, format!("{} elements, expected {}", actual.len(), expected.len())));
        }
        match actual.iter().zip(&expected).position(|(a, e)| a != e) {
            Some(i) => Err(fault(what, format!("element {i} is {}, expected {}", actual[i], expected[i]))),
            None => Ok(()),
        }
    }

    /// The elements of a result, for what is right to depend on; zeros where nothing is computed.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&mut self, result: &Tensor) -> Result<Vec<f32>> {
        match self.mode {
            Mode::Run => Ok(vec![0.0; result.len()]),
            Mode::Verify | Mode::Collect => {
                let values = numbers_of(&self.fetch(result)?, result.dtype());
                Ok(values.into_iter().map(|value| value as f32).collect())
            }
        }
    }

    /// The bytes of a result; an error if they are on their way, after which the body is run again.
    fn fetch(&mut self, result: &Tensor) -> Result<Vec<u8>> {
        // What is right is computed once, where the thread may wait.
        #[cfg(not(target_family = "wasm"))]
        if self.mode == Mode::Verify {
            return result.start_read()?.wait();
        }
        match self.answers.get(self.asked) {
            Some(bytes) => {
                self.asked += 1;
                Ok(bytes.clone())
            }
            None => {
                self.awaited = Some(result.start_read()?);
                Err(fault("a result", "it is still on the device".into()))
            }
        }
    }

    /// The step's state in a tensor of it; zeros where nothing is computed.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read_state(&mut self, state: &Tensor) -> Result<StepState> {
        Ok(match self.mode {
            Mode::Run => StepState::from_words(&[0; StepState::WORDS]),
            Mode::Verify | Mode::Collect => StepState::from_words(&bytemuck::pod_collect_to_vec(&self.fetch(state)?)),
        })
    }

    /// A result that must be refused because the adapter lacks a feature.
    ///
    /// # Errors
    /// [`Error::Case`] if it was done; any other error than that the feature is missing.
    pub fn lacks<T>(&mut self, feature: &str, result: Result<T>) -> Result<()> {
        match result {
            Err(Error::Gpu(GpuError::MissingFeature { feature: missing, .. })) if missing == feature => {
                self.take(feature, []);
                Ok(())
            }
            Err(other) => Err(other),
            Ok(_) => Err(fault(feature, "this device has no such feature, and did not need it".into())),
        }
    }

    /// What must be refused because of its operands.
    ///
    /// # Errors
    /// [`Error::Case`] if it was done; any error but that operands do not fit.
    pub fn refused<T>(&mut self, what: &str, result: Result<T>) -> Result<()> {
        match result {
            Err(Error::Shape { .. }) => {
                self.take(what, []);
                Ok(())
            }
            Err(other) => Err(other),
            Ok(_) => Err(fault(what, "it was not refused".into())),
        }
    }

    /// Remembers a result, and returns it if it is to be held against what is right.
    fn take(&mut self, what: &str, values: impl IntoIterator<Item = f64>) -> Option<Vec<f64>> {
        if self.mode == Mode::Run {
            return None;
        }
        let values: Vec<f64> = values.into_iter().collect();
        let wanted = (self.mode != Mode::Collect).then(|| values.clone());
        self.results.push((what.to_owned(), Outcome::Numbers(values)));
        wanted
    }

    /// Holds the backward half of an operation against finite differences of its forward half, for inputs of these shapes.
    ///
    /// The cotangent is random: a backward half that ignores it would not show under a uniform one. Elements of the inputs are
    /// at least 0.01 apart from each other and 0.005 from zero, so that no kink of a ReLU or maximum lies within the step.
    ///
    /// # Errors
    /// [`Error::Case`] if they disagree, or a cotangent is missing; if the device fails.
    pub fn gradient<O: Op>(&mut self, op: &O, shapes: &[Vec<usize>]) -> Result<()> {
        let what = op.name();
        let start: Vec<Vec<f32>> = shapes.iter().map(|shape| apart(shape.iter().product())).collect();
        let state = StepState::new(3, 5, 0.0).tensor(self.device)?;
        let wanted = vec![true; shapes.len()];
        let evaluate = |inputs: &[Vec<f32>]| {
            let tensors = inputs.iter().zip(shapes).map(|(values, shape)| self.device.tensor(shape, values));
            let tensors: Vec<Tensor> = tensors.collect::<Result<_>>()?;
            let streams = Cell::new(0);
            let context = Context {
                is_recording: true,
                wanted: &wanted,
                input_gate: None,
                step_state: Some(&state),
                streams: &streams,
            };
            op.forward(&tensors.iter().collect::<Vec<_>>(), &context)
        };
        let output = evaluate(&start)?;
        let weights = self.numbers(output.tensor.len(), 12);
        let cotangent = self.device.tensor(output.tensor.shape(), &weights)?;
        let values = vec![Wanted::Value; shapes.len()];
        let upstream = Upstream { cotangent: &cotangent, wanted: &values, is_gated: false, input_gate: None };
        let cotangents = op.backward(output.saved, upstream)?.inputs;
        for (at, shape) in shapes.iter().enumerate() {
            let gradient = cotangents.get(at).cloned().flatten();
            let gradient = gradient.ok_or_else(|| fault(what, format!("input {at} has no cotangent")))?;
            if gradient.shape() != shape.as_slice() {
                let message = format!("input {at} has shape {shape:?}, its cotangent {:?}", gradient.shape());
                return Err(fault(what, message));
            }
            if self.mode == Mode::Run {
                continue;
            }
            let direction = self.numbers(gradient.len(), 13 + at as u32);
            let shifted = |sign: f32| {
                let mut moved = start.clone();
                moved[at].iter_mut().zip(&direction).for_each(|(x, d)| *x += sign * EPSILON * d);
                evaluate(&moved)
            };
            let [ahead, behind] = [shifted(1.0)?, shifted(-1.0)?].map(|output| output.tensor);
            let rise = dot(&self.read(&ahead)?, &weights) - dot(&self.read(&behind)?, &weights);
            let quotient = rise / (2.0 * f64::from(EPSILON));
            let gradient = self.read(&gradient)?;
            let along = dot(&gradient, &direction);
            let scale = dot(&gradient, &gradient).sqrt().max(quotient.abs());
            self.results.push((format!("{what}, input {at}"), Outcome::Numbers(vec![along])));
            if (along - quotient).abs() > GRADIENT_TOLERANCE * scale || scale.is_nan() {
                return Err(fault(what, format!("input {at}: gradient {along}, difference quotient {quotient}")));
            }
        }
        Ok(())
    }
}

/// So many numbers in a scattered order, evenly spaced around zero without it.
fn apart(count: usize) -> Vec<f32> {
    let step = (2.9 / count as f32).max(0.01);
    // A stride without a common divisor visits every place once.
    let stride = (count * 3 / 10..).find(|stride| gcd(*stride, count) == 1).unwrap_or(1);
    (0..count).map(|i| ((i * stride % count) as f32 - 0.5 * (count as f32 - 1.0) + 0.25) * step).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_and_unwritten_elements_are_found() {
        let expected: Vec<_> = (0..100).map(|i| Conditioned::exact(f64::from(i) - 50.0)).collect();
        let mut actual: Vec<f32> = expected.iter().map(|e| e.value as f32).collect();
        let compare = |actual: &[f32]| Exactness::of(DType::F32).compare("a test", actual, &expected);
        compare(&actual).unwrap();
        assert!(compare(&actual[1..]).is_err());
        actual[77] *= 1.0 + 1e-5;
        assert!(compare(&actual).unwrap_err().contains("element 77"));
        actual[77] = f32::from_bits(0x7fc0_dead);
        assert!(compare(&actual).is_err());
    }

    #[test]
    fn a_case_that_hands_over_nothing_fails() {
        assert!(Case::new("nothing", |_| Ok(())).verify(&Device::cpu()).is_err());
        let wrong = Case::new("wrong", |trial| {
            let (values, tensor) = trial.random(DType::F32, &[5], 1)?;
            trial.equal("a copy", &tensor, || values.iter().map(|value| value + 1.0).collect())
        });
        assert!(matches!(wrong.verify(&Device::cpu()), Err(Error::Case { .. })));
        assert_eq!(wrong.results(&Device::cpu()).unwrap().len(), 1);
    }

    #[test]
    fn what_is_missing_must_be_named() {
        let missing = |feature: &str| GpuError::MissingFeature { adapter: "a test".into(), feature: feature.into() };
        let case = |result: fn(GpuError) -> Result<()>, feature| {
            let error = missing(feature);
            let case = Case::new("lacking", move |trial| {
                // A case that compares nothing is an error by itself.
                trial.equal_values("one", [1.0], || vec![1.0])?;
                trial.lacks("SUBGROUP", result(error.clone()))
            });
            case.verify(&Device::cpu())
        };
        case(|error| Err(error.into()), "SUBGROUP").unwrap();
        assert!(matches!(case(|error| Err(error.into()), "SHADER_F16"), Err(Error::Gpu(_))));
        assert!(matches!(case(|_| Ok(()), "SUBGROUP"), Err(Error::Case { .. })));
        assert!(matches!(case(|_| Err(Error::shape("a test", "no")), "SUBGROUP"), Err(Error::Shape { .. })));
    }

    #[test]
    fn what_must_be_refused_must_not_be_done() {
        let case = |result: fn() -> Result<()>| {
            let case = Case::new("refused", move |trial| {
                trial.equal_values("one", [1.0], || vec![1.0])?;
                trial.refused("it", result())
            });
            case.verify(&Device::cpu())
        };
        case(|| Err(Error::shape("a test", "no"))).unwrap();
        assert!(matches!(case(|| Ok(())), Err(Error::Case { .. })));
        assert!(matches!(case(|| Err(Error::DeviceMismatch { op: "a test" })), Err(Error::DeviceMismatch { .. })));
    }

    #[test]
    fn numbers_are_apart() {
        for count in [1, 2, 10, 288, 1000] {
            let mut values = apart(count);
            values.sort_unstable_by(f32::total_cmp);
            assert!(values.windows(2).all(|pair| pair[1] - pair[0] > 0.9e-2 || count > 288), "{count}");
            assert!(values.iter().all(|value| value.abs() > 2e-3), "{count}");
        }
    }
}
