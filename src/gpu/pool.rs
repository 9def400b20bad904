//! Device memory: buffers that are used again instead of allocated again.
//!
//! A buffer goes back to the pool when its last tensor is dropped, and may be handed out again while commands that
//! read it still wait: they run in the order in which they were recorded, so whoever writes it next comes after them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::GpuError;

/// Sizes are rounded up to this many bytes, which every adapter accepts as a binding's offset too.
pub(super) const ALIGNMENT: u64 = 256;
/// Bit pattern of memory that nobody has written: a quiet NaN that arithmetic hardly ever yields.
const POISON: u32 = 0x7fc0_dead;

/// What the pool holds and has held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of all buffers made and not destroyed, in use or waiting for use.
    pub allocated_bytes: u64,
    /// Bytes held by live tensors.
    pub in_use_bytes: u64,
    /// The most bytes that were in use at any time.
    pub peak_bytes: u64,
    /// Buffers made since the start.
    pub buffers_made: u64,
}

#[derive(Debug, Default)]
struct Free {
    by_size: BTreeMap<u64, Vec<wgpu::Buffer>>,
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

/// The buffers of one device.
#[derive(Debug)]
pub(super) struct Pool {
    device: wgpu::Device,
    max_binding: u64,
    max_buffer: u64,
    guarded: bool,
    free: Mutex<Free>,
}

/// A buffer on loan; dropping it returns it.
#[derive(Debug)]
struct Loan {
    buffer: wgpu::Buffer,
    capacity: u64,
    pool: Arc<Pool>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock();
        free.memory.in_use_bytes -= self.capacity;
        if !self.pool.guarded {
            free.by_size.entry(self.capacity).or_default().push(self.buffer.clone());
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

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.loan.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.bytes),
        })
    }
}

impl Pool {
    /// `guarded`: every buffer is new, poisoned, and fenced by bytes that [`Pool::broken_guards`] inspects.
    pub(super) fn new(device: wgpu::Device, limits: &wgpu::Limits, guarded: bool) -> Arc<Self> {
        Arc::new(Pool {
            device,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            guarded,
            free: Mutex::default(),
        })
    }

    /// A buffer of at least `bytes` bytes with unspecified contents; `what` names it in errors.
    pub(super) fn allocate(self: &Arc<Self>, bytes: u64, what: &str) -> Result<GpuBuffer, GpuError> {
        let bytes = bytes.next_multiple_of(4);
        let limit = |limit, available| GpuError::Limit { what: what.to_owned(), limit, needed: bytes, available };
        if bytes > self.max_binding {
            return Err(limit("max_storage_buffer_binding_size", self.max_binding));
        }
        if bytes + 2 * ALIGNMENT > self.max_buffer {
            return Err(limit("max_buffer_size", self.max_buffer));
        }
        let margin = if self.guarded { ALIGNMENT } else { 0 };
        let capacity = bytes.next_multiple_of(ALIGNMENT) + 2 * margin;
        let reused = self.take(capacity);
        let (buffer, capacity) = match reused {
            Some(found) => found,
            None => (self.create(capacity)?, capacity),
        };
        let mut free = self.free.lock();
        free.memory.in_use_bytes += capacity;
        free.memory.peak_bytes = free.memory.peak_bytes.max(free.memory.in_use_bytes);
        let loan = Arc::new(Loan { buffer: buffer.clone(), capacity, pool: self.clone() });
        if self.guarded {
            let writable = margin..margin + bytes;
            free.guarded.push(Guarded { buffer, writable, loan: Arc::downgrade(&loan) });
        }
        drop(free);
        Ok(GpuBuffer { loan, offset: margin, bytes })
    }

    /// The smallest free buffer that fits without wasting over a quarter.
    fn take(&self, capacity: u64) -> Option<(wgpu::Buffer, u64)> {
        let mut free = self.free.lock();
        let (&size, buffers) =
            free.by_size.range_mut(capacity..=capacity + capacity / 4).find(|(_, buffers)| !buffers.is_empty())?;
        buffers.pop().map(|buffer| (buffer, size))
    }

    fn create(&self, capacity: u64) -> Result<wgpu::Buffer, GpuError> {
        let attempt = || {
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: capacity,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: self.guarded,
            });
            pollster::block_on(scope.pop()).is_none().then_some(buffer)
        };
        let buffer = match attempt() {
            Some(buffer) => buffer,
            None => {
                self.release_free();
                // Buffers that running commands use are freed only once these are done.
                let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
                let in_use = self.free.lock().memory.in_use_bytes;
                attempt().ok_or(GpuError::OutOfMemory { bytes: capacity, in_use })?
            }
        };
        if self.guarded {
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

    /// Destroys all buffers that nobody uses.
    fn release_free(&self) {
        let mut free = self.free.lock();
        for (size, buffers) in std::mem::take(&mut free.by_size) {
            free.memory.allocated_bytes -= size * buffers.len() as u64;
        }
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
