//! Records a device's commands once and replays them.

use crate::error::Result;
use crate::gpu::Program;
use crate::tensor::Device;

/// Work that is the same every time: on a GPU its commands are captured at the first call and run again at each later one, which
/// creates and allocates nothing; the CPU repeats the work.
///
/// Values that differ from call to call must be in tensors that are written before the call. The work itself must neither write nor
/// read tensors from the host.
#[derive(Debug)]
pub struct Replay<T> {
    captured: Option<(Program, T)>,
}

impl<T> Default for Replay<T> {
    fn default() -> Self {
        Replay { captured: None }
    }
}

impl<T: Clone> Replay<T> {
    /// Does the work, or replays it on the device, and returns its result.
    ///
    /// On a GPU every call returns the same tensors: the next call overwrites them.
    ///
    /// # Errors
    /// Those of `work`, and if it writes or reads tensors from the host. The next call then captures again.
    pub fn run(&mut self, device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Device::Gpu(gpu) = device else {
            return work();
        };
        let (program, result) = match self.captured.take() {
            Some(captured) => captured,
            None => gpu.capture(work)?,
        };
        gpu.run(&program)?;
        let (_, result) = self.captured.insert((program, result));
        Ok(result.clone())
    }

    /// Whether commands have been captured, so that the next call only replays them.
    pub fn is_captured(&self) -> bool {
        self.captured.is_some()
    }
}
