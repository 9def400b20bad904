//! wgpu's own types, for programs that share a device with this crate. Nothing else in the public interface names them, so only this
//! module changes where wgpu does.

use super::GpuDevice;

/// The device behind a handle.
pub fn device(gpu: &GpuDevice) -> &wgpu::Device {
    &gpu.shared.device
}

/// Its queue. Work that is submitted here comes before what this crate has recorded and not yet submitted.
pub fn queue(gpu: &GpuDevice) -> &wgpu::Queue {
    &gpu.shared.queue
}

/// The adapter's description.
pub fn adapter_info(gpu: &GpuDevice) -> &wgpu::AdapterInfo {
    &gpu.shared.info
}
