//! Tensors as they come from a file.

use std::path::Path;

use half::{bf16, f16};

use crate::error::{Error, Result};

/// How the elements of weights are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Convolutions `[out, in, height, width]` and fully connected layers `[out, in]`, as in PyTorch. Features of a flattened image are
    /// ordered channels, height, width.
    OutputsFirst,
    /// Convolutions `[height, width, in, out]` and fully connected layers `[in, out]`, as in Keras. Features of a flattened image are
    /// ordered height, width, channels.
    OutputsLast,
}

/// A tensor of a weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The order of its elements.
    pub order: Order,
    /// Its elements.
    pub values: Vec<f32>,
}

impl NamedTensor {
    /// Checks that the number of elements is that of the shape, and that all are finite.
    ///
    /// # Errors
    /// [`Error::Weights`] with the path and the element.
    pub(super) fn check(self, path: &Path) -> Result<Self> {
        let NamedTensor { name, shape, values, .. } = &self;
        if shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side)) != Some(values.len()) {
            let message = format!("tensor `{name}` has shape {shape:?} and {} elements", values.len());
            return Err(error(path, message, "it is damaged: use another copy of it"));
        }
        check_finite(
            path,
            name,
            values,
            "its training diverged: use an earlier file, or train at a lower learning rate",
        )?;
        Ok(self)
    }
}

/// Fails for a number that is not finite.
pub(super) fn check_finite(path: &Path, name: &str, values: &[f32], hint: &str) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(error(path, format!("tensor `{name}` holds {} at element {i}", values[i]), hint)),
        None => Ok(()),
    }
}

/// The types of floats that are read, all little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatType {
    F16,
    BF16,
    F32,
    F64,
}

impl FloatType {
    /// The numbers as 32-bit floats.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            FloatType::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            FloatType::BF16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            FloatType::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            FloatType::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        }
    }
}

pub(super) fn error(path: &Path, message: String, hint: &str) -> Error {
    Error::Weights { path: path.to_owned(), message, hint: hint.to_owned() }
}
