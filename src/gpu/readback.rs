//! Asynchronous readback of results from the GPU.

use super::pool::{self, GpuBuffer};
use super::recording::Command;
use super::statistics::count;
#[cfg(not(target_family = "wasm"))]
use super::wait;
use super::wait::{Mapping, SubmissionIndex};
use super::{GpuDevice, GpuError};

/// Bytes on their way back from the GPU.
#[derive(Debug)]
pub struct PendingRead {
    pub(super) gpu: GpuDevice,
    pub(super) staging: wgpu::Buffer,
    pub(super) submission: SubmissionIndex,
    pub(super) mapping: Mapping,
}

impl PendingRead {
    /// Waits for the bytes.
    ///
    /// # Errors
    /// As for [`PendingRead::wait_async`].
    #[cfg(not(target_family = "wasm"))]
    pub fn wait(self) -> Result<Vec<u8>, GpuError> {
        wait::block_on(self.wait_async())
    }

    /// Waits for the bytes.
    ///
    /// # Errors
    /// [`GpuError::Timeout`] after the device's time-out, [`GpuError::DeviceLost`] if the GPU is lost meanwhile.
    pub async fn wait_async(self) -> Result<Vec<u8>, GpuError> {
        self.gpu.wait_for_async(&self.submission).await?;
        self.mapping.done(self.gpu.timeout()).await?;
        let view = self.staging.slice(..).get_mapped_range().map_err(|e| GpuError::Rejected(e.to_string()))?;
        let bytes = view.to_vec();
        drop(view);
        self.staging.unmap();
        Ok(bytes)
    }
}

impl GpuDevice {
    /// Starts a readback of a buffer's bytes, after all previously recorded commands.
    pub fn start_read(&self, buffer: &GpuBuffer) -> Result<PendingRead, GpuError> {
        self.read_range(buffer.raw(), buffer.offset(), buffer.bytes())
    }

    fn read_range(&self, source: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<PendingRead, GpuError> {
        self.refuse_in_capture("memory was read")?;
        if self.shared.rehearsal {
            return Err(GpuError::Rejected("a rehearsal has no results to read".into()));
        }
        count(&self.shared.counters.buffers);
        let staging = self.shared.pool.create_other(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })?;
        let mut recording = self.shared.recording.lock();
        recording.push(Command::Copy {
            source: source.clone(),
            source_offset: offset,
            target: staging.clone(),
            target_offset: 0,
            bytes,
        });
        let submission = self
            .submit_locked(&mut recording)?
            .ok_or_else(|| GpuError::Rejected("nothing was submitted for a readback".into()))?;
        drop(recording);
        let mapping = Mapping::begin(&staging);
        Ok(PendingRead { gpu: self.clone(), staging, submission, mapping })
    }

    /// Reads a buffer's bytes back and waits for them.
    #[cfg(not(target_family = "wasm"))]
    pub fn read(&self, buffer: &GpuBuffer) -> Result<Vec<u8>, GpuError> {
        self.start_read(buffer)?.wait()
    }

    /// [`GpuDevice::check_guards_async`], blocking.
    ///
    /// # Errors
    /// If there was such a write, or the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn check_guards(&self) -> Result<(), GpuError> {
        wait::block_on(self.check_guards_async())
    }

    /// In guarded mode: fails if anything was written outside the tensors made so far.
    pub async fn check_guards_async(&self) -> Result<(), GpuError> {
        for (buffer, writable) in self.shared.pool.guarded_buffers() {
            let bytes = self.read_range(&buffer, 0, buffer.size())?.wait_async().await?;
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
            let broken = pool::broken_guards(&words, &writable);
            if broken > 0 {
                return Err(GpuError::Rejected(format!(
                    "{broken} words written outside a tensor of {} bytes",
                    writable.end - writable.start
                )));
            }
        }
        Ok(())
    }
}
