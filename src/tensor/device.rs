//! Where tensors live and operations run: the CPU or a GPU.

use crate::error::{Error, Result};
use crate::gpu::{AdapterRequest, Backend, GpuDevice, GpuError, GpuOptions, SubmissionIndex};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::{block_on, list_adapters};
use crate::tensor::cpu::CpuDevice;
use crate::tensor::{DType, Storage, Tensor, elements};

/// Prefix of the CPU's description.
const CPU: &str = "CPU";

/// A device. Clones share it.
#[derive(Debug, Clone)]
pub enum Device {
    /// The CPU, multi-threaded.
    Cpu(CpuDevice),
    /// A GPU through wgpu.
    Gpu(GpuDevice),
}

/// The requested device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum DeviceChoice {
    /// A real GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter, a software renderer if there is no other.
    Gpu,
    /// Adapter number N.
    GpuIndex(usize),
}

impl DeviceChoice {
    /// The device with this [`Device::description`] if present; else one of the same kind.
    #[cfg(not(target_family = "wasm"))]
    pub fn like(description: &str, backend: Backend) -> Self {
        if description.starts_with(CPU) {
            return DeviceChoice::Cpu;
        }
        let adapters = list_adapters(backend);
        let same = adapters.iter().find(|adapter| adapter.to_string() == description);
        same.map_or(DeviceChoice::Gpu, |adapter| DeviceChoice::GpuIndex(adapter.index))
    }
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

impl TryFrom<String> for DeviceChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        match choice {
            DeviceChoice::Auto => "auto".to_owned(),
            DeviceChoice::Cpu => "cpu".to_owned(),
            DeviceChoice::Gpu => "gpu".to_owned(),
            DeviceChoice::GpuIndex(index) => format!("gpu:{index}"),
        }
    }
}

impl Device {
    /// The CPU.
    pub fn cpu() -> Self {
        Device::Cpu(CpuDevice::new())
    }

    /// Opens the requested device and returns the reason for the choice.
    ///
    /// # Errors
    /// If a GPU was requested and none can be opened. [`DeviceChoice::Auto`] then falls back to the CPU.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(choice: DeviceChoice, backend: Backend) -> Result<(Self, String)> {
        block_on(Device::open_async(choice, backend))
    }

    /// [`Device::open`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Device::open`].
    pub async fn open_async(choice: DeviceChoice, backend: Backend) -> Result<(Self, String)> {
        let open = async |request| {
            let gpu = GpuDevice::open_async(GpuOptions { request, backend, ..GpuOptions::default() }).await?;
            let reason = gpu.reason().to_owned();
            Ok::<_, GpuError>((Device::Gpu(gpu), reason))
        };
        Ok(match choice {
            DeviceChoice::Cpu => (Device::cpu(), "requested".to_owned()),
            DeviceChoice::Auto => {
                open(AdapterRequest::RealGpu).await.unwrap_or_else(|reason| (Device::cpu(), reason.to_string()))
            }
            DeviceChoice::Gpu => open(AdapterRequest::Best).await?,
            DeviceChoice::GpuIndex(index) => open(AdapterRequest::Index(index)).await?,
        })
    }

    /// The device in one line: for a GPU its name, kind, backend and driver.
    pub fn description(&self) -> String {
        match self {
            Device::Cpu(_) => format!("{CPU}, {} threads", crate::parallel::current_num_threads()),
            Device::Gpu(gpu) => gpu.description(),
        }
    }

    /// Whether two handles refer to the same device.
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
        let bytes = elements(shape)
            .filter(|&n| n > 0)
            .and_then(|count| count.checked_mul(dtype.bytes())?.checked_next_multiple_of(4))
            .ok_or_else(|| Error::shape("allocate", format!("shape {shape:?} is empty or too large")))?;
        let what = format!("a tensor of shape {shape:?}");
        let storage = match self {
            Device::Cpu(cpu) => Storage::Cpu(cpu.allocate(bytes / 4, &what)?),
            // Kernels compute element offsets in 32 bits, some of them signed.
            Device::Gpu(_) if i32::try_from(bytes / dtype.bytes()).is_err() => {
                return Err(Error::shape("allocate", format!("the elements of {what} are too many for a GPU")));
            }
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

    /// A tensor with these floats rounded to 16 bits.
    pub fn tensor_f16(&self, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        let tensor = self.allocate(shape, DType::F16)?;
        tensor.write(values)?;
        Ok(tensor)
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

    /// Submits the recorded work to the device without waiting; the result can be waited for.
    pub fn submit(&self) -> Result<Submission> {
        Ok(Submission(match self {
            Device::Cpu(_) => None,
            Device::Gpu(gpu) => gpu.submit()?.map(|index| (gpu.clone(), index)),
        }))
    }

    /// Waits until the device has finished all its work.
    #[cfg(not(target_family = "wasm"))]
    pub fn synchronize(&self) -> Result<()> {
        block_on(self.synchronize_async())
    }

    /// [`Device::synchronize`] where the thread must not block.
    pub async fn synchronize_async(&self) -> Result<()> {
        match self {
            Device::Cpu(_) => Ok(()),
            Device::Gpu(gpu) => Ok(gpu.synchronize_async().await?),
        }
    }
}

/// Work submitted to a device.
#[derive(Debug)]
pub struct Submission(Option<(GpuDevice, SubmissionIndex)>);

impl Submission {
    /// Waits until the work is done.
    #[cfg(not(target_family = "wasm"))]
    pub fn wait(&self) -> Result<()> {
        block_on(self.wait_async())
    }

    /// [`Submission::wait`] where the thread must not block.
    pub async fn wait_async(&self) -> Result<()> {
        match &self.0 {
            Some((gpu, index)) => Ok(gpu.wait_for_async(index).await?),
            None => Ok(()),
        }
    }
}
