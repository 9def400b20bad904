//! The training loop, from the first step or from a checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cpu::peak_process_bytes;
use crate::data::{Dataset, Splits};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files::{read_at_most, replace};
use crate::nn::{Architecture, Network, Preprocessing};
use crate::ops::conv2d::{DeviceKind, Plan, Plans};
use crate::ops::random::RandomStream;
use crate::optim::Optimizer;
use crate::profile;
use crate::train::TrainConfig;
use crate::train::autotune::{Autotune, autotune, default_cache, problem_name, problems};
use crate::train::checkpoint::{Best, CheckpointFolder, Progress};
use crate::train::dataset::DeviceDataset;
use crate::train::evaluate::{Evaluation, evaluate};
use crate::train::memory::{check_memory, training_bytes};
use crate::train::metrics::Metrics;
use crate::train::observer::{EpochMetrics, Finish, Observer, Outcome, PeakMemory, Start, StepLine};
use crate::train::run_folder::RunFolder;
use crate::train::stepper::{StepMetrics, Stepper};
use crate::weights::WeightsFile;

/// How often metrics are read back, at least: what a person at a progress bar would not call slow.
const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Images of an evaluation's batch, unless the training batch is larger.
const EVALUATION_BATCH: usize = 64;
/// Number of the generator's stream that orders the images; those below initialise the weights.
const ORDER_STREAM: u32 = 1 << 16;
/// Steps before those that a profile times, which make pipelines and memory.
const UNPROFILED_STEPS: u64 = 3;
/// Steps that a profile times.
const PROFILED_STEPS: u64 = 10;
/// Largest `config.json` that is read, in bytes.
const MOST_CONFIG_BYTES: u64 = 16 << 20;

/// `config.json`: the settings of a run and what else one needs to tell runs apart and to go on with them.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SavedRun {
    /// Version of the program that began it.
    pub version: String,
    /// The settings.
    #[serde(flatten)]
    pub config: TrainConfig,
    /// The device in one line.
    pub device: String,
    /// Where the data come from, in words.
    pub source: String,
    /// Weights that it started from.
    pub init: Option<PathBuf>,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// The classes.
    pub class_names: Vec<String>,
    /// How pixels become the network's input.
    pub preprocessing: Preprocessing,
    /// Plans that autotuning chose, by layer and product; the usual ones compute the others.
    pub plans: BTreeMap<String, String>,
}

impl SavedRun {
    /// Reads a run folder's `config.json`.
    ///
    /// # Errors
    /// If there is none, or it is none of this version's.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("config.json");
        let bad = |message: String| Error::Resume {
            run: run.to_owned(),
            message,
            hint: "name the folder of a run that this version of the program began; `cifar-gpu runs` lists them".into(),
        };
        if !path.is_file() {
            return Err(bad("it has no config.json".into()));
        }
        let bytes = read_at_most(&path, MOST_CONFIG_BYTES)?.ok_or_else(|| bad("config.json is too large".into()))?;
        serde_json::from_slice(&bytes).map_err(|e| bad(format!("config.json: {e}")))
    }
}

/// Where a run's images and first weights come from, and where its results go.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The images.
    pub splits: &'a Splits,
    /// A weights file to start from.
    pub init: Option<&'a Path>,
    /// The folder for the results.
    pub out: &'a Path,
}

/// Trains a network and writes its results into a new folder.
///
/// `stop` ends the run early once it is set, after saving.
///
/// # Errors
/// Before anything is written: if a setting, the data, the initial weights or the device cannot be used. Later: if the
/// device fails, a file cannot be written, the loss is no longer finite, or [`Error::Interrupted`].
pub fn train(
    config: &TrainConfig,
    device: &Device,
    sources: Sources<'_>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    config.validate()?;
    let Sources { splits, init, out } = sources;
    let (train_set, test_set) = sets(config, splits);
    let mut architecture = config.architecture(&train_set)?;
    let weights = init.map(WeightsFile::read).transpose()?;
    if let Some(weights) = &weights {
        architecture.preprocessing = weights.architecture(Some(&config.arch))?.preprocessing;
    }
    check_room(config, device, &architecture, &train_set)?;
    if out.exists() {
        return Err(Error::RunFolderExists(out.to_owned()));
    }
    let (plans, chosen) = choose_plans(config, device, &architecture, &train_set, observer)?;
    let setup = Setup::new(config, device, architecture, plans, train_set, test_set)?;
    if let Some(weights) = &weights {
        weights.load_into(&setup.network)?;
    }
    let stepper = setup.stepper(config)?;
    let saved = SavedRun {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: config.clone(),
        device: device.description(),
        source: splits.source.clone(),
        init: init.map(Path::to_owned),
        train_images: setup.train_set.len(),
        test_images: setup.test_set.len(),
        class_names: setup.train_set.class_names().to_vec(),
        preprocessing: setup.network.architecture().preprocessing,
        plans: chosen,
    };
    let run = RunFolder::create(out, &saved, &config.to_toml()?)?;
    let profiling = Profiling::new(config, 0);
    Session { config, setup: &setup, stepper, run, progress: Progress::start(), stop, observer, profiling }
        .run(&splits.source)
}

/// Goes on with a run in the folder `run` from its newest checkpoint, or its beginning if it has none, as if nothing had
/// happened: on the same device the same bits come out.
///
/// `saved` is [`SavedRun::read`] from there; more epochs or steps may be asked for, but then the learning rate follows another
/// schedule from here on.
///
/// # Errors
/// If the folder or the data are not those of the run, and as for [`train`].
pub fn resume(
    saved: &SavedRun,
    device: &Device,
    splits: &Splits,
    run: &Path,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let config = &saved.config;
    config.validate()?;
    let fail = |message: String, hint: &str| Error::Resume { run: run.to_owned(), message, hint: hint.to_owned() };
    let (train_set, test_set) = sets(config, splits);
    let found = (train_set.len(), test_set.len(), train_set.class_names());
    if found != (saved.train_images, saved.test_images, saved.class_names.as_slice()) {
        let message = format!(
            "it was begun with {} training and {} test images of {} classes; here are {} and {} of {}",
            saved.train_images,
            saved.test_images,
            saved.class_names.len(),
            found.0,
            found.1,
            found.2.len(),
        );
        return Err(fail(message, "name the data it was begun with: --data FOLDER"));
    }
    let mut architecture = config.architecture(&train_set)?;
    architecture.preprocessing = saved.preprocessing;
    check_room(config, device, &architecture, &train_set)?;
    let plans = saved_plans(saved, &architecture, config.batch_size.min(train_set.len()))
        .map_err(|message| fail(message, "config.json may be damaged: take another copy of the run folder"))?;
    let setup = Setup::new(config, device, architecture, plans, train_set, test_set)?;
    let mut stepper = setup.stepper(config)?;
    let checkpoint = CheckpointFolder::of(run).newest(observer)?;
    let progress = checkpoint.as_ref().map_or_else(Progress::start, |(progress, _)| progress.clone());
    let is_complete = progress.epoch > config.epochs;
    // A run that ended right after its last checkpoint may lack what comes of its end.
    let lacks_end = is_complete && !observer.has_finished(run);
    if !lacks_end && (is_complete || config.max_steps.is_some_and(|most| progress.step >= most)) {
        let message = format!("it is complete: {} steps in {} epochs are done", progress.step, progress.epoch - 1);
        return Err(fail(message, "ask for more with --epochs or --max-steps, or begin a new run with --init"));
    }
    match (&checkpoint, &saved.init) {
        (Some((_, state)), _) => stepper.restore(state)?,
        // Stopped before its first checkpoint, it begins again.
        (None, Some(init)) => WeightsFile::read(init)?.load_into(&setup.network)?,
        (None, None) => {}
    }
    let run = RunFolder::reopen(run, progress.metrics_bytes)?;
    let profiling = Profiling::new(config, progress.step);
    let session = Session { config, setup: &setup, stepper, run, progress, stop, observer, profiling };
    if lacks_end { session.end(&splits.source) } else { session.run(&splits.source) }
}

/// The images that are trained and tested on.
fn sets(config: &TrainConfig, splits: &Splits) -> (Dataset, Dataset) {
    let mut train_set = splits.train.clone();
    let test_set = match config.validation {
        Some(count) => train_set.split_off(count),
        None => splits.test.clone(),
    };
    let limited = |set: Dataset, limit: Option<usize>| set.truncated(limit.unwrap_or(usize::MAX));
    (limited(train_set, config.limit_train), limited(test_set, config.limit_test))
}

fn check_room(config: &TrainConfig, device: &Device, architecture: &Architecture, train_set: &Dataset) -> Result<()> {
    let batch = config.batch_size.min(train_set.len());
    let kind = DeviceKind::of(device);
    let needed = training_bytes(kind, architecture, config, batch)?;
    check_memory(device, needed, format!("training {} with batches of {batch} images", config.arch))
}

/// The plans of a new run, and what is remembered of them.
fn choose_plans(
    config: &TrainConfig,
    device: &Device,
    architecture: &Architecture,
    train_set: &Dataset,
    observer: &mut dyn Observer,
) -> Result<(Plans, BTreeMap<String, String>)> {
    let mode = config.autotune.unwrap_or_else(|| Autotune::usual(device));
    let batch = config.batch_size.min(train_set.len());
    let mut chosen = BTreeMap::new();
    let cache = default_cache();
    let dtype = config.precision.dtype();
    let plans = autotune(device, dtype, architecture, batch, true, mode, cache.as_deref(), &mut |tuning| {
        chosen.insert(problem_name(tuning.layer, tuning.direction), tuning.chosen.to_string());
        observer.tuned(tuning);
    })?;
    Ok((plans, chosen))
}

/// The plans that a run was begun with.
fn saved_plans(saved: &SavedRun, architecture: &Architecture, batch: usize) -> std::result::Result<Plans, String> {
    let mut plans = Plans::new(saved.config.precision.dtype());
    for (layer, direction, geometry) in problems(architecture, batch, true).map_err(|e| e.to_string())? {
        if let Some(name) = saved.plans.get(&problem_name(layer, direction)) {
            let plan: Plan = name.parse().map_err(|_| format!("there is no plan `{name}`"))?;
            plans.choose(direction, &geometry, plan);
        }
    }
    Ok(plans)
}

/// What training works on.
struct Setup {
    train_set: Dataset,
    test_set: Dataset,
    network: Network,
    train_images: DeviceDataset,
    test_images: DeviceDataset,
}

impl Setup {
    fn new(
        config: &TrainConfig,
        device: &Device,
        architecture: Architecture,
        plans: Plans,
        train_set: Dataset,
        test_set: Dataset,
    ) -> Result<Self> {
        let normalisation = architecture.preprocessing.normalisation();
        let mut network = Network::new(architecture, device, config.seed)?;
        network.set_plans(plans)?;
        let train_images = DeviceDataset::new(device, &train_set, normalisation)?;
        let test_images = DeviceDataset::new(device, &test_set, normalisation)?;
        Ok(Setup { train_set, test_set, network, train_images, test_images })
    }

    fn stepper(&self, config: &TrainConfig) -> Result<Stepper<'_>> {
        let optimizer = Optimizer::new(config.optimizer_config(), self.network.device(), self.network.parameters())?;
        Stepper::new(&self.network, &self.train_images, optimizer, config.step_settings())
    }
}

/// Why the steps of an epoch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All are done.
    Complete,
    /// The run has done as many steps as it should.
    Enough,
    /// Somebody asked for it.
    Interrupted,
}

/// A run under way.
struct Session<'a> {
    config: &'a TrainConfig,
    setup: &'a Setup,
    stepper: Stepper<'a>,
    run: RunFolder,
    progress: Progress,
    stop: &'a AtomicBool,
    observer: &'a mut dyn Observer,
    /// What is left to do of a profile.
    profiling: Profiling,
}

/// How far a profile has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profiling {
    /// Nobody asked, or it is done.
    Off,
    /// It starts with this step.
    From(u64),
    /// It started with this step.
    Since(u64),
}

impl Profiling {
    fn new(config: &TrainConfig, first_step: u64) -> Self {
        if config.profile { Profiling::From(first_step + UNPROFILED_STEPS) } else { Profiling::Off }
    }
}

impl Session<'_> {
    fn run(mut self, source: &str) -> Result<Outcome> {
        let start = Instant::now();
        let seconds_before = self.progress.seconds;
        self.start(source)?;
        loop {
            let ended = self.train_epoch(seconds_before, start)?;
            self.progress.seconds = seconds_before + start.elapsed().as_secs_f64();
            if ended != Ended::Complete {
                // Before the line of an epoch that is not over: going on, the run writes a better one.
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
                    self.progress.best = Some(Best { accuracy: metrics.test_accuracy, step: self.progress.step });
                }
                self.progress.next_epoch();
                self.progress.seconds = metrics.seconds;
                self.save_checkpoint()?;
            }
            self.observer.epoch_done(&metrics)?;
            if self.progress.epoch > self.config.epochs || self.progress.step >= self.total_steps() {
                self.finish(&evaluation)?;
                let weights = self.run.weights_path();
                return Ok(Outcome { last: metrics, run: self.run.path().to_owned(), weights });
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.interrupted());
            }
        }
    }

    fn start(&mut self, source: &str) -> Result<()> {
        self.observer.started(&Start {
            config: self.config,
            device: self.setup.network.device().description(),
            source,
            train_images: self.setup.train_set.len(),
            test_images: self.setup.test_set.len(),
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

    /// Steps of all epochs: what the schedule goes by.
    fn whole_run(&self) -> u64 {
        self.steps_per_epoch() * u64::from(self.config.epochs)
    }

    fn total_steps(&self) -> u64 {
        self.config.max_steps.map_or(self.whole_run(), |most| most.min(self.whole_run()))
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { step: self.progress.step, run: self.run.path().to_owned() }
    }

    /// The steps of the epoch under way that are not done yet.
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
            self.stepper.step(indices, epoch - 1, config.rate(step, self.whole_run(), self.steps_per_epoch()))?;
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
        // What comes now is no training step.
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
        // The end of an epoch has one anyway.
        (by_steps || by_time) && self.progress.steps_in_epoch < self.steps_per_epoch()
    }

    fn test_epoch(&mut self, seconds_before: f64, start: Instant) -> Result<(EpochMetrics, Evaluation)> {
        let test = self.test()?;
        let totals = self.progress.totals;
        let metrics = EpochMetrics {
            epoch: self.progress.epoch,
            steps: self.progress.step,
            lr: Some(self.config.rate(self.progress.step - 1, self.whole_run(), self.steps_per_epoch())),
            train_loss: totals.loss / totals.images as f64,
            train_accuracy: totals.correct as f64 / totals.images as f64,
            test_loss: test.loss,
            test_accuracy: test.accuracy(),
            images_per_second: totals.images as f64 / self.progress.epoch_seconds,
            seconds: seconds_before + start.elapsed().as_secs_f64(),
            loss_scaling: self.stepper.scaler_state()?,
        };
        Ok((metrics, test))
    }

    /// Evaluates the network on the test images.
    fn test(&mut self) -> Result<Evaluation> {
        let (config, setup) = (self.config, self.setup);
        let batch_size = EVALUATION_BATCH.max(config.batch_size.min(setup.train_set.len()));
        let network = self.stepper.result();
        let test_set = &setup.test_set;
        let observer = &mut self.observer;
        let test = evaluate(network, &setup.test_images, test_set, batch_size, config.mirror_test, |done| {
            observer.tested(done, test_set.len());
        })?;
        if !test.loss.is_finite() {
            return Err(Error::Diverged { step: self.progress.step, loss: test.loss as f32 });
        }
        Ok(test)
    }

    /// Does what is left of a run whose steps are all done.
    fn end(mut self, source: &str) -> Result<Outcome> {
        self.start(source)?;
        let last = Metrics::read(self.run.path())?.epochs.pop().ok_or_else(|| Error::Resume {
            run: self.run.path().to_owned(),
            message: "all its steps are done, but metrics.jsonl has no epoch".into(),
            hint: "take another copy of the run folder".into(),
        })?;
        self.save_weights()?;
        self.observer.epoch_done(&last)?;
        let evaluation = self.test()?;
        self.finish(&evaluation)?;
        let weights = self.run.weights_path();
        Ok(Outcome { last, run: self.run.path().to_owned(), weights })
    }

    fn finish(&mut self, evaluation: &Evaluation) -> Result<()> {
        let (run, network) = (self.run.path(), self.stepper.result());
        self.observer.finished(&Finish { run, network, test_set: &self.setup.test_set, evaluation })
    }

    /// Takes the metrics of steps that are done.
    fn count(&mut self, steps: &[StepMetrics]) -> Result<()> {
        let epoch = self.progress.epoch;
        for step in steps {
            self.progress.totals.add(step);
            let every = self.config.log_every;
            if every > 0 && step.step.is_multiple_of(every) {
                self.run.log(&StepLine { step: step.step, epoch, loss: step.loss, lr: step.lr })?;
            }
        }
        self.run.flush()?;
        self.observer.stepped(epoch, steps);
        Ok(())
    }

    fn save_weights(&mut self) -> Result<()> {
        self.run.save_weights(self.stepper.result(), self.setup.train_set.class_names())
    }

    fn save_checkpoint(&mut self) -> Result<()> {
        self.progress.metrics_bytes = self.run.metrics_bytes()?;
        let state = self.stepper.state()?;
        CheckpointFolder::of(self.run.path()).save(&self.progress, &state, self.config.checkpoints.keep)?;
        Ok(())
    }
}

/// The order of an epoch's images, a function of seed and epoch alone.
fn epoch_order(config: &TrainConfig, images: usize, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images as u32).collect();
    if config.shuffle {
        RandomStream::new(config.seed, ORDER_STREAM + epoch).shuffle(&mut order);
    }
    order
}
