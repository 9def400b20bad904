//! Training and evaluation of a network on a device: settings and recipes, steps, memory, and the choice of kernels. For run
//! folders and resuming see [`run`](crate::run).

mod autotune;
mod config;
mod dataset;
pub(crate) mod evaluate;
#[cfg(not(target_family = "wasm"))]
mod memory;
mod options;
mod recipes;
mod step;
mod stepper;
mod teacher;
mod training;
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
mod untrusted;
mod whitening;

pub use autotune::{Autotune, Search, Tuning, autotune_async};
#[cfg(not(target_family = "wasm"))]
pub use autotune::{autotune, default_cache};
#[cfg(not(target_family = "wasm"))]
pub(crate) use autotune::{problem_name, problems};
pub use config::{SYNTHETIC, TrainConfig, usual_evaluation_batch};
pub use dataset::DeviceDataset;
pub(crate) use evaluate::Inference;
pub use evaluate::{Evaluation, Guess, TestTimeAugmentation};
#[cfg(not(target_family = "wasm"))]
pub(crate) use memory::largest_batch;
#[cfg(not(target_family = "wasm"))]
pub use memory::{check_memory, evaluation_bytes, inference_bytes, run_bytes, training_bytes, training_launches};
pub use options::{
    Checkpoints, ClassWeighting, Initializer, MuonSettings, Normalize, OnDeviceLoss, OptimizerKind, Whitening,
};
pub use step::{HostTime, NonFinite, OnNonFinite, StepMetrics, StepSettings, StepperState};
pub use stepper::Stepper;
pub use teacher::{Teacher, TeacherSettings};
#[cfg(test)]
pub(crate) use training::{Best, Totals};
pub use training::{Checkpoint, EpochMetrics, Stretch, Training, TrainingSetup};
#[cfg(not(target_family = "wasm"))]
pub(crate) use training::{Progress, number_or_nan};
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
pub(crate) use untrusted::READERS;
pub use whitening::WhiteningFilters;
