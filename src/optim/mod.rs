//! Optimisers and learning-rate schedules.

mod optimizer;
mod schedule;

pub use optimizer::{Optimizer, OptimizerConfig};
pub use schedule::Schedule;
