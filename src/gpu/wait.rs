//! All code that waits for a driver. What waits is an `async fn`, which blocks inside and is ready when it is first polled, so that
//! [`block_on`] needs no scheduler. For a platform whose thread must not block, such as a browser, only this file must change.

use std::future::Future;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::GpuError;

/// Work submitted to a GPU; see [`GpuDevice::wait_for`](crate::gpu::GpuDevice::wait_for).
#[derive(Debug, Clone)]
pub struct SubmissionIndex(pub(super) wgpu::SubmissionIndex);

/// Runs to its end what waits for a device.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    pollster::block_on(work)
}

/// Processes a device's events since the last poll, without waiting.
pub(super) fn notice(device: &wgpu::Device) {
    let _ = device.poll(wgpu::PollType::Poll);
}

/// The result of `make`, and the errors of these kinds that the driver reports of it, those of the last kind first.
pub(super) fn scoped<T>(
    device: &wgpu::Device,
    kinds: &[wgpu::ErrorFilter],
    make: impl FnOnce() -> T,
) -> (T, Vec<wgpu::Error>) {
    let scopes: Vec<_> = kinds.iter().map(|&kind| device.push_error_scope(kind)).collect();
    let made = make();
    // The innermost first; all of them must be taken away. Native drivers answer immediately.
    (made, scopes.into_iter().rev().filter_map(|scope| block_on(scope.pop())).collect())
}

/// Waits for one submission, or for all.
pub(super) async fn for_work(
    device: &wgpu::Device,
    submission: Option<&SubmissionIndex>,
    timeout: Duration,
) -> Result<(), GpuError> {
    let submission_index = submission.map(|SubmissionIndex(index)| index.clone());
    match device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(timeout) }) {
        Ok(_) => Ok(()),
        Err(wgpu::PollError::Timeout) => Err(GpuError::Timeout { seconds: timeout.as_secs() }),
        Err(other) => Err(GpuError::Rejected(other.to_string())),
    }
}

/// A buffer on its way to where the host can read it.
#[derive(Debug)]
pub(super) struct Mapping(Receiver<Result<(), wgpu::BufferAsyncError>>);

impl Mapping {
    pub(super) fn begin(buffer: &wgpu::Buffer) -> Self {
        let (sender, answer) = mpsc::channel();
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is dropped only if the bytes are no longer needed.
            let _ = sender.send(result);
        });
        Mapping(answer)
    }

    /// Waits for it. The buffer's work is done; but the thread that polled may not have called back yet.
    pub(super) async fn done(&self, timeout: Duration) -> Result<(), GpuError> {
        match self.0.recv_timeout(timeout) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(GpuError::Rejected(e.to_string())),
            Err(_) => Err(GpuError::DeviceLost("a readback got no reply".into())),
        }
    }
}
