//! Recorded commands for the GPU, independent of their encoding.

use std::sync::Arc;

use super::pipeline::Pipeline;

/// One command.
#[derive(Debug)]
pub(super) enum Command {
    Dispatch {
        pipeline: Arc<Pipeline>,
        bind_group: wgpu::BindGroup,
        workgroups: [u32; 3],
        flops: u64,
        /// Bytes that it binds.
        bytes: u64,
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
    /// Name, floating-point operations and bytes of a kernel's call.
    pub(super) fn kernel(&self) -> Option<(&'static str, u64, u64)> {
        match self {
            Command::Dispatch { pipeline, flops, bytes, .. } => Some((pipeline.name, *flops, *bytes)),
            _ => None,
        }
    }

    /// The captured commands of this one, or itself.
    fn parts(&self) -> &[Command] {
        match self {
            Command::Run(commands) => commands,
            other => std::slice::from_ref(other),
        }
    }
}

/// Commands in the order of execution.
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

    /// All commands, those of captures one by one.
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter().flat_map(Command::parts)
    }
}

/// Encodes commands, neighboring dispatches in one compute pass.
pub(super) fn encode(device: &wgpu::Device, commands: &[&Command]) -> wgpu::CommandBuffer {
    let is_dispatch = |c: &Command| matches!(c, Command::Dispatch { .. });
    let groups = commands.chunk_by(|a, b| is_dispatch(a) && is_dispatch(b));
    encode_groups(device, groups.map(|group| (group, None)))
}

/// Encodes commands, each dispatch in a separate compute pass that writes two timestamps into the set, up to its number of
/// `queries`.
#[cfg(not(target_family = "wasm"))]
pub(super) fn encode_timed(
    device: &wgpu::Device,
    commands: &[&Command],
    set: &wgpu::QuerySet,
    queries: u32,
) -> wgpu::CommandBuffer {
    let mut next = 0;
    let groups = commands.chunks(1).map(|group| {
        if group[0].kernel().is_none() || next + 2 > queries {
            return (group, None);
        }
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: set,
            beginning_of_pass_write_index: Some(next),
            end_of_pass_write_index: Some(next + 1),
        };
        next += 2;
        (group, Some(writes))
    });
    encode_groups(device, groups)
}

/// Encodes groups of commands: the dispatches of one in one compute pass, anything else alone.
fn encode_groups<'a>(
    device: &wgpu::Device,
    groups: impl Iterator<Item = (&'a [&'a Command], Option<wgpu::ComputePassTimestampWrites<'a>>)>,
) -> wgpu::CommandBuffer {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
    for (group, timestamp_writes) in groups {
        if group[0].kernel().is_some() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            for command in group {
                if let Command::Dispatch { pipeline, bind_group, workgroups: [x, y, z], .. } = command {
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

/// Splits commands into as few groups as possible, so that no group of several commands exceeds `most` floating-point operations.
pub(super) fn cut_by_flops<'a>(commands: &'a [&'a Command], most: u64) -> Vec<&'a [&'a Command]> {
    cut(commands, most, |command| command.kernel().map_or(0, |(_, flops, _)| flops))
}

/// Splits items into as few groups as possible, so that no group of several exceeds the weight `most`.
fn cut<T>(mut items: &[T], most: u64, weight: impl Fn(&T) -> u64) -> Vec<&[T]> {
    let mut runs = Vec::new();
    while !items.is_empty() {
        let mut sum = 0_u64;
        let over = items.iter().position(|item| {
            sum = sum.saturating_add(weight(item));
            sum > most
        });
        let (run, rest) = items.split_at(over.unwrap_or(items.len()).max(1));
        runs.push(run);
        items = rest;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_are_cut_where_they_would_take_too_long() {
        let cut = |weights: &'static [u64]| cut(weights, 10, |weight| *weight);
        assert_eq!(cut(&[4, 6, 1, 0, 9]), [&[4, 6][..], &[1, 0, 9]]);
        assert_eq!(cut(&[11, 0, 20, 3]), [&[11][..], &[0], &[20], &[3]], "what cannot be cut stands alone");
        assert!(cut(&[]).is_empty() && cut(&[u64::MAX, u64::MAX]).len() == 2);
    }
}
