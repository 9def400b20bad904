//! Waiting in a browser, where a thread must go back to its event loop for anything to happen.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{Either, Shared, select};
use gloo_timers::future::TimeoutFuture;

use crate::gpu::GpuError;
use crate::gpu::faults::Faults;

/// Work submitted to a GPU; see [`GpuDevice::wait_for_async`](crate::gpu::GpuDevice::wait_for_async).
#[derive(Debug, Clone)]
pub struct SubmissionIndex(Shared<oneshot::Receiver<()>>);

/// The browser processes a device's events by itself.
pub(in crate::gpu) fn notice(_device: &wgpu::Device) {}

/// The result of `make`. If the driver reports an error of one of these kinds later, what `refusal` makes of it becomes the device's,
/// before any work that follows is done.
pub(in crate::gpu) fn scoped<T>(
    device: &wgpu::Device,
    faults: &Arc<Faults>,
    kinds: &[wgpu::ErrorFilter],
    refusal: impl FnOnce(wgpu::Error) -> GpuError + 'static,
    make: impl FnOnce() -> T,
) -> Result<T, GpuError> {
    let scopes: Vec<_> = kinds.iter().map(|&kind| device.push_error_scope(kind)).collect();
    let made = make();
    let answers: Vec<_> = scopes.into_iter().rev().map(wgpu::ErrorScopeGuard::pop).collect();
    let faults = faults.clone();
    wasm_bindgen_futures::spawn_local(async move {
        for answer in answers {
            if let Some(error) = answer.await {
                faults.report(refusal(error));
                return;
            }
        }
    });
    Ok(made)
}

/// What to wait for after a submission. Browsers do not number them.
pub(in crate::gpu) fn submitted(queue: &wgpu::Queue, _index: wgpu::SubmissionIndex) -> SubmissionIndex {
    all_done(queue)
}

/// Becomes ready when all work submitted so far is done.
fn all_done(queue: &wgpu::Queue) -> SubmissionIndex {
    let (sender, done) = oneshot::channel();
    queue.on_submitted_work_done(move || {
        let _ = sender.send(());
    });
    SubmissionIndex(done.shared())
}

/// Waits for one submission.
pub(in crate::gpu) async fn for_submission(
    _device: &wgpu::Device,
    submission: &SubmissionIndex,
    timeout: Duration,
) -> Result<(), GpuError> {
    let done = within(timeout, submission.0.clone()).await?;
    done.map_err(|_| GpuError::DeviceLost("submitted work was abandoned".into()))
}

/// Waits for all submissions.
pub(in crate::gpu) async fn for_all(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    timeout: Duration,
) -> Result<(), GpuError> {
    for_submission(device, &all_done(queue), timeout).await
}

/// A buffer on its way to where the host can read it.
#[derive(Debug)]
pub(in crate::gpu) struct Mapping(Shared<oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>>);

impl Mapping {
    pub(in crate::gpu) fn begin(buffer: &wgpu::Buffer) -> Self {
        let (sender, answer) = oneshot::channel();
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result);
        });
        Mapping(answer.shared())
    }

    /// Waits for it.
    pub(in crate::gpu) async fn done(&self, timeout: Duration) -> Result<(), GpuError> {
        match within(timeout, self.0.clone()).await? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(GpuError::Rejected(e.to_string())),
            Err(_) => Err(GpuError::DeviceLost("a readback got no reply".into())),
        }
    }
}

/// The result of `work`, unless it takes too long.
async fn within<T>(timeout: Duration, work: impl Future<Output = T> + Unpin) -> Result<T, GpuError> {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    match select(work, TimeoutFuture::new(milliseconds)).await {
        Either::Left((result, _)) => Ok(result),
        Either::Right(_) => Err(GpuError::Timeout { seconds: timeout.as_secs() }),
    }
}
