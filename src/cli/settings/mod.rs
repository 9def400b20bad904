//! The settings of a run as flags. Flags override a settings file, which overrides a recipe.

mod recipe;

use std::path::{Path, PathBuf};

use cifar_gpu::nn::{ARCHITECTURES, Architecture};
use cifar_gpu::train::{Normalize, OnDeviceLoss, OnNonFinite, TrainConfig, Whitening};
use cifar_gpu::weights::{WeightsFile, architecture};
use cifar_gpu::{Error, ImageShape, Result};
use clap::{Id, ValueEnum};

use super::common::{DeviceArguments, ShapeArguments, TtaArguments, architecture_names, say_naming};
use super::dataset::{DataChoice, LabelArguments};
use super::terminal::{say, warn};
use super::tune::PlanArguments;
pub use recipe::AugmentArguments;
use recipe::{BeginningArguments, OptimizerArguments, RegularizationArguments, ScheduleArguments, TeacherArguments};

/// The flags that `--overfit-one-batch` sets by itself.
pub fn decided_by_overfitting() -> Vec<Id> {
    let all = [
        flags::<ScheduleArguments>(),
        flags::<RegularizationArguments>(),
        flags::<AugmentArguments>(),
        flags::<ImagesArguments>(),
    ];
    // Which says the same.
    all.concat().into_iter().filter(|flag| flag != "no_dropout").collect()
}

/// The flags that cannot change after a run has started.
pub fn settled() -> Vec<Id> {
    let besides = [
        flags::<SourceArguments>(),
        flags::<LabelArguments>(),
        flags::<ShapeArguments>(),
        flags::<OptimizerArguments>(),
        flags::<BeginningArguments>(),
        flags::<TeacherArguments>(),
        flags::<RandomArguments>(),
        flags::<PlanArguments>(),
    ];
    [decided_by_overfitting(), besides.concat(), vec!["no_dropout".into()]].concat()
}

/// The flags of a group. Conflicts list them one by one, since for a group clap's message would name all of them, not the one
/// given.
fn flags<Group: clap::Args>() -> Vec<Id> {
    let group = Group::augment_args(clap::Command::default());
    group.get_arguments().map(|flag| flag.get_id().clone()).collect()
}

/// Largest settings file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, ValueEnum)]
enum RecipeName {
    /// As the network was published
    Published,
    /// A short recipe made for this program
    Fast,
    /// A recipe for the built-in synthetic set
    Practice,
}

/// The settings of a training run.
#[derive(clap::Args)]
pub struct Settings {
    #[command(flatten)]
    source: SourceArguments,
    /// CIFAR-10 or CIFAR-100, binary or for Python; a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and test/CLASS/IMAGE; an archive
    /// of one of these; or `synthetic`, the default if no data folder is found
    #[arg(long, value_name = "PATH")]
    pub data: Option<String>,
    #[command(flatten)]
    labels: LabelArguments,
    #[command(flatten)]
    shape: ShapeArguments,
    /// Passes over the training images
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    epochs: Option<u32>,
    /// Length of the schedule in epochs, after which the learning rate stays as it is [default: all epochs]
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    schedule_epochs: Option<u32>,
    #[command(flatten)]
    optimizer: OptimizerArguments,
    #[command(flatten)]
    schedule: ScheduleArguments,
    #[command(flatten)]
    regularization: RegularizationArguments,
    #[command(flatten)]
    teacher: TeacherArguments,
    #[command(flatten)]
    augmentation: AugmentArguments,
    #[command(flatten)]
    beginning: BeginningArguments,
    #[command(flatten)]
    random: RandomArguments,
    #[command(flatten)]
    images: ImagesArguments,
    /// Write loss and learning rate of every Nth step into metrics.jsonl; 0 for none
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    log_every: Option<u64>,
    /// If the GPU is lost or hangs: stop, or open it again and go on from the newest checkpoint [default: stop]
    #[arg(long, value_enum, value_name = "WHAT")]
    on_device_loss: Option<OnDeviceLossName>,
    /// If a step's loss or gradients are not finite: stop training, or skip the step [default: stop]
    #[arg(long, value_enum, value_name = "WHAT")]
    on_non_finite: Option<OnNonFiniteName>,
    /// Write a checkpoint every N steps, besides the one at the end of each epoch; 0 for none
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    checkpoint_steps: Option<u64>,
    /// Write a checkpoint every N minutes; 0 for none [default: 5]
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true)]
    checkpoint_minutes: Option<f64>,
    /// Keep the newest N checkpoints, besides the one of the best epoch [default: 2]
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    keep_checkpoints: Option<usize>,
    #[command(flatten)]
    pub device: DeviceArguments,
    #[command(flatten)]
    plans: PlanArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnDeviceLossName {
    /// Stop; --resume goes on
    Stop,
    /// Go on by itself; stop after three losses without a checkpoint between them
    Resume,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnNonFiniteName {
    /// Stop, and name the first tensor that is not finite
    Stop,
    /// Go on without the step's update; stop after 100 such steps one after the other
    Skip,
}

/// Defaults of settings that are not given.
#[derive(clap::Args)]
struct SourceArguments {
    /// Network, or FILE.toml that describes one [default: that of the --init weights]
    #[arg(long, value_parser = architecture_names(), required_unless_present_any = ["resume", "config", "init"])]
    arch: Option<String>,
    /// Settings as a TOML file, such as a run's config.toml; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Defaults of settings that are not given [default: published; practice on the synthetic set]
    #[arg(long, value_enum)]
    recipe: Option<RecipeName>,
    /// Weights to start from
    #[arg(long, value_name = "WEIGHTS")]
    init: Option<PathBuf>,
}

/// Randomness.
#[derive(clap::Args)]
struct RandomArguments {
    /// Seed of weights, order, dropout and augmentation [default: 1]
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    seed: Option<u64>,
    /// Do not shuffle the training images
    #[arg(long, help_heading = "Recipe")]
    no_shuffle: bool,
}

/// Selection of training and test images, and the mode of testing.
#[derive(clap::Args)]
struct ImagesArguments {
    #[command(flatten)]
    tta: TtaArguments,
    /// Test on the last N training images, which are not trained on, instead of the test images
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    validation: Option<usize>,
    /// Train on the first N images only
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    limit_train: Option<usize>,
    /// Test on the first N images only
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    limit_test: Option<usize>,
}

/// A new run, from flags, a settings file and a recipe.
pub struct NewRun {
    /// Its settings.
    pub config: TrainConfig,
    /// Its data source.
    pub data: DataChoice,
    /// Its initial weights.
    pub init: Option<PathBuf>,
}

impl Settings {
    /// The requested run, or the sanity check with its settings.
    pub fn new_run(&self, max_steps: Option<u64>, overfit_one_batch: bool) -> Result<NewRun> {
        let mut file = self.source.config.as_deref().map(read).transpose()?;
        let in_file = |file: &Option<toml::Table>, key: &str| Some(file.as_ref()?.get(key)?.as_str()?.to_owned());
        let of_file = || Some(or_copy(in_file(&file, "arch")?, self.source.config.as_deref()?));
        let arch = self.source.arch.clone().or_else(of_file);
        if let (Some(arch), Some(other)) = (&self.source.arch, in_file(&file, "arch"))
            && *arch != other
            && file.as_mut().is_some_and(|file| file.remove("dropout").is_some())
        {
            say(format_args!("the settings file's dropout is that of {other}: {arch} has its own"));
        }
        let init_in_file = match file.as_mut().and_then(|file| file.remove("init")) {
            Some(toml::Value::String(path)) => Some(PathBuf::from(path)),
            Some(other) => return Err(Error::Setting(format!("init = {other} in the settings file must be a path"))),
            None => None,
        };
        let init = self.source.init.clone().or(init_in_file);
        let arch = match (arch, &init) {
            (Some(arch), _) => arch,
            (None, Some(init)) => of_weights(init)?,
            (None, None) => {
                return Err(Error::Setting("the settings file names no arch, and --arch is not given".into()));
            }
        };
        let named = self.data.clone().or_else(|| in_file(&file, "data"));
        let data = DataChoice::new(named.as_deref());
        let recipe = self.source.recipe.unwrap_or(match data {
            DataChoice::Synthetic => RecipeName::Practice,
            DataChoice::Folder(_) => RecipeName::Published,
        });
        let mut config = match recipe {
            RecipeName::Published => TrainConfig::published(&arch)?,
            RecipeName::Fast => TrainConfig::fast(&arch)?,
            RecipeName::Practice => TrainConfig::practice(&arch)?,
        };
        let file_has = |key| file.as_ref().is_some_and(|file| file.contains_key(key));
        let file_normalizes = file_has("normalize");
        let chooses_optimizer = self.optimizer.chooses() || file_has("optimizer") || file_has("lr");
        if let Some(file) = file {
            let named = |e: Error| match (e, &self.source.config) {
                (Error::Setting(message), Some(path)) => Error::Setting(format!("{}: {message}", path.display())),
                (other, _) => other,
            };
            config = config.with_toml(file).map_err(named)?;
        }
        // The settings file may be used from another folder.
        config.arch = match std::path::absolute(&arch) {
            Ok(path) if Architecture::is_file(&arch) => path.display().to_string(),
            _ => arch,
        };
        config.data = data.name();
        config.max_steps = max_steps.or(config.max_steps);
        self.apply(&mut config)?;
        if overfit_one_batch {
            config.overfit_one_batch(chooses_optimizer);
            self.apply_to_resumed(&mut config)?;
        }
        if let Some(init) = &init {
            let void = |flag: &str| {
                let init = init.display();
                Err(Error::Setting(format!("{flag} has no effect on the weights of {init}, which include theirs")))
            };
            if let Some(flag) = self.beginning.initializes() {
                return void(flag);
            }
            if config.whitening == Whitening::Start {
                config.whitening = Whitening::None;
            }
            let weights = WeightsFile::read(init)?;
            // With other images or classes the run itself says what does not fit.
            let architecture = weights.architecture(Some(&config.arch));
            let _ = architecture.and_then(|architecture| say_naming(&weights, &architecture));
            let says_normalization = weights.normalization().is_some();
            if let Some(metadata) = weights.metadata() {
                keep_shape(&mut config, metadata.input)?;
            }
            if says_normalization && self.beginning.normalizes() {
                return void("--normalize");
            }
            if !says_normalization && !self.beginning.normalizes() && !file_normalizes {
                let way = if config.normalize == Normalize::Standard { "standard" } else { "published" };
                warn(format_args!(
                    "{} does not give the normalization of pixels: --normalize {way} is assumed",
                    init.display()
                ));
            }
        }
        config.validate()?;
        Ok(NewRun { config, data, init })
    }

    /// Applies the flags that may change during a run to a configuration.
    pub fn apply_to_resumed(&self, config: &mut TrainConfig) -> Result<()> {
        set(&mut config.epochs, &self.epochs);
        config.schedule_epochs = self.schedule_epochs.or(config.schedule_epochs);
        set(&mut config.log_every, &self.log_every);
        let on_non_finite = self.on_non_finite.map(|name| match name {
            OnNonFiniteName::Stop => OnNonFinite::Stop,
            OnNonFiniteName::Skip => OnNonFinite::Skip,
        });
        set(&mut config.on_non_finite, &on_non_finite);
        let on_device_loss = self.on_device_loss.map(|name| match name {
            OnDeviceLossName::Stop => OnDeviceLoss::Stop,
            OnDeviceLossName::Resume => OnDeviceLoss::Resume,
        });
        set(&mut config.on_device_loss, &on_device_loss);
        set(&mut config.checkpoints.every_steps, &self.checkpoint_steps);
        set(&mut config.checkpoints.every_minutes, &self.checkpoint_minutes);
        set(&mut config.checkpoints.keep, &self.keep_checkpoints);
        self.device.apply(config)
    }

    /// Applies the flags to a configuration.
    fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        self.apply_to_resumed(config)?;
        set(&mut config.labels, &self.labels.choice());
        self.shape.apply(config);
        self.optimizer.apply(config)?;
        self.schedule.apply(config)?;
        self.regularization.apply(config);
        self.teacher.apply(config)?;
        self.augmentation.apply(&mut config.augmentation);
        self.beginning.apply(config);
        set(&mut config.seed, &self.random.seed);
        config.shuffle &= !self.random.no_shuffle;
        set(&mut config.tta, &self.images.tta.choice());
        config.validation = self.images.validation.or(config.validation);
        config.limit_train = self.images.limit_train.or(config.limit_train);
        config.limit_test = self.images.limit_test.or(config.limit_test);
        self.plans.apply(config);
        Ok(())
    }
}

/// The architecture that a settings file names; if its description no longer exists, the copy in the run folder.
fn or_copy(arch: String, settings: &Path) -> String {
    let copy = settings.with_file_name("network.toml");
    if !Architecture::is_file(&arch) || Path::new(&arch).exists() || !copy.exists() {
        return arch;
    }
    say(format_args!("{arch} no longer exists: using its copy {}", copy.display()));
    copy.display().to_string()
}

/// The architecture of weights: its name, or the file itself, which describes it.
fn of_weights(init: &Path) -> Result<String> {
    let file = WeightsFile::read(init)?;
    let name = file.metadata().map(|metadata| metadata.arch.as_str());
    match name.filter(|name| ARCHITECTURES.contains(name)) {
        Some(name) => Ok(name.to_owned()),
        None => {
            file.architecture(None)?;
            Ok(init.display().to_string())
        }
    }
}

/// Sets a run's image shape to that of its initial weights, unless another was requested.
fn keep_shape(config: &mut TrainConfig, input: ImageShape) -> Result<()> {
    let usual = architecture(&config.arch, None)?.input;
    if input.size() != usual.size() {
        config.image_size = config.image_size.or(Some(input.size()));
    }
    if input.is_gray() != usual.is_gray() {
        config.gray = config.gray.or(Some(input.is_gray()));
    }
    Ok(())
}

/// Replaces a value if its flag was given.
fn set<T: Clone>(place: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        place.clone_from(value);
    }
}

/// Reads a settings file.
fn read(path: &Path) -> Result<toml::Table> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        .map_err(Error::io("reading", path))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(Error::Setting(format!("{}: a settings file has at most {MOST_BYTES} bytes", path.display())));
    }
    text.parse().map_err(|e: toml::de::Error| Error::Setting(format!("{}: {e}", path.display())))
}
