//! Errors that the driver tells of out of turn.

use std::sync::OnceLock;

use super::GpuError;

/// What the driver told us out of turn. Only the first word counts: the rest follows from it.
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
