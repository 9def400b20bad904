//! The engine: adapter, memory, shaders, pipelines, recording, submission and readback. It knows no operation.

mod adapter;
mod device;
mod error;
mod pool;
mod readback;
mod recording;
pub mod shaders;

pub use adapter::{AdapterRequest, AdapterSummary, Backend, list_adapters};
pub use device::{GpuDevice, GpuOptions};
pub use error::GpuError;
pub use pool::{GpuBuffer, MemoryUse};
pub use readback::PendingRead;
pub use recording::Launch;
pub use shaders::ShaderVariant;
