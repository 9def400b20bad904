//! The GPU engine: adapter, memory, shaders, pipelines, recording, submission and readback. It is independent of the operations.

mod adapter;
mod budget;
mod device;
mod error;
mod faults;
pub mod interop;
mod launch;
mod pipeline;
mod pool;
mod program;
mod readback;
mod recording;
pub mod shaders;
mod statistics;
mod submission;
#[cfg(not(target_family = "wasm"))]
mod timing;
mod wait;

#[cfg(not(target_family = "wasm"))]
pub use adapter::list_adapters;
pub use adapter::{AdapterKind, AdapterRequest, AdapterSummary, Backend, CooperativeMatrix, GpuLimits};
pub use budget::Budget;
pub use device::{AdapterHint, GpuDevice, GpuOptions, RehearsedAdapter};
pub use error::GpuError;
pub use launch::{Launch, Launched};
pub use pool::{BUFFER_ALIGNMENT, GpuBuffer, MemoryUse};
pub use program::Program;
pub use readback::PendingRead;
pub use shaders::ShaderVariant;
pub use statistics::Statistics;
pub use wait::SubmissionIndex;
#[cfg(not(target_family = "wasm"))]
pub(crate) use wait::block_on;
