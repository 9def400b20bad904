//! Training and evaluation: the loop, the recipes, and what is written into the run folder.

mod autotune;
mod checkpoint;
mod config;
mod dataset;
mod evaluate;
mod memory;
mod metrics;
mod observer;
mod recipes;
mod run_folder;
mod saved_run;
mod session;
mod stepper;
mod trainer;

pub use autotune::{Autotune, Search, Tuning, autotune, default_cache};
pub use checkpoint::Checkpoints;
pub use config::{Initializer, Normalize, Optimization, SYNTHETIC, TrainConfig, usual_evaluation_batch};
pub use dataset::DeviceDataset;
pub(crate) use evaluate::Inference;
pub use evaluate::{Evaluation, Guess, evaluate};
pub use memory::{check_memory, evaluation_bytes, inference_bytes, run_bytes, training_bytes};
pub use metrics::Metrics;
pub use observer::{EpochMetrics, Finish, Observer, Outcome, PeakMemory, Start, StepLine};
pub use run_folder::RunFolder;
pub use saved_run::SavedRun;
pub use stepper::{HostTime, StepMetrics, StepSettings, Stepper, StepperState};
pub use trainer::{Sources, resume, train};
