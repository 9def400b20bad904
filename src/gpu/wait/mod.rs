//! All code that waits for a driver, once for platforms whose threads may block and once for browsers, whose threads may not.

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod web;

#[cfg(not(target_family = "wasm"))]
use native as platform;
#[cfg(target_family = "wasm")]
use web as platform;

pub use platform::SubmissionIndex;
#[cfg(not(target_family = "wasm"))]
pub(crate) use platform::block_on;
#[cfg(not(target_family = "wasm"))]
pub(super) use platform::block_until_idle;
pub(super) use platform::{Mapping, for_all, for_submission, notice, scoped, submitted};
