//! A run under way: its epochs, tests, checkpoints, profile and end, and what is written of them.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Instant;
use crate::error::{Error, Remedy, Result};
use crate::files::replace;
use crate::gpu::block_on;
use crate::profile;
use crate::run::checkpoint::CheckpointFolder;
use crate::run::metrics::Metrics;
use crate::run::observer::{Finish, Observer, Outcome, PeakMemory, Start, StepLine};
use crate::run::run_folder::RunFolder;
use crate::tensor::Device;
use crate::tensor::cpu::peak_process_bytes;
use crate::train::{EpochMetrics, Evaluation, Stretch, TestTimeAugmentation, TrainConfig, Training};

/// Warm-up steps before a profile, which create pipelines and allocate memory.
const UNPROFILED_STEPS: u64 = 3;
/// Steps that a profile times.
const PROFILED_STEPS: u64 = 10;

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
    config: &'a TrainConfig,
    training: Training<'a>,
    run: RunFolder,
    stop: &'a AtomicBool,
    observer: &'a mut dyn Observer,
    /// The rest of a profile.
    profiling: Profiling,
    /// Step of the newest checkpoint.
    saved_step: Option<u64>,
}

/// State of a profile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profiling {
    /// Not requested, or done.
    Off,
    /// It starts with this step.
    From(u64),
    /// It started with this step.
    Since(u64),
}

impl Profiling {
    fn new(config: &TrainConfig, training: &Training<'_>) -> Self {
        if !config.profile {
            return Profiling::Off;
        }
        // A short run's last step at the latest.
        let last = training.total_steps().saturating_sub(1).max(training.step());
        Profiling::From((training.step() + UNPROFILED_STEPS).min(last))
    }

    /// The step before which it starts or ends.
    fn boundary(self) -> u64 {
        match self {
            Profiling::Off => u64::MAX,
            Profiling::From(step) => step,
            Profiling::Since(step) => step + PROFILED_STEPS,
        }
    }
}

impl<'a> Session<'a> {
    /// `saved_step` is the step of the checkpoint that it goes on from.
    pub(super) fn new(
        config: &'a TrainConfig,
        training: Training<'a>,
        run: RunFolder,
        saved_step: Option<u64>,
        stop: &'a AtomicBool,
        observer: &'a mut dyn Observer,
    ) -> Self {
        let profiling = Profiling::new(config, &training);
        Session { config, training, run, stop, observer, profiling, saved_step }
    }

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
        self.start(source)?;
        loop {
            let ended = self.train_epoch()?;
            if ended != Ended::Complete {
                // Before the line of an incomplete epoch, which the run replaces when resumed.
                self.save_checkpoint()?;
            }
            if ended == Ended::Interrupted {
                self.save_weights()?;
                return Err(self.interrupted());
            }
            let evaluation = self.test(TestTimeAugmentation::None)?;
            let metrics = block_on(self.training.metrics(&evaluation))?;
            self.run.log(&metrics)?;
            self.run.flush()?;
            self.save_weights()?;
            if ended == Ended::Complete {
                if self.training.end_epoch(metrics.test_accuracy) {
                    self.run.save_best(self.training.result(), self.class_names())?;
                }
                self.save_checkpoint()?;
            }
            self.observer.epoch_done(&metrics)?;
            if self.training.is_complete() {
                return self.finish(metrics, &evaluation);
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.interrupted());
            }
        }
    }

    fn class_names(&self) -> &'a [String] {
        self.training.setup().train_set().class_names()
    }

    fn start(&mut self, source: &str) -> Result<()> {
        let setup = self.training.setup();
        let network = setup.network();
        self.observer.started(&Start {
            config: self.config,
            network: &network.architecture().name,
            device: network.device().description(),
            source,
            train_images: setup.train_set().len(),
            test_images: setup.test_set().len(),
            image_shape: setup.train_set().shape(),
            class_names: setup.train_set().class_names(),
            parameters: network.parameters().iter().map(|p| p.tensor.len()).sum(),
            total_steps: self.training.total_steps(),
            steps_per_epoch: self.training.steps_per_epoch(),
            first_step: self.training.step(),
            run: self.run.path(),
        })
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { step: self.training.step(), run: self.run.path().to_owned() }
    }

    /// The remaining steps of the current epoch.
    fn train_epoch(&mut self) -> Result<Ended> {
        let mut last_checkpoint = Instant::now();
        let ended = loop {
            if self.training.is_epoch_complete() {
                break Ended::Complete;
            }
            if self.training.is_complete() {
                break Ended::Enough;
            }
            if self.stop.load(Ordering::Relaxed) {
                break Ended::Interrupted;
            }
            self.advance_profile()?;
            let limit = self.profiling.boundary().min(self.next_checkpoint());
            let stretch = block_on(self.training.advance(limit))?;
            self.note(stretch)?;
            if self.is_checkpoint_due(last_checkpoint) {
                self.save_checkpoint()?;
                last_checkpoint = Instant::now();
            }
        };
        // The following work is not part of a training step.
        self.finish_profile()?;
        Ok(ended)
    }

    /// Writes and tells what steps came to.
    fn note(&mut self, stretch: Stretch) -> Result<()> {
        let Stretch { epoch, steps, skipped, end } = stretch;
        for (step, what) in &skipped {
            self.observer.skipped(step, *what);
        }
        let every = self.config.log_every;
        for step in steps.iter().filter(|step| every > 0 && step.step.is_multiple_of(every)) {
            self.run.log(&StepLine { step: step.step, epoch, loss: step.loss, lr: step.lr })?;
        }
        self.run.flush()?;
        self.observer.stepped(epoch, &steps);
        end
    }

    /// Starts or ends the profile, if it is time.
    fn advance_profile(&mut self) -> Result<()> {
        if self.training.step() < self.profiling.boundary() {
            return Ok(());
        }
        let Profiling::From(step) = self.profiling else { return self.finish_profile() };
        self.training.setup().network().device().synchronize()?;
        profile::start();
        self.profiling = Profiling::Since(step);
        Ok(())
    }

    fn finish_profile(&mut self) -> Result<()> {
        let Profiling::Since(first) = self.profiling else { return Ok(()) };
        self.profiling = Profiling::Off;
        let device = self.training.setup().network().device();
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
        self.observer.profiled(&profile, self.training.step() - first, memory, &trace);
        Ok(())
    }

    /// The next step after which a checkpoint is due by the number of steps.
    fn next_checkpoint(&self) -> u64 {
        match self.config.checkpoints.every_steps {
            0 => u64::MAX,
            every => (self.training.step() / every + 1) * every,
        }
    }

    fn is_checkpoint_due(&self, last: Instant) -> bool {
        let rule = &self.config.checkpoints;
        let by_steps = rule.every_steps > 0 && self.training.step().is_multiple_of(rule.every_steps);
        let by_time = rule.every_minutes > 0.0 && last.elapsed().as_secs_f64() > 60.0 * rule.every_minutes;
        // The end of an epoch writes one anyway.
        (by_steps || by_time) && !self.training.is_epoch_complete()
    }

    /// Evaluates the network on the test images.
    fn test(&mut self, tta: TestTimeAugmentation) -> Result<Evaluation> {
        let (observer, images) = (&mut *self.observer, self.training.setup().test_set().len());
        block_on(self.training.test(tta, |done| observer.tested(done, images)))
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
        let (run, network) = (self.run.path(), self.training.result());
        let (test_set, with_tta) = (self.training.setup().test_set(), with_tta.as_ref());
        self.observer.finished(&Finish { run, network, test_set, evaluation, with_tta })?;
        Ok(Outcome {
            is_whole_epoch: last.steps == self.training.steps_per_epoch() * u64::from(last.epoch),
            last,
            tta_accuracy: with_tta.map(Evaluation::accuracy),
            tested_on: self.config.tested_on(),
            run: self.run.path().to_owned(),
            weights: self.run.weights_path(),
        })
    }

    fn save_weights(&mut self) -> Result<()> {
        self.run.save_weights(self.training.result(), self.class_names())
    }

    pub(super) fn save_checkpoint(&mut self) -> Result<()> {
        let mut checkpoint = block_on(self.training.checkpoint())?;
        checkpoint.progress.metrics_bytes = self.run.metrics_bytes()?;
        CheckpointFolder::of(self.run.path()).save(&checkpoint, self.config.checkpoints.keep)?;
        self.saved_step = Some(checkpoint.step());
        Ok(())
    }
}
