//! Getting results back from the GPU without stopping it.

use std::sync::mpsc::Receiver;

use super::{GpuDevice, GpuError};

/// Bytes on their way back from the GPU.
#[derive(Debug)]
pub struct PendingRead {
    pub(super) gpu: GpuDevice,
    pub(super) staging: wgpu::Buffer,
    pub(super) submission: wgpu::SubmissionIndex,
    pub(super) answer: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl PendingRead {
    /// Waits for the bytes.
    ///
    /// # Errors
    /// [`GpuError::Timeout`] after the device's time-out, [`GpuError::DeviceLost`] if the GPU goes away meanwhile.
    pub fn wait(self) -> Result<Vec<u8>, GpuError> {
        self.gpu.wait_for(&self.submission)?;
        // The work is done, but the thread whose poll noticed may still be on its way to call back.
        match self.answer.recv_timeout(self.gpu.timeout()) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(GpuError::Rejected(e.to_string())),
            Err(_) => return Err(GpuError::DeviceLost("a readback was never answered".into())),
        }
        let view = self.staging.slice(..).get_mapped_range().map_err(|e| GpuError::Rejected(e.to_string()))?;
        let bytes = view.to_vec();
        drop(view);
        self.staging.unmap();
        Ok(bytes)
    }
}
