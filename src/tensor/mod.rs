//! Devices, arrays of numbers on them, and work that is recorded once and replayed.

pub mod cpu;
mod device;
mod image_shape;
mod replay;

pub use device::{Device, DeviceChoice, Submission};
pub use image_shape::{BadImageShape, ImageShape, ImageSize};
pub use replay::Replay;

use half::f16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfFloatVecExt;

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::{BUFFER_ALIGNMENT, GpuBuffer, PendingRead};
use cpu::{CpuBuffer, Floats, FloatsMut};

/// Alignment of views in bytes, which every adapter can bind.
pub const VIEW_ALIGNMENT: usize = BUFFER_ALIGNMENT as usize;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float (IEEE 754's binary16).
    F16,
    /// Unsigned 32-bit integer: labels, indices, counts.
    U32,
    /// Byte: images as they are stored.
    U8,
}

impl DType {
    /// Size of an element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 => 2,
            DType::U8 => 1,
        }
    }
}

/// Width of activations, of their cotangents, and of the weights that products read. Sums and parameters always have 32 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, and the loss is scaled.
    F16,
}

impl Precision {
    /// Type of the elements.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
        }
    }
}

/// Where a tensor's elements are.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    Cpu(CpuBuffer),
    Gpu(GpuBuffer),
}

/// Number of elements of a shape, unless that overflows.
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side))
}

/// An array of numbers, row-major. Clones share the elements.
///
/// Activations are channels-last: `[batch, height, width, channels]`.
#[derive(Debug, Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: DType,
    storage: Storage,
    device: Device,
}

impl Tensor {
    pub(crate) fn new(shape: Vec<usize>, dtype: DType, storage: Storage, device: Device) -> Self {
        Tensor { shape, dtype, storage, device }
    }

    /// Length along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements; tensors always have some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Its host memory, for the CPU twins of operation `op`.
    pub(crate) fn cpu(&self, op: &'static str) -> Result<&CpuBuffer> {
        match &self.storage {
            Storage::Cpu(buffer) => Ok(buffer),
            Storage::Gpu(_) => Err(Error::DeviceMismatch { op }),
        }
    }

    /// Its elements as 32-bit floats, for the CPU twins of operation `op`.
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if it is not on the CPU.
    pub fn floats(&self, op: &'static str) -> Result<Floats<'_>> {
        let buffer = self.cpu(op)?;
        Ok(if self.dtype == DType::F16 { buffer.read_halves(self.len()) } else { Floats::Wide(buffer.read()) })
    }

    /// Its elements as mutable 32-bit floats, for the CPU twins of operation `op`; narrower ones are rounded at the end. Waits
    /// while they are being read.
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if it is not on the CPU.
    pub fn floats_mut(&self, op: &'static str) -> Result<FloatsMut<'_>> {
        let buffer = self.cpu(op)?;
        Ok(if self.dtype == DType::F16 { buffer.write_halves(self.len()) } else { FloatsMut::Wide(buffer.write()) })
    }

    /// Its device memory, for the launchers of operation `op`.
    ///
    /// # Errors
    /// [`Error::DeviceMismatch`] if it is not on a GPU.
    pub fn gpu(&self, op: &'static str) -> Result<&GpuBuffer> {
        match &self.storage {
            Storage::Gpu(buffer) => Ok(buffer),
            Storage::Cpu(_) => Err(Error::DeviceMismatch { op }),
        }
    }

    /// The same elements with another shape.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        if elements(shape) != Some(self.len()) {
            return Err(Error::shape(
                "reshape",
                format!("{:?} and {shape:?} differ in their number of elements", self.shape),
            ));
        }
        Ok(Tensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// A view of shape `shape` that starts at element `start` and shares the memory.
    ///
    /// # Errors
    /// If the view reaches past the end, does not start at a multiple of [`VIEW_ALIGNMENT`] bytes, or ends within a four-byte word
    /// that is not the last one.
    pub fn view(&self, start: usize, shape: &[usize]) -> Result<Tensor> {
        let size = self.dtype.bytes();
        let bytes = elements(shape).and_then(|count| count.checked_mul(size)).filter(|&bytes| bytes > 0);
        let part = bytes.zip(start.checked_mul(size)).and_then(|(bytes, start)| {
            if !start.is_multiple_of(VIEW_ALIGNMENT) {
                return None;
            }
            // Memory is written by words: the last one must not be shared with what comes after.
            if !bytes.is_multiple_of(4) && start + bytes != self.len() * size {
                return None;
            }
            let bytes = bytes.next_multiple_of(4);
            Some(match &self.storage {
                Storage::Cpu(buffer) => Storage::Cpu(buffer.part(start / 4, bytes / 4)?),
                Storage::Gpu(buffer) => Storage::Gpu(buffer.part(start as u64, bytes as u64)?),
            })
        });
        let error = || Error::shape("view", format!("{shape:?} from element {start} of {:?}", self.shape));
        Ok(Tensor { shape: shape.to_vec(), storage: part.ok_or_else(error)?, ..self.clone() })
    }

    /// Whether both share memory, as views of one tensor do.
    pub fn shares_memory(&self, other: &Tensor) -> bool {
        match (&self.storage, &other.storage) {
            (Storage::Cpu(a), Storage::Cpu(b)) => a.shares_memory(b),
            (Storage::Gpu(a), Storage::Gpu(b)) => a.shares_memory(b),
            _ => false,
        }
    }

    /// Copies all elements from a tensor of the same shape in other memory on the same device.
    ///
    /// # Errors
    /// If shape, type or device differ, or both share memory.
    pub fn copy_from(&self, source: &Tensor) -> Result<()> {
        const OP: &str = "copy";
        if self.shape != source.shape || self.dtype != source.dtype || self.shares_memory(source) {
            let message = format!("{:?} {:?} to {:?} {:?}", source.dtype, source.shape, self.dtype, self.shape);
            return Err(Error::shape(OP, message));
        }
        match (&self.storage, &source.storage, &self.device) {
            (Storage::Gpu(to), Storage::Gpu(from), Device::Gpu(gpu)) if self.device.same(&source.device) => {
                gpu.copy(from, to)?;
            }
            (Storage::Cpu(to), Storage::Cpu(from), _) => to.write::<u32>().copy_from_slice(&from.read()),
            _ => return Err(Error::DeviceMismatch { op: OP }),
        }
        Ok(())
    }

    /// Replaces all elements by these floats, rounded if the tensor's are narrower.
    pub fn write(&self, values: &[f32]) -> Result<()> {
        if self.dtype == DType::F16 {
            return self.write_bytes(bytemuck::cast_slice(&Vec::<f16>::from_f32_slice(values)));
        }
        self.expect(DType::F32)?;
        self.write_bytes(bytemuck::cast_slice(values))
    }

    /// Replaces all elements by these integers.
    pub fn write_u32(&self, values: &[u32]) -> Result<()> {
        self.expect(DType::U32)?;
        self.write_bytes(bytemuck::cast_slice(values))
    }

    pub(crate) fn write_bytes(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() != self.len() * self.dtype.bytes() {
            return Err(Error::shape(
                "write",
                format!("{} bytes into a tensor of shape {:?}", bytes.len(), self.shape),
            ));
        }
        match (&self.storage, &self.device) {
            (Storage::Gpu(buffer), Device::Gpu(gpu)) => gpu.write(buffer, bytes)?,
            (Storage::Cpu(buffer), _) => buffer.write::<u8>()[..bytes.len()].copy_from_slice(bytes),
            _ => return Err(Error::DeviceMismatch { op: "write" }),
        }
        Ok(())
    }

    /// The elements, of either width, as floats. Waits for the device.
    #[cfg(not(target_family = "wasm"))]
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        block_on(self.to_vec_async())
    }

    /// [`Tensor::to_vec`] where the thread must not block.
    pub async fn to_vec_async(&self) -> Result<Vec<f32>> {
        if self.dtype == DType::F16 {
            let halves: Vec<f16> = bytemuck::pod_collect_to_vec(&self.start_read()?.wait_async().await?);
            return Ok(halves.to_f32_vec());
        }
        self.expect(DType::F32)?;
        Ok(bytemuck::pod_collect_to_vec(&self.start_read()?.wait_async().await?))
    }

    /// The elements as integers. Waits for the device.
    #[cfg(not(target_family = "wasm"))]
    pub fn to_vec_u32(&self) -> Result<Vec<u32>> {
        block_on(self.to_vec_u32_async())
    }

    /// [`Tensor::to_vec_u32`] where the thread must not block.
    pub async fn to_vec_u32_async(&self) -> Result<Vec<u32>> {
        self.expect(DType::U32)?;
        Ok(bytemuck::pod_collect_to_vec(&self.start_read()?.wait_async().await?))
    }

    fn expect(&self, dtype: DType) -> Result<()> {
        if self.dtype != dtype {
            return Err(Error::shape("tensor", format!("elements are {:?}, not {dtype:?}", self.dtype)));
        }
        Ok(())
    }

    /// Starts copying the elements to the host, without waiting for the device.
    pub fn start_read(&self) -> Result<HostRead> {
        let bytes = self.len() * self.dtype.bytes();
        match (&self.storage, &self.device) {
            (Storage::Gpu(buffer), Device::Gpu(gpu)) => {
                Ok(HostRead(ReadState::Pending { read: gpu.start_read(buffer)?, bytes }))
            }
            (Storage::Cpu(buffer), _) => Ok(HostRead(ReadState::Ready(buffer.read::<u8>()[..bytes].to_vec()))),
            _ => Err(Error::DeviceMismatch { op: "read" }),
        }
    }
}

/// A tensor's bytes on their way to the host.
#[derive(Debug)]
pub struct HostRead(ReadState);

#[derive(Debug)]
enum ReadState {
    Ready(Vec<u8>),
    Pending { read: PendingRead, bytes: usize },
}

impl HostRead {
    /// Waits for the bytes.
    #[cfg(not(target_family = "wasm"))]
    pub fn wait(self) -> Result<Vec<u8>> {
        block_on(self.wait_async())
    }

    /// [`HostRead::wait`] where the thread must not block.
    pub async fn wait_async(self) -> Result<Vec<u8>> {
        match self.0 {
            ReadState::Ready(data) => Ok(data),
            ReadState::Pending { read, bytes } => {
                let mut data = read.wait_async().await?;
                data.truncate(bytes);
                Ok(data)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_the_elements() {
        let whole = Device::cpu().tensor(&[130], &[0.0; 130]).unwrap();
        let view = whole.view(64, &[3, 22]).unwrap();
        view.write(&[1.0; 66]).unwrap();
        let values = whole.to_vec().unwrap();
        assert!(values[..64].iter().all(|&v| v == 0.0) && values[64..].iter().all(|&v| v == 1.0), "{values:?}");
        assert!(view.shares_memory(&whole) && !view.shares_memory(&view.device().empty(&[1]).unwrap()));
        for (start, shape) in [(1, [1]), (64, [67]), (128, [3]), (192, [1]), (0, [0]), (usize::MAX - 63, [1])] {
            assert!(whole.view(start, &shape).is_err(), "{shape:?} from {start}");
        }
        assert!(whole.view(0, &[130]).unwrap().copy_from(&whole).is_err());
    }

    /// Writing three halves wrote a fourth.
    #[test]
    fn views_share_no_word_with_what_comes_after() {
        let whole = Device::cpu().allocate(&[131], DType::F16).unwrap();
        assert!(whole.view(0, &[3]).is_err() && whole.view(0, &[129]).is_err());
        whole.view(0, &[4]).unwrap();
        whole.view(128, &[3]).unwrap();
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        for shape in [vec![1 << 62], vec![usize::MAX], vec![1 << 40, 1 << 40]] {
            assert!(Device::cpu().empty(&shape).is_err(), "{shape:?}");
        }
    }
}
