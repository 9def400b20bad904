//! Submissions whose kernels are timed one by one, with the GPU's own clock.

use super::recording::{Command, encode_timed};
use super::statistics::count;
use super::wait::{self, Mapping, SubmissionIndex};
use super::{GpuDevice, GpuError};
use crate::profile::{self, Event};

/// Maximum number of timestamps in one query set.
const MOST_QUERIES: u32 = wgpu::QUERY_SET_MAX_QUERIES;

impl GpuDevice {
    /// Submits commands with a timestamp before and after each kernel, waits for them, and adds the kernels' runs to the profile.
    /// Kernels beyond the capacity of a query set run untimed.
    pub(super) fn submit_timed(&self, commands: &[&Command]) -> Result<SubmissionIndex, GpuError> {
        let device = &self.shared.device;
        let kernels: Vec<_> = commands.iter().filter_map(|command| command.kernel()).collect();
        let timed = kernels.len().min(MOST_QUERIES as usize / 2);
        let queries = (2 * timed).max(2) as u32;
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: queries,
        });
        let buffer = |usage| {
            count(&self.shared.counters.buffers);
            self.shared.pool.create_other(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(queries) * 8,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let staging = buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ)?;
        let commands = encode_timed(device, commands, &set, queries);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        encoder.resolve_query_set(&set, 0..queries, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, None);
        let index = self.shared.queue.submit([commands, encoder.finish()]);
        let submission = wait::submitted(&self.shared.queue, index);
        let mapping = Mapping::begin(&staging);
        self.wait_for(&submission)?;
        wait::block_on(mapping.done(self.timeout()))?;
        let view = staging.slice(..).get_mapped_range().map_err(|e| GpuError::Rejected(e.to_string()))?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        let period = f64::from(self.shared.queue.get_timestamp_period());
        // Some clocks start in 1970, and a floating-point number would round such a time to hundreds of nanoseconds.
        let first = ticks.first().copied().unwrap_or_default();
        let first = *self.shared.first_tick.get_or_init(|| first);
        let nanoseconds = |ticks: u64| (ticks as f64 * period) as u64;
        profile::add(kernels.iter().zip(ticks.chunks_exact(2)).take(timed).map(|(&(name, flops, bytes), ticks)| {
            Event {
                name,
                start_ns: nanoseconds(ticks[0].saturating_sub(first)),
                duration_ns: nanoseconds(ticks[1].saturating_sub(ticks[0])),
                flops,
                bytes,
            }
        }));
        Ok(submission)
    }
}
