//! wgpu's own types, for programs that share a device with this crate. No other part of the public interface uses them, so only
//! this module changes with wgpu.

use super::GpuDevice;

/// The wgpu device of a handle.
pub fn device(gpu: &GpuDevice) -> &wgpu::Device {
    &gpu.shared.device
}

/// Its queue. Work submitted here precedes commands that this crate has recorded but not yet submitted.
pub fn queue(gpu: &GpuDevice) -> &wgpu::Queue {
    &gpu.shared.queue
}

/// The adapter's description.
pub fn adapter_info(gpu: &GpuDevice) -> &wgpu::AdapterInfo {
    &gpu.shared.info
}
