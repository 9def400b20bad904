//! Commands captured once and run many times.

use std::sync::Arc;
use std::thread::ThreadId;

use super::pool::{GpuBuffer, Pool, Reserve};
use super::recording::{Command, Recording};
use super::{GpuDevice, GpuError};

/// Commands that were captured, to be run any number of times by [`GpuDevice::run`].
///
/// It keeps alive all buffers that its commands use. Those made while it was captured are its own: nobody else is given
/// them before the program and every tensor made in the capture are dropped. Such a tensor holds the results of the last
/// run.
#[derive(Debug)]
pub struct Program {
    pub(super) gpu: GpuDevice,
    pub(super) commands: Arc<[Command]>,
    _foreign: Vec<GpuBuffer>,
    _reserve: Arc<Reserve>,
}

impl Program {
    pub(super) fn new(gpu: &GpuDevice, capture: Capture) -> Self {
        Program {
            gpu: gpu.clone(),
            commands: capture.recording.into_commands().into(),
            _foreign: capture.foreign,
            _reserve: capture.reserve,
        }
    }

    /// Number of its commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
}

/// What a thread has captured so far.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) recording: Recording,
    pub(super) reserve: Arc<Reserve>,
    /// Buffers that commands use and that were there before the capture.
    foreign: Vec<GpuBuffer>,
}

impl Capture {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Capture { recording: Recording::default(), reserve: Reserve::new(pool), foreign: Vec::new() }
    }

    /// Keeps a buffer that a command uses. Those of the capture are kept by its reserve: holding them here would keep
    /// them from being used again within the capture.
    pub(super) fn keep(&mut self, buffer: &GpuBuffer) {
        if !buffer.is_of(&self.reserve) && !self.foreign.iter().any(|known| known.shares_memory(buffer)) {
            self.foreign.push(buffer.clone());
        }
    }
}

/// Ends a thread's capture, also when what is captured fails or panics.
pub(super) struct CaptureScope<'a> {
    gpu: &'a GpuDevice,
    thread: ThreadId,
}

impl<'a> CaptureScope<'a> {
    /// # Errors
    /// If the thread is capturing already.
    pub(super) fn begin(gpu: &'a GpuDevice) -> Result<Self, GpuError> {
        let thread = std::thread::current().id();
        let mut captures = gpu.captures().lock();
        if captures.contains_key(&thread) {
            return Err(GpuError::Capturing { call: "a capture was begun" });
        }
        captures.insert(thread, Capture::new(gpu.pool().clone()));
        Ok(CaptureScope { gpu, thread })
    }

    /// What was captured.
    pub(super) fn end(self) -> Option<Capture> {
        self.gpu.captures().lock().remove(&self.thread)
    }
}

impl Drop for CaptureScope<'_> {
    fn drop(&mut self) {
        self.gpu.captures().lock().remove(&self.thread);
    }
}
