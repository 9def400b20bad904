//! All code that waits for a driver: opening, error scopes, submitted work, readbacks. For a platform whose thread must not block,
//! such as a browser, only this file must change.

use std::future::Future;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::GpuError;

/// Work submitted to a GPU; see [`GpuDevice::wait_for`](super::GpuDevice::wait_for).
#[derive(Debug, Clone)]
pub struct SubmissionIndex(pub(super) wgpu::SubmissionIndex);

/// Waits for results that native drivers return immediately: adapters, devices, error scopes.
pub(super) fn for_driver<T>(answer: impl Future<Output = T>) -> T {
    pollster::block_on(answer)
}

/// Processes a device's events since the last poll, without waiting.
pub(super) fn notice(device: &wgpu::Device) {
    let _ = device.poll(wgpu::PollType::Poll);
}

/// Waits for one submission, or for all.
pub(super) fn for_work(
    device: &wgpu::Device,
    submission: Option<&SubmissionIndex>,
    timeout: Duration,
) -> Result<(), GpuError> {
    let submission_index = submission.map(|index| index.0.clone());
    match device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(timeout) }) {
        Ok(_) => Ok(()),
        Err(wgpu::PollError::Timeout) => Err(GpuError::Timeout { seconds: timeout.as_secs() }),
        Err(other) => Err(GpuError::Rejected(other.to_string())),
    }
}

/// Waits for the answer of a mapping whose work is done: the thread that polled may not have called the callback yet.
pub(super) fn for_mapping(
    answer: &Receiver<Result<(), wgpu::BufferAsyncError>>,
    timeout: Duration,
) -> Result<(), GpuError> {
    match answer.recv_timeout(timeout) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(GpuError::Rejected(e.to_string())),
        Err(_) => Err(GpuError::DeviceLost("a readback got no reply".into())),
    }
}
