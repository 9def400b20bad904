//! Fixtures that are lists of numbers by part and name.

use cifar_gpu::{Device, Tensor};
use serde_json::Value;

use crate::common::{Outcome, relative_maximum, within};

/// A JSON object of parts, each with numbers and lists of numbers.
pub struct JsonFixture(Value);

impl JsonFixture {
    /// The fixture in this text.
    pub fn parse(text: &str) -> Self {
        JsonFixture(serde_json::from_str(text).unwrap_or_else(|e| panic!("fixture: {e}")))
    }

    /// A list.
    pub fn numbers(&self, part: &str, name: &str) -> Vec<f64> {
        let list = self.0[part][name].as_array().unwrap_or_else(|| panic!("{part} has no list {name}"));
        list.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
    }

    /// A list as 32-bit floats.
    pub fn floats(&self, part: &str, name: &str) -> Vec<f32> {
        self.numbers(part, name).iter().map(|&v| v as f32).collect()
    }

    /// A list as bytes.
    pub fn bytes(&self, part: &str, name: &str) -> Vec<u8> {
        self.numbers(part, name).iter().map(|&v| v as u8).collect()
    }

    /// A number.
    pub fn number(&self, part: &str, name: &str) -> f64 {
        self.0[part][name].as_f64().unwrap_or(f64::NAN)
    }

    /// A whole number.
    pub fn integer(&self, part: &str, name: &str) -> u64 {
        self.0[part][name].as_u64().unwrap_or_else(|| panic!("{part} has no integer {name}"))
    }

    /// A list as a tensor.
    pub fn tensor(&self, device: &Device, shape: &[usize], part: &str, name: &str) -> cifar_gpu::Result<Tensor> {
        device.tensor(shape, &self.floats(part, name))
    }

    /// Compares a tensor with a list.
    pub fn close(&self, what: &str, actual: &Tensor, part: &str, name: &str) -> Outcome {
        within(what, relative_maximum(&actual.to_vec()?, &self.numbers(part, name)), 1e-5)
    }
}
