//! Writing weights.

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::error::Result;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::nn::Network;
#[cfg(feature = "formats")]
use crate::weights::formats::{self, Format, OnnxInput};
use crate::weights::metadata;
use crate::weights::tensors::{NamedTensor, Order, check_finite, error};

/// Width of the floats in a safetensors file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Width {
    /// 16 bits: half the size, rounded to 11 binary digits.
    F16,
    /// 32 bits.
    #[default]
    F32,
}

/// Writes a network's weights atomically as safetensors of 32-bit floats, so that a failure leaves the old file.
///
/// # Errors
/// If a weight is not a finite number, or the file cannot be written.
#[cfg(not(target_family = "wasm"))]
pub fn save(path: &Path, network: &Network, class_names: &[String]) -> Result<()> {
    save_as(path, network, class_names, Width::F32)
}

/// Like [`save`], with floats of this width.
///
/// # Errors
/// As [`save`], and if a number is too large for 16 bits.
#[cfg(not(target_family = "wasm"))]
pub fn save_as(path: &Path, network: &Network, class_names: &[String], width: Width) -> Result<()> {
    let bytes = block_on(to_safetensors_async(path, network, class_names, width))?;
    crate::files::replace(path, &bytes)
}

/// The bytes that [`save_as`] writes, where the thread must not block; `path` names them in errors.
///
/// # Errors
/// If a weight is not a finite number, or too large for 16 bits.
pub async fn to_safetensors_async(
    path: &Path,
    network: &Network,
    class_names: &[String],
    width: Width,
) -> Result<Vec<u8>> {
    let metadata = metadata::of_network(path, network, class_names)?;
    let bad = |e: safetensors::SafeTensorError| error(path, e.to_string(), "");
    let mut data = Vec::new();
    for NamedTensor { name, shape, values, .. } in state(path, network).await? {
        let (dtype, bytes): (_, Vec<u8>) = match width {
            Width::F32 => (Dtype::F32, bytemuck::cast_slice(&values).to_vec()),
            Width::F16 => {
                let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
                let wide: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
                check_finite(path, &name, &wide, "it is too large for 16 bits: write 32 bits")?;
                (Dtype::F16, bytemuck::cast_slice(&halves).to_vec())
            }
        };
        data.push((name, dtype, shape, bytes));
    }
    let views = data
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(bad)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None).map_err(bad)?;
    Ok(with_metadata(&bytes, &metadata))
}

/// Parameters and running statistics, in PyTorch's order of elements.
async fn state(path: &Path, network: &Network) -> Result<Vec<NamedTensor>> {
    let mut tensors = Vec::new();
    for parameter in network.state() {
        let values = parameter.layout.to_outer(&parameter.tensor.to_vec_async().await?);
        let hint = "training diverged, and the file is unchanged: lower the learning rate";
        check_finite(path, &parameter.name, &values, hint)?;
        let shape = parameter.layout.outer_shape();
        tensors.push(NamedTensor { name: parameter.name.clone(), shape, order: Order::OutputsFirst, values });
    }
    Ok(tensors)
}

/// Writes a network's weights atomically in a format for other programs; `input` applies to ONNX.
///
/// # Errors
/// If a weight is not a finite number, the file cannot be written, or a layer has no form in ONNX.
#[cfg(all(feature = "formats", not(target_family = "wasm")))]
pub fn export(
    path: &Path,
    network: &Network,
    class_names: &[String],
    format: Format,
    width: Width,
    input: OnnxInput,
) -> Result<()> {
    let metadata = || metadata::of_network(path, network, class_names);
    let state = || block_on(state(path, network));
    let bytes = match format {
        Format::Safetensors => return save_as(path, network, class_names, width),
        Format::Torch => formats::write_torch(path, &state()?, &metadata()?)?,
        Format::Npz => formats::write_npz(path, &state()?, &metadata()?)?,
        Format::Onnx => formats::onnx::write(path, network, &state()?, class_names, input)?,
        Format::Keras => {
            return Err(error(path, "weights of Keras are read and not written".into(), "export to ONNX or .npz"));
        }
    };
    crate::files::replace(path, &bytes)
}

/// A safetensors file with metadata, a JSON object, in its header.
///
/// The safetensors crate would write them in a random order; this way, equal networks give equal files.
fn with_metadata(file: &[u8], metadata: &str) -> Vec<u8> {
    let (length, rest) = file.split_at(8);
    let (header, data) = rest.split_at(LittleEndian::read_u64(length) as usize);
    let mut header = [br#"{"__metadata__":"#, metadata.as_bytes(), b",", &header[1..]].concat();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut length = [0; 8];
    LittleEndian::write_u64(&mut length, header.len() as u64);
    [&length, header.as_slice(), data].concat()
}
