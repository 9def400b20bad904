//! Starts a run, or resumes one from its checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use byteorder::{ByteOrder, LittleEndian};

use crate::data::{Dataset, Splits};
use crate::error::{Error, Remedy, Result};
use crate::gpu::block_on;
use crate::nn::Architecture;
use crate::ops::conv2d::{DeviceKind, Plans};
use crate::ops::random::GENERATOR;
use crate::run::checkpoint::CheckpointFolder;
use crate::run::metrics::Metrics;
use crate::run::observer::{Observer, Outcome};
use crate::run::run_folder::RunFolder;
use crate::run::saved_run::SavedRun;
use crate::run::session::Session;
use crate::tensor::Device;
use crate::train::{
    Autotune, Progress, Search, TrainConfig, Training, TrainingSetup, autotune, check_memory, default_cache,
    largest_batch, problem_name, run_bytes,
};
use crate::weights::WeightsFile;
use crate::words::counted;

/// A run's images, initial weights and output folder.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The images.
    pub splits: &'a Splits,
    /// A weights file to start from.
    pub init: Option<&'a Path>,
    /// The folder for the results, which must not exist; by default the first of `runs/ARCH-N` that does not exist.
    pub out: Option<&'a Path>,
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
    let (train_set, test_set) = TrainingSetup::sets(config, splits)?;
    let mut architecture = config.architecture(&train_set)?;
    let weights = init.map(WeightsFile::read).transpose()?;
    if let Some(weights) = &weights {
        let theirs = weights.architecture(Some(&config.arch))?.normalization;
        weights.check_channels(architecture.input)?;
        if weights.normalization().is_some() {
            architecture.normalization = theirs;
        }
    }
    check_room(config, device, &architecture, &train_set, &test_set)?;
    // Fail before time is spent on tuning.
    if let Some(taken) = out.filter(|out| out.exists()) {
        return Err(Error::RunFolderExists(taken.to_owned()));
    }
    let (plans, chosen) = choose_plans(config, device, &architecture, &train_set, observer)?;
    let setup = block_on(TrainingSetup::new(config, device, architecture, plans, train_set, test_set))?;
    if let Some(weights) = &weights {
        weights.load_into(setup.network())?;
    }
    let training = Training::new(config, &setup, None)?;
    let (train_set, test_set) = (setup.train_set(), setup.test_set());
    let architecture = setup.network().architecture();
    let saved = SavedRun {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generator: GENERATOR,
        config: config.clone(),
        ran_on: device.description(),
        source: splits.source.clone(),
        init: init.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
        began: SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64()),
        checksum: Some(checksum([train_set, test_set])),
        train_images: train_set.len(),
        test_images: test_set.len(),
        class_names: train_set.class_names().to_vec(),
        normalization: architecture.normalization.clone(),
        network: Some(architecture.to_toml()?),
        plans: chosen,
    };
    let run = match out {
        Some(out) => RunFolder::create(out, &saved)?,
        None => RunFolder::create_numbered(&architecture.name, &saved)?,
    };
    let mut session = Session::new(config, training, run, None, stop, observer);
    if weights.is_some() {
        // The weights file may change before the next checkpoint.
        session.save_checkpoint()?;
    }
    session.run(&splits.source)
}

/// Resumes a run in the folder `run` from its newest checkpoint, or from its start if it has none. On the same device the results
/// are bit-identical to those of an uninterrupted run.
///
/// `saved` is [`SavedRun::read`] from there. Its number of epochs may be increased, but then the learning rate follows another
/// schedule from here on. The run stops after `max_steps`, by default at its original limit, unless that has been reached. The
/// changes are saved in the run folder.
///
/// # Errors
/// If the folder or the data are not those of the run, or the results could not be bit-identical; and as for [`train`].
pub fn resume(
    saved: &SavedRun,
    max_steps: Option<u64>,
    device: &Device,
    splits: &Splits,
    run: &Path,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    saved.validate()?;
    let fail = |message: String, remedy| Error::Resume { run: run.to_owned(), message, remedy };
    // Resuming would use some images of an epoch twice and others never.
    if saved.generator != GENERATOR {
        let message = format!(
            "it was begun by version {}, whose random numbers (generator {}) order its images otherwise than this version's \
             (generator {GENERATOR})",
            saved.version, saved.generator
        );
        return Err(fail(message, Remedy::OtherVersion));
    }
    let (train_set, test_set) = TrainingSetup::sets(&saved.config, splits)?;
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
        return Err(fail(message, Remedy::SameData));
    }
    if saved.checksum.is_some_and(|expected| expected != checksum([&train_set, &test_set])) {
        let message = "the images or their labels are not those that it was begun with".into();
        return Err(fail(message, Remedy::SameData));
    }
    let checkpoint = CheckpointFolder::of(run).newest(observer)?;
    let progress = checkpoint.as_ref().map_or_else(Progress::start, |checkpoint| checkpoint.progress.clone());
    let mut saved = SavedRun { ran_on: device.description(), ..saved.clone() };
    let reached = |most: &u64| progress.step >= *most;
    saved.config.max_steps = max_steps.or(saved.config.max_steps.filter(|most| !reached(most)));
    // The run has its own copy of the teacher.
    let mut config = saved.config.clone();
    if let Some(teacher) = &mut config.teacher {
        teacher.weights = RunFolder::teacher_path(run);
    }
    let config = &config;
    let architecture = saved.architecture(&train_set)?;
    check_room(config, device, &architecture, &train_set, &test_set)?;
    let plans = saved
        .plans(&architecture, config.computed_batch(train_set.len()))
        .map_err(|message| fail(message, Remedy::OtherCopy))?;
    let setup = block_on(TrainingSetup::new(config, device, architecture, plans, train_set, test_set))?;
    let is_complete = progress.epoch > config.epochs;
    // A run that ended right after its last checkpoint may lack its final output.
    let is_at_end = progress.epoch == config.epochs + 1 && progress.steps_in_epoch == 0;
    let lacks_end = is_at_end && !observer.has_finished(run);
    if !lacks_end && (is_complete || config.max_steps.as_ref().is_some_and(reached)) {
        let (steps, epochs) = (counted(progress.step, "step"), counted((progress.epoch - 1).into(), "epoch"));
        let message = format!("it is complete: {steps} in {epochs} are done");
        return Err(fail(message, Remedy::LongerRun));
    }
    // A run that was killed in its first epoch, or right after it, has no checkpoint and starts again.
    if checkpoint.is_none() && RunFolder::has_metrics(run) && Metrics::read(run)?.epochs.len() > 1 {
        let message = "it has metrics of several epochs, but no checkpoint to resume from".into();
        return Err(fail(message, Remedy::OtherCopyOrNewRun));
    }
    if let (None, Some(init)) = (&checkpoint, &saved.init) {
        // A run stopped before its first checkpoint starts again. The weights are loaded before the stepper is created, whose
        // average starts with them.
        WeightsFile::read(init)?.load_into(setup.network())?;
    }
    let training = Training::new(config, &setup, checkpoint.as_ref())?;
    let run = RunFolder::reopen(run, progress.metrics_bytes, &saved)?;
    let saved_step = checkpoint.map(|checkpoint| checkpoint.step());
    let session = Session::new(config, training, run, saved_step, stop, observer);
    if lacks_end { session.end(&splits.source) } else { session.run(&splits.source) }
}

/// CRC-32 of all images and labels, by which a run recognizes its data.
fn checksum(sets: [&Dataset; 2]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for set in sets {
        hasher.update(set.images());
        let mut labels = vec![0; 2 * set.len()];
        LittleEndian::write_u16_into(set.labels(), &mut labels);
        hasher.update(&labels);
    }
    hasher.finalize()
}

fn check_room(
    config: &TrainConfig,
    device: &Device,
    architecture: &Architecture,
    train_set: &Dataset,
    test_set: &Dataset,
) -> Result<()> {
    let batch = config.training_batch(train_set.len());
    let kind = DeviceKind::of(device);
    let needed = run_bytes(kind, architecture, config, train_set.len(), test_set.len())?;
    // The CPU device holds a copy of the images in host memory.
    let images = (train_set.images().len() + test_set.images().len()) as u64;
    let what = format!("training {} with batches of {batch} images", config.arch);
    check_memory(device, needed.saturating_add(images), what).map_err(|error| match error {
        Error::HostMemory { what, needed_mib, available_mib, .. } => {
            let bytes = |size| {
                let config = TrainConfig { batch_size: size, micro_batch: None, ..config.clone() };
                Ok(run_bytes(kind, architecture, &config, train_set.len(), test_set.len())?.saturating_add(images))
            };
            let available = available_mib << 20;
            let largest_batch = largest_batch(config.computed_batch(train_set.len()), available, bytes);
            Error::HostMemory { what, needed_mib, available_mib, largest_batch: largest_batch.ok().flatten() }
        }
        other => other,
    })
}

/// The plans of a new run, and their record.
fn choose_plans(
    config: &TrainConfig,
    device: &Device,
    architecture: &Architecture,
    train_set: &Dataset,
    observer: &mut dyn Observer,
) -> Result<(Plans, BTreeMap<String, String>)> {
    let mode = config.autotune.unwrap_or_else(|| Autotune::usual(device));
    let batch = config.computed_batch(train_set.len());
    let mut chosen = BTreeMap::new();
    let cache = default_cache();
    let dtype = config.precision.dtype();
    let search = Search { mode, cache: cache.as_deref(), again: false };
    let plans = autotune(device, dtype, architecture, batch, true, search, &mut |tuning| {
        chosen.insert(problem_name(&tuning.layer, tuning.direction), tuning.chosen.to_string());
        observer.tuned(tuning);
    })?;
    Ok((plans, chosen))
}
