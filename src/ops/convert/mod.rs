//! Floats of one width from those of another.

mod gpu;

use super::{Backward, Wanted, expect};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// The same numbers as floats of the other width, `dtype`, rounded to the nearest if that is narrower.
///
/// # Errors
/// If the input is not of the one width or `dtype` not the other.
pub fn convert(input: &Tensor, dtype: DType) -> Result<Tensor> {
    const OP: &str = "convert";
    let other = if dtype == DType::F16 { DType::F32 } else { DType::F16 };
    expect(OP, "input", input, input.shape(), other)?;
    let output = input.device().allocate(input.shape(), dtype)?;
    match input.device() {
        Device::Cpu(_) => output.floats_mut(OP)?.copy_from_slice(&input.floats(OP)?),
        Device::Gpu(gpu) => gpu::convert(gpu, dtype, input.len(), input.gpu(OP)?, output.gpu(OP)?)?,
    }
    Ok(output)
}

/// The tape rule of [`convert`].
#[derive(Debug)]
pub struct ConvertBackward {
    /// Type of the input.
    pub dtype: DType,
}

impl Backward for ConvertBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(convert(cotangent, self.dtype)?)])
    }
}
