//! An open GPU: its memory, and the submission of recorded commands.

use std::collections::HashMap;
use std::sync::Arc;
#[cfg(not(target_family = "wasm"))]
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;

use super::GpuError;
use super::adapter::{self, Abilities, AdapterRequest, Backend, CooperativeMatrix, GpuLimits};
use super::budget::Budget;
use super::faults::Faults;
use super::launch::Launched;
use super::pipeline::Pipelines;
use super::pool::{GpuBuffer, MemoryUse, Pool, PoolKind};
use super::program::Capture;
use super::recording::{Command, Recording};
use super::statistics::{Counters, Statistics};
use super::wait;

/// Maximum floating-point operations of a submission to a GPU. Windows resets a GPU after two seconds in one submission; the
/// slowest in use reach about 100 GFLOP/s. Software renderers are not reset, and their drivers block a submission until the
/// previous one is done.
const MOST_FLOPS: u64 = 50_000_000_000;

/// How to open a GPU.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GpuOptions {
    /// The adapter.
    pub request: AdapterRequest,
    /// The graphics API.
    pub backend: Backend,
    /// Longest wait for submitted work; `None` takes a minute, or an hour on a software renderer.
    pub timeout: Option<Duration>,
    /// Whether kernels run with all of naga's checks of indices and loops, which are off for the shaders of this crate: by default where
    /// the environment says `CIFAR_GPU_CHECKED=1`. Slower, with the same results.
    pub checked: bool,
    /// What the platform tells of the adapter and wgpu does not, as in a browser.
    pub hint: Option<AdapterHint>,
    /// For tests: new, poisoned memory for every tensor, fenced by guard bytes; see [`GpuDevice::check_guards`].
    pub guarded: bool,
}

impl Default for GpuOptions {
    fn default() -> Self {
        let checked = std::env::var_os("CIFAR_GPU_CHECKED").is_some_and(|value| value == "1");
        GpuOptions {
            request: AdapterRequest::Best,
            backend: Backend::Primary,
            timeout: None,
            checked,
            hint: None,
            guarded: false,
        }
    }
}

impl GpuOptions {
    /// These options with some changes.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// What is known of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterHint {
    /// Its name.
    pub name: String,
    /// Number of its vendor, as PCI and Khronos give it; 0 if that is not known.
    pub vendor: u32,
}

/// Abilities that a [`GpuDevice::rehearsal_of`] simulates.
#[derive(Debug, Clone, Copy, Default)]
pub struct RehearsedAdapter {
    /// Whether it is a software renderer.
    pub software: bool,
    /// Invocations of its subgroups, if kernels may rely on them.
    pub subgroup: Option<u32>,
    /// Its cooperative matrices.
    pub cooperative: Option<CooperativeMatrix>,
    /// What kernels should use at most, if its vendor is to be known.
    pub budget: Option<Budget>,
}

/// An open GPU. Clones share it.
#[derive(Debug, Clone)]
pub struct GpuDevice {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) info: wgpu::AdapterInfo,
    pub(super) limits: wgpu::Limits,
    pub(super) abilities: Abilities,
    pub(super) software: bool,
    pub(super) reason: String,
    pub(super) timeout: Duration,
    /// Maximum floating-point operations of a submission that can be split.
    pub(super) most_flops: u64,
    pub(super) pool: Arc<Pool>,
    pub(super) pipelines: Pipelines,
    pub(super) uniforms: Mutex<HashMap<Vec<u8>, wgpu::Buffer>>,
    pub(super) recording: Mutex<Recording>,
    pub(super) captures: Mutex<HashMap<ThreadId, Capture>>,
    pub(super) counters: Counters,
    pub(super) faults: Arc<Faults>,
    /// Whether this is a [`GpuDevice::rehearsal`].
    pub(super) rehearsal: bool,
    /// What was recorded on a rehearsal.
    pub(super) launched: Mutex<Vec<Launched>>,
    /// The first timestamp that was read, in ticks.
    #[cfg(not(target_family = "wasm"))]
    pub(super) first_tick: OnceLock<u64>,
}

impl GpuDevice {
    /// Opens an adapter with its maximum limits.
    ///
    /// # Errors
    /// If no adapter fits the request, or the driver fails to open it.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(options: GpuOptions) -> Result<Self, GpuError> {
        wait::block_on(GpuDevice::open_async(options))
    }

    /// [`GpuDevice::open`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`GpuDevice::open`].
    pub async fn open_async(options: GpuOptions) -> Result<Self, GpuError> {
        let (adapter, reason) = adapter::choose(options.request, options.backend).await?;
        log::debug!("adapter: {} ({reason})", adapter::describe(&adapter.get_info(), &adapter.limits()));
        let pool = if options.guarded { PoolKind::Guarded } else { PoolKind::Usual };
        let software = adapter::is_software(&adapter.get_info());
        let abilities = Abilities::of(&adapter, options.hint.as_ref().map(|hint| hint.vendor));
        GpuDevice::open_adapter(&adapter, abilities, reason, options, pool, software).await
    }

    /// A device without limits that computes nothing and has no memory, and only counts its work. It simulates a software renderer
    /// if `software`.
    ///
    /// Running the code of a training step on it gives the memory that the step needs on a GPU, see [`GpuDevice::memory`]. Nothing
    /// can be read back.
    ///
    /// # Errors
    /// If wgpu's stand-in for a driver does not open.
    #[cfg(not(target_family = "wasm"))]
    pub fn rehearsal(software: bool) -> Result<Self, GpuError> {
        GpuDevice::rehearsal_of(RehearsedAdapter { software, ..RehearsedAdapter::default() })
    }

    /// Like [`GpuDevice::rehearsal`], of an adapter with these abilities. It records the launched kernels
    /// ([`GpuDevice::launched`]) and reports them to profiles with zero time.
    ///
    /// # Errors
    /// As for [`GpuDevice::rehearsal`].
    #[cfg(not(target_family = "wasm"))]
    pub fn rehearsal_of(rehearsed: RehearsedAdapter) -> Result<Self, GpuError> {
        let adapter = adapter::noop()?;
        let RehearsedAdapter { software, subgroup, cooperative, budget } = rehearsed;
        let usual = Abilities::of(&adapter, None);
        let budget = budget.unwrap_or(usual.budget);
        let abilities = Abilities { subgroup, cooperative, budget, ..usual };
        let options = GpuOptions::default();
        let reason = "a rehearsal".to_owned();
        wait::block_on(GpuDevice::open_adapter(&adapter, abilities, reason, options, PoolKind::Rehearsal, software))
    }

    async fn open_adapter(
        adapter: &wgpu::Adapter,
        abilities: Abilities,
        reason: String,
        options: GpuOptions,
        pool: PoolKind,
        software: bool,
    ) -> Result<Self, GpuError> {
        let mut info = adapter.get_info();
        if let Some(hint) = options.hint {
            info.name = hint.name;
        }
        if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
            return Err(GpuError::MissingFeature { adapter: info.name, feature: "COMPUTE_SHADERS".into() });
        }
        let limits = adapter.limits();
        // SAFETY: of wgpu's experimental features only cooperative matrices are used, in our own shaders, which are checked on a
        // device before it may use them.
        let experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        let requested = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("cifar-gpu"),
            required_limits: limits.clone(),
            required_features: abilities.features,
            experimental_features,
            ..Default::default()
        });
        let (device, queue) =
            requested.await.map_err(|e| GpuError::OpenDevice { adapter: info.name.clone(), reason: e.to_string() })?;

        let faults = Arc::new(Faults::default());
        let on_lost = faults.clone();
        device.set_device_lost_callback(move |kind, message| {
            let _ = on_lost.lost.set(format!("{kind:?}: {message}"));
        });
        let on_error = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            on_error.report(match error {
                wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { bytes: 0, in_use: 0 },
                other => GpuError::Rejected(other.to_string()),
            });
        }));
        let timeout = options.timeout.unwrap_or(Duration::from_secs(if software { 3600 } else { 60 }));
        let shared = Shared {
            pool: Pool::new(
                device.clone(),
                faults.clone(),
                &limits,
                pool,
                #[cfg(not(target_family = "wasm"))]
                timeout,
            ),
            pipelines: Pipelines::new(device.clone(), limits.clone(), faults.clone(), options.checked),
            device,
            queue,
            info,
            limits,
            abilities,
            software,
            reason,
            timeout,
            most_flops: if software { u64::MAX } else { MOST_FLOPS },
            uniforms: Mutex::default(),
            recording: Mutex::default(),
            captures: Mutex::default(),
            counters: Counters::default(),
            faults,
            rehearsal: pool == PoolKind::Rehearsal,
            launched: Mutex::default(),
            #[cfg(not(target_family = "wasm"))]
            first_tick: OnceLock::new(),
        };
        Ok(GpuDevice { shared: Arc::new(shared) })
    }

    /// Fails if the driver has reported an error.
    pub(super) fn check(&self) -> Result<(), GpuError> {
        self.shared.faults.check().or_else(|_| {
            // A lost device rejects calls before the loss, the actual cause, is reported; polling reports it.
            wait::notice(&self.shared.device);
            self.shared.faults.check()
        })
    }

    /// Goes on after a kernel was refused that was only tried. In a browser, such a refusal is reported late and is the device's.
    pub(crate) fn forgive_kernel(&self) {
        self.shared.faults.forgive_kernel();
    }

    /// Name, kind, backend and driver in one line.
    pub fn description(&self) -> String {
        adapter::describe(&self.shared.info, &self.shared.limits)
    }

    /// The reason for choosing this adapter.
    pub fn reason(&self) -> &str {
        &self.shared.reason
    }

    /// Whether this is a software renderer, which runs on the CPU.
    pub fn is_software(&self) -> bool {
        self.shared.software
    }

    /// Whether this is a [`GpuDevice::rehearsal`], whose tensors need no data.
    pub(crate) fn is_rehearsal(&self) -> bool {
        self.shared.rehearsal
    }

    /// Whether kernels can keep 16-bit floats in memory.
    pub fn has_f16(&self) -> bool {
        self.shared.rehearsal || self.shared.abilities.features.contains(wgpu::Features::SHADER_F16)
    }

    /// Whether the adapter can time kernels.
    pub fn has_timestamps(&self) -> bool {
        self.shared.abilities.features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// The adapter's cooperative matrices of 16-bit floats, if any.
    pub fn cooperative_matrix(&self) -> Option<CooperativeMatrix> {
        self.shared.abilities.cooperative
    }

    /// Invocations of a subgroup, if subgroups can exchange values and always have this many.
    pub fn subgroup(&self) -> Option<u32> {
        self.shared.abilities.subgroup
    }

    /// What an invocation and a workgroup should use at most, as far as it is known.
    pub fn budget(&self) -> Budget {
        self.shared.abilities.budget
    }

    /// The adapter's limits.
    pub fn limits(&self) -> GpuLimits {
        GpuLimits::of(&self.shared.limits)
    }

    /// Statistics of the buffer pool.
    pub fn memory(&self) -> MemoryUse {
        self.shared.pool.memory()
    }

    /// Returns all memory to the driver that no tensor and no captured commands use, and resets the peak of bytes in use. Call it
    /// between two kinds of work if the second cannot reuse the first one's buffers.
    pub fn release_unused(&self) {
        self.shared.pool.start_over();
    }

    /// Bytes allocated by the driver, for tensors and everything else; `None` if it does not report them.
    pub fn allocator_bytes(&self) -> Option<u64> {
        self.shared.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// Counters of the work done so far.
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        Statistics {
            pipelines: self.shared.pipelines.count(),
            bind_groups: counters.bind_groups.load(Ordering::Relaxed),
            buffers: self.memory().buffers_made + counters.buffers.load(Ordering::Relaxed),
            submissions: counters.submissions.load(Ordering::Relaxed),
        }
    }

    /// Whether two handles refer to the same open device.
    pub fn same(&self, other: &GpuDevice) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Device memory of `bytes` bytes with unspecified contents; `what` names it in errors.
    pub fn allocate(&self, bytes: u64, what: &str) -> Result<GpuBuffer, GpuError> {
        let captures = self.shared.captures.lock();
        let reserve = captures.get(&std::thread::current().id()).map(|capture| capture.reserve.clone());
        drop(captures);
        self.shared.pool.allocate(bytes, what, reserve.as_ref())
    }

    /// Writes `bytes` to the start of `buffer`, after all previously recorded commands.
    pub fn write(&self, buffer: &GpuBuffer, bytes: &[u8]) -> Result<(), GpuError> {
        if bytes.len() as u64 > buffer.bytes() {
            return Err(GpuError::Rejected(format!("{} bytes into a buffer of {}", bytes.len(), buffer.bytes())));
        }
        if self.shared.rehearsal {
            return self.refuse_in_capture("memory was written");
        }
        // Writes take effect before the next submission's commands, so those recorded earlier must go first, and the
        // lock is held so that no other thread has taken them and not yet submitted them.
        let mut recording = self.shared.recording.lock();
        self.submit_locked(&mut recording)?;
        let whole = bytes.len() / 4 * 4;
        self.shared.queue.write_buffer(buffer.raw(), buffer.offset(), &bytes[..whole]);
        if whole < bytes.len() {
            let mut last = [0; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.shared.queue.write_buffer(buffer.raw(), buffer.offset() + whole as u64, &last);
        }
        self.check()
    }

    /// Records a command that fills `buffer` with zeros.
    pub fn clear(&self, buffer: &GpuBuffer) {
        let command = Command::Clear { buffer: buffer.raw().clone(), offset: buffer.offset(), bytes: buffer.bytes() };
        self.append(&[buffer], command);
    }

    /// Records a copy of `source` to `target`, which has the same length and is in other memory.
    ///
    /// # Errors
    /// If the lengths differ, or both are in the same memory.
    pub fn copy(&self, source: &GpuBuffer, target: &GpuBuffer) -> Result<(), GpuError> {
        if source.bytes() != target.bytes() || source.shares_memory(target) {
            return Err(GpuError::Rejected(format!("a copy of {} bytes to {}", source.bytes(), target.bytes())));
        }
        let command = Command::Copy {
            source: source.raw().clone(),
            source_offset: source.offset(),
            target: target.raw().clone(),
            target_offset: target.offset(),
            bytes: source.bytes(),
        };
        self.append(&[source, target], command);
        Ok(())
    }

    /// Loses the device, as if its driver had been reset: all work fails from now on. For tests of what follows.
    pub fn lose(&self) {
        self.shared.device.destroy();
    }

    /// Longest wait for submitted work.
    pub(super) fn timeout(&self) -> Duration {
        self.shared.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(options: GpuOptions) -> GpuDevice {
        GpuDevice::open(options).expect("these tests need a GPU adapter, a software one will do")
    }

    #[test]
    fn a_buffer_over_the_limit_names_the_limit_and_itself() {
        let gpu = open(GpuOptions::default());
        let most = gpu.limits().max_binding_bytes;
        let error = gpu.allocate(most + 4, "a tensor of shape [9]").unwrap_err().to_string();
        assert!(
            error.contains("a tensor of shape [9]") && error.contains("max_storage_buffer_binding_size"),
            "{error}"
        );
    }

    #[test]
    fn memory_is_used_again() {
        let gpu = open(GpuOptions::default());
        drop(gpu.allocate(10_000, "a test").unwrap());
        drop(gpu.allocate(9_000, "a test").unwrap());
        let memory = gpu.memory();
        assert_eq!((memory.buffers_made, memory.in_use_bytes), (1, 0));
        assert_eq!(memory.peak_bytes, memory.allocated_bytes);
        let kept = gpu.allocate(100, "a test").unwrap();
        gpu.release_unused();
        let memory = gpu.memory();
        assert_eq!((memory.allocated_bytes, memory.peak_bytes), (memory.in_use_bytes, memory.in_use_bytes));
        assert!(memory.in_use_bytes >= kept.bytes());
    }
}
