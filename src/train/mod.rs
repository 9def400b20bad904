//! Training and evaluation of a network on a device: settings and recipes, steps, memory, and the choice of kernels. For run
//! folders and resuming see [`run`](crate::run).

mod autotune;
mod config;
mod dataset;
mod evaluate;
mod memory;
mod recipes;
mod stepper;

pub use autotune::{Autotune, Search, Tuning, autotune, default_cache};
pub(crate) use autotune::{problem_name, problems};
pub use config::{
    Checkpoints, ClassWeighting, Initializer, Normalize, OptimizerKind, SYNTHETIC, TrainConfig, usual_evaluation_batch,
};
pub use dataset::DeviceDataset;
pub(crate) use evaluate::Inference;
pub use evaluate::{Evaluation, Guess, evaluate};
pub use memory::{check_memory, evaluation_bytes, inference_bytes, run_bytes, training_bytes};
pub use stepper::{HostTime, StepMetrics, StepSettings, Stepper, StepperState};
