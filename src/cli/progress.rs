//! How a run shows: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use cifar_gpu::Result;
use cifar_gpu::train::{EpochMetrics, Observer, Start, StepMetrics, Tuning};
use indicatif::{ProgressBar, ProgressStyle};

use super::common::{counted, grouped, say};
use super::tune::Tally;

/// Time between plain lines within an epoch.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// Weight of the newest step in the averages shown within an epoch.
const NEWEST: f64 = 0.05;

/// Shows a training run on standard error.
pub struct TrainProgress {
    bar: Option<ProgressBar>,
    epochs: u32,
    total_steps: u64,
    started: Instant,
    last_line: Instant,
    /// Running means of loss and accuracy.
    means: Option<(f64, f64)>,
    images: usize,
    tally: Tally,
}

impl TrainProgress {
    pub fn new() -> Self {
        let now = Instant::now();
        TrainProgress {
            bar: None,
            epochs: 0,
            total_steps: 0,
            started: now,
            last_line: now,
            means: None,
            images: 0,
            tally: Tally::default(),
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }
}

impl Observer for TrainProgress {
    fn tuned(&mut self, tuning: &Tuning) {
        self.tally.add(tuning);
    }

    fn checkpoint_refused(&mut self, file: &Path, why: &str) {
        self.line(&format!("warning: {} is not used: {why}", file.display()));
    }

    fn started(&mut self, start: &Start<'_>) -> Result<()> {
        self.tally.tell();
        let config = start.config;
        self.line(&format!(
            "data:   {}: {} training and {} test images",
            start.source, start.train_images, start.test_images
        ));
        self.line(&format!(
            "train:  {} ({} parameters), {} of {} with {}, {} at {} ({}), seed {}",
            config.arch,
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
        if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar = Some(ProgressBar::new(start.total_steps).with_style(style).with_position(start.first_step));
        }
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
        if let Some(bar) = &self.bar {
            bar.set_position(last.step + 1);
            bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
            bar.set_message(numbers);
        } else if self.last_line.elapsed() > LINE_INTERVAL {
            self.last_line = Instant::now();
            say(format_args!("  step {}/{}: {numbers}", last.step + 1, self.total_steps));
        }
    }

    fn tested(&mut self, images: usize, of: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("testing {images}/{of}"));
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
        Ok(())
    }
}

impl Drop for TrainProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
