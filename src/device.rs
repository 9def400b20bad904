//! Where tensors live and operations run: the CPU or a GPU.

use crate::cpu::CpuDevice;
use crate::error::{Error, Result};
use crate::gpu::{AdapterRequest, Backend, GpuDevice, GpuOptions};
use crate::tensor::{DType, Storage, Tensor, elements};

/// A device. Clones share it.
#[derive(Debug, Clone)]
pub enum Device {
    /// The CPU, multi-threaded.
    Cpu(CpuDevice),
    /// A GPU through wgpu.
    Gpu(GpuDevice),
}

/// Which device is wanted, as on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter, a software one if need be.
    Gpu,
    /// Adapter number N.
    GpuIndex(usize),
}

impl std::str::FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "gpu" => Ok(DeviceChoice::Gpu),
            _ => text
                .strip_prefix("gpu:")
                .and_then(|n| n.parse().ok())
                .map(DeviceChoice::GpuIndex)
                .ok_or_else(|| Error::UnknownDevice(text.to_owned())),
        }
    }
}

impl Device {
    /// The CPU.
    pub fn cpu() -> Self {
        Device::Cpu(CpuDevice::new())
    }

    /// Opens the device asked for.
    ///
    /// # Errors
    /// If a GPU was asked for and none can be opened. [`DeviceChoice::Auto`] then falls back to the CPU.
    pub fn open(choice: DeviceChoice, backend: Backend) -> Result<Self> {
        let open = |request| GpuDevice::open(GpuOptions { request, backend, ..GpuOptions::default() });
        Ok(match choice {
            DeviceChoice::Cpu => Device::cpu(),
            DeviceChoice::Auto => match open(AdapterRequest::RealGpu) {
                Ok(gpu) => Device::Gpu(gpu),
                Err(reason) => {
                    log::info!("using the CPU: {reason}");
                    Device::cpu()
                }
            },
            DeviceChoice::Gpu => Device::Gpu(open(AdapterRequest::Best)?),
            DeviceChoice::GpuIndex(index) => Device::Gpu(open(AdapterRequest::Index(index))?),
        })
    }

    /// The device in one line: for a GPU its name, kind, backend and driver.
    pub fn description(&self) -> String {
        match self {
            Device::Cpu(_) => format!("CPU, {} threads", rayon::current_num_threads()),
            Device::Gpu(gpu) => gpu.description(),
        }
    }

    /// Why this device was taken.
    pub fn reason(&self) -> &str {
        match self {
            Device::Cpu(_) => "the CPU device",
            Device::Gpu(gpu) => gpu.reason(),
        }
    }

    /// Whether two handles mean the same device.
    pub fn same(&self, other: &Device) -> bool {
        match (self, other) {
            (Device::Cpu(a), Device::Cpu(b)) => a.same(b),
            (Device::Gpu(a), Device::Gpu(b)) => a.same(b),
            _ => false,
        }
    }

    /// A tensor of 32-bit floats with unspecified contents.
    pub fn empty(&self, shape: &[usize]) -> Result<Tensor> {
        self.allocate(shape, DType::F32)
    }

    /// A tensor with unspecified contents.
    pub fn allocate(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let count = elements(shape)
            .filter(|&n| n > 0)
            .ok_or_else(|| Error::shape("allocate", format!("shape {shape:?} is empty or too large")))?;
        let bytes = (count * dtype.bytes()).next_multiple_of(4);
        let what = format!("a tensor of shape {shape:?}");
        let storage = match self {
            Device::Cpu(cpu) => Storage::Cpu(cpu.allocate(bytes / 4, &what)?),
            Device::Gpu(gpu) => Storage::Gpu(gpu.allocate(bytes as u64, &what)?),
        };
        Ok(Tensor::new(shape.to_vec(), dtype, storage, self.clone()))
    }

    /// A tensor of zeros.
    pub fn zeros(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let tensor = self.allocate(shape, dtype)?;
        match (self, tensor.storage()) {
            (Device::Gpu(gpu), Storage::Gpu(buffer)) => gpu.clear(buffer),
            (_, Storage::Cpu(buffer)) => buffer.write::<u32>().fill(0),
            _ => return Err(Error::DeviceMismatch { op: "zeros" }),
        }
        Ok(tensor)
    }

    /// A tensor with these 32-bit floats.
    pub fn tensor(&self, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        self.upload(shape, DType::F32, bytemuck::cast_slice(values))
    }

    /// A tensor with these 32-bit integers.
    pub fn tensor_u32(&self, shape: &[usize], values: &[u32]) -> Result<Tensor> {
        self.upload(shape, DType::U32, bytemuck::cast_slice(values))
    }

    /// A tensor with these bytes.
    pub fn tensor_u8(&self, shape: &[usize], values: &[u8]) -> Result<Tensor> {
        self.upload(shape, DType::U8, values)
    }

    fn upload(&self, shape: &[usize], dtype: DType, bytes: &[u8]) -> Result<Tensor> {
        let tensor = self.allocate(shape, dtype)?;
        tensor.write_bytes(bytes)?;
        Ok(tensor)
    }

    /// Waits until everything asked of the device is done.
    pub fn synchronize(&self) -> Result<()> {
        match self {
            Device::Cpu(_) => Ok(()),
            Device::Gpu(gpu) => Ok(gpu.synchronize()?),
        }
    }
}
