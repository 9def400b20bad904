//! Errors that the driver reports asynchronously.

use std::sync::OnceLock;

use parking_lot::Mutex;

use super::GpuError;

/// The first asynchronous error of the driver. Later ones follow from it and are ignored.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: OnceLock<String>,
    error: Mutex<Option<GpuError>>,
}

impl Faults {
    pub(super) fn check(&self) -> Result<(), GpuError> {
        if let Some(reason) = self.lost.get() {
            return Err(GpuError::DeviceLost(reason.clone()));
        }
        self.error.lock().clone().map_or(Ok(()), Err)
    }

    /// Keeps the error, if it is the first.
    pub(super) fn report(&self, error: GpuError) {
        self.error.lock().get_or_insert(error);
    }

    /// Forgets that a kernel was refused, which says nothing of others.
    pub(super) fn forgive_kernel(&self) {
        let mut error = self.error.lock();
        if matches!(*error, Some(GpuError::Shader { .. })) {
            *error = None;
        }
    }
}
