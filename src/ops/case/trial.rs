//! A case under way: it hands over its results, and they are held against what is right, or kept.

use half::f16;

use super::{Conditioned, Exactness, fault};
use crate::error::{Error, Result};
use crate::gpu::GpuError;
use crate::ops::{StepState, random};
use crate::tensor::{DType, Device, HostRead, Tensor};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Results are held against what is right: for tests, which run natively.
    #[cfg(not(target_family = "wasm"))]
    Verify,
    /// Results are kept.
    Collect,
    /// Results are not looked at.
    Run,
}

/// A result of a case.
pub(super) enum Outcome {
    Numbers(Vec<f64>),
    /// Numbers of this type on their way from the device.
    Read(HostRead, DType),
}

/// Numbers of this type from their bytes.
pub(super) fn numbers_of(bytes: &[u8], dtype: DType) -> Vec<f64> {
    match dtype {
        DType::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter().map(f64::from).collect(),
        DType::F16 => bytemuck::pod_collect_to_vec::<u8, f16>(bytes).into_iter().map(f64::from).collect(),
        DType::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(bytes).into_iter().map(f64::from).collect(),
        DType::U8 => bytes.iter().copied().map(f64::from).collect(),
    }
}

fn numbers<T: Into<f64>>(values: impl IntoIterator<Item = T>) -> Vec<f64> {
    values.into_iter().map(Into::into).collect()
}

/// Says which number differs, if one does.
fn equality(what: &str, actual: &[f64], expected: &[f64]) -> Result<()> {
    if actual.len() != expected.len() {
        return Err(fault(what, format!("{} elements, expected {}", actual.len(), expected.len())));
    }
    match actual.iter().zip(expected).position(|(a, e)| a != e) {
        Some(i) => Err(fault(what, format!("element {i} is {}, expected {}", actual[i], expected[i]))),
        None => Ok(()),
    }
}

/// A case under way on a device.
pub struct Trial<'a> {
    pub(super) device: &'a Device,
    pub(super) mode: Mode,
    pub(super) results: Vec<(String, Outcome)>,
    /// The bytes that its body asked for when it was run before, in this order; and how many of them it has asked for again.
    pub(super) answers: Vec<Vec<u8>>,
    pub(super) asked: usize,
    /// The bytes for which it was given up.
    pub(super) awaited: Option<HostRead>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(device: &'a Device, mode: Mode) -> Self {
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
        match self.hand_over(what, result)? {
            Some(values) => {
                let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
                exactness.compare(what, &values, &expected()).map_err(|message| fault(what, message))
            }
            None => Ok(()),
        }
    }

    /// Remembers a result as it is now, and returns it if it is to be held against what is right.
    fn hand_over(&mut self, what: &str, result: &Tensor) -> Result<Option<Vec<f64>>> {
        match self.mode {
            Mode::Run => Ok(None),
            Mode::Collect => {
                self.results.push((what.to_owned(), Outcome::Read(result.start_read()?, result.dtype())));
                Ok(None)
            }
            #[cfg(not(target_family = "wasm"))]
            Mode::Verify => {
                let values = numbers_of(&self.fetch(result)?, result.dtype());
                Ok(self.take(what, values))
            }
        }
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
        match self.take(what, numbers(actual.iter().copied())) {
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
        match self.hand_over(what, result)? {
            Some(values) => equality(what, &values, &numbers(expected())),
            None => Ok(()),
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
        match self.take(what, numbers(actual)) {
            Some(actual) => equality(what, &actual, &numbers(expected())),
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
            _ => {
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
            _ => StepState::from_words(&bytemuck::pod_collect_to_vec(&self.fetch(state)?)),
        })
    }

    /// A result that must be refused because the adapter lacks a feature.
    ///
    /// # Errors
    /// [`Error::Case`] if it was done; any other error than that the feature is missing.
    pub fn lacks<T>(&mut self, feature: &str, result: Result<T>) -> Result<()> {
        match result {
            Err(Error::Gpu(GpuError::MissingFeature { feature: missing, .. })) if missing == feature => {
                self.take(feature, Vec::new());
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
                self.take(what, Vec::new());
                Ok(())
            }
            Err(other) => Err(other),
            Ok(_) => Err(fault(what, "it was not refused".into())),
        }
    }

    /// Remembers a result, and returns it if it is to be held against what is right.
    fn take(&mut self, what: &str, values: Vec<f64>) -> Option<Vec<f64>> {
        let wanted = match self.mode {
            Mode::Run => return None,
            Mode::Collect => None,
            #[cfg(not(target_family = "wasm"))]
            Mode::Verify => Some(values.clone()),
        };
        self.results.push((what.to_owned(), Outcome::Numbers(values)));
        wanted
    }
}
