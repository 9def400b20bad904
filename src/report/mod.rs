//! Reports on a run: curves, event files for TensorBoard, a page about the result, and the confusion matrix.
//!
//! [`Reporter`] writes them into the run folder as training goes on. Everything comes from the folder's `config.json` and
//! `metrics.jsonl`, so that the curves of a resumed run are those of the whole run.

mod canvas;
mod confusion;
mod curves;
mod fonts;
mod page;
mod pictures;
mod preview;
mod raster;
mod recipe;
mod scores;
mod tensorboard;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::replace;
use crate::profile::Profile;
use crate::run::{EpochMetrics, Finish, Metrics, Observer, PeakMemory, SavedRun, Start};
use crate::train::{StepMetrics, Tuning};

pub use confusion::{write_confusion_csv, write_confusion_png};
pub use fonts::missing_characters;
pub use preview::write_preview;
pub use scores::{ClassScore, class_scores, top_5_accuracy};

/// Name of the page in the run folder.
const PAGE: &str = "report.html";

/// Writes a run's `curves.svg`, `curves.png` and `tensorboard/` from the contents of its folder.
///
/// # Errors
/// If it is not a run folder, or a file cannot be written; existing files are then unchanged.
pub fn write(run: &Path) -> Result<()> {
    let (saved, metrics) = (SavedRun::read(run)?, Metrics::read(run)?);
    let drawing = curves::curves(&saved, &metrics.epochs)?;
    replace(&run.join("curves.svg"), drawing.svg().as_bytes())?;
    let png = run.join("curves.png");
    replace(&png, &drawing.png(&png)?)?;
    tensorboard::write(run, saved.began.unwrap_or_default(), &metrics)
}

/// Writes `report.html`, a page about a finished run.
///
/// # Errors
/// As [`write()`].
pub fn write_page(finish: &Finish<'_>) -> Result<()> {
    let (saved, metrics) = (SavedRun::read(finish.run)?, Metrics::read(finish.run)?);
    let path = finish.run.join(PAGE);
    replace(&path, page::page(finish, &saved, &metrics, &path)?.as_bytes())
}

/// Writes reports into the run folder: curves and event files after each epoch, the page at the end. It passes all events to
/// another observer first.
///
/// Training calls it when weights and checkpoint are saved, so that nothing else is lost if a report cannot be written.
pub struct Reporter<'a> {
    inner: &'a mut dyn Observer,
    run: PathBuf,
}

impl<'a> Reporter<'a> {
    /// A reporter that passes all events to `inner`.
    pub fn new(inner: &'a mut dyn Observer) -> Self {
        Reporter { inner, run: PathBuf::new() }
    }
}

impl Observer for Reporter<'_> {
    fn tuned(&mut self, tuning: &Tuning) {
        self.inner.tuned(tuning);
    }

    fn checkpoint_refused(&mut self, file: &Path, why: &str) {
        self.inner.checkpoint_refused(file, why);
    }

    fn profiled(&mut self, profile: &Profile, steps: u64, memory: PeakMemory, trace: &Path) {
        self.inner.profiled(profile, steps, memory, trace);
    }

    fn started(&mut self, start: &Start<'_>) -> Result<()> {
        self.inner.started(start)?;
        self.run = start.run.to_owned();
        // If a run is resumed for more epochs, the weights on its page are about to be replaced.
        let page = start.run.join(PAGE);
        match std::fs::remove_file(&page) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", page)(e)),
            _ => Ok(()),
        }
    }

    fn stepped(&mut self, epoch: u32, steps: &[StepMetrics]) {
        self.inner.stepped(epoch, steps);
    }

    fn tested(&mut self, images: usize, of: usize) {
        self.inner.tested(images, of);
    }

    fn epoch_done(&mut self, metrics: &EpochMetrics) -> Result<()> {
        self.inner.epoch_done(metrics)?;
        write(&self.run)
    }

    fn finished(&mut self, finish: &Finish<'_>) -> Result<()> {
        self.inner.finished(finish)?;
        write_page(finish)
    }

    fn has_finished(&self, run: &Path) -> bool {
        self.inner.has_finished(run) && run.join(PAGE).exists()
    }
}
