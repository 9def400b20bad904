//! Checkpoints: the complete state of a run, from which it resumes exactly, in one file.

use std::fs;
use std::path::{Path, PathBuf};

use byteorder::{ByteOrder, LittleEndian};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files::{read_at_most, replace};
use crate::run::observer::Observer;
use crate::train::{StepMetrics, StepperState};

/// Maximum file size, far above that of any supported network. Larger files are not read.
const MOST_BYTES: u64 = 4 << 30;
/// Increment if checkpoints of older versions cannot be resumed from.
const FORMAT: u32 = 1;
/// Key of the progress in the file's metadata.
const PROGRESS: &str = "progress";
/// Key of the checksum of progress and tensors; missing in checkpoints of early versions.
const CHECKSUM: &str = "crc32";

/// Sums over an epoch's steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Totals {
    pub loss: f64,
    pub images: usize,
    pub correct: usize,
    /// Steps that were skipped, which the other sums are without.
    #[serde(default)]
    pub skipped: u64,
}

impl Totals {
    pub fn add(&mut self, step: &StepMetrics) {
        self.loss += f64::from(step.loss) * step.images as f64;
        self.images += step.images;
        self.correct += step.correct;
    }
}

/// The epoch with the best test result so far.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Best {
    pub accuracy: f64,
    /// Steps done at its end.
    pub step: u64,
}

/// Progress of a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Progress {
    format: u32,
    /// Steps done in the whole run.
    pub step: u64,
    /// The current epoch, from 1.
    pub epoch: u32,
    /// Completed steps of this epoch.
    pub steps_in_epoch: u64,
    /// Sums over these steps.
    pub totals: Totals,
    /// Duration of these steps in seconds.
    pub epoch_seconds: f64,
    /// Duration of the whole run in seconds.
    pub seconds: f64,
    /// Length of `metrics.jsonl` in bytes; later lines are not part of this state.
    pub metrics_bytes: u64,
    pub best: Option<Best>,
}

impl Progress {
    /// Before the first step.
    pub fn start() -> Self {
        Progress {
            format: FORMAT,
            step: 0,
            epoch: 1,
            steps_in_epoch: 0,
            totals: Totals::default(),
            epoch_seconds: 0.0,
            seconds: 0.0,
            metrics_bytes: 0,
            best: None,
        }
    }

    /// Ends the epoch.
    pub fn next_epoch(&mut self) {
        self.epoch += 1;
        self.steps_in_epoch = 0;
        self.totals = Totals::default();
        self.epoch_seconds = 0.0;
    }
}

/// The checkpoints of a run folder.
#[derive(Debug)]
pub(super) struct CheckpointFolder {
    path: PathBuf,
}

impl CheckpointFolder {
    pub fn of(run: &Path) -> Self {
        CheckpointFolder { path: run.join("checkpoints") }
    }

    fn file(&self, step: u64) -> PathBuf {
        self.path.join(format!("step-{step:09}.safetensors"))
    }

    /// Writes a checkpoint, then removes those that are neither among the `keep` newest nor the best.
    pub fn save(&self, progress: &Progress, state: &StepperState, keep: usize) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::io("making", &self.path))?;
        let path = self.file(progress.step);
        let bad = |message: String| Error::Checkpoint { path: path.clone(), message };
        let tensors: Vec<_> = state
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
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|e| bad(e.to_string()))?;
        let progress_text = serde_json::to_string(progress).map_err(|e| bad(e.to_string()))?;
        let contents = tensors.iter().map(|(name, _, bytes)| (name.as_str(), bytes.as_slice()));
        let checksum = checksum(&progress_text, contents).to_string();
        let metadata =
            std::collections::HashMap::from([(PROGRESS.to_owned(), progress_text), (CHECKSUM.to_owned(), checksum)]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| bad(e.to_string()))?;
        replace(&path, &bytes)?;
        log::debug!("checkpoint {} written, {} bytes", path.display(), bytes.len());
        // Later checkpoints were unusable when the run was resumed from an earlier one.
        for step in self.steps()?.into_iter().filter(|&step| step <= progress.step).skip(keep.max(1)) {
            if progress.best.is_none_or(|best| best.step != step) {
                let old = self.file(step);
                fs::remove_file(&old).map_err(Error::io("removing", &old))?;
            }
        }
        Ok(())
    }

    /// The steps of all checkpoints, the newest first.
    fn steps(&self) -> Result<Vec<u64>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let step =
            |name: &str| -> Option<u64> { name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok() };
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("reading", &self.path))? {
            let entry = entry.map_err(Error::io("reading", &self.path))?;
            steps.extend(entry.file_name().to_str().and_then(step));
        }
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    /// The newest usable checkpoint; `None` if there are no checkpoints.
    ///
    /// # Errors
    /// If there are checkpoints and none is usable.
    pub fn newest(&self, observer: &mut dyn Observer) -> Result<Option<(Progress, StepperState)>> {
        let steps = self.steps()?;
        if steps.is_empty() {
            return Ok(None);
        }
        for step in steps {
            match read(&self.file(step)) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => observer.checkpoint_refused(&self.file(step), &error.to_string()),
            }
        }
        Err(Error::Checkpoint { path: self.path.clone(), message: "none of them can be used".into() })
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

/// Reads a checkpoint.
fn read(path: &Path) -> Result<(Progress, StepperState)> {
    let bad = |message: String| Error::Checkpoint { path: path.to_owned(), message };
    let bytes = read_at_most(path, MOST_BYTES)?.ok_or_else(|| bad("too large".into()))?;
    parse(path, &bytes)
}

/// Reads the bytes of a checkpoint and validates them.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Progress, StepperState)> {
    let bad = |message: String| Error::Checkpoint { path: path.to_owned(), message };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(PROGRESS));
    let text = text.ok_or_else(|| bad("it lacks the progress of the run".into()))?;
    let progress: Progress = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    if progress.format != FORMAT || progress.epoch == 0 {
        return Err(bad(format!("it is of another version (format {}, here {FORMAT})", progress.format)));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|e| bad(e.to_string()))?;
    if let Some(expected) = header.metadata().as_ref().and_then(|metadata| metadata.get(CHECKSUM)) {
        let mut tensors = file.tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        let contents = tensors.iter().map(|(name, view)| (name.as_str(), view.data()));
        if checksum(text, contents).to_string() != *expected {
            return Err(bad("it is damaged: its checksum differs".into()));
        }
    }
    let mut state = StepperState { step: progress.step, tensors: Default::default() };
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(bad(format!("tensor `{name}` is of type {:?}", view.dtype())));
        }
        let mut values = vec![0.0; view.data().len() / 4];
        LittleEndian::read_f32_into(view.data(), &mut values);
        state.tensors.insert(name, values);
    }
    Ok((progress, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusals(Vec<String>);

    impl Observer for Refusals {
        fn checkpoint_refused(&mut self, file: &Path, _why: &str) {
            self.0.push(file.file_name().unwrap().to_string_lossy().into_owned());
        }
    }

    fn state(step: u64) -> (Progress, StepperState) {
        let tensors = [("parameters".to_owned(), vec![step as f32, f32::NAN, -0.0])].into();
        // A number whose last bit imprecise parsers get wrong.
        let totals = Totals { loss: 1.0 / 3.0 + step as f64, images: 7, correct: 3, skipped: 0 };
        (Progress { step, totals, ..Progress::start() }, StepperState { step, tensors })
    }

    #[test]
    fn the_newest_whole_checkpoint_is_used_and_the_best_is_kept() {
        let run = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::of(run.path());
        for step in [10, 20, 30, 40] {
            let (mut progress, state) = state(step);
            progress.best = Some(Best { accuracy: 0.5, step: 10 });
            folder.save(&progress, &state, 2).unwrap();
        }
        assert_eq!(folder.steps().unwrap(), [40, 30, 10]);
        let bytes = fs::read(folder.file(40)).unwrap();
        fs::write(folder.file(40), &bytes[..bytes.len() - 1]).unwrap();
        let mut refusals = Refusals(Vec::new());
        let (progress, restored) = folder.newest(&mut refusals).unwrap().unwrap();
        assert_eq!(refusals.0, ["step-000000040.safetensors"]);
        let (expected, tensors) = state(30);
        assert_eq!((progress.step, progress.totals), (30, expected.totals));
        let bits = |state: &StepperState| state.tensors["parameters"].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&restored), bits(&tensors));
        // A bit that flips anywhere in a checkpoint is noticed.
        for at in (0..bytes.len()).step_by(37) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(folder.file(40), &flipped).unwrap();
            let (progress, _) = folder.newest(&mut Refusals(Vec::new())).unwrap().unwrap();
            assert_eq!(progress.step, 30, "byte {at}");
        }
        // The resumed run keeps its new checkpoints although there is a later one.
        let (progress, state) = state(32);
        folder.save(&progress, &state, 1).unwrap();
        assert_eq!(folder.steps().unwrap(), [40, 32]);
    }

    #[test]
    fn damaged_checkpoints_are_an_error_and_absent_ones_are_not() {
        let run = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::of(run.path());
        assert!(folder.newest(&mut Refusals(Vec::new())).unwrap().is_none());
        let (progress, state) = state(10);
        folder.save(&progress, &state, 2).unwrap();
        fs::write(folder.file(10), b"no checkpoint").unwrap();
        let error = folder.newest(&mut Refusals(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("none of them can be used"), "{error}");
        assert!(error.hint().is_some());
    }
}
