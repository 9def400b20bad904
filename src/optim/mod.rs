//! Optimizers, loss scaling and learning-rate schedules.

mod loss_scaler;
mod optimizer;
mod schedule;

pub use loss_scaler::{LossScaler, ScalerState};
pub use optimizer::{Optimizer, OptimizerConfig};
pub use schedule::Schedule;
