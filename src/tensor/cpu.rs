//! The CPU device, which reuses memory from a pool. Its kernels are the CPU twins in `ops`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use bytemuck::AnyBitPattern;
use half::f16;
use half::slice::HalfFloatSliceExt;
use parking_lot::{
    MappedRecursiveRwLockReadGuard, MappedRecursiveRwLockWriteGuard, Mutex, RecursiveRwLock, RecursiveRwLockReadGuard,
    RecursiveRwLockWriteGuard,
};

use crate::error::{Error, Result};

/// A quiet NaN that arithmetic hardly ever yields: marks unwritten elements.
const POISON: u32 = 0x7fc0_dead;

/// The CPU as a device. Clones share its memory pool.
#[derive(Debug, Clone, Default)]
pub struct CpuDevice {
    pool: Arc<Mutex<HashMap<usize, Vec<Vec<u32>>>>>,
    poisoned: bool,
}

impl CpuDevice {
    /// The CPU with a separate memory pool.
    pub fn new() -> Self {
        CpuDevice::default()
    }

    /// For tests: fills new tensors with a NaN, so that an element that is never written shows.
    pub fn poisoned() -> Self {
        CpuDevice { poisoned: true, ..CpuDevice::default() }
    }

    /// Whether two handles refer to the same device.
    pub fn same(&self, other: &CpuDevice) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool)
    }

    /// Returns unused memory to the system: before work of other sizes, which could not reuse it.
    pub fn release_free(&self) {
        self.pool.lock().clear();
    }

    /// Memory of `words` 32-bit words with unspecified contents; `what` names it in errors.
    pub(crate) fn allocate(&self, words: usize, what: &str) -> Result<CpuBuffer> {
        let reused = self.pool.lock().get_mut(&words).and_then(Vec::pop);
        let mut data = match reused {
            Some(data) => data,
            None => {
                let mut data = Vec::new();
                data.try_reserve_exact(words).map_err(|_| Error::HostMemory {
                    largest_batch: None,
                    what: what.to_owned(),
                    needed_mib: (words as u64 * 4) >> 20,
                    available_mib: available_memory_bytes() >> 20,
                })?;
                data.resize(words, 0);
                data
            }
        };
        if self.poisoned {
            data.fill(POISON);
        }
        Ok(CpuBuffer {
            loan: Arc::new(Loan { data: RecursiveRwLock::new(data), device: self.clone() }),
            words: 0..words,
        })
    }
}

/// Runs `work` compiled for the vector instructions of this CPU, which its loops then use; the closure must be marked
/// `#[inline(always)]`.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

thread_local! {
    /// What [`with_scratch`] lends.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends `work` buffers of these lengths, with unspecified contents. The thread keeps the memory, which need not be cleared again.
pub(crate) fn with_scratch<const N: usize, R>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    let mut scratch = SCRATCH.take();
    let total = lengths.iter().sum();
    if scratch.len() < total {
        scratch.resize(total, 0.0);
    }
    let mut rest = &mut scratch[..];
    let buffers = lengths.map(|length| {
        let (buffer, after) = std::mem::take(&mut rest).split_at_mut(length);
        rest = after;
        buffer
    });
    let result = work(buffers);
    SCRATCH.replace(scratch);
    result
}

/// Memory still available on this machine, in bytes; unbounded where the system does not report it.
#[cfg(not(target_family = "wasm"))]
pub fn available_memory_bytes() -> u64 {
    sysinfo::System::new().map_or(u64::MAX, |mut system| {
        system.refresh_memory();
        system.available_memory()
    })
}

/// Memory that WebAssembly can still address, in bytes.
#[cfg(target_family = "wasm")]
pub fn available_memory_bytes() -> u64 {
    const PAGE_BYTES: u64 = 64 << 10;
    (1 << 32) - core::arch::wasm32::memory_size(0) as u64 * PAGE_BYTES
}

/// The peak memory of this process in bytes, where the system reports it.
pub fn peak_process_bytes() -> Option<u64> {
    // No other system has a file for this.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[derive(Debug)]
struct Loan {
    /// Recursive, because one operation may read several parts of the same memory.
    data: RecursiveRwLock<Vec<u32>>,
    device: CpuDevice,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let data = std::mem::take(self.data.get_mut());
        self.device.pool.lock().entry(data.len()).or_default().push(data);
    }
}

/// A piece of host memory. Clones share it; the last one dropped returns it to the device's pool.
#[derive(Debug, Clone)]
pub struct CpuBuffer {
    loan: Arc<Loan>,
    words: Range<usize>,
}

impl CpuBuffer {
    /// The contents as elements of `T`, a 32-bit number or a byte.
    pub fn read<T: AnyBitPattern>(&self) -> MappedRecursiveRwLockReadGuard<'_, [T]> {
        let data = self.loan.data.read();
        RecursiveRwLockReadGuard::map(data, |words| bytemuck::cast_slice(&words[self.words.clone()]))
    }

    /// The contents as mutable elements of `T`. Waits while any part of this memory is being read.
    pub fn write<T: AnyBitPattern + bytemuck::NoUninit>(&self) -> MappedRecursiveRwLockWriteGuard<'_, [T]> {
        let data = self.loan.data.write();
        RecursiveRwLockWriteGuard::map(data, |words| bytemuck::cast_slice_mut(&mut words[self.words.clone()]))
    }

    /// The first `count` 16-bit floats, widened.
    pub(crate) fn read_halves(&self, count: usize) -> Floats<'_> {
        Floats::Widened(self.read::<f16>()[..count].to_f32_vec())
    }

    /// The first `count` 16-bit floats, widened and mutable.
    pub(crate) fn write_halves(&self, count: usize) -> FloatsMut<'_> {
        let halves = self.write::<f16>();
        FloatsMut::Widened { values: halves[..count].to_f32_vec(), halves }
    }

    /// Whether both are parts of the same memory.
    pub fn shares_memory(&self, other: &CpuBuffer) -> bool {
        Arc::ptr_eq(&self.loan, &other.loan)
    }

    /// `words` 32-bit words of it from word `start` on; `None` if it has no such part.
    pub fn part(&self, start: usize, words: usize) -> Option<CpuBuffer> {
        let end = start.checked_add(words).filter(|&end| end <= self.words.len())?;
        let first = self.words.start;
        Some(CpuBuffer { loan: self.loan.clone(), words: first + start..first + end })
    }
}

/// Floats of either width as 32-bit ones: the CPU computes with these only.
#[derive(Debug)]
pub enum Floats<'a> {
    /// Stored as 32-bit floats.
    Wide(MappedRecursiveRwLockReadGuard<'a, [f32]>),
    /// Widened copies of 16-bit floats.
    Widened(Vec<f32>),
}

impl Deref for Floats<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Floats::Wide(values) => values,
            Floats::Widened(values) => values,
        }
    }
}

/// Like [`Floats`], but mutable: narrower ones are rounded when this is dropped.
#[derive(Debug)]
pub enum FloatsMut<'a> {
    /// Stored as 32-bit floats.
    Wide(MappedRecursiveRwLockWriteGuard<'a, [f32]>),
    /// Widened copies of 16-bit floats.
    Widened {
        /// The copies.
        values: Vec<f32>,
        /// Where they are rounded to.
        halves: MappedRecursiveRwLockWriteGuard<'a, [f16]>,
    },
}

impl Deref for FloatsMut<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            FloatsMut::Wide(values) => values,
            FloatsMut::Widened { values, .. } => values,
        }
    }
}

impl DerefMut for FloatsMut<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            FloatsMut::Wide(values) => values,
            FloatsMut::Widened { values, .. } => values,
        }
    }
}

impl Drop for FloatsMut<'_> {
    fn drop(&mut self) {
        if let FloatsMut::Widened { values, halves } = self {
            halves[..values.len()].convert_from_f32_slice(values);
        }
    }
}
