//! Conversion between floats of different widths.

pub(super) mod cases;
mod gpu;

use super::{Context, Cotangents, Op, Output, Upstream, expect, operands};
use crate::error::Result;
use crate::profile;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// The same numbers as floats of the other width, `dtype`, rounded to the nearest if that is narrower.
///
/// # Errors
/// If the input or `dtype` is no float type, or both are the same.
pub fn convert(input: &Tensor, dtype: DType) -> Result<Tensor> {
    const OP: &str = "convert";
    let other = if dtype == DType::F16 { DType::F32 } else { DType::F16 };
    expect(OP, "input", input, input.shape(), other)?;
    let output = input.device().allocate(input.shape(), dtype)?;
    match input.device() {
        Device::Cpu(_) => {
            let bytes = input.len() * (input.dtype().bytes() + dtype.bytes());
            let _timed = profile::twin(OP, 0, bytes);
            output.floats_mut(OP)?.copy_from_slice(&input.floats(OP)?);
        }
        Device::Gpu(gpu) => gpu::convert(gpu, dtype, input.len(), input.gpu(OP)?, output.gpu(OP)?)?,
    }
    Ok(output)
}

/// The operation of a tape: the same numbers as floats of another width, rounded if it is narrower.
#[derive(Debug, Clone, Copy)]
pub struct Convert {
    /// Type of the output; the input's changes nothing.
    pub dtype: DType,
}

impl Op for Convert {
    /// Type of the input.
    type Saved = DType;

    fn name(&self) -> &'static str {
        "convert"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<DType>> {
        let [input] = operands(self.name(), inputs)?;
        let output = if input.dtype() == self.dtype { input.clone() } else { convert(input, self.dtype)? };
        Ok(Output::new(output, input.dtype()))
    }

    fn backward(&self, dtype: DType, upstream: Upstream<'_>) -> Result<Cotangents> {
        let cotangent = upstream.cotangent;
        Ok(if cotangent.dtype() == dtype { cotangent.clone() } else { convert(cotangent, dtype)? }.into())
    }
}
