//! Display of a run: a live view on a terminal, a progress bar on a small one, plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use cifar_gpu::data::{ImportPhase, ImportProgress};
use cifar_gpu::profile::Profile;
use cifar_gpu::run::{EpochMetrics, Metrics, Observer, PeakMemory, Start};
use cifar_gpu::train::{NonFinite, StepMetrics, Tuning};
use cifar_gpu::{ImageShape, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::common::pixels;
use super::live::LiveView;
use super::tally::Tally;
use super::terminal::{is_quiet, say, warn};
use crate::words::{counted, grouped};

/// Time between plain lines within an epoch.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// Skipped steps that get a line of their own.
const SKIPPED_LINES: u64 = 10;
/// Weight of the newest step in the averages shown within an epoch.
const NEWEST: f64 = 0.05;

/// Shows on a terminal the progress of reading the images of a folder or archive.
pub struct ImageProgress(ProgressBar);

impl ImageProgress {
    pub fn new() -> Self {
        // Draws only on a terminal.
        let target = if is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{msg} {pos} done, {per_sec}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        ImageProgress(ProgressBar::with_draw_target(None, target).with_style(style))
    }

    pub fn show(&self, progress: ImportProgress) {
        let doing = match progress.phase {
            ImportPhase::Decode => "reading",
            ImportPhase::Write => "writing",
        };
        self.0.set_message(match progress.total {
            Some(total) => format!("{doing} {total} images:"),
            None => doing.to_owned(),
        });
        self.0.set_position(progress.done);
    }
}

impl Drop for ImageProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A note on the images' shape if it is not the default.
fn other_shape(shape: ImageShape) -> String {
    if shape == ImageShape::CIFAR {
        return String::new();
    }
    format!(" of {}", pixels(shape))
}

/// Shows a training run on standard error.
pub struct TrainProgress {
    view: View,
    epochs: u32,
    total_steps: u64,
    started: Instant,
    last_line: Instant,
    /// Running means of loss and accuracy.
    means: Option<(f64, f64)>,
    images: usize,
    /// Steps without an update.
    skipped: u64,
    tally: Tally,
}

/// The display below the printed lines.
enum View {
    Nothing,
    Bar(ProgressBar),
    Live(Box<LiveView>),
}

impl View {
    /// The display that fits the terminal, if there is one.
    fn open(start: &Start<'_>) -> Self {
        if !std::io::stderr().is_terminal() || is_quiet() {
            return View::Nothing;
        }
        let earlier = match start.first_step {
            0 => Vec::new(),
            // For display only: the curves start here if the file cannot be read.
            _ => Metrics::read(start.run).map(|metrics| metrics.epochs).unwrap_or_default(),
        };
        if let Some(live) = LiveView::open(start, &earlier) {
            return View::Live(Box::new(live));
        }
        // On small terminals the last numbers are cut off, so that the line does not wrap.
        let style = ProgressStyle::with_template("{prefix} {bar:10} {pos}/{len}, {eta} left, {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        View::Bar(ProgressBar::new(start.total_steps).with_style(style).with_position(start.first_step))
    }
}

impl TrainProgress {
    pub fn new() -> Self {
        let now = Instant::now();
        TrainProgress {
            view: View::Nothing,
            epochs: 0,
            total_steps: 0,
            started: now,
            last_line: now,
            means: None,
            images: 0,
            skipped: 0,
            tally: Tally::default(),
        }
    }

    /// Prints a line above the display.
    fn line(&mut self, text: &str) {
        match &mut self.view {
            View::Live(live) => live.line(text),
            View::Bar(bar) => bar.println(text),
            View::Nothing => say(text),
        }
    }
}

impl Observer for TrainProgress {
    fn tuned(&mut self, tuning: &Tuning) {
        self.tally.add(tuning);
    }

    fn checkpoint_refused(&mut self, file: &Path, why: &str) {
        // There is no bar yet.
        warn(format_args!("{} is not used: {why}", file.display()));
    }

    fn profiled(&mut self, profile: &Profile, steps: u64, memory: PeakMemory, trace: &Path) {
        self.line(&format!("profile of {}:", counted(steps, "step")));
        profile.table().lines().for_each(|line| self.line(line));
        let mebibytes = |bytes: u64| format!("{} MiB", grouped(bytes.div_ceil(1 << 20)));
        let held = [("of tensors", memory.device_bytes), ("of the process", memory.process_bytes)];
        let held: Vec<_> =
            held.iter().filter_map(|(what, bytes)| Some(format!("{} {what}", mebibytes((*bytes)?)))).collect();
        self.line(&format!("peak memory {}; trace for ui.perfetto.dev: {}", held.join(", "), trace.display()));
    }

    fn started(&mut self, start: &Start<'_>) -> Result<()> {
        self.tally.tell();
        let config = start.config;
        self.line(&format!(
            "data:   {}: {} training and {} test images{} of {}",
            start.source,
            start.train_images,
            start.test_images,
            other_shape(start.image_shape),
            named_classes(start.class_names)
        ));
        self.line(&format!(
            "train:  {} ({} parameters), {} of {} with {}, {} at {} ({}), seed {}",
            start.network,
            grouped(start.parameters as u64),
            counted(config.epochs.into(), "epoch"),
            counted(start.steps_per_epoch, "step"),
            counted(config.batch_size.min(start.train_images) as u64, "image"),
            config.optimizer,
            config.lr,
            config.schedule,
            config.seed,
        ));
        let from =
            if start.first_step > 0 { format!(", from step {}", grouped(start.first_step)) } else { String::new() };
        self.line(&format!("run:    {}{from}", start.run.display()));
        self.line("epoch  train loss  train acc  test loss  test acc  images/s      time");
        self.epochs = config.epochs;
        self.total_steps = start.total_steps;
        self.started = Instant::now();
        self.last_line = self.started;
        self.view = View::open(start);
        Ok(())
    }

    fn stepped(&mut self, epoch: u32, steps: &[StepMetrics]) {
        for step in steps {
            let (loss, accuracy) = (f64::from(step.loss), step.correct as f64 / step.images as f64);
            self.means = Some(
                self.means.map_or((loss, accuracy), |(l, a)| (l + NEWEST * (loss - l), a + NEWEST * (accuracy - a))),
            );
            self.images += step.images;
        }
        let (Some((loss, accuracy)), Some(last)) = (self.means, steps.last()) else { return };
        let rate = self.images as f64 / self.started.elapsed().as_secs_f64();
        let numbers = format!("loss {loss:.3}, accuracy {:.1} %, {rate:.0} images/s", 100.0 * accuracy);
        match &mut self.view {
            View::Live(live) => live.stepped(last.step + 1, loss, accuracy, rate),
            View::Bar(bar) => {
                bar.set_position(last.step + 1);
                bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
                bar.set_message(numbers);
            }
            View::Nothing if self.last_line.elapsed() > LINE_INTERVAL => {
                self.last_line = Instant::now();
                say(format_args!("  step {}/{}: {numbers}", last.step + 1, self.total_steps));
            }
            View::Nothing => {}
        }
    }

    fn skipped(&mut self, step: &StepMetrics, what: NonFinite) {
        self.skipped += 1;
        if self.skipped <= SKIPPED_LINES {
            let end = if self.skipped == SKIPPED_LINES { "; further ones are only counted" } else { "" };
            self.line(&format!("  step {} skipped: {what}{end}", step.step));
        }
    }

    fn tested(&mut self, images: usize, of: usize) {
        match &mut self.view {
            View::Live(live) => live.tested(images, of),
            View::Bar(bar) => bar.set_message(format!("testing {images}/{of}")),
            View::Nothing => {}
        }
    }

    fn epoch_done(&mut self, m: &EpochMetrics) -> Result<()> {
        self.last_line = Instant::now();
        self.line(&format!(
            "{:>5}  {:>10.4}  {:>7.2} %  {:>9.4}  {:>6.2} %  {:>8.0}  {:>6.1} s",
            m.epoch,
            m.train_loss,
            100.0 * m.train_accuracy,
            m.test_loss,
            100.0 * m.test_accuracy,
            m.images_per_second,
            m.seconds,
        ));
        if m.skipped_steps > 0 {
            self.line(&format!("       {} of this epoch skipped", counted(m.skipped_steps, "step")));
        }
        if let View::Live(live) = &mut self.view {
            live.epoch_done(m);
        }
        Ok(())
    }
}

impl Drop for TrainProgress {
    fn drop(&mut self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

/// Classes that are named one by one.
const MOST_NAMED: usize = 12;

/// The number of classes, and their names if they are few.
fn named_classes(names: &[String]) -> String {
    let count = counted(names.len() as u64, "class");
    match names.len() <= MOST_NAMED {
        true => format!("{count}: {}", names.join(", ")),
        false => format!("{count}: {}, …", names[..MOST_NAMED].join(", ")),
    }
}
