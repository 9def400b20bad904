//! Kernel calls: checks them against their shaders and records them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pipeline::{Checks, Pipeline};
use super::pool::GpuBuffer;
use super::recording::Command;
use super::shaders::{BindingKind, ShaderVariant};
use super::statistics::count;
use super::{GpuDevice, GpuError, wait};
use crate::profile::{self, Event};

/// One call of a kernel.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The kernel and its constants.
    pub variant: ShaderVariant,
    /// Contents of the kernel's uniform buffer; empty if it has none.
    pub uniform: &'a [u8],
    /// Storage buffers in order of their binding numbers.
    pub buffers: &'a [&'a GpuBuffer],
    /// Number of workgroups, split over two dimensions if they exceed the limit of one.
    pub workgroups: u64,
    /// Floating-point operations of the products that it computes; 0 if not counted.
    pub flops: u64,
}

/// A recorded kernel call of a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The kernel and its constants.
    pub variant: ShaderVariant,
    /// Number of workgroups.
    pub workgroups: u64,
    /// Floating-point operations of the products that it computes; 0 if not counted.
    pub flops: u64,
    /// Bytes of its buffers, each once.
    pub bytes: u64,
    /// Bytes of the largest of them.
    pub largest_buffer_bytes: u64,
}

impl GpuDevice {
    /// Records a call of any kernel. It runs with wgpu's checks, unless its author guarantees that it needs none: see
    /// [`ShaderVariant::unchecked`].
    ///
    /// # Errors
    /// If the shader is invalid, the call does not match it, or it exceeds the adapter's limits.
    pub fn launch(&self, launch: &Launch<'_>) -> Result<(), GpuError> {
        let checks = if launch.variant.is_promised_safe() { Checks::Off } else { Checks::On };
        self.record_with(launch, checks)
    }

    /// Records a call of one of this crate's kernels, whose operation has checked all values that determine indices.
    pub(crate) fn record(&self, launch: &Launch<'_>) -> Result<(), GpuError> {
        self.record_with(launch, Checks::Off)
    }

    fn record_with(&self, launch: &Launch<'_>, checks: Checks) -> Result<(), GpuError> {
        if self.shared.rehearsal {
            let bytes = launch.buffers.iter().map(|buffer| buffer.bytes()).sum();
            let largest_buffer_bytes = launch.buffers.iter().map(|buffer| buffer.bytes()).max().unwrap_or(0);
            let Launch { ref variant, workgroups, flops, .. } = *launch;
            let launched = Launched { variant: variant.clone(), workgroups, flops, bytes, largest_buffer_bytes };
            self.shared.launched.lock().push(launched);
            if profile::is_collecting() {
                profile::add([Event { name: variant.name, start_ns: 0, duration_ns: 0, flops, bytes }]);
            }
            // Stands for the dispatch; nothing is ever submitted.
            self.append(launch.buffers, Command::Run([].into()));
            return Ok(());
        }
        let pipeline = self.pipeline(&launch.variant, checks)?;
        let fault = |message| GpuError::Shader { name: launch.variant.name.into(), message };
        if pipeline.storage_buffers() != launch.buffers.len() {
            return Err(fault(format!(
                "binds {} storage buffers, {} given",
                pipeline.storage_buffers(),
                launch.buffers.len()
            )));
        }
        if pipeline.uniform_bytes() != launch.uniform.len() {
            return Err(fault(format!(
                "its uniform has {} bytes, {} given",
                pipeline.uniform_bytes(),
                launch.uniform.len()
            )));
        }
        let workgroups = self.fold(launch)?;
        let uniform = (!launch.uniform.is_empty()).then(|| self.uniform(launch.uniform)).transpose()?;
        let mut buffers = launch.buffers.iter();
        let entries: Vec<_> = (0..)
            .zip(&pipeline.shader.bindings)
            .filter_map(|(binding, kind)| {
                let resource = match kind {
                    BindingKind::Uniform { .. } => uniform.as_ref()?.as_entire_binding(),
                    BindingKind::Read | BindingKind::ReadWrite => buffers.next()?.binding(),
                };
                Some(wgpu::BindGroupEntry { binding, resource })
            })
            .collect();
        let bind_group = self.shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(launch.variant.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        count(&self.shared.counters.bind_groups);
        let bytes = launch.buffers.iter().map(|buffer| buffer.bytes()).sum();
        let command = Command::Dispatch { pipeline, bind_group, workgroups, flops: launch.flops, bytes };
        self.append(launch.buffers, command);
        self.check()
    }

    /// The calls that were recorded on a [`GpuDevice::rehearsal`], in their order; none on other devices.
    pub fn launched(&self) -> Vec<Launched> {
        self.shared.launched.lock().clone()
    }

    /// The variants of the kernels that were recorded on a [`GpuDevice::rehearsal`], each once, by name; none on other devices.
    pub fn launched_variants(&self) -> Vec<ShaderVariant> {
        let variants: BTreeSet<_> = self.shared.launched.lock().iter().map(|call| call.variant.clone()).collect();
        variants.into_iter().collect()
    }

    /// One dimension holds 65,535 workgroups on most adapters; more are spread over two.
    fn fold(&self, launch: &Launch<'_>) -> Result<[u32; 3], GpuError> {
        let limit = u64::from(self.shared.limits.max_compute_workgroups_per_dimension);
        let rows = launch.workgroups.div_ceil(limit).max(1);
        if rows > limit {
            return Err(GpuError::Limit {
                what: format!("kernel {}", launch.variant.name),
                limit: "max_compute_workgroups_per_dimension, squared,",
                needed: launch.workgroups,
                available: limit * limit,
            });
        }
        Ok([launch.workgroups.div_ceil(rows) as u32, rows as u32, 1])
    }

    /// A uniform buffer with these contents, made once.
    fn uniform(&self, bytes: &[u8]) -> Result<wgpu::Buffer, GpuError> {
        let mut uniforms = self.shared.uniforms.lock();
        if let Some(buffer) = uniforms.get(bytes) {
            return Ok(buffer.clone());
        }
        let buffer = self.shared.pool.create_other(&wgpu::BufferDescriptor {
            label: Some("uniform"),
            size: bytes.len().next_multiple_of(16).max(16) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })?;
        count(&self.shared.counters.buffers);
        self.shared.queue.write_buffer(&buffer, 0, bytes);
        uniforms.insert(bytes.to_vec(), buffer.clone());
        Ok(buffer)
    }

    fn pipeline(&self, variant: &ShaderVariant, checks: Checks) -> Result<Arc<Pipeline>, GpuError> {
        let pipeline = self.shared.pipelines.get(variant, checks);
        if pipeline.is_err() {
            // A lost device creates no pipelines: report the loss instead.
            wait::notice(&self.shared.device);
        }
        self.check()?;
        pipeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;

    fn open() -> GpuDevice {
        GpuDevice::open(GpuOptions::default()).expect("these tests need a GPU adapter, a software one will do")
    }

    #[test]
    fn a_call_that_does_not_match_its_kernel_is_refused() {
        let gpu = open();
        let buffer = gpu.allocate(1024, "a test").unwrap();
        let launch = Launch {
            variant: ShaderVariant::new("fill", &[]),
            uniform: &[0; 4],
            buffers: &[&buffer],
            workgroups: 1,
            flops: 0,
        };
        let error = gpu.record(&launch).unwrap_err().to_string();
        assert!(error.contains("shader fill") && error.contains("uniform has 8 bytes, 4 given"), "{error}");
    }

    /// A caller who claims more elements than a buffer has could write anywhere.
    #[test]
    fn what_anybody_may_launch_stays_inside_its_buffers() {
        let gpu = GpuDevice::open(GpuOptions { guarded: true, ..GpuOptions::default() }).expect("a GPU adapter");
        let buffer = gpu.allocate(256, "a test").unwrap();
        let uniform = [1_u32 << 12, 1.0_f32.to_bits()];
        let launch = Launch {
            variant: ShaderVariant::new("fill", &[]),
            uniform: bytemuck::cast_slice(&uniform),
            buffers: &[&buffer],
            workgroups: 16,
            flops: 0,
        };
        gpu.launch(&launch).unwrap();
        gpu.check_guards().unwrap();
        assert_eq!(gpu.read(&buffer).unwrap(), bytemuck::cast_slice::<f32, u8>(&[1.0; 64]));
    }

    #[test]
    fn kernels_from_outside_are_rendered_and_validated_alike() {
        const DOUBLE: &str = "@group(0) @binding(0) var<storage, read_write> values: array<f32>;
{% include \"shared/workgroup.wgsl\" %}
@compute @workgroup_size({{ LANES }})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    values[id.x] *= 2.0;
}
";
        let gpu = open();
        let buffer = gpu.allocate(256, "a test").unwrap();
        gpu.write(&buffer, bytemuck::cast_slice(&[1.5_f32; 64])).unwrap();
        let run = |template, constants: &[(&'static str, u32)]| {
            let variant = ShaderVariant::from_source("double", template, constants);
            gpu.launch(&Launch { variant, uniform: &[], buffers: &[&buffer], workgroups: 1, flops: 0 })
        };
        run(DOUBLE, &[("LANES", 64)]).unwrap();
        assert_eq!(gpu.read(&buffer).unwrap(), bytemuck::cast_slice::<f32, u8>(&[3.0; 64]));
        for (template, constants) in [(DOUBLE, &[][..]), ("fn broken(", &[("LANES", 64)])] {
            let message = run(template, constants).unwrap_err().to_string();
            assert!(message.contains("shader double"), "{message}");
        }
    }

    #[test]
    fn a_rehearsal_knows_what_was_launched() {
        let gpu = GpuDevice::rehearsal(false).unwrap();
        let buffer = gpu.allocate(1024, "a test").unwrap();
        let variant = |half| ShaderVariant::new("relu_forward", &[("HALF", half)]);
        for half in [1, 0, 1] {
            let launch = Launch { variant: variant(half), uniform: &[], buffers: &[&buffer], workgroups: 1, flops: 0 };
            gpu.record(&launch).unwrap();
        }
        assert_eq!(gpu.launched_variants(), [variant(0), variant(1)]);
    }

    #[test]
    fn pipelines_are_made_once_for_a_variant() {
        let gpu = open();
        let variant =
            |pixels| ShaderVariant::new("global_avg_pool_forward", &[("PIXELS", pixels), ("CHANNELS", 3), ("HALF", 0)]);
        let first = gpu.pipeline(&variant(4), Checks::Off).unwrap();
        assert!(Arc::ptr_eq(&first, &gpu.pipeline(&variant(4), Checks::Off).unwrap()));
        assert!(!Arc::ptr_eq(&first, &gpu.pipeline(&variant(5), Checks::Off).unwrap()));
    }

    #[test]
    fn workgroups_fold_into_two_dimensions() {
        let gpu = open();
        let fold = |workgroups| {
            gpu.fold(&Launch {
                variant: ShaderVariant::new("fill", &[]),
                uniform: &[],
                buffers: &[],
                workgroups,
                flops: 0,
            })
        };
        assert_eq!(fold(1).unwrap(), [1, 1, 1]);
        let limit = u64::from(gpu.limits().max_workgroups_per_dimension);
        let [x, y, z] = fold(limit + 1).unwrap();
        assert!(u64::from(x) <= limit && u64::from(x) * u64::from(y) > limit && (y, z) == (2, 1));
        assert!(matches!(fold(limit * limit + 1), Err(GpuError::Limit { .. })));
    }
}
