//! Submission of recorded commands, and waiting for them.

use super::recording::{Command, Recording, cut_by_flops, encode};
use super::statistics::count;
use super::wait::{self, SubmissionIndex};
use super::{GpuDevice, GpuError};

impl GpuDevice {
    /// Submits the recorded commands, if any, without waiting.
    pub fn submit(&self) -> Result<Option<SubmissionIndex>, GpuError> {
        self.submit_locked(&mut self.shared.recording.lock())
    }

    pub(super) fn submit_locked(&self, recording: &mut Recording) -> Result<Option<SubmissionIndex>, GpuError> {
        self.refuse_in_capture("commands were submitted")?;
        let recording = std::mem::take(recording);
        if recording.is_empty() || self.shared.rehearsal {
            return self.check().map(|()| None);
        }
        let commands: Vec<_> = recording.commands().collect();
        let mut last = None;
        for part in cut_by_flops(&commands, self.shared.most_flops) {
            last = Some(self.submit_part(part)?);
            count(&self.shared.counters.submissions);
        }
        self.check()?;
        Ok(last)
    }

    fn submit_part(&self, commands: &[&Command]) -> Result<SubmissionIndex, GpuError> {
        // Each kernel's own time is read back, which a browser's thread cannot wait for here.
        #[cfg(not(target_family = "wasm"))]
        if crate::profile::is_collecting() && self.has_timestamps() {
            return self.submit_timed(commands);
        }
        let index = self.shared.queue.submit([encode(&self.shared.device, commands)]);
        Ok(wait::submitted(&self.shared.queue, index))
    }

    /// Submits the recorded commands and waits until the GPU is idle.
    ///
    /// # Errors
    /// [`GpuError::Timeout`] after the device's time-out, [`GpuError::DeviceLost`] if the GPU is lost meanwhile.
    #[cfg(not(target_family = "wasm"))]
    pub fn synchronize(&self) -> Result<(), GpuError> {
        wait::block_on(self.synchronize_async())
    }

    /// [`GpuDevice::synchronize`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`GpuDevice::synchronize`].
    pub async fn synchronize_async(&self) -> Result<(), GpuError> {
        self.submit()?;
        self.after(wait::for_all(&self.shared.device, &self.shared.queue, self.shared.timeout).await)
    }

    /// Waits for one submission.
    ///
    /// # Errors
    /// As for [`GpuDevice::synchronize`].
    #[cfg(not(target_family = "wasm"))]
    pub fn wait_for(&self, submission: &SubmissionIndex) -> Result<(), GpuError> {
        wait::block_on(self.wait_for_async(submission))
    }

    /// [`GpuDevice::wait_for`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`GpuDevice::synchronize`].
    pub async fn wait_for_async(&self, submission: &SubmissionIndex) -> Result<(), GpuError> {
        self.after(wait::for_submission(&self.shared.device, submission, self.shared.timeout).await)
    }

    /// What a wait means, by its answer and the errors reported meanwhile.
    fn after(&self, answer: Result<(), GpuError>) -> Result<(), GpuError> {
        if matches!(answer, Err(GpuError::Timeout { .. })) {
            // The device is never closed: wgpu would wait for its work, without an end if the GPU hangs.
            std::mem::forget(self.shared.clone());
        }
        // If the device is lost, that is the cause of all other errors.
        self.check()?;
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::gpu::{GpuBuffer, GpuOptions, Launch, ShaderVariant};
    use crate::profile;

    fn open(options: GpuOptions) -> GpuDevice {
        GpuDevice::open(options).expect("these tests need a GPU adapter, a software one will do")
    }

    fn fill(gpu: &GpuDevice, buffer: &GpuBuffer, uniform: &[u8], flops: u64) -> Result<(), GpuError> {
        gpu.record(&Launch {
            variant: ShaderVariant::new("fill", &[]),
            uniform,
            buffers: &[buffer],
            workgroups: buffer.bytes().div_ceil(4 * 256),
            flops,
        })
    }

    #[test]
    fn a_lost_device_is_an_error_that_says_so() {
        let gpu = open(GpuOptions::default());
        let buffer = gpu.allocate(1024, "a test").unwrap();
        gpu.lose();
        let result = gpu.read(&buffer).and_then(|_| gpu.synchronize());
        assert!(matches!(result, Err(GpuError::DeviceLost(_))), "{result:?}");
    }

    /// With every kernel timed, long work was one submission.
    #[test]
    fn long_work_is_submitted_in_parts() {
        let mut gpu = open(GpuOptions::default());
        Arc::get_mut(&mut gpu.shared).unwrap().most_flops = 10;
        let buffer = gpu.allocate(64, "a test").unwrap();
        let submissions = |timed: bool| {
            let before = gpu.statistics().submissions;
            for value in [1.0_f32, 2.0, 3.0] {
                let uniform = [16, value.to_bits()];
                fill(&gpu, &buffer, bytemuck::cast_slice(&uniform), 6).unwrap();
            }
            if timed {
                profile::start();
            }
            gpu.synchronize().unwrap();
            let events = profile::stop().events;
            // Other tests' kernels may be among them.
            let fills = events.iter().filter(|event| (event.name, event.flops) == ("fill", 6)).count();
            assert_eq!(fills, if timed && gpu.has_timestamps() { 3 } else { 0 });
            let after = gpu.statistics().submissions;
            assert_eq!(gpu.read(&buffer).unwrap(), bytemuck::cast_slice::<f32, u8>(&[3.0; 16]));
            after - before
        };
        assert_eq!((submissions(false), submissions(true)), (3, 3));
    }

    #[test]
    fn waiting_ends_at_the_time_out() {
        let gpu = open(GpuOptions { timeout: Some(Duration::ZERO), ..GpuOptions::default() });
        let count = 16_u32 << 20;
        let buffer = gpu.allocate(4 * u64::from(count), "a test").unwrap();
        for _ in 0..20 {
            fill(&gpu, &buffer, bytemuck::cast_slice(&[count, 1.0_f32.to_bits()]), 0).unwrap();
        }
        let result = gpu.synchronize();
        // Through OpenGL, llvmpipe computes before it returns from a dispatch: nothing is left to wait for.
        let is_done_before = gpu.is_software() && gpu.shared.info.backend == wgpu::Backend::Gl;
        let is_right = matches!(result, Err(GpuError::Timeout { seconds: 0 })) || is_done_before && result.is_ok();
        assert!(is_right, "{result:?}");
        gpu.shared.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
}
