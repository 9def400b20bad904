//! What a device can do at most, measured: moving memory, and multiply-adds.

#![allow(clippy::expect_used, reason = "a benchmark without its device has nothing to say")]

use std::hint::black_box;
use std::time::Instant;

use cifar_gpu::Device;
use cifar_gpu::diagnose::ceiling;
use cifar_gpu::gpu::{GpuDevice, GpuOptions, interop};
use rayon::prelude::*;

/// Bytes that are copied: more than caches hold.
const COPY_BYTES: u64 = 128 << 20;
/// Rows, columns and depth of the CPU's matrix product.
const GEMM: usize = 1024;
/// Invocations of a workgroup of `copy.wgsl`.
const LANES: u64 = 256;
/// Every ceiling is the best of so many measurements.
const MEASUREMENTS: usize = 8;
/// A measurement lasts about so many seconds, so that the start of the work does not count.
const MEASUREMENT_SECONDS: f64 = 0.05;

/// The most a device can do.
#[derive(Debug, Clone, Copy)]
pub struct Ceilings {
    /// Floating-point operations a second.
    pub flops: f64,
    /// Bytes read or written a second.
    pub bytes: f64,
}

impl Ceilings {
    /// Measures the ceilings of a device that [`Device::open`] chose as the best.
    pub fn measure(device: &Device) -> Self {
        match device {
            Device::Cpu(_) => Ceilings { flops: gemm_flops(), bytes: cpu_copy_bytes() },
            Device::Gpu(gpu) => {
                let flops = ceiling::flops_per_second(gpu).expect("the GPU's work");
                Ceilings { flops, bytes: Gpu::open().copy_bytes() }
            }
        }
    }
}

/// Seconds that a unit of work takes, the best of some measurements of many units.
fn best_seconds(mut work: impl FnMut(u32)) -> f64 {
    let mut time = |count: u32| {
        let start = Instant::now();
        work(count);
        start.elapsed().as_secs_f64() / f64::from(count)
    };
    time(1);
    let count = (MEASUREMENT_SECONDS / time(1)).clamp(1.0, 10_000.0) as u32;
    (0..MEASUREMENTS).map(|_| time(count)).fold(f64::INFINITY, f64::min)
}

fn gemm_flops() -> f64 {
    let (a, b) = (vec![0.5_f32; GEMM * GEMM], vec![0.25_f32; GEMM * GEMM]);
    let mut product = vec![0.0_f32; GEMM * GEMM];
    let stride = GEMM as isize;
    let seconds = best_seconds(|count| {
        for _ in 0..count {
            // SAFETY: all three matrices have GEMM · GEMM elements, the left one by rows, the others by columns.
            unsafe {
                gemm::gemm(
                    GEMM,
                    GEMM,
                    GEMM,
                    product.as_mut_ptr(),
                    stride,
                    1,
                    false,
                    a.as_ptr(),
                    1,
                    stride,
                    b.as_ptr(),
                    stride,
                    1,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(0),
                );
            }
            black_box(&product);
        }
    });
    2.0 * (GEMM as f64).powi(3) / seconds
}

fn cpu_copy_bytes() -> f64 {
    let words = COPY_BYTES as usize / 4;
    let (source, mut target) = (vec![1.0_f32; words], vec![0.0_f32; words]);
    let seconds = best_seconds(|count| {
        for _ in 0..count {
            target
                .par_chunks_mut(1 << 20)
                .zip(source.par_chunks(1 << 20))
                .for_each(|(to, from)| to.copy_from_slice(from));
            black_box(&target);
        }
    });
    2.0 * COPY_BYTES as f64 / seconds
}

/// The device that kernels run on, through wgpu alone.
struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    copy_bytes: u64,
}

impl Gpu {
    fn open() -> Self {
        let gpu = GpuDevice::open(GpuOptions::default()).expect("a GPU");
        let (device, queue) = (interop::device(&gpu).clone(), interop::queue(&gpu).clone());
        let limits = device.limits();
        let copy_bytes =
            COPY_BYTES.min(limits.max_storage_buffer_binding_size).min(limits.max_buffer_size) / 4096 * 4096;
        Gpu { device, queue, copy_bytes }
    }

    fn copy_bytes(&self) -> f64 {
        let buffers = [self.buffer(self.copy_bytes), self.buffer(self.copy_bytes)];
        let seconds = self.seconds(include_str!("copy.wgsl"), &buffers, self.copy_bytes / (16 * LANES));
        2.0 * self.copy_bytes as f64 / seconds
    }

    fn buffer(&self, size: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    }

    /// Seconds that a dispatch of a shader takes.
    fn seconds(&self, source: &str, buffers: &[wgpu::Buffer], workgroups: u64) -> f64 {
        let descriptor = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(source.into()) };
        // SAFETY: every invocation has its element in every buffer, and the only loop is bounded by a constant.
        let module =
            unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        best_seconds(|count| {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            for _ in 0..count {
                pass.dispatch_workgroups(workgroups as u32, 1, 1);
            }
            drop(pass);
            self.queue.submit([encoder.finish()]);
            self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the GPU's work");
        })
    }
}
