//! Networks: their descriptions, their parameters, and running them on a tape.

mod architecture;
mod description;
mod fold;
mod forward;
mod graph;
mod init;
mod layer;
pub mod layers;
mod network;
mod prediction;
mod summary;
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
mod untrusted;

pub use architecture::{ARCHITECTURES, Architecture};
pub(crate) use description::MOST_BYTES as MOST_DESCRIPTION_BYTES;
pub use description::{DescriptionError, DescriptionReader};
pub use forward::ForwardPass;
pub use graph::{Node, Placed};
pub use init::Init;
pub use layer::{Layer, LayerInput, LayerKind, Outputs, ParameterSpec, Role, Start, keys_of};
pub use network::Network;
pub use prediction::Prediction;
pub use summary::{LayerSummary, Summary};
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
pub(crate) use untrusted::READERS;
