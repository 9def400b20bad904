//! Device memory: a pool that reuses buffers.
//!
//! A buffer returns to the pool when its last tensor is dropped, and may be reused while commands that read it are still pending:
//! commands run in the order of recording, so the next write comes after them.
//!
//! Captured commands have a separate [`Reserve`] of buffers: within the capture the buffers of dropped tensors are reused by the
//! same rule, but they are not used elsewhere while the captured commands exist.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
#[cfg(not(target_family = "wasm"))]
use std::time::Duration;

use parking_lot::Mutex;

use super::faults::Faults;
use super::{GpuError, wait};

/// Sizes are rounded up to this many bytes, which every adapter accepts as a binding's offset, too.
pub const BUFFER_ALIGNMENT: u64 = 256;
/// Bit pattern of unwritten memory: a quiet NaN that arithmetic hardly ever yields.
const POISON: u32 = 0x7fc0_dead;

/// Statistics of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of all existing buffers, in use or free.
    pub allocated_bytes: u64,
    /// Bytes held by live tensors and by captured commands.
    pub in_use_bytes: u64,
    /// Peak of the bytes in use.
    pub peak_bytes: u64,
    /// Buffers made since the start.
    pub buffers_made: u64,
}

#[derive(Debug, Default)]
struct Free {
    by_size: BySize,
    memory: MemoryUse,
    /// In guarded mode: every buffer not yet found intact after its use, with the bytes that tensors may write.
    guarded: Vec<Guarded>,
}

#[derive(Debug)]
struct Guarded {
    buffer: wgpu::Buffer,
    writable: Range<u64>,
    loan: Weak<Loan>,
}

/// The mode of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolKind {
    /// Reuses memory.
    Usual,
    /// Detects stray writes: every buffer is new, poisoned, and surrounded by guard bytes that [`broken_guards`] checks.
    Guarded,
    /// Only counts the memory that a real pool would hold.
    Rehearsal,
}

/// The buffers of one device.
#[derive(Debug)]
pub(super) struct Pool {
    device: wgpu::Device,
    max_binding: u64,
    max_buffer: u64,
    kind: PoolKind,
    faults: Arc<Faults>,
    /// Longest wait for buffers that running commands use.
    #[cfg(not(target_family = "wasm"))]
    timeout: Duration,
    free: Mutex<Free>,
}

/// A buffer on loan; dropping it returns it.
#[derive(Debug)]
struct Loan {
    buffer: wgpu::Buffer,
    capacity: u64,
    pool: Arc<Pool>,
    /// The reserve that it returns to, if not to the pool.
    reserve: Option<Arc<Reserve>>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(reserve) = &self.reserve {
            if self.pool.kind != PoolKind::Guarded {
                put_back(&mut reserve.buffers.lock().by_size, self.capacity, &self.buffer);
            }
            return;
        }
        let mut free = self.pool.free.lock();
        free.memory.in_use_bytes -= self.capacity;
        if self.pool.kind != PoolKind::Guarded {
            put_back(&mut free.by_size, self.capacity, &self.buffer);
        }
    }
}

/// Free buffers by their size.
type BySize = BTreeMap<u64, Vec<wgpu::Buffer>>;

fn put_back(by_size: &mut BySize, capacity: u64, buffer: &wgpu::Buffer) {
    by_size.entry(capacity).or_default().push(buffer.clone());
}

/// Takes the smallest free buffer of at least `capacity` and at most `most` bytes.
fn take(by_size: &mut BySize, capacity: u64, most: u64) -> Option<(wgpu::Buffer, u64)> {
    let (&size, buffers) = by_size.range_mut(capacity..=most).find(|(_, buffers)| !buffers.is_empty())?;
    buffers.pop().map(|buffer| (buffer, size))
}

/// Buffers that belong to captured commands until these are dropped, and all tensors made in the capture.
#[derive(Debug)]
pub(super) struct Reserve {
    pool: Arc<Pool>,
    buffers: Mutex<ReserveBuffers>,
}

#[derive(Debug, Default)]
struct ReserveBuffers {
    /// Free buffers, which are reused within the capture.
    by_size: BySize,
    /// All, with their sizes.
    all: Vec<(u64, wgpu::Buffer)>,
}

impl Reserve {
    pub(super) fn new(pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Reserve { pool, buffers: Mutex::default() })
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock();
        for (capacity, buffer) in &self.buffers.get_mut().all {
            free.memory.in_use_bytes -= capacity;
            if self.pool.kind != PoolKind::Guarded {
                put_back(&mut free.by_size, *capacity, buffer);
            }
        }
    }
}

/// A piece of device memory. Clones share it.
#[derive(Debug, Clone)]
pub struct GpuBuffer {
    loan: Arc<Loan>,
    offset: u64,
    bytes: u64,
}

impl GpuBuffer {
    /// Length in bytes, a multiple of 4.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.loan.buffer
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether it came from this reserve.
    pub(super) fn is_of(&self, reserve: &Arc<Reserve>) -> bool {
        self.loan.reserve.as_ref().is_some_and(|own| Arc::ptr_eq(own, reserve))
    }

    /// Whether both are parts of the same memory.
    pub fn shares_memory(&self, other: &GpuBuffer) -> bool {
        Arc::ptr_eq(&self.loan, &other.loan)
    }

    /// `bytes` of it from byte `start` on, which [`BUFFER_ALIGNMENT`] must divide; `None` if it has no such part.
    pub fn part(&self, start: u64, bytes: u64) -> Option<GpuBuffer> {
        let inside = start.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        let valid = inside && start.is_multiple_of(BUFFER_ALIGNMENT) && bytes.is_multiple_of(4) && bytes > 0;
        valid.then(|| GpuBuffer { loan: self.loan.clone(), offset: self.offset + start, bytes })
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.loan.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.bytes),
        })
    }
}

impl Pool {
    pub(super) fn new(
        device: wgpu::Device,
        faults: Arc<Faults>,
        limits: &wgpu::Limits,
        kind: PoolKind,
        #[cfg(not(target_family = "wasm"))] timeout: Duration,
    ) -> Arc<Self> {
        // A rehearsal has no limits, unlike wgpu's no-op backend.
        let limited = |limit| if kind == PoolKind::Rehearsal { u64::MAX } else { limit };
        Arc::new(Pool {
            device,
            max_binding: limited(limits.max_storage_buffer_binding_size),
            max_buffer: limited(limits.max_buffer_size),
            kind,
            faults,
            #[cfg(not(target_family = "wasm"))]
            timeout,
            free: Mutex::default(),
        })
    }

    /// A buffer of at least `bytes` bytes with unspecified contents, from and for `reserve` if there is one; `what` names
    /// it in errors.
    pub(super) fn allocate(
        self: &Arc<Self>,
        bytes: u64,
        what: &str,
        reserve: Option<&Arc<Reserve>>,
    ) -> Result<GpuBuffer, GpuError> {
        let bytes = bytes.next_multiple_of(4);
        let limit = |limit, available| GpuError::Limit { what: what.to_owned(), limit, needed: bytes, available };
        if bytes > self.max_binding {
            return Err(limit("max_storage_buffer_binding_size", self.max_binding));
        }
        if bytes.saturating_add(2 * BUFFER_ALIGNMENT) > self.max_buffer {
            return Err(limit("max_buffer_size", self.max_buffer));
        }
        let margin = if self.kind == PoolKind::Guarded { BUFFER_ALIGNMENT } else { 0 };
        let capacity = bytes.next_multiple_of(BUFFER_ALIGNMENT) + 2 * margin;
        // Unused parts of a buffer cannot be used outside the capture.
        let own = reserve.and_then(|reserve| take(&mut reserve.buffers.lock().by_size, capacity, u64::MAX));
        let (buffer, capacity) = match own {
            Some(found) => found,
            None => {
                // A quarter may be wasted.
                let most = capacity.saturating_add(capacity / 4);
                let reused = take(&mut self.free.lock().by_size, capacity, most);
                let (buffer, capacity) = match reused {
                    Some(found) => found,
                    None => (self.create(capacity)?, capacity),
                };
                let mut free = self.free.lock();
                free.memory.in_use_bytes += capacity;
                free.memory.peak_bytes = free.memory.peak_bytes.max(free.memory.in_use_bytes);
                drop(free);
                if let Some(reserve) = reserve {
                    reserve.buffers.lock().all.push((capacity, buffer.clone()));
                }
                (buffer, capacity)
            }
        };
        let loan = Arc::new(Loan { buffer: buffer.clone(), capacity, pool: self.clone(), reserve: reserve.cloned() });
        if self.kind == PoolKind::Guarded {
            let writable = margin..margin + bytes;
            self.free.lock().guarded.push(Guarded { buffer, writable, loan: Arc::downgrade(&loan) });
        }
        Ok(GpuBuffer { loan, offset: margin, bytes })
    }

    /// A new buffer; if memory is exhausted, destroys the free ones first.
    pub(super) fn create_other(&self, descriptor: &wgpu::BufferDescriptor<'_>) -> Result<wgpu::Buffer, GpuError> {
        let attempt = || {
            let kinds = [wgpu::ErrorFilter::OutOfMemory];
            let (bytes, in_use) = (descriptor.size, self.free.lock().memory.in_use_bytes);
            let refusal = move |_| GpuError::OutOfMemory { bytes, in_use };
            wait::scoped(&self.device, &self.faults, &kinds, refusal, || self.device.create_buffer(descriptor))
        };
        let first = attempt();
        // A browser tells later.
        #[cfg(not(target_family = "wasm"))]
        if first.is_err() {
            self.release_free();
            // Buffers that running commands use are freed only once these are done.
            let _ = wait::block_until_idle(&self.device, self.timeout);
            return attempt();
        }
        first
    }

    fn create(&self, capacity: u64) -> Result<wgpu::Buffer, GpuError> {
        // A rehearsal only counts memory, so a small buffer can represent a large one.
        let size = if self.kind == PoolKind::Rehearsal { BUFFER_ALIGNMENT } else { capacity };
        let buffer = self.create_other(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: self.kind == PoolKind::Guarded,
        })?;
        if self.kind == PoolKind::Guarded {
            let poison = POISON.to_le_bytes().repeat((capacity / 4) as usize);
            let mut view = buffer.slice(..).get_mapped_range_mut().map_err(|e| GpuError::Rejected(e.to_string()))?;
            view.copy_from_slice(&poison);
            drop(view);
            buffer.unmap();
        }
        let mut free = self.free.lock();
        free.memory.allocated_bytes += capacity;
        free.memory.buffers_made += 1;
        Ok(buffer)
    }

    /// Destroys all free buffers.
    fn release_free(&self) {
        let mut free = self.free.lock();
        for (size, buffers) in std::mem::take(&mut free.by_size) {
            free.memory.allocated_bytes -= size * buffers.len() as u64;
        }
    }

    /// The same, and resets the peak.
    pub(super) fn start_over(&self) {
        self.release_free();
        let memory = &mut self.free.lock().memory;
        memory.peak_bytes = memory.in_use_bytes;
    }

    pub(super) fn memory(&self) -> MemoryUse {
        self.free.lock().memory
    }

    /// In guarded mode: the buffers to check, with the bytes that tensors may write; those no longer in use only once.
    pub(super) fn guarded_buffers(&self) -> Vec<(wgpu::Buffer, Range<u64>)> {
        let mut free = self.free.lock();
        let buffers = free.guarded.iter().map(|g| (g.buffer.clone(), g.writable.clone())).collect();
        free.guarded.retain(|g| g.loan.strong_count() > 0);
        buffers
    }
}

/// How many words outside `writable` no longer hold the poison.
pub(super) fn broken_guards(words: &[u32], writable: &Range<u64>) -> usize {
    let (start, end) = ((writable.start / 4) as usize, (writable.end / 4) as usize);
    words[..start].iter().chain(&words[end..]).filter(|&&word| word != POISON).count()
}
