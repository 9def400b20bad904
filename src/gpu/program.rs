//! Commands captured once and run many times.

use std::sync::Arc;
use std::thread::ThreadId;

use super::pool::{GpuBuffer, Pool, Reserve};
use super::recording::{Command, Recording};
use super::{GpuDevice, GpuError};

/// Commands that were captured, to be run any number of times by [`GpuDevice::run`].
///
/// It keeps alive all buffers that its commands use. Buffers created during the capture are not reused elsewhere before the program
/// and every tensor of the capture are dropped. Such a tensor holds the results of the last run.
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
    /// Buffers used by commands that existed before the capture.
    foreign: Vec<GpuBuffer>,
}

impl Capture {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Capture { recording: Recording::default(), reserve: Reserve::new(pool), foreign: Vec::new() }
    }

    /// Keeps a buffer that a command uses. Those of the capture are kept by its reserve: holding them here would prevent their
    /// reuse within the capture.
    pub(super) fn keep(&mut self, buffer: &GpuBuffer) {
        if !buffer.is_of(&self.reserve) && !self.foreign.iter().any(|known| known.shares_memory(buffer)) {
            self.foreign.push(buffer.clone());
        }
    }
}

impl GpuDevice {
    /// Captures the commands that `work` records on this thread, which are not run, to be run later any number of times.
    ///
    /// Tensors made by `work` have unspecified contents until the program runs, and then hold the last run's results. Work of other
    /// threads is not captured.
    ///
    /// # Errors
    /// Those of `work`, and [`GpuError::Capturing`] if it writes, reads, submits, or starts another capture, because that would not
    /// be repeated in every run.
    pub fn capture<T, E: From<GpuError>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<(Program, T), E> {
        let scope = CaptureScope::begin(self)?;
        let result = work()?;
        let capture = scope.end().ok_or(GpuError::Capturing { call: "the capture was ended" })?;
        Ok((Program::new(self, capture), result))
    }

    /// Records a run of captured commands, after all previously recorded commands.
    ///
    /// # Errors
    /// If they were captured on another device, or this thread is capturing.
    pub fn run(&self, program: &Program) -> Result<(), GpuError> {
        if !self.same(&program.gpu) {
            return Err(GpuError::Rejected("commands of another device".into()));
        }
        self.refuse_in_capture("captured commands were run")?;
        self.shared.recording.lock().push(Command::Run(program.commands.clone()));
        Ok(())
    }

    /// Appends a command that uses `buffers` to this thread's capture, or else to the commands to submit.
    pub(super) fn append(&self, buffers: &[&GpuBuffer], command: Command) {
        let mut captures = self.shared.captures.lock();
        if let Some(capture) = captures.get_mut(&std::thread::current().id()) {
            buffers.iter().for_each(|buffer| capture.keep(buffer));
            capture.recording.push(command);
            return;
        }
        drop(captures);
        self.shared.recording.lock().push(command);
    }

    /// Fails if this thread is capturing: `call` would take effect immediately and only once.
    pub(super) fn refuse_in_capture(&self, call: &'static str) -> Result<(), GpuError> {
        if self.shared.captures.lock().contains_key(&std::thread::current().id()) {
            return Err(GpuError::Capturing { call });
        }
        Ok(())
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
        let mut captures = gpu.shared.captures.lock();
        if captures.contains_key(&thread) {
            return Err(GpuError::Capturing { call: "a capture was begun" });
        }
        captures.insert(thread, Capture::new(gpu.shared.pool.clone()));
        Ok(CaptureScope { gpu, thread })
    }

    /// What was captured.
    pub(super) fn end(self) -> Option<Capture> {
        self.gpu.shared.captures.lock().remove(&self.thread)
    }
}

impl Drop for CaptureScope<'_> {
    fn drop(&mut self) {
        self.gpu.shared.captures.lock().remove(&self.thread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{GpuOptions, Launch, ShaderVariant};

    fn open() -> GpuDevice {
        GpuDevice::open(GpuOptions::default()).expect("these tests need a GPU adapter, a software one will do")
    }

    fn buffer(gpu: &GpuDevice) -> GpuBuffer {
        gpu.allocate(1024, "a test").unwrap()
    }

    /// Records a command that sets all floats of a buffer to `value`.
    fn fill(gpu: &GpuDevice, buffer: &GpuBuffer, value: f32) -> Result<(), GpuError> {
        gpu.record(&Launch {
            variant: ShaderVariant::new("fill", &[]),
            uniform: bytemuck::cast_slice(&[256, value.to_bits()]),
            buffers: &[buffer],
            workgroups: 1,
            flops: 0,
        })
    }

    fn first(gpu: &GpuDevice, buffer: &GpuBuffer) -> f32 {
        bytemuck::pod_read_unaligned(&gpu.read(buffer).unwrap()[..4])
    }

    #[test]
    fn a_program_runs_when_and_as_often_as_it_is_told_to() {
        let gpu = open();
        let target = buffer(&gpu);
        fill(&gpu, &target, 1.0).unwrap();
        let (program, ()) = gpu.capture(|| fill(&gpu, &target, 2.0)).unwrap();
        assert_eq!((program.len(), first(&gpu, &target)), (1, 1.0));
        for _ in 0..2 {
            gpu.run(&program).unwrap();
            assert_eq!(first(&gpu, &target), 2.0);
            fill(&gpu, &target, 3.0).unwrap();
            assert_eq!(first(&gpu, &target), 3.0);
        }
        assert!(matches!(open().run(&program), Err(GpuError::Rejected(_))), "a program of another device was run");
    }

    #[test]
    fn what_cannot_be_repeated_is_not_captured() {
        let gpu = open();
        let target = buffer(&gpu);
        let refused = |work: &dyn Fn() -> Result<(), GpuError>| {
            let result = gpu.capture(work);
            assert!(matches!(result, Err(GpuError::Capturing { .. })), "{result:?}");
        };
        refused(&|| gpu.write(&target, &[0; 4]));
        refused(&|| gpu.read(&target).map(|_| ()));
        refused(&|| gpu.submit().map(|_| ()));
        refused(&|| gpu.capture(|| Ok::<_, GpuError>(())).map(|_| ()));
        // A capture that failed is over.
        gpu.write(&target, &4.0_f32.to_le_bytes()).unwrap();
        assert_eq!(first(&gpu, &target), 4.0);
    }

    #[test]
    fn a_panic_ends_the_capture() {
        let gpu = open();
        let work = || -> Result<(), GpuError> { panic!("as a test") };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gpu.capture(work))).is_err());
        assert!(gpu.submit().is_ok());
    }

    #[test]
    fn other_threads_are_not_captured() {
        let gpu = open();
        let (mine, other) = (buffer(&gpu), buffer(&gpu));
        let (program, ()) = gpu
            .capture(|| {
                fill(&gpu, &mine, 5.0)?;
                std::thread::scope(|scope| {
                    let thread = scope.spawn(|| {
                        fill(&gpu, &other, 6.0).unwrap();
                        first(&gpu, &other)
                    });
                    assert_eq!(thread.join().unwrap(), 6.0);
                });
                Ok::<_, GpuError>(())
            })
            .unwrap();
        assert_eq!(program.len(), 1);
    }

    #[test]
    fn a_program_has_its_memory_to_itself() {
        let gpu = open();
        let (program, ()) = gpu
            .capture(|| {
                for value in [1.0, 2.0] {
                    fill(&gpu, &buffer(&gpu), value)?;
                }
                Ok::<_, GpuError>(())
            })
            .unwrap();
        // Within the capture the second buffer is the first again.
        let memory = gpu.memory();
        assert_eq!((memory.buffers_made, memory.in_use_bytes), (1, 1024));
        drop(buffer(&gpu));
        assert_eq!((gpu.memory().buffers_made, gpu.memory().in_use_bytes), (2, 1024));
        drop(program);
        assert_eq!(gpu.memory().in_use_bytes, 0);
        let both = [buffer(&gpu), buffer(&gpu)];
        assert_eq!((gpu.memory().buffers_made, gpu.memory().in_use_bytes), (2, 2048));
        drop(both);
    }

    #[test]
    fn results_of_a_program_outlive_it() {
        let gpu = open();
        let (program, result) = gpu
            .capture(|| {
                let result = buffer(&gpu);
                fill(&gpu, &result, 7.0)?;
                Ok::<_, GpuError>(result)
            })
            .unwrap();
        gpu.run(&program).unwrap();
        drop(program);
        fill(&gpu, &buffer(&gpu), 8.0).unwrap();
        assert_eq!(first(&gpu, &result), 7.0);
    }

    #[test]
    fn foreign_buffers_live_as_long_as_the_program() {
        let gpu = open();
        let source = buffer(&gpu);
        fill(&gpu, &source, 9.0).unwrap();
        let (program, target) = gpu
            .capture(|| {
                let target = buffer(&gpu);
                gpu.copy(&source, &target)?;
                Ok::<_, GpuError>(target)
            })
            .unwrap();
        drop(source);
        fill(&gpu, &buffer(&gpu), 10.0).unwrap();
        gpu.run(&program).unwrap();
        assert_eq!(first(&gpu, &target), 9.0);
    }

    #[test]
    fn a_rehearsal_counts_memory_that_nobody_has() {
        let gpu = GpuDevice::rehearsal(false).unwrap();
        let (small, large) = (buffer(&gpu), gpu.allocate(1 << 50, "a test").unwrap());
        fill(&gpu, &small, 1.0).unwrap();
        gpu.synchronize().unwrap();
        assert_eq!(gpu.memory().in_use_bytes, 1024 + (1 << 50));
        drop((small, large));
        assert_eq!((gpu.memory().in_use_bytes, gpu.memory().peak_bytes), (0, 1024 + (1 << 50)));
        assert!(gpu.read(&buffer(&gpu)).is_err());
    }
}
