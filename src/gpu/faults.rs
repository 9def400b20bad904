//! Errors that the driver reports asynchronously.

use std::sync::OnceLock;

use super::GpuError;

/// The first asynchronous error of the driver. Later ones follow from it and are ignored.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: OnceLock<String>,
    pub(super) error: OnceLock<GpuError>,
}

impl Faults {
    pub(super) fn check(&self) -> Result<(), GpuError> {
        if let Some(reason) = self.lost.get() {
            return Err(GpuError::DeviceLost(reason.clone()));
        }
        self.error.get().map_or(Ok(()), |e| Err(e.clone()))
    }
}
