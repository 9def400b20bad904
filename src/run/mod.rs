//! Training runs: starting, resuming, observing, and their folders with settings, metrics, weights and checkpoints.

mod checkpoint;
mod metrics;
mod observer;
mod recovery;
mod run_folder;
mod saved_run;
mod session;
mod trainer;
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
mod untrusted;

pub use crate::train::EpochMetrics;
pub use metrics::Metrics;
pub use observer::{Finish, Observer, Outcome, PeakMemory, Start, StepLine};
pub use recovery::recover;
pub use run_folder::RunFolder;
pub use saved_run::SavedRun;
pub use trainer::{Sources, resume, train};
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
pub(crate) use untrusted::READERS;
