//! Waiting where threads may block. What waits is an `async fn`, which blocks inside and is ready when it is first polled, so that
//! [`block_on`] needs no scheduler.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::gpu::GpuError;
use crate::gpu::faults::Faults;

/// Work submitted to a GPU; see [`GpuDevice::wait_for`](crate::gpu::GpuDevice::wait_for).
#[derive(Debug, Clone)]
pub struct SubmissionIndex(wgpu::SubmissionIndex);

/// Runs to its end what waits for a device.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    pollster::block_on(work)
}

/// Processes a device's events since the last poll, without waiting.
pub(in crate::gpu) fn notice(device: &wgpu::Device) {
    let _ = device.poll(wgpu::PollType::Poll);
}

/// The result of `make`, unless the driver reports an error of one of these kinds, which `refusal` translates. Of several errors, one
/// of the last kind comes first.
pub(in crate::gpu) fn scoped<T>(
    device: &wgpu::Device,
    _faults: &Arc<Faults>,
    kinds: &[wgpu::ErrorFilter],
    refusal: impl FnOnce(wgpu::Error) -> GpuError + 'static,
    make: impl FnOnce() -> T,
) -> Result<T, GpuError> {
    let scopes: Vec<_> = kinds.iter().map(|&kind| device.push_error_scope(kind)).collect();
    let made = make();
    // The innermost first; all of them must be taken away. Native drivers answer immediately.
    let refusals: Vec<_> = scopes.into_iter().rev().filter_map(|scope| block_on(scope.pop())).collect();
    refusals.into_iter().next().map_or(Ok(made), |error| Err(refusal(error)))
}

/// What to wait for after a submission.
pub(in crate::gpu) fn submitted(_queue: &wgpu::Queue, index: wgpu::SubmissionIndex) -> SubmissionIndex {
    SubmissionIndex(index)
}

/// Waits for one submission.
pub(in crate::gpu) async fn for_submission(
    device: &wgpu::Device,
    submission: &SubmissionIndex,
    timeout: Duration,
) -> Result<(), GpuError> {
    poll(device, Some(submission.0.clone()), timeout)
}

/// Waits for all submissions.
pub(in crate::gpu) async fn for_all(
    device: &wgpu::Device,
    _queue: &wgpu::Queue,
    timeout: Duration,
) -> Result<(), GpuError> {
    block_until_idle(device, timeout)
}

/// Blocks until all submissions are done.
pub(in crate::gpu) fn block_until_idle(device: &wgpu::Device, timeout: Duration) -> Result<(), GpuError> {
    poll(device, None, timeout)
}

fn poll(
    device: &wgpu::Device,
    submission_index: Option<wgpu::SubmissionIndex>,
    timeout: Duration,
) -> Result<(), GpuError> {
    match device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(timeout) }) {
        Ok(_) => Ok(()),
        Err(wgpu::PollError::Timeout) => Err(GpuError::Timeout { seconds: timeout.as_secs() }),
        Err(other) => Err(GpuError::Rejected(other.to_string())),
    }
}

/// A buffer on its way to where the host can read it.
#[derive(Debug)]
pub(in crate::gpu) struct Mapping(Receiver<Result<(), wgpu::BufferAsyncError>>);

impl Mapping {
    pub(in crate::gpu) fn begin(buffer: &wgpu::Buffer) -> Self {
        let (sender, answer) = mpsc::channel();
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is dropped only if the bytes are no longer needed.
            let _ = sender.send(result);
        });
        Mapping(answer)
    }

    /// Waits for it. The buffer's work is done; but the thread that polled may not have called back yet.
    pub(in crate::gpu) async fn done(&self, timeout: Duration) -> Result<(), GpuError> {
        match self.0.recv_timeout(timeout) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(GpuError::Rejected(e.to_string())),
            Err(_) => Err(GpuError::DeviceLost("a readback got no reply".into())),
        }
    }
}
