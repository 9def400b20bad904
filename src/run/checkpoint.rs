//! The checkpoints of a run folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{read_at_most, replace};
use crate::run::observer::Observer;
use crate::train::Checkpoint;

/// Maximum file size, far above that of any supported network. Larger files are not read.
const MOST_BYTES: u64 = 4 << 30;

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
    pub fn save(&self, checkpoint: &Checkpoint, keep: usize) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::io("making", &self.path))?;
        let progress = &checkpoint.progress;
        let path = self.file(progress.step);
        let bytes = checkpoint.to_bytes().map_err(|message| Error::Checkpoint { path: path.clone(), message })?;
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
    pub fn newest(&self, observer: &mut dyn Observer) -> Result<Option<Checkpoint>> {
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

/// Reads a checkpoint.
fn read(path: &Path) -> Result<Checkpoint> {
    let bad = |message: String| Error::Checkpoint { path: path.to_owned(), message };
    let bytes = read_at_most(path, MOST_BYTES)?.ok_or_else(|| bad("too large".into()))?;
    Checkpoint::from_bytes(&bytes).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Best, Progress, StepperState, Totals};

    struct Refusals(Vec<String>);

    impl Observer for Refusals {
        fn checkpoint_refused(&mut self, file: &Path, _why: &str) {
            self.0.push(file.file_name().unwrap().to_string_lossy().into_owned());
        }
    }

    fn state(step: u64) -> Checkpoint {
        let tensors = [("parameters".to_owned(), vec![step as f32, f32::NAN, -0.0])].into();
        // A number whose last bit imprecise parsers get wrong.
        let totals = Totals { loss: 1.0 / 3.0 + step as f64, images: 7, correct: 3, skipped: 0 };
        let progress = Progress { step, totals, ..Progress::start() };
        Checkpoint { progress, state: StepperState { step, tensors } }
    }

    #[test]
    fn the_newest_whole_checkpoint_is_used_and_the_best_is_kept() {
        let run = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::of(run.path());
        for step in [10, 20, 30, 40] {
            let mut checkpoint = state(step);
            checkpoint.progress.best = Some(Best { accuracy: 0.5, step: 10 });
            folder.save(&checkpoint, 2).unwrap();
        }
        assert_eq!(folder.steps().unwrap(), [40, 30, 10]);
        let bytes = fs::read(folder.file(40)).unwrap();
        fs::write(folder.file(40), &bytes[..bytes.len() - 1]).unwrap();
        let mut refusals = Refusals(Vec::new());
        let Checkpoint { progress, state: restored } = folder.newest(&mut refusals).unwrap().unwrap();
        assert_eq!(refusals.0, ["step-000000040.safetensors"]);
        let Checkpoint { progress: expected, state: tensors } = state(30);
        assert_eq!((progress.step, progress.totals), (30, expected.totals));
        let bits = |state: &StepperState| state.tensors["parameters"].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&restored), bits(&tensors));
        // A bit that flips anywhere in a checkpoint is noticed.
        for at in (0..bytes.len()).step_by(37) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(folder.file(40), &flipped).unwrap();
            let found = folder.newest(&mut Refusals(Vec::new())).unwrap().unwrap();
            assert_eq!(found.step(), 30, "byte {at}");
        }
        // The resumed run keeps its new checkpoints although there is a later one.
        folder.save(&state(32), 1).unwrap();
        assert_eq!(folder.steps().unwrap(), [40, 32]);
    }

    #[test]
    fn damaged_checkpoints_are_an_error_and_absent_ones_are_not() {
        let run = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::of(run.path());
        assert!(folder.newest(&mut Refusals(Vec::new())).unwrap().is_none());
        folder.save(&state(10), 2).unwrap();
        fs::write(folder.file(10), b"no checkpoint").unwrap();
        let error = folder.newest(&mut Refusals(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("none of them can be used"), "{error}");
        assert!(error.hint().is_some());
    }
}
