//! Weights files: read in several formats and under the names of several programs, written as safetensors with the network's
//! description in the metadata.

mod file;
mod formats;
mod mapping;
mod metadata;
mod save;
mod tensors;
#[cfg(test)]
mod tests;
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
mod untrusted;

use std::path::Path;

use crate::error::Result;
use crate::nn::{Architecture, DescriptionReader};

pub use file::WeightsFile;
pub use formats::Format;
#[cfg(feature = "formats")]
pub use formats::OnnxInput;
pub use mapping::{Mapping, Naming, Target};
pub use metadata::Metadata;
#[cfg(feature = "formats")]
pub use save::export;
pub use save::{Width, to_safetensors_async};
#[cfg(not(target_family = "wasm"))]
pub use save::{save, save_as};
pub use tensors::{NamedTensor, Order};
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
pub(crate) use untrusted::READERS;

/// The architecture that `arch` names: a built-in network, a description in a `.toml` file, or that in a file of weights, for
/// `classes` classes; `None` takes the number from the description, else ten.
///
/// # Errors
/// As [`Architecture::load`], and [`Error::Weights`](crate::Error::Weights).
pub fn architecture(arch: &str, classes: Option<usize>) -> Result<Architecture> {
    if !Architecture::is_weights_file(arch) {
        return Architecture::load(arch, classes);
    }
    let file = WeightsFile::read(Path::new(arch))?;
    match file.metadata() {
        Some(Metadata { network: Some(text), .. }) => DescriptionReader::default().read(arch, text, classes),
        Some(metadata) => Architecture::load(&metadata.arch, classes),
        None => file.architecture(None),
    }
}
