//! State dictionaries of PyTorch. The pickle in them is read as data: nothing in it is ever called.

use std::path::Path;

use pytorch_reader::{DType, PytorchReader};

use super::torch_pickle::state_dict;
use super::zip_archive::{self, Zip};
use super::{Contents, Format};
use crate::error::Result;
use crate::weights::metadata;
use crate::weights::tensors::{FloatType, NamedTensor, Order, error};

/// Reads a file whose tensors may take `most` bytes.
pub(super) fn read(path: &Path, bytes: &[u8], most: u64) -> Result<Contents> {
    let comment = Zip::open(bytes).ok().and_then(|archive| archive.comment());
    let metadata = comment.map(|text| metadata::parse_object(&text)).unwrap_or_default();
    let damaged = "it is damaged, or not saved by torch.save: save the network's state_dict()";
    let reader = PytorchReader::new(path).map_err(|e| error(path, e.to_string(), damaged))?;
    let mut tensors = Vec::new();
    let mut left = most;
    for (name, tensor) in reader.into_tensors() {
        // Batch normalization counts its steps, which nothing here depends on.
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let float = match tensor.dtype() {
            DType::F16 => FloatType::F16,
            DType::BF16 => FloatType::BF16,
            DType::F32 => FloatType::F32,
            DType::F64 => FloatType::F64,
            other => {
                let message = format!("tensor `{name}` has elements of type {other:?}");
                return Err(error(path, message, "save the weights as floats of 16, 32 or 64 bits"));
            }
        };
        // A view may repeat the few elements of its storage any number of times.
        let size = (tensor.byte_len() as u64).max(4 * tensor.num_elements() as u64);
        left = left.checked_sub(size).ok_or_else(|| {
            error(path, format!("its tensors have more than {most} bytes in all"), "is it the right file?")
        })?;
        let values = float.decode(&tensor.read().map_err(|e| error(path, format!("tensor `{name}`: {e}"), damaged))?);
        tensors.push(NamedTensor { name, shape: tensor.shape().to_vec(), order: Order::OutputsFirst, values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if tensors.is_empty() {
        return Err(error(path, "it holds no tensors".into(), "save the network's state_dict() with torch.save"));
    }
    Ok(Contents { format: Format::Torch, tensors, metadata, layers: None })
}

/// A state dictionary that `torch.load(…, weights_only=True)` loads.
pub(in crate::weights) fn write(path: &Path, tensors: &[NamedTensor], metadata: &str) -> Result<Vec<u8>> {
    let shapes: Vec<_> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let mut entries = vec![
        ("archive/data.pkl".to_owned(), state_dict(&shapes)),
        ("archive/byteorder".to_owned(), b"little".to_vec()),
    ];
    for (number, tensor) in tensors.iter().enumerate() {
        entries.push((format!("archive/data/{number}"), bytemuck::cast_slice(&tensor.values).to_vec()));
    }
    entries.push(("archive/version".to_owned(), b"3\n".to_vec()));
    zip_archive::write(&entries, metadata).map_err(|e| error(path, e.to_string(), "the file is unchanged"))
}
