//! Cases: calls of an operation's kernels with operands, and what is right. They stand beside the operation and serve all who
//! ask whether kernels are right, compile, or are fast.
//!
//! A case's body computes on the device of a [`Trial`] and hands every result to it, with a closure that computes what is right
//! in double precision. The kernel tests evaluate it; `devices --check` compares with the CPU twins instead, as it has no time
//! for oracles; a rehearsal, which computes nothing, collects the shaders; benches time the kernels.

mod gradient;
mod trial;

use std::sync::Arc;

pub use trial::Trial;
use trial::{Mode, Outcome};

use super::Op;
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::tensor::{DType, Device};

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
        match block_on(self.play(device, Mode::Verify))?.is_empty() {
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
                Outcome::Read(read, dtype) => trial::numbers_of(&read.wait_async().await?, dtype),
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

fn fault(what: &str, message: String) -> Error {
    Error::Case { case: what.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuError;

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
}
