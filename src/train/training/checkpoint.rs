//! Checkpoints: the complete state of a run, from which it resumes exactly, as the bytes of one file.

use byteorder::{ByteOrder, LittleEndian};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::progress::{FORMAT, Progress};
use crate::train::StepperState;

/// Key of the progress in the file's metadata.
const PROGRESS: &str = "progress";
/// Key of the checksum of progress and tensors; missing in checkpoints of early versions.
const CHECKSUM: &str = "crc32";

/// The complete state of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub(crate) progress: Progress,
    pub(crate) state: StepperState,
}

impl Checkpoint {
    /// Steps done.
    pub fn step(&self) -> u64 {
        self.progress.step
    }

    /// The bytes of a file that holds it, in the safetensors format.
    ///
    /// # Errors
    /// What went wrong.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let tensors: Vec<_> = self
            .state
            .tensors
            .iter()
            .map(|(name, values)| {
                let mut bytes = vec![0; 4 * values.len()];
                LittleEndian::write_f32_into(values, &mut bytes);
                (name, values.len(), bytes)
            })
            .collect();
        let views = tensors
            .iter()
            .map(|(name, length, bytes)| TensorView::new(Dtype::F32, vec![*length], bytes).map(|view| (*name, view)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| e.to_string())?;
        let progress = serde_json::to_string(&self.progress).map_err(|e| e.to_string())?;
        let contents = tensors.iter().map(|(name, _, bytes)| (name.as_str(), bytes.as_slice()));
        let checksum = checksum(&progress, contents).to_string();
        let metadata =
            std::collections::HashMap::from([(PROGRESS.to_owned(), progress), (CHECKSUM.to_owned(), checksum)]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| e.to_string())
    }

    /// Reads and validates such bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(PROGRESS));
        let text = text.ok_or("it lacks the progress of the run")?;
        let progress: Progress = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if progress.format != FORMAT || progress.epoch == 0 {
            return Err(format!("it is of another version (format {}, here {FORMAT})", progress.format));
        }
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        if let Some(expected) = header.metadata().as_ref().and_then(|metadata| metadata.get(CHECKSUM)) {
            let mut tensors = file.tensors();
            tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
            let contents = tensors.iter().map(|(name, view)| (name.as_str(), view.data()));
            if checksum(text, contents).to_string() != *expected {
                return Err("it is damaged: its checksum differs".into());
            }
        }
        let mut state = StepperState { step: progress.step, tensors: Default::default() };
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(format!("tensor `{name}` is of type {:?}", view.dtype()));
            }
            let mut values = vec![0.0; view.data().len() / 4];
            LittleEndian::read_f32_into(view.data(), &mut values);
            state.tensors.insert(name, values);
        }
        Ok(Checkpoint { progress, state })
    }
}

/// CRC-32 of the progress, and of the tensors sorted by name.
fn checksum<'a>(progress: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(progress.as_bytes());
    for (name, bytes) in tensors {
        hasher.update(name.as_bytes());
        hasher.update(bytes);
    }
    hasher.finalize()
}
