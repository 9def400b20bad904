//! What the GPU shall do, apart from how it is made to.

use std::sync::Arc;

use super::pipeline::Pipeline;
use super::pool::GpuBuffer;
use super::shaders::ShaderVariant;

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

/// One thing to do.
#[derive(Debug)]
pub(super) enum Command {
    Dispatch {
        pipeline: Arc<Pipeline>,
        bind_group: wgpu::BindGroup,
        workgroups: [u32; 3],
    },
    Copy {
        source: wgpu::Buffer,
        source_offset: u64,
        target: wgpu::Buffer,
        target_offset: u64,
        bytes: u64,
    },
    Clear {
        buffer: wgpu::Buffer,
        offset: u64,
        bytes: u64,
    },
    /// Commands that were captured.
    Run(Arc<[Command]>),
}

impl Command {
    /// The commands that this one stands for.
    fn parts(&self) -> &[Command] {
        match self {
            Command::Run(commands) => commands,
            other => std::slice::from_ref(other),
        }
    }
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

    pub(super) fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    pub(super) fn into_commands(self) -> Vec<Command> {
        self.commands
    }

    /// Encodes everything, neighbouring dispatches in one compute pass.
    pub(super) fn encode(&self, device: &wgpu::Device) -> wgpu::CommandBuffer {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let is_dispatch = |c: &Command| matches!(c, Command::Dispatch { .. });
        let commands: Vec<&Command> = self.commands.iter().flat_map(Command::parts).collect();
        for group in commands.chunk_by(|a, b| is_dispatch(a) && is_dispatch(b)) {
            if is_dispatch(group[0]) {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for command in group {
                    if let Command::Dispatch { pipeline, bind_group, workgroups: [x, y, z] } = command {
                        pass.set_pipeline(&pipeline.pipeline);
                        pass.set_bind_group(0, bind_group, &[]);
                        pass.dispatch_workgroups(*x, *y, *z);
                    }
                }
                continue;
            }
            match group[0] {
                Command::Copy { source, source_offset, target, target_offset, bytes } => {
                    encoder.copy_buffer_to_buffer(source, *source_offset, target, *target_offset, Some(*bytes));
                }
                Command::Clear { buffer, offset, bytes } => encoder.clear_buffer(buffer, *offset, Some(*bytes)),
                Command::Dispatch { .. } | Command::Run(_) => {}
            }
        }
        encoder.finish()
    }
}
