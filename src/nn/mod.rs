//! Networks: their description, their parameters, and running them on a tape.

mod architecture;
mod fold;
mod init;
mod network;
mod parameter;
mod summary;

pub use architecture::{ARCHITECTURES, Architecture, Layer};
pub use init::Init;
pub use network::Network;
pub use parameter::{Layout, Parameter, Parameters};
pub use summary::{LayerSummary, Summary};
