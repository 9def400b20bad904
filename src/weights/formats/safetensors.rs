//! The safetensors format.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::{Contents, Format};
use crate::error::Result;
use crate::weights::tensors::{FloatType, NamedTensor, Order, error};

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let damaged = "it is damaged or not a safetensors file: use another copy of it";
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| error(path, e.to_string(), damaged))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| error(path, e.to_string(), damaged))?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        // PyTorch's batch normalization counts its steps, which nothing here depends on.
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let float = match view.dtype() {
            Dtype::F16 => FloatType::F16,
            Dtype::BF16 => FloatType::BF16,
            Dtype::F32 => FloatType::F32,
            Dtype::F64 => FloatType::F64,
            other => {
                let message = format!("tensor `{name}` has elements of type {other:?}");
                return Err(error(path, message, "save the weights as floats of 16, 32 or 64 bits"));
            }
        };
        let values = float.decode(view.data());
        tensors.push(NamedTensor { name, shape: view.shape().to_vec(), order: Order::OutputsFirst, values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok(Contents { format: Format::Safetensors, tensors, metadata, layers: None })
}
