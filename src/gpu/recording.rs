//! What the GPU shall do, apart from how it is made to.

use std::sync::Arc;

use super::pool::GpuBuffer;
use super::shaders::{BindingKind, Shader, ShaderVariant};

/// One call of a kernel.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Which kernel, with its constants.
    pub variant: ShaderVariant,
    /// Contents of the kernel's uniform buffer; empty if it has none.
    pub uniform: &'a [u8],
    /// Storage buffers in order of their binding numbers.
    pub buffers: &'a [&'a GpuBuffer],
    /// Number of workgroups, folded into two dimensions where one does not hold them.
    pub workgroups: u64,
}

/// A kernel ready to run.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) shader: Shader,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) pipeline: wgpu::ComputePipeline,
}

impl Pipeline {
    /// Number of storage buffers the kernel binds.
    pub(super) fn storage_buffers(&self) -> usize {
        self.shader.bindings.iter().filter(|b| !matches!(b, BindingKind::Uniform { .. })).count()
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

#[derive(Debug)]
enum Command {
    Dispatch { pipeline: Arc<Pipeline>, bind_group: wgpu::BindGroup, workgroups: [u32; 3] },
    Copy { source: wgpu::Buffer, offset: u64, target: wgpu::Buffer, bytes: u64 },
    Clear { buffer: wgpu::Buffer, offset: u64, bytes: u64 },
}

/// Commands in the order in which they shall run.
#[derive(Debug, Default)]
pub(super) struct Recording {
    commands: Vec<Command>,
}

impl Recording {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn dispatch(&mut self, pipeline: Arc<Pipeline>, bind_group: wgpu::BindGroup, workgroups: [u32; 3]) {
        self.commands.push(Command::Dispatch { pipeline, bind_group, workgroups });
    }

    pub(super) fn copy(&mut self, source: &wgpu::Buffer, offset: u64, target: &wgpu::Buffer, bytes: u64) {
        self.commands.push(Command::Copy { source: source.clone(), offset, target: target.clone(), bytes });
    }

    pub(super) fn clear(&mut self, buffer: &GpuBuffer) {
        self.commands.push(Command::Clear {
            buffer: buffer.raw().clone(),
            offset: buffer.offset(),
            bytes: buffer.bytes(),
        });
    }

    /// Encodes everything, neighbouring dispatches in one compute pass.
    pub(super) fn encode(&self, device: &wgpu::Device) -> wgpu::CommandBuffer {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let is_dispatch = |c: &Command| matches!(c, Command::Dispatch { .. });
        for group in self.commands.chunk_by(|a, b| is_dispatch(a) && is_dispatch(b)) {
            match &group[0] {
                Command::Dispatch { .. } => {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    for command in group {
                        if let Command::Dispatch { pipeline, bind_group, workgroups: [x, y, z] } = command {
                            pass.set_pipeline(&pipeline.pipeline);
                            pass.set_bind_group(0, bind_group, &[]);
                            pass.dispatch_workgroups(*x, *y, *z);
                        }
                    }
                }
                Command::Copy { source, offset, target, bytes } => {
                    encoder.copy_buffer_to_buffer(source, *offset, target, 0, Some(*bytes));
                }
                Command::Clear { buffer, offset, bytes } => encoder.clear_buffer(buffer, *offset, Some(*bytes)),
            }
        }
        encoder.finish()
    }
}
