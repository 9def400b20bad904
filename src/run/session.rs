//! A running training session: its epochs, tests, checkpoints, profile and end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;

use crate::classifier::Classifier;
use crate::data::Dataset;
use crate::error::{Error, Remedy, Result};
use crate::files::replace;
use crate::nn::{Architecture, Network};
use crate::ops::conv2d::Plans;
use crate::ops::random::RandomStream;
use crate::profile;
use crate::run::checkpoint::{Best, CheckpointFolder, Progress};
use crate::run::metrics::Metrics;
use crate::run::non_finite::Skipping;
use crate::run::observer::{EpochMetrics, Finish, Observer, Outcome, PeakMemory, Start, StepLine};
use crate::run::run_folder::RunFolder;
use crate::tensor::Device;
use crate::tensor::cpu::peak_process_bytes;
use crate::train::{
    DeviceDataset, Evaluation, StepMetrics, Stepper, TestTimeAugmentation, TrainConfig, Whitening, WhiteningFilters,
};

/// Maximum interval between readbacks of metrics, short enough for a responsive progress bar.
const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Number of the generator's stream that orders the images; those below initialize the weights.
const ORDER_STREAM: u32 = 1 << 16;
/// Warm-up steps before a profile, which create pipelines and allocate memory.
const UNPROFILED_STEPS: u64 = 3;
/// Steps that a profile times.
const PROFILED_STEPS: u64 = 10;
/// Data and state of training.
pub(super) struct Setup {
    pub(super) train_set: Dataset,
    pub(super) test_set: Dataset,
    pub(super) network: Network,
    train_images: DeviceDataset,
    test_images: DeviceDataset,
}

impl Setup {
    pub(super) fn new(
        config: &TrainConfig,
        device: &Device,
        architecture: Architecture,
        plans: Plans,
        train_set: Dataset,
        test_set: Dataset,
    ) -> Result<Self> {
        let mut network = Network::new(architecture, device, config.seed)?;
        network.set_plans(plans);
        network.set_precision(config.precision)?;
        if config.whitening != Whitening::None {
            WhiteningFilters::of(&network, &train_set)?.apply(&network)?;
        }
        let train_images = DeviceDataset::new(device, &train_set, &network.architecture().normalization)?;
        let test_images = DeviceDataset::new(device, &test_set, &network.architecture().normalization)?;
        Ok(Setup { train_set, test_set, network, train_images, test_images })
    }

    pub(super) fn stepper(&self, config: &TrainConfig) -> Result<Stepper<'_>> {
        let class_weights = config.class_weights.of(&self.train_set);
        let teacher = config.teacher.as_ref().map(|teacher| teacher.open(&self.network)).transpose()?;
        config.stepper(&self.network, &self.train_images, class_weights, teacher)
    }
}

/// Why the steps of an epoch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The epoch is complete.
    Complete,
    /// The run has reached its step limit.
    Enough,
    /// The user requested it.
    Interrupted,
}

/// A running session.
pub(super) struct Session<'a> {
    pub(super) config: &'a TrainConfig,
    pub(super) setup: &'a Setup,
    pub(super) stepper: Stepper<'a>,
    pub(super) run: RunFolder,
    pub(super) progress: Progress,
    pub(super) stop: &'a AtomicBool,
    pub(super) observer: &'a mut dyn Observer,
    /// The rest of a profile.
    pub(super) profiling: Profiling,
    /// Step of the newest checkpoint.
    pub(super) saved_step: Option<u64>,
    /// Steps that are skipped because their numbers are not finite.
    pub(super) skipping: Skipping,
}

/// State of a profile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Profiling {
    /// Not requested, or done.
    Off,
    /// It starts with this step.
    From(u64),
    /// It started with this step.
    Since(u64),
}

impl Profiling {
    pub(super) fn new(config: &TrainConfig, first_step: u64) -> Self {
        if config.profile { Profiling::From(first_step + UNPROFILED_STEPS) } else { Profiling::Off }
    }
}

impl Session<'_> {
    /// Trains to the end of the run, or until it is stopped.
    pub(super) fn run(mut self, source: &str) -> Result<Outcome> {
        self.train(source).map_err(|error| self.of_run(error))
    }

    /// An error of the GPU with what it means for the run.
    fn of_run(&self, error: Error) -> Error {
        match error {
            Error::Gpu(source) => Error::RunGpu { run: self.run.path().to_owned(), step: self.saved_step, source },
            other => other,
        }
    }

    fn train(&mut self, source: &str) -> Result<Outcome> {
        let start = Instant::now();
        let seconds_before = self.progress.seconds;
        self.start(source)?;
        loop {
            let ended = self.train_epoch(seconds_before, start)?;
            self.progress.seconds = seconds_before + start.elapsed().as_secs_f64();
            if ended != Ended::Complete {
                // Before the line of an incomplete epoch, which the run replaces when resumed.
                self.save_checkpoint()?;
            }
            if ended == Ended::Interrupted {
                self.save_weights()?;
                return Err(self.interrupted());
            }
            let (metrics, evaluation) = self.test_epoch(seconds_before, start)?;
            self.run.log(&metrics)?;
            self.run.flush()?;
            self.save_weights()?;
            if ended == Ended::Complete {
                if self.progress.best.is_none_or(|best| metrics.test_accuracy > best.accuracy) {
                    self.run.save_best(self.stepper.result(), self.setup.train_set.class_names())?;
                    self.progress.best = Some(Best { accuracy: metrics.test_accuracy, step: self.progress.step });
                }
                self.progress.next_epoch();
                self.progress.seconds = metrics.seconds;
                self.save_checkpoint()?;
            }
            self.observer.epoch_done(&metrics)?;
            if self.progress.epoch > self.config.epochs || self.progress.step >= self.total_steps() {
                return self.finish(metrics, &evaluation);
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.interrupted());
            }
        }
    }

    fn start(&mut self, source: &str) -> Result<()> {
        if let Profiling::From(step) = self.profiling {
            // A short run's last step at the latest.
            let last = self.total_steps().saturating_sub(1).max(self.progress.step);
            self.profiling = Profiling::From(step.min(last));
        }
        self.observer.started(&Start {
            config: self.config,
            network: &self.setup.network.architecture().name,
            device: self.setup.network.device().description(),
            source,
            train_images: self.setup.train_set.len(),
            test_images: self.setup.test_set.len(),
            image_shape: self.setup.train_set.shape(),
            class_names: self.setup.train_set.class_names(),
            parameters: self.setup.network.parameters().iter().map(|p| p.tensor.len()).sum(),
            total_steps: self.total_steps(),
            steps_per_epoch: self.steps_per_epoch(),
            first_step: self.progress.step,
            run: self.run.path(),
        })
    }

    fn steps_per_epoch(&self) -> u64 {
        self.setup.train_set.len().div_ceil(self.config.batch_size) as u64
    }

    /// Steps of all epochs.
    fn whole_run(&self) -> u64 {
        self.steps_per_epoch() * u64::from(self.config.epochs)
    }

    fn total_steps(&self) -> u64 {
        self.config.max_steps.map_or(self.whole_run(), |most| most.min(self.whole_run()))
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { step: self.progress.step, run: self.run.path().to_owned() }
    }

    /// The remaining steps of the current epoch.
    fn train_epoch(&mut self, seconds_before: f64, start: Instant) -> Result<Ended> {
        let (config, setup) = (self.config, self.setup);
        let epoch = self.progress.epoch;
        let order = epoch_order(config, setup.train_set.len(), epoch);
        let (epoch_start, epoch_seconds) = (Instant::now(), self.progress.epoch_seconds);
        let (mut last_drain, mut last_checkpoint) = (Instant::now(), Instant::now());
        let mut ended = Ended::Complete;
        for indices in order.chunks(config.batch_size).skip(self.progress.steps_in_epoch as usize) {
            let step = self.stepper.next_step();
            if self.stop.load(Ordering::Relaxed) || step == self.total_steps() {
                ended = if step == self.total_steps() { Ended::Enough } else { Ended::Interrupted };
                break;
            }
            self.advance_profile()?;
            self.stepper.step(indices, epoch - 1, config.rate(step, self.steps_per_epoch()))?;
            self.progress.step = step + 1;
            self.progress.steps_in_epoch += 1;
            if self.stepper.is_full() || last_drain.elapsed() > DRAIN_INTERVAL {
                let steps = self.stepper.drain()?;
                self.count(&steps)?;
                last_drain = Instant::now();
            }
            if self.is_checkpoint_due(last_checkpoint) {
                let steps = self.stepper.drain()?;
                self.count(&steps)?;
                self.progress.epoch_seconds = epoch_seconds + epoch_start.elapsed().as_secs_f64();
                self.progress.seconds = seconds_before + start.elapsed().as_secs_f64();
                self.save_checkpoint()?;
                last_checkpoint = Instant::now();
            }
        }
        let steps = self.stepper.drain()?;
        self.count(&steps)?;
        self.progress.epoch_seconds = epoch_seconds + epoch_start.elapsed().as_secs_f64();
        // The following work is not part of a training step.
        self.finish_profile()?;
        Ok(ended)
    }

    /// Starts or ends the profile, if it is time.
    fn advance_profile(&mut self) -> Result<()> {
        match self.profiling {
            Profiling::From(step) if self.progress.step == step => {
                self.setup.network.device().synchronize()?;
                profile::start();
                self.profiling = Profiling::Since(step);
                Ok(())
            }
            Profiling::Since(step) if self.progress.step == step + PROFILED_STEPS => self.finish_profile(),
            _ => Ok(()),
        }
    }

    fn finish_profile(&mut self) -> Result<()> {
        let Profiling::Since(first) = self.profiling else { return Ok(()) };
        self.profiling = Profiling::Off;
        let device = self.setup.network.device();
        device.synchronize()?;
        let profile = profile::stop();
        let trace = self.run.path().join("trace.json");
        replace(&trace, profile.trace(&device.description()).as_bytes())?;
        let memory = PeakMemory {
            device_bytes: match device {
                Device::Cpu(_) => None,
                Device::Gpu(gpu) => Some(gpu.memory().peak_bytes),
            },
            process_bytes: peak_process_bytes(),
        };
        self.observer.profiled(&profile, self.progress.step - first, memory, &trace);
        Ok(())
    }

    fn is_checkpoint_due(&self, last: Instant) -> bool {
        let rule = &self.config.checkpoints;
        let by_steps = rule.every_steps > 0 && self.progress.step.is_multiple_of(rule.every_steps);
        let by_time = rule.every_minutes > 0.0 && last.elapsed().as_secs_f64() > 60.0 * rule.every_minutes;
        // The end of an epoch writes one anyway.
        (by_steps || by_time) && self.progress.steps_in_epoch < self.steps_per_epoch()
    }

    fn test_epoch(&mut self, seconds_before: f64, start: Instant) -> Result<(EpochMetrics, Evaluation)> {
        let test = self.test(TestTimeAugmentation::None)?;
        let totals = self.progress.totals;
        let metrics = EpochMetrics {
            epoch: self.progress.epoch,
            steps: self.progress.step,
            lr: Some(self.config.rate(self.progress.step - 1, self.steps_per_epoch())),
            train_loss: totals.loss / totals.images as f64,
            train_accuracy: totals.correct as f64 / totals.images as f64,
            skipped_steps: totals.skipped,
            test_loss: test.loss,
            test_accuracy: test.accuracy(),
            images_per_second: totals.images as f64 / self.progress.epoch_seconds,
            seconds: seconds_before + start.elapsed().as_secs_f64(),
            loss_scaling: self.stepper.scaler_state()?,
        };
        Ok((metrics, test))
    }

    /// Evaluates the network on the test images.
    fn test(&mut self, tta: TestTimeAugmentation) -> Result<Evaluation> {
        let (config, setup) = (self.config, self.setup);
        let batch_size = config.evaluation_batch(setup.train_set.shape(), setup.train_set.len());
        let test_set = &setup.test_set;
        let classifier = Classifier::new(self.stepper.result(), test_set.class_names().to_vec())?;
        let observer = &mut self.observer;
        let test = classifier.evaluate_on(&setup.test_images, test_set, batch_size, tta, |done| {
            observer.tested(done, test_set.len());
        })?;
        if !test.loss.is_finite() {
            let what = format!("the test loss became {}", test.loss);
            return Err(Error::Diverged { step: self.progress.step, what, place: self.stepper.broken_weights()? });
        }
        Ok(test)
    }

    /// Completes a run whose steps are all done.
    pub(super) fn end(mut self, source: &str) -> Result<Outcome> {
        self.complete(source).map_err(|error| self.of_run(error))
    }

    fn complete(&mut self, source: &str) -> Result<Outcome> {
        self.start(source)?;
        let last = Metrics::read(self.run.path())?.epochs.pop().ok_or_else(|| Error::Resume {
            run: self.run.path().to_owned(),
            message: "all its steps are done, but metrics.jsonl has no epoch".into(),
            remedy: Remedy::OtherCopy,
        })?;
        self.save_weights()?;
        self.observer.epoch_done(&last)?;
        let evaluation = self.test(TestTimeAugmentation::None)?;
        self.finish(last, &evaluation)
    }

    fn finish(&mut self, last: EpochMetrics, evaluation: &Evaluation) -> Result<Outcome> {
        let with_tta = match self.config.tta {
            TestTimeAugmentation::None => None,
            tta => Some(self.test(tta)?),
        };
        let (run, network) = (self.run.path(), self.stepper.result());
        let (test_set, with_tta) = (&self.setup.test_set, with_tta.as_ref());
        self.observer.finished(&Finish { run, network, test_set, evaluation, with_tta })?;
        Ok(Outcome {
            is_whole_epoch: last.steps == self.steps_per_epoch() * u64::from(last.epoch),
            last,
            tta_accuracy: with_tta.map(Evaluation::accuracy),
            tested_on: self.config.tested_on(),
            run: self.run.path().to_owned(),
            weights: self.run.weights_path(),
        })
    }

    /// Processes the metrics of completed steps.
    fn count(&mut self, steps: &[StepMetrics]) -> Result<()> {
        let (config, epoch) = (self.config, self.progress.epoch);
        let images = self.setup.train_set.len();
        let first_step = self.steps_per_epoch() * u64::from(epoch - 1);
        let indices_of = |step: u64| {
            let order = epoch_order(config, images, epoch);
            let batch = order.chunks(config.batch_size).nth((step - first_step) as usize);
            batch.unwrap_or_default().to_vec()
        };
        let mut counted = Vec::with_capacity(steps.len());
        let mut end = Ok(());
        for step in steps {
            match self.skipping.counts(step, config.on_non_finite, epoch, &self.stepper, indices_of, self.observer) {
                Ok(true) => counted.push(*step),
                Ok(false) => self.progress.totals.skipped += 1,
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
        }
        // The steps before a divergence, too: they help to explain it.
        for step in &counted {
            self.progress.totals.add(step);
            let every = config.log_every;
            if every > 0 && step.step.is_multiple_of(every) {
                self.run.log(&StepLine { step: step.step, epoch, loss: step.loss, lr: step.lr })?;
            }
        }
        self.run.flush()?;
        self.observer.stepped(epoch, &counted);
        end
    }

    fn save_weights(&mut self) -> Result<()> {
        self.run.save_weights(self.stepper.result(), self.setup.train_set.class_names())
    }

    pub(super) fn save_checkpoint(&mut self) -> Result<()> {
        self.progress.metrics_bytes = self.run.metrics_bytes()?;
        let state = self.stepper.state()?;
        // The last update may have made weights infinite.
        if !state.is_finite()
            && let Some(place) = self.stepper.broken_weights()?
        {
            let what = "the weights are no longer finite".into();
            return Err(Error::Diverged { step: self.progress.step, what, place: Some(place) });
        }
        CheckpointFolder::of(self.run.path()).save(&self.progress, &state, self.config.checkpoints.keep)?;
        self.saved_step = Some(self.progress.step);
        Ok(())
    }
}

/// The order of an epoch's images, a function of seed and epoch alone.
fn epoch_order(config: &TrainConfig, images: usize, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images as u32).collect();
    if config.shuffle {
        order.shuffle(&mut RandomStream::new(config.seed, ORDER_STREAM + epoch));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, epoch: u32, shuffle: bool) -> Vec<u32> {
        let config = TrainConfig { seed, shuffle, ..TrainConfig::fast("lenet5").unwrap() };
        epoch_order(&config, 1000, epoch)
    }

    #[test]
    fn an_epoch_sees_every_image_once_in_an_order_of_its_own() {
        for (seed, epoch) in [(1, 1), (1, 2), (2, 1)] {
            let mut sorted = order(seed, epoch, true);
            sorted.sort_unstable();
            assert_eq!(sorted, order(seed, epoch, false));
        }
        assert_ne!(order(1, 1, true), order(1, 2, true));
        assert_ne!(order(1, 1, true), order(2, 1, true));
    }

    /// Resumed runs must get the same order as before. If this changes, increment [`GENERATOR`](crate::ops::random::GENERATOR).
    #[test]
    fn the_order_is_pinned() {
        let bytes: Vec<u8> = order(1, 1, true).iter().flat_map(|index| index.to_le_bytes()).collect();
        let checksum = crc32fast::hash(&bytes);
        assert_eq!(checksum, 0x9299_13a0, "{checksum:#x}");
    }
}
