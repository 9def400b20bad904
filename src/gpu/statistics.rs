//! Counters of the engine's work.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the device was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Pipelines made, one for each variant of a kernel.
    pub pipelines: u64,
    /// Bind groups made, one for each kernel call that was recorded.
    pub bind_groups: u64,
    /// Buffers made: for tensors, for uniforms, and to read back.
    pub buffers: u64,
    /// Submissions to the queue.
    pub submissions: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bind_groups: AtomicU64,
    /// Without those of tensors, which the pool counts.
    pub(super) buffers: AtomicU64,
    pub(super) submissions: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
