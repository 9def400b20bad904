//! Training and evaluation: the loop, the recipes, and what is written into the run folder.

mod autotune;
mod config;
mod dataset;
mod evaluate;
mod memory;
mod run_folder;
mod stepper;
mod trainer;

pub use autotune::{Autotune, Tuning, autotune, default_cache};
pub use config::{Optimization, Precision, TrainConfig};
pub use dataset::DeviceDataset;
pub(crate) use evaluate::Inference;
pub use evaluate::{Evaluation, evaluate};
pub use memory::{check_memory, inference_bytes, training_bytes};
pub use run_folder::RunFolder;
pub use stepper::{HostTime, StepMetrics, Stepper};
pub use trainer::{EpochMetrics, Observer, Outcome, Start, train};
