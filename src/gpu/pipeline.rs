//! Compute pipelines, created once per kernel variant.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::faults::Faults;
use super::shaders::{self, BindingKind, Shader, ShaderVariant};
use super::{GpuError, wait};
use crate::clock::Instant;

/// A kernel ready to run.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) name: &'static str,
    pub(super) shader: Shader,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) pipeline: wgpu::ComputePipeline,
}

impl Pipeline {
    /// Number of storage buffers the kernel binds.
    pub(super) fn storage_buffers(&self) -> usize {
        storage_buffers(&self.shader)
    }

    /// Bytes of the kernel's uniform buffer, 0 if it has none.
    pub(super) fn uniform_bytes(&self) -> usize {
        self.shader
            .bindings
            .iter()
            .map(|b| if let BindingKind::Uniform { size } = b { *size as usize } else { 0 })
            .sum()
    }
}

fn storage_buffers(shader: &Shader) -> usize {
    shader.bindings.iter().filter(|b| !matches!(b, BindingKind::Uniform { .. })).count()
}

/// Whether wgpu guards a kernel's indices and loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Checks {
    /// It does.
    On,
    /// The launcher has checked all that indices are computed from.
    Off,
}

/// The pipelines of one device, by their shader's variant.
#[derive(Debug)]
pub(super) struct Pipelines {
    device: wgpu::Device,
    limits: wgpu::Limits,
    faults: Arc<Faults>,
    /// Whether no kernel runs without checks.
    checked: bool,
    made: Mutex<HashMap<(ShaderVariant, Checks), Arc<Pipeline>>>,
}

impl Pipelines {
    pub(super) fn new(device: wgpu::Device, limits: wgpu::Limits, faults: Arc<Faults>, checked: bool) -> Self {
        Pipelines { device, limits, faults, checked, made: Mutex::default() }
    }

    /// Number of pipelines created.
    pub(super) fn count(&self) -> u64 {
        self.made.lock().len() as u64
    }

    /// The pipeline of a variant, created on first use.
    ///
    /// # Errors
    /// If the shader is invalid, needs more than the adapter allows, or the driver rejects it; other pipelines are not affected.
    pub(super) fn get(&self, variant: &ShaderVariant, checks: Checks) -> Result<Arc<Pipeline>, GpuError> {
        let checks = if self.checked { Checks::On } else { checks };
        let key = (variant.clone(), checks);
        if let Some(pipeline) = self.made.lock().get(&key) {
            return Ok(pipeline.clone());
        }
        let start = Instant::now();
        let shader = shaders::build(variant)?;
        self.check_features(&shader)?;
        self.check_limits(variant, &shader)?;
        let pipeline =
            Arc::new(refusable(&self.device, &self.faults, variant.name, || self.make(variant, shader, checks))?);
        log::debug!("pipeline of {} made in {:.1} ms", variant.name, 1e3 * start.elapsed().as_secs_f64());
        self.made.lock().insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// Fails if the shader has 16-bit floats and the device has none.
    fn check_features(&self, shader: &Shader) -> Result<(), GpuError> {
        let has = self.device.features().contains(wgpu::Features::SHADER_F16);
        if shader.needs_f16 && !has {
            let adapter = self.device.adapter_info().name;
            return Err(GpuError::MissingFeature { adapter, feature: "SHADER_F16".into() });
        }
        Ok(())
    }

    fn check_limits(&self, variant: &ShaderVariant, shader: &Shader) -> Result<(), GpuError> {
        let limits = &self.limits;
        for (limit, needed, available) in [
            (
                "max_compute_invocations_per_workgroup",
                shader.workgroup_size.iter().product(),
                limits.max_compute_invocations_per_workgroup,
            ),
            ("max_compute_workgroup_storage_size", shader.workgroup_bytes, limits.max_compute_workgroup_storage_size),
            (
                "max_storage_buffers_per_shader_stage",
                storage_buffers(shader) as u32,
                limits.max_storage_buffers_per_shader_stage,
            ),
        ] {
            if needed > available {
                return Err(GpuError::Limit {
                    what: format!("kernel {}", variant.name),
                    limit,
                    needed: needed.into(),
                    available: available.into(),
                });
            }
        }
        Ok(())
    }

    fn make(&self, variant: &ShaderVariant, shader: Shader, checks: Checks) -> Pipeline {
        let device = &self.device;
        let label = Some(variant.name);
        let entries: Vec<_> = (0..)
            .zip(&shader.bindings)
            .map(|(binding, kind)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match kind {
                        BindingKind::Uniform { .. } => wgpu::BufferBindingType::Uniform,
                        BindingKind::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        BindingKind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let descriptor =
            wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()) };
        let module = match checks {
            Checks::On => device.create_shader_module(descriptor),
            // SAFETY: our own shaders, or those for which their author promised the same; operations check the shapes that every
            // index is computed from, indices and slots in buffers are checked by the code that writes them or in the shader, all
            // loops are bounded by constants or shapes, and no divisor is zero.
            Checks::Off => unsafe {
                device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            },
        };
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: checks == Checks::On,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { name: variant.name, shader, layout, pipeline }
    }
}

/// The result of `make`, unless the driver reports an error, which then is one of this kernel and not of the device.
fn refusable<T>(
    device: &wgpu::Device,
    faults: &Arc<Faults>,
    kernel: &'static str,
    make: impl FnOnce() -> T,
) -> Result<T, GpuError> {
    let kinds = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
    let refusal = move |error: wgpu::Error| match error {
        wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { bytes: 0, in_use: 0 },
        other => GpuError::Shader { name: kernel.to_owned(), message: other.to_string() },
    };
    wait::scoped(device, faults, &kinds, refusal, make)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{GpuDevice, GpuOptions};

    /// A rejected kernel once made all later calls fail, and so a whole search for kernels.
    #[test]
    fn a_kernel_that_the_driver_refuses_is_the_only_one() {
        let gpu = GpuDevice::open(GpuOptions::default()).expect("this test needs a GPU adapter");
        let broken = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl("no shader".into()) };
        let device = &gpu.shared.device;
        let refused = refusable(device, &gpu.shared.faults, "broken", || device.create_shader_module(broken));
        assert!(matches!(&refused, Err(GpuError::Shader { name, .. }) if name == "broken"), "{refused:?}");
        let variant = ShaderVariant::new("global_avg_pool_forward", &[("PIXELS", 4), ("CHANNELS", 3), ("HALF", 0)]);
        gpu.shared.pipelines.get(&variant, Checks::Off).unwrap();
        gpu.synchronize().unwrap();
    }
}
