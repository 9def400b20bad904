//! The most arithmetic that a GPU does, measured: multiply-adds of vectors in registers, without memory. What a network's steps reach is
//! a share of it.

use crate::clock::Instant;
use crate::error::Result;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::{GpuDevice, Launch, ShaderVariant};
use crate::tensor::{DType, Device};

/// Invocations of a workgroup of `multiply_add.wgsl`.
const LANES: u64 = 256;
/// Multiply-adds of an invocation.
const MULTIPLY_ADDS: u64 = 256 * 2 * 8 * 4;
/// The ceiling is the best of so many measurements.
const MEASUREMENTS: usize = 8;
/// A measurement lasts about so many seconds, so that the start of the work does not count.
const MEASUREMENT_SECONDS: f64 = 0.05;

/// Floating-point operations of 32 bits a second, a multiply-add counted as two.
///
/// # Errors
/// If memory does not suffice, or the device fails.
#[cfg(not(target_family = "wasm"))]
pub fn flops_per_second(gpu: &GpuDevice) -> Result<f64> {
    block_on(flops_per_second_async(gpu))
}

/// [`flops_per_second`] where the thread must not block.
///
/// # Errors
/// As for [`flops_per_second`].
pub async fn flops_per_second_async(gpu: &GpuDevice) -> Result<f64> {
    let device = Device::Gpu(gpu.clone());
    let invocations: u64 = if gpu.is_software() { 1 << 14 } else { 1 << 20 };
    let sums = device.zeros(&[4 * invocations as usize], DType::F32)?;
    let seconds = async |count: u32| -> Result<f64> {
        device.synchronize_async().await?;
        let start = Instant::now();
        for _ in 0..count {
            // Every invocation has its element, and the only loop is bounded by a constant.
            gpu.record(&Launch {
                variant: ShaderVariant::from_source("multiply_add", include_str!("multiply_add.wgsl"), &[]),
                uniform: &[],
                buffers: &[sums.gpu("multiply_add")?],
                workgroups: invocations / LANES,
                flops: 2 * MULTIPLY_ADDS * invocations,
            })?;
        }
        device.synchronize_async().await?;
        Ok(start.elapsed().as_secs_f64() / f64::from(count))
    };
    seconds(1).await?;
    let count = (MEASUREMENT_SECONDS / seconds(1).await?.max(1e-6)).clamp(1.0, 10_000.0) as u32;
    let mut best = f64::INFINITY;
    for _ in 0..MEASUREMENTS {
        best = best.min(seconds(count).await?);
    }
    Ok((2 * MULTIPLY_ADDS * invocations) as f64 / best)
}
