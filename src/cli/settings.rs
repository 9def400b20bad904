//! The settings of a run as flags, and how they are put together: flags over a settings file over a recipe.

use std::path::{Path, PathBuf};

use cifar_gpu::ops::batch_assembly::{Augmentation, Flip};
use cifar_gpu::optim::Schedule;
use cifar_gpu::train::{Initializer, Normalize, Optimization, TrainConfig};
use cifar_gpu::{Error, Result};
use clap::ValueEnum;

use super::common::{DataChoice, say};
use super::tune::PlanArguments;

/// Largest settings file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, ValueEnum)]
enum RecipeName {
    /// As the network was published
    Published,
    /// A short one, tuned for this program
    Fast,
    /// For the built-in synthetic set
    Practice,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Sgd,
    Adam,
    Adamw,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// The learning rate stays
    Constant,
    /// It is divided by 1 + 5e-5 · step (--time-decay sets the factor)
    TimeDecay,
    /// It falls to a tenth after 4/7, 5/7 and 6/7 of the run (--milestones, --step-factor)
    Step,
    /// It falls to zero along half a cosine
    Cosine,
    /// It rises tenfold in the first quarter of the run, then falls to nothing (--peak-at)
    OneCycle,
}

#[derive(Clone, Copy, ValueEnum)]
enum AugmentName {
    /// Images as they are
    None,
    /// Mirrored by chance, and cropped with a border of 4 pixels
    FlipCrop,
    /// Mirrored by chance, shifted by up to a tenth, rotated by up to 10° (ygnet's published one)
    Keras,
    /// Mirrored every other epoch, cropped, rotated by up to 10°, with squares of 8 pixels cut out
    Strong,
}

impl AugmentName {
    fn augmentation(self) -> Augmentation {
        match self {
            AugmentName::None => Augmentation::NONE,
            AugmentName::FlipCrop => Augmentation::FLIP_CROP,
            AugmentName::Keras => Augmentation::KERAS,
            AugmentName::Strong => Augmentation::STRONG,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum FlipName {
    Never,
    /// By a coin for each image and step
    Random,
    /// By a coin for each image in the first epoch, then every other epoch
    Alternating,
}

#[derive(Clone, Copy, ValueEnum)]
enum InitializerName {
    /// As the network was published
    Published,
    /// He's normal distribution before a ReLU, Glorot's uniform one elsewhere
    He,
}

#[derive(Clone, Copy, ValueEnum)]
enum NormalizeName {
    /// As the network was published
    Published,
    /// Mean 0 and deviation 1 of each colour over the training images
    Standard,
}

/// What is changed at random about training images.
#[derive(clap::Args)]
pub struct AugmentArguments {
    /// Random changes made to training images
    #[arg(long, value_enum, help_heading = "Recipe")]
    augment: Option<AugmentName>,
    /// Mirror training images
    #[arg(long, value_enum, help_heading = "Recipe")]
    flip: Option<FlipName>,
    /// Crop training images out of themselves with a black border of N pixels
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    crop_padding: Option<u32>,
    /// Shift training images by up to this share of their side
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    shift: Option<f32>,
    /// Rotate training images by up to so many degrees
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, help_heading = "Recipe")]
    rotation: Option<f32>,
    /// Cut a square of N pixels out of training images
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    cutout: Option<u32>,
}

impl AugmentArguments {
    /// Puts flags into an augmentation.
    pub fn apply(&self, augmentation: &mut Augmentation) {
        if let Some(preset) = self.augment {
            *augmentation = preset.augmentation();
        }
        let flip = self.flip.map(|flip| match flip {
            FlipName::Never => Flip::Never,
            FlipName::Random => Flip::Random,
            FlipName::Alternating => Flip::Alternating,
        });
        augmentation.flip = flip.unwrap_or(augmentation.flip);
        augmentation.crop_padding = self.crop_padding.unwrap_or(augmentation.crop_padding);
        augmentation.shift = self.shift.unwrap_or(augmentation.shift);
        augmentation.rotation_degrees = self.rotation.unwrap_or(augmentation.rotation_degrees);
        augmentation.cutout = self.cutout.unwrap_or(augmentation.cutout);
    }
}

/// The settings that decide how a run goes.
#[derive(clap::Args)]
pub struct Settings {
    /// Network: ygnet, ygnet-final-relu, ygnet-bn, lenet5 or all-cnn-c
    #[arg(long, required_unless_present_any = ["resume", "config"])]
    arch: Option<String>,
    /// Folder of CLASS/IMAGE, of train/CLASS/IMAGE and test/CLASS/IMAGE, or in CIFAR-10's binary layout; or `synthetic`, as
    /// if none is given and none is found
    #[arg(long, value_name = "PATH")]
    pub data: Option<String>,
    /// Settings as a TOML file, such as a run's config.toml; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where settings come from that are not given [default: published; practice on the synthetic set]
    #[arg(long, value_enum)]
    recipe: Option<RecipeName>,
    /// Passes over the training images
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    epochs: Option<u32>,
    /// Images of a step
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    batch_size: Option<usize>,
    /// Optimiser
    #[arg(long, value_enum, help_heading = "Recipe")]
    optimizer: Option<OptimizerName>,
    /// Base learning rate
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    lr: Option<f64>,
    /// Momentum (SGD)
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    momentum: Option<f64>,
    /// Look ahead along the velocity (SGD)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Recipe")]
    nesterov: Option<bool>,
    /// Weight decay
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    weight_decay: Option<f64>,
    /// How the learning rate changes
    #[arg(long, value_enum, help_heading = "Recipe")]
    schedule: Option<ScheduleName>,
    /// Factor of the step in the time-decay schedule
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    time_decay: Option<f64>,
    /// Shares of the run after which the step schedule lowers the rate
    #[arg(long, value_name = "X,…", value_delimiter = ',', help_heading = "Recipe")]
    milestones: Option<Vec<f64>>,
    /// What the step schedule multiplies the rate by
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    step_factor: Option<f64>,
    /// Share of the run at which the one-cycle schedule is highest
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    peak_at: Option<f64>,
    /// Epochs in which the rate rises from nothing to what the schedule says
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    warmup_epochs: Option<f64>,
    /// Share of each label's probability that is spread over all classes
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    label_smoothing: Option<f64>,
    /// Largest norm of all gradients together; 0 for no bound
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    clip_norm: Option<f64>,
    /// Test and save a running average of the weights that keeps this share from step to step; 0 for none
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    average_decay: Option<f64>,
    /// Probabilities of the dropout layers, in order; one for all, or as many as there are layers
    #[arg(long, value_name = "P,…", value_delimiter = ',', help_heading = "Recipe")]
    dropout: Option<Vec<f32>>,
    /// Switch dropout off
    #[arg(long, conflicts_with = "dropout", help_heading = "Recipe")]
    no_dropout: bool,
    #[command(flatten)]
    augmentation: AugmentArguments,
    /// How initial weights are drawn
    #[arg(long, value_enum, help_heading = "Recipe")]
    initializer: Option<InitializerName>,
    /// How pixels become the network's input; weights of --init bring theirs
    #[arg(long, value_enum, help_heading = "Recipe")]
    normalize: Option<NormalizeName>,
    /// Look at mirrored test images, too, and take the mean of both answers
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Recipe")]
    mirror_test: Option<bool>,
    /// Seed of weights, order, dropout and augmentation [default: 1]
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    seed: Option<u64>,
    /// Take the training images in order
    #[arg(long, help_heading = "Recipe")]
    no_shuffle: bool,
    /// Test on the last N training images, which are not trained on, instead of the test images
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    validation: Option<usize>,
    /// Train on the first N images only
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    limit_train: Option<usize>,
    /// Test on the first N images only
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    limit_test: Option<usize>,
    /// Write loss and learning rate of every Nth step into metrics.jsonl; 0 for none
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    log_every: Option<u64>,
    /// Write a checkpoint every N steps, besides that at the end of each epoch; 0 for none
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    checkpoint_steps: Option<u64>,
    /// Write a checkpoint every so many minutes; 0 for none [default: 5]
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true)]
    checkpoint_minutes: Option<f64>,
    /// Keep the newest N checkpoints, besides that of the best epoch [default: 2]
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    keep_checkpoints: Option<usize>,
}

impl Settings {
    /// The settings of a new run, the data it asks for, and the weights that it starts from: `init`, or what the settings file
    /// says.
    pub fn config(
        &self,
        plans: &PlanArguments,
        max_steps: Option<u64>,
        init: Option<&Path>,
    ) -> Result<(TrainConfig, DataChoice, Option<PathBuf>)> {
        let mut file = self.config.as_deref().map(read).transpose()?;
        let in_file = |file: &Option<toml::Table>, key: &str| Some(file.as_ref()?.get(key)?.as_str()?.to_owned());
        let arch = self.arch.clone().or_else(|| in_file(&file, "arch"));
        if let (Some(arch), Some(other)) = (&self.arch, in_file(&file, "arch"))
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
        let init = init.map(Path::to_owned).or(init_in_file);
        let arch =
            arch.ok_or_else(|| Error::Setting("the settings file names no arch, and --arch is not given".into()))?;
        let named = self.data.clone().or_else(|| in_file(&file, "data"));
        let data = DataChoice::new(named.as_deref());
        let recipe = self.recipe.unwrap_or(match data {
            DataChoice::Synthetic => RecipeName::Practice,
            DataChoice::Folder(_) => RecipeName::Published,
        });
        let mut config = match recipe {
            RecipeName::Published => TrainConfig::published(&arch)?,
            RecipeName::Fast => TrainConfig::fast(&arch)?,
            RecipeName::Practice => TrainConfig::practice(&arch)?,
        };
        if let Some(file) = file {
            let named = |e: Error| match (e, &self.config) {
                (Error::Setting(message), Some(path)) => Error::Setting(format!("{}: {message}", path.display())),
                (other, _) => other,
            };
            config = config.with_toml(file).map_err(named)?;
        }
        config.arch = arch;
        config.data = data.name();
        self.apply(&mut config)?;
        config.max_steps = max_steps.or(config.max_steps);
        plans.apply(&mut config);
        for (flag, is_given) in [("--momentum", self.momentum.is_some()), ("--nesterov", self.nesterov == Some(true))] {
            if is_given && config.optimizer != Optimization::Sgd {
                return Err(Error::Setting(format!("{flag} belongs to SGD; this run has {}", config.optimizer)));
            }
        }
        for (flag, is_given) in
            [("--normalize", self.normalize.is_some()), ("--initializer", self.initializer.is_some())]
        {
            if let (true, Some(init)) = (is_given, &init) {
                let init = init.display();
                return Err(Error::Setting(format!(
                    "{flag} has no effect on the weights of {init}, which bring theirs"
                )));
            }
        }
        config.validate()?;
        Ok((config, data, init))
    }

    /// Whether the optimiser or its rate was asked for.
    pub fn chooses_optimizer(&self) -> bool {
        self.optimizer.is_some()
            || self.lr.is_some()
            || self.momentum.is_some()
            || self.nesterov.is_some()
            || self.config.is_some()
    }

    /// Puts those flags into a configuration that may change in the middle of a run.
    pub fn apply_to_resumed(&self, config: &mut TrainConfig) {
        set(&mut config.epochs, &self.epochs);
        set(&mut config.log_every, &self.log_every);
        set(&mut config.checkpoints.every_steps, &self.checkpoint_steps);
        set(&mut config.checkpoints.every_minutes, &self.checkpoint_minutes);
        set(&mut config.checkpoints.keep, &self.keep_checkpoints);
    }

    /// Puts flags into a configuration.
    fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        self.apply_to_resumed(config);
        set(&mut config.batch_size, &self.batch_size);
        set(&mut config.lr, &self.lr);
        set(&mut config.momentum, &self.momentum);
        set(&mut config.nesterov, &self.nesterov);
        set(&mut config.weight_decay, &self.weight_decay);
        set(&mut config.warmup_epochs, &self.warmup_epochs);
        set(&mut config.label_smoothing, &self.label_smoothing);
        set(&mut config.clip_norm, &self.clip_norm);
        set(&mut config.average_decay, &self.average_decay);
        set(&mut config.mirror_test, &self.mirror_test);
        set(&mut config.seed, &self.seed);
        config.validation = self.validation.or(config.validation);
        config.limit_train = self.limit_train.or(config.limit_train);
        config.limit_test = self.limit_test.or(config.limit_test);
        config.shuffle &= !self.no_shuffle;
        set(
            &mut config.optimizer,
            &self.optimizer.map(|name| match name {
                OptimizerName::Sgd => Optimization::Sgd,
                OptimizerName::Adam => Optimization::Adam,
                OptimizerName::Adamw => Optimization::AdamW,
            }),
        );
        set(
            &mut config.initializer,
            &self.initializer.map(|name| match name {
                InitializerName::Published => Initializer::Published,
                InitializerName::He => Initializer::He,
            }),
        );
        set(
            &mut config.normalize,
            &self.normalize.map(|name| match name {
                NormalizeName::Published => Normalize::Published,
                NormalizeName::Standard => Normalize::Standard,
            }),
        );
        let layers = config.dropout.len();
        match self.dropout.as_deref() {
            Some(&[rate]) => config.dropout = vec![rate; layers],
            Some(rates) => config.dropout = rates.to_vec(),
            None if self.no_dropout => config.dropout = vec![0.0; layers],
            None => {}
        }
        self.augmentation.apply(&mut config.augmentation);
        self.apply_schedule(&mut config.schedule)
    }

    fn apply_schedule(&self, schedule: &mut Schedule) -> Result<()> {
        if let Some(name) = self.schedule {
            *schedule = match name {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::TimeDecay => Schedule::usual_time_decay(),
                ScheduleName::Step => Schedule::usual_step(),
                ScheduleName::Cosine => Schedule::Cosine,
                ScheduleName::OneCycle => Schedule::usual_one_cycle(),
            };
        }
        let foreign = |flag: &str, kind: &str| {
            Err(Error::Setting(format!("{flag} belongs to --schedule {kind}; this run has another schedule")))
        };
        match (&mut *schedule, self.time_decay) {
            (Schedule::TimeDecay { decay }, Some(new)) => *decay = new,
            (_, Some(_)) => return foreign("--time-decay", "time-decay"),
            _ => {}
        }
        match (&mut *schedule, self.peak_at) {
            (Schedule::OneCycle { peak_at }, Some(new)) => *peak_at = new,
            (_, Some(_)) => return foreign("--peak-at", "one-cycle"),
            _ => {}
        }
        match (schedule, &self.milestones, self.step_factor) {
            (Schedule::Step { milestones, factor }, new_milestones, new_factor) => {
                if let Some(new) = new_milestones {
                    milestones.clone_from(new);
                }
                *factor = new_factor.unwrap_or(*factor);
            }
            (_, Some(_), _) => return foreign("--milestones", "step"),
            (_, _, Some(_)) => return foreign("--step-factor", "step"),
            _ => {}
        }
        Ok(())
    }
}

/// Replaces what a flag was given for.
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
        .and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text))
        .map_err(Error::io("reading", path))?;
    text.parse().map_err(|e: toml::de::Error| Error::Setting(format!("{}: {e}", path.display())))
}
