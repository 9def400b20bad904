//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::data::{Dataset, Splits};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Architecture, Network};
use crate::ops::conv2d::DeviceKind;
use crate::ops::random::RandomStream;
use crate::optim::{Optimizer, ScalerState};
use crate::train::TrainConfig;
use crate::train::autotune::{Autotune, Tuning, autotune, default_cache};
use crate::train::dataset::DeviceDataset;
use crate::train::evaluate::evaluate;
use crate::train::memory::{check_memory, training_bytes};
use crate::train::run_folder::RunFolder;
use crate::train::stepper::{StepMetrics, Stepper};
use crate::weights::WeightsFile;

/// How often metrics are read back, at least: what a person at a progress bar would not call slow.
const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Images of an evaluation's batch, unless the training batch is larger.
const EVALUATION_BATCH: usize = 64;
/// Number of the generator's stream that orders the images; those below initialise the weights.
const ORDER_STREAM: u32 = 1 << 16;

/// What is known when training starts.
#[derive(Debug)]
pub struct Start<'a> {
    /// The settings.
    pub config: &'a TrainConfig,
    /// The device in one line.
    pub device: String,
    /// Where the data come from.
    pub source: &'a str,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Number of parameters.
    pub parameters: usize,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// The run folder.
    pub run: &'a Path,
}

/// Metrics of one epoch, or of the part of it before the run ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct EpochMetrics {
    /// Number of the epoch from 1.
    pub epoch: u32,
    /// Steps done since the start of the run.
    pub steps: u64,
    /// Mean training loss in nats, with dropout on.
    pub train_loss: f64,
    /// Share of training images that were right, with dropout on.
    pub train_accuracy: f64,
    /// Mean test loss in nats.
    pub test_loss: f64,
    /// Share of test images that were right.
    pub test_accuracy: f64,
    /// Training images a second, without the test.
    pub images_per_second: f64,
    /// Seconds since the start of the run.
    pub seconds: f64,
    /// What the loss is scaled by, and how often that was too much, with 16-bit activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scaling: Option<ScalerState>,
}

/// Hears how the run goes. `stepped` and `tested` are called often: they must be quick.
pub trait Observer {
    /// The kernels of a convolution were chosen.
    fn tuned(&mut self, _tuning: &Tuning) {}
    /// Training begins.
    fn started(&mut self, _start: &Start<'_>) {}
    /// Steps were done.
    fn stepped(&mut self, _epoch: u32, _steps: &[StepMetrics]) {}
    /// Some of the test images were evaluated.
    fn tested(&mut self, _images: usize, _of: usize) {}
    /// An epoch is over.
    fn epoch_done(&mut self, _metrics: &EpochMetrics) {}
}

/// What a run has come to.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// Metrics of the last epoch.
    pub last: EpochMetrics,
    /// The run folder.
    pub run: PathBuf,
    /// The weights' file.
    pub weights: PathBuf,
}

/// A line of `metrics.jsonl` for a step.
#[derive(serde::Serialize)]
struct StepLine {
    step: u64,
    epoch: u32,
    loss: f32,
    lr: f64,
}

/// `config.json`: the settings and what else one needs to tell runs apart.
#[derive(serde::Serialize)]
struct RunConfig<'a> {
    version: &'static str,
    #[serde(flatten)]
    config: &'a TrainConfig,
    device: String,
    data: &'a str,
    init: Option<&'a Path>,
    train_images: usize,
    test_images: usize,
    class_names: &'a [String],
    /// Plans that autotuning chose, by layer and product; the usual ones compute the others.
    plans: BTreeMap<String, String>,
}

/// Trains a network and writes its results into the folder `out`.
///
/// `init` names a weights file to start from; `stop` ends the run early once it is set, after saving.
///
/// # Errors
/// Before anything is written: if a setting, the data, the initial weights or the device cannot be used. Later: if the
/// device fails, a file cannot be written, the loss is no longer finite, or [`Error::Interrupted`].
pub fn train(
    config: &TrainConfig,
    device: &Device,
    splits: &Splits,
    init: Option<&Path>,
    out: &Path,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    config.validate()?;
    let train_set = limited(&splits.train, config.limit_train);
    let test_set = limited(&splits.test, config.limit_test);
    let class_names = train_set.class_names().to_vec();
    let mut architecture = Architecture::by_name(&config.arch, class_names.len())?;
    let weights = init.map(WeightsFile::read).transpose()?;
    if let Some(weights) = &weights {
        architecture.preprocessing = weights.architecture(Some(&config.arch))?.preprocessing;
    }
    let batch = config.batch_size.min(train_set.len());
    let dtype = config.precision.dtype();
    let needed = training_bytes(DeviceKind::of(device), dtype, &architecture, config.optimizer_config(), batch)?;
    check_memory(device, needed, format!("training {} with batches of {batch} images", config.arch))?;
    if out.exists() {
        return Err(Error::RunFolderExists(out.to_owned()));
    }
    let normalisation = architecture.preprocessing.normalisation();
    let mode = config.autotune.unwrap_or_else(|| Autotune::usual(device));
    let cache = default_cache();
    let mut chosen = BTreeMap::new();
    let plans = autotune(device, dtype, &architecture, batch, true, mode, cache.as_deref(), &mut |tuning| {
        chosen.insert(format!("{} {}", tuning.layer, tuning.direction.kernel()), tuning.chosen.to_string());
        observer.tuned(tuning);
    })?;
    let mut network = Network::new(architecture, device, config.seed)?;
    network.set_plans(plans)?;
    if let Some(weights) = &weights {
        weights.load_into(&network)?;
    }
    let train_images = DeviceDataset::new(device, &train_set, normalisation)?;
    let test_images = DeviceDataset::new(device, &test_set, normalisation)?;
    let optimizer = Optimizer::new(config.optimizer_config(), device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &train_images, optimizer, config.seed, config.dropout)?;

    let mut run = RunFolder::create(
        out,
        &RunConfig {
            version: env!("CARGO_PKG_VERSION"),
            config,
            device: device.description(),
            data: &splits.source,
            init,
            train_images: train_set.len(),
            test_images: test_set.len(),
            class_names: &class_names,
            plans: chosen,
        },
    )?;
    let steps_per_epoch = train_set.len().div_ceil(config.batch_size) as u64;
    let whole_run = steps_per_epoch * u64::from(config.epochs);
    let total_steps = config.max_steps.map_or(whole_run, |most| most.min(whole_run));
    observer.started(&Start {
        config,
        device: device.description(),
        source: &splits.source,
        train_images: train_set.len(),
        test_images: test_set.len(),
        parameters: network.parameters().iter().map(|p| p.tensor.len()).sum(),
        total_steps,
        steps_per_epoch,
        run: out,
    });

    let start = Instant::now();
    let mut last = None;
    for epoch in 1..=config.epochs {
        let order = epoch_order(config, train_set.len(), epoch);
        let mut totals = Totals::default();
        let epoch_start = Instant::now();
        let mut last_drain = Instant::now();
        for indices in order.chunks(config.batch_size) {
            if stepper.next_step() == total_steps || stop.load(Ordering::Relaxed) {
                break;
            }
            let lr = config.schedule.rate(config.lr, stepper.next_step(), whole_run);
            stepper.step(indices, lr)?;
            if stepper.is_full() || last_drain.elapsed() > DRAIN_INTERVAL {
                totals.add(&stepper.drain()?, epoch, config, &mut run, observer)?;
                last_drain = Instant::now();
            }
        }
        totals.add(&stepper.drain()?, epoch, config, &mut run, observer)?;
        let training_seconds = epoch_start.elapsed().as_secs_f64();
        run.save_weights(&network, &class_names)?;
        run.flush()?;
        let interrupted = || Error::Interrupted { step: stepper.next_step(), run: out.to_owned() };
        if stop.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        let batch_size = EVALUATION_BATCH.max(config.batch_size.min(train_set.len()));
        let test = evaluate(&network, &test_images, &test_set, batch_size, |done| {
            observer.tested(done, test_set.len());
        })?;
        if !test.loss.is_finite() {
            return Err(Error::Diverged { step: stepper.next_step(), loss: test.loss as f32 });
        }
        let metrics = EpochMetrics {
            epoch,
            steps: stepper.next_step(),
            train_loss: totals.loss / totals.images as f64,
            train_accuracy: totals.correct as f64 / totals.images as f64,
            test_loss: test.loss,
            test_accuracy: test.accuracy(),
            images_per_second: totals.images as f64 / training_seconds,
            seconds: start.elapsed().as_secs_f64(),
            loss_scaling: stepper.scaler_state()?,
        };
        run.log(&metrics)?;
        run.flush()?;
        observer.epoch_done(&metrics);
        if stop.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        last = Some(metrics);
        if stepper.next_step() == total_steps {
            break;
        }
    }
    let last = last.ok_or_else(|| Error::Setting("--epochs must be at least 1".into()))?;
    Ok(Outcome { last, run: out.to_owned(), weights: run.weights_path() })
}

fn limited(dataset: &Dataset, limit: Option<usize>) -> Dataset {
    dataset.clone().truncated(limit.unwrap_or(usize::MAX))
}

/// The order of an epoch's images, a function of seed and epoch alone.
fn epoch_order(config: &TrainConfig, images: usize, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images as u32).collect();
    if config.shuffle {
        RandomStream::new(config.seed, ORDER_STREAM + epoch).shuffle(&mut order);
    }
    order
}

/// Sums over an epoch's steps.
#[derive(Default)]
struct Totals {
    loss: f64,
    images: usize,
    correct: usize,
}

impl Totals {
    fn add(
        &mut self,
        steps: &[StepMetrics],
        epoch: u32,
        config: &TrainConfig,
        run: &mut RunFolder,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        for step in steps {
            self.loss += f64::from(step.loss) * step.images as f64;
            self.images += step.images;
            self.correct += step.correct;
            if config.log_every > 0 && step.step.is_multiple_of(config.log_every) {
                run.log(&StepLine { step: step.step, epoch, loss: step.loss, lr: step.lr })?;
            }
        }
        run.flush()?;
        observer.stepped(epoch, steps);
        Ok(())
    }
}
