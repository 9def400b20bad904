//! The device that all work is done on.

use cifar_gpu::gpu::{AdapterHint, AdapterRequest, GpuDevice, GpuOptions};
use cifar_gpu::{Device, Error};
use wasm_bindgen::prelude::*;

use crate::{json, thrown};

/// Names of vendors in WebGPU and their numbers in the registries of PCI and Khronos.
const VENDORS: [(&str, u32); 9] = [
    ("nvidia", 0x10de),
    ("amd", 0x1002),
    ("intel", 0x8086),
    ("qualcomm", 0x5143),
    ("arm", 0x13b5),
    ("apple", 0x106b),
    ("mesa", 0x10005),
    ("google", 0x1ae0),
    ("microsoft", 0x1414),
];

/// An open device.
#[wasm_bindgen]
pub struct Engine {
    pub(crate) device: Device,
}

/// What a page shows of the device.
#[derive(serde::Serialize)]
struct Description {
    device: String,
    is_gpu: bool,
    is_software: bool,
    has_f16: bool,
    limits: Option<cifar_gpu::gpu::GpuLimits>,
}

#[wasm_bindgen]
impl Engine {
    /// The CPU, for browsers without WebGPU.
    pub fn cpu() -> Engine {
        Engine { device: Device::cpu() }
    }

    /// The browser's GPU. `vendor` and `name` are what `GPUAdapterInfo` says of it.
    pub async fn gpu(vendor: String, name: String) -> Result<Engine, JsError> {
        let number = VENDORS.iter().find(|(known, _)| *known == vendor).map_or(0, |&(_, number)| number);
        let options = GpuOptions::default().with(|options| {
            options.request = AdapterRequest::Best;
            options.hint = Some(AdapterHint { name, vendor: number });
        });
        let gpu = GpuDevice::open_async(options).await.map_err(|error| thrown(Error::from(error)))?;
        Ok(Engine { device: Device::Gpu(gpu) })
    }

    /// The device's name, kind and limits, as JSON.
    pub fn describe(&self) -> Result<String, JsError> {
        let gpu = match &self.device {
            Device::Cpu(_) => None,
            Device::Gpu(gpu) => Some(gpu),
        };
        json(&Description {
            device: self.device.description(),
            is_gpu: gpu.is_some(),
            is_software: gpu.is_some_and(GpuDevice::is_software),
            has_f16: gpu.is_some_and(GpuDevice::has_f16),
            limits: gpu.map(GpuDevice::limits),
        })
    }

    /// Loses the GPU, as if its driver had been reset: for tests of what the page does then.
    pub fn lose(&self) {
        if let Device::Gpu(gpu) = &self.device {
            gpu.lose();
        }
    }
}
