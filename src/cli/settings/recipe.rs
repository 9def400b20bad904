//! The flags of a recipe: optimizer, schedule, regularization, augmentation and initialization.

use std::path::PathBuf;

use cifar_gpu::ops::batch_assembly::{Augmentation, Border, Flip};
use cifar_gpu::optim::Schedule;
use cifar_gpu::train::{
    ClassWeighting, Initializer, Normalize, OptimizerKind, TeacherSettings, TrainConfig, Whitening,
};
use cifar_gpu::{Error, Result};
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::set;

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Sgd,
    Adam,
    Adamw,
    /// Muon for the weights of convolutions and hidden layers (--muon-lr), SGD for the rest (--lr)
    Muon,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// The learning rate is constant
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
enum FlipName {
    Never,
    /// At random for each image and step
    Random,
    /// At random for each image in the first epoch, then in every other epoch
    Alternating,
}

#[derive(Clone, Copy, ValueEnum)]
enum BorderName {
    Black,
    /// The image reflected about its outermost pixels
    Reflect,
}

#[derive(Clone, Copy, ValueEnum)]
enum ClassWeightsName {
    /// All images have the same weight
    None,
    /// All classes have the same total weight: an image of a class with n_c of the n images of k classes has weight n / (k · n_c)
    Balanced,
}

#[derive(Clone, Copy, ValueEnum)]
enum InitializerName {
    /// As the network was published
    Published,
    /// He's normal distribution before a ReLU, Glorot's uniform one elsewhere
    He,
    /// Convolutions pass their input on; the first and the last layer are as with he
    Dirac,
}

#[derive(Clone, Copy, ValueEnum)]
enum WhiteningName {
    None,
    /// The filters are trained further
    Start,
    /// The filters stay as they are
    Fixed,
}

#[derive(Clone, Copy, ValueEnum)]
enum NormalizeName {
    /// As the network was published
    Published,
    /// Mean 0 and standard deviation 1 per channel over the training images
    Standard,
}

/// The optimizer.
#[derive(clap::Args)]
pub struct OptimizerArguments {
    /// Images per step (batch size)
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    batch_size: Option<usize>,
    /// Compute the gradients of a batch N images at a time, an even number, to limit memory [default: all at once]
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    micro_batch: Option<usize>,
    /// Optimizer
    #[arg(long, value_enum, help_heading = "Recipe")]
    optimizer: Option<OptimizerName>,
    /// Base learning rate
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    lr: Option<f64>,
    /// Factor of the learning rate for biases, except those of the last layer
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    bias_lr_factor: Option<f64>,
    /// Base learning rate of the weights that Muon updates
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    muon_lr: Option<f64>,
    /// Momentum of the weights that Muon updates
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    muon_momentum: Option<f64>,
    /// Keep the norm of each weight that Muon updates, for networks with batch normalization after each
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Recipe")]
    muon_fixed_norm: Option<bool>,
    /// Momentum (SGD, and Muon for the rest)
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    momentum: Option<f64>,
    /// Use Nesterov momentum (SGD and Muon)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Recipe")]
    nesterov: Option<bool>,
}

impl OptimizerArguments {
    /// Whether the optimizer or its rate was given.
    pub fn chooses(&self) -> bool {
        self.optimizer.is_some()
            || self.lr.is_some()
            || self.momentum.is_some()
            || self.nesterov.is_some()
            || self.muon_lr.is_some()
    }

    /// Applies the flags to a configuration.
    pub fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        set(&mut config.batch_size, &self.batch_size);
        config.micro_batch = self.micro_batch.or(config.micro_batch);
        set(&mut config.lr, &self.lr);
        set(&mut config.momentum, &self.momentum);
        set(&mut config.nesterov, &self.nesterov);
        let optimizer = self.optimizer.map(|name| match name {
            OptimizerName::Sgd => OptimizerKind::Sgd,
            OptimizerName::Adam => OptimizerKind::Adam,
            OptimizerName::Adamw => OptimizerKind::AdamW,
            OptimizerName::Muon => OptimizerKind::Muon,
        });
        set(&mut config.optimizer, &optimizer);
        set(&mut config.bias_lr_factor, &self.bias_lr_factor);
        set(&mut config.muon.lr, &self.muon_lr);
        set(&mut config.muon.momentum, &self.muon_momentum);
        set(&mut config.muon.fixed_norm, &self.muon_fixed_norm);
        let (used, is_muon) = (config.optimizer, config.optimizer == OptimizerKind::Muon);
        let has_momentum = is_muon || used == OptimizerKind::Sgd;
        for (field, is_given, applies, to) in [
            ("momentum", self.momentum.is_some(), has_momentum, "SGD and Muon"),
            ("nesterov", self.nesterov == Some(true), has_momentum, "SGD and Muon"),
            ("muon.lr", self.muon_lr.is_some(), is_muon, "Muon"),
            ("muon.momentum", self.muon_momentum.is_some(), is_muon, "Muon"),
            ("muon.fixed_norm", self.muon_fixed_norm == Some(true), is_muon, "Muon"),
        ] {
            if is_given && !applies {
                return Err(Error::field(field, format!("applies to {to} only; this run uses {used}")));
            }
        }
        Ok(())
    }
}

/// How the learning rate changes.
#[derive(clap::Args)]
pub struct ScheduleArguments {
    /// How the learning rate changes
    #[arg(long, value_enum, help_heading = "Recipe")]
    schedule: Option<ScheduleName>,
    /// Decay per step of the time-decay schedule
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    time_decay: Option<f64>,
    /// Fractions of the run after which the step schedule lowers the rate
    #[arg(long, value_name = "X,…", value_delimiter = ',', help_heading = "Recipe")]
    milestones: Option<Vec<f64>>,
    /// Factor by which the step schedule multiplies the rate
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    step_factor: Option<f64>,
    /// Fraction of the run at which the one-cycle schedule peaks
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    peak_at: Option<f64>,
    /// Warm-up epochs, in which the rate rises linearly from zero to the schedule's value
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    warmup_epochs: Option<f64>,
}

impl ScheduleArguments {
    /// Applies the flags to a configuration.
    pub fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        set(&mut config.warmup_epochs, &self.warmup_epochs);
        let schedule = &mut config.schedule;
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
            Err(Error::Setting(format!("{flag} applies to --schedule {kind} only; this run uses another schedule")))
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

/// The loss, regularization and gradient clipping.
#[derive(clap::Args)]
pub struct RegularizationArguments {
    /// Weight decay
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    weight_decay: Option<f64>,
    /// Label smoothing: the fraction of each label's probability that is spread over all classes
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    label_smoothing: Option<f64>,
    /// Weights of the classes in the training loss, for classes with unequal numbers of images
    #[arg(long, value_enum, help_heading = "Recipe")]
    class_weights: Option<ClassWeightsName>,
    /// Maximum global gradient norm; 0 for no clipping
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    clip_norm: Option<f64>,
    /// Test and save a running average of the weights with this decay per step; 0 for none
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    average_decay: Option<f64>,
    /// Probabilities of the dropout layers, in order; one for all, or as many as there are layers
    #[arg(long, value_name = "P,…", value_delimiter = ',', help_heading = "Recipe")]
    dropout: Option<Vec<f32>>,
    /// Switch dropout off
    #[arg(long, conflicts_with = "dropout", help_heading = "Recipe")]
    no_dropout: bool,
}

impl RegularizationArguments {
    /// Applies the flags to a configuration.
    pub fn apply(&self, config: &mut TrainConfig) {
        set(&mut config.weight_decay, &self.weight_decay);
        set(&mut config.label_smoothing, &self.label_smoothing);
        let class_weights = self.class_weights.map(|name| match name {
            ClassWeightsName::None => ClassWeighting::None,
            ClassWeightsName::Balanced => ClassWeighting::Balanced,
        });
        set(&mut config.class_weights, &class_weights);
        set(&mut config.clip_norm, &self.clip_norm);
        set(&mut config.average_decay, &self.average_decay);
        match self.dropout.as_deref() {
            Some(&[rate]) => config.dropout.fill(rate),
            Some(rates) => config.dropout = rates.to_vec(),
            None if self.no_dropout => config.dropout.fill(0.0),
            None => {}
        }
    }
}

/// Distillation.
#[derive(clap::Args)]
pub struct TeacherArguments {
    /// Weights of a network whose predictions are imitated (distillation)
    #[arg(long, value_name = "WEIGHTS", help_heading = "Recipe")]
    teacher: Option<PathBuf>,
    /// Weight of the distillation loss, 0 to 1; the loss of the labels has the rest [default: 0.9]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    teacher_weight: Option<f64>,
    /// Temperature of the predictions that are compared [default: 4]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    temperature: Option<f64>,
}

impl TeacherArguments {
    /// Applies the flags to a configuration.
    pub fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        if let Some(path) = &self.teacher {
            let mut teacher = config.teacher.take().unwrap_or_else(|| TeacherSettings::new(PathBuf::new()));
            teacher.weights.clone_from(path);
            config.teacher = Some(teacher);
        }
        match &mut config.teacher {
            Some(teacher) => {
                // The settings file may be used from another folder.
                if let Ok(path) = std::path::absolute(&teacher.weights) {
                    teacher.weights = path;
                }
                set(&mut teacher.weight, &self.teacher_weight);
                set(&mut teacher.temperature, &self.temperature);
                Ok(())
            }
            None if self.teacher_weight.is_some() || self.temperature.is_some() => Err(Error::Setting(
                "--teacher-weight and --temperature describe the use of a teacher, and --teacher is not given".into(),
            )),
            None => Ok(()),
        }
    }
}

/// Parses the presets' names; the help describes each.
fn presets() -> impl TypedValueParser<Value = Augmentation> {
    let names = Augmentation::PRESETS.map(|(name, preset)| PossibleValue::new(name).help(preset.to_string()));
    PossibleValuesParser::new(names).try_map(|name| Augmentation::named(&name))
}

/// Random changes to training images.
#[derive(clap::Args)]
pub struct AugmentArguments {
    /// Preset of random changes to training images
    #[arg(long, value_parser = presets(), value_name = "AUGMENT", help_heading = "Recipe")]
    augment: Option<Augmentation>,
    /// Mirror training images
    #[arg(long, value_enum, help_heading = "Recipe")]
    flip: Option<FlipName>,
    /// Pad training images with a border of N pixels, less than the shorter side, and crop at random
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    crop_padding: Option<u32>,
    /// That border
    #[arg(long, value_enum, help_heading = "Recipe")]
    crop_border: Option<BorderName>,
    /// Shift training images by up to this fraction of their side, 0 to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    shift: Option<f32>,
    /// Rotate training images by up to N degrees, 0 to 180
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, help_heading = "Recipe")]
    rotation: Option<f32>,
    /// Cut a square of N×N pixels out of training images, N at most twice the shorter side
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Recipe")]
    cutout: Option<u32>,
}

impl AugmentArguments {
    /// Applies the flags to an augmentation.
    pub fn apply(&self, augmentation: &mut Augmentation) {
        if let Some(preset) = self.augment {
            *augmentation = preset;
        }
        let flip = self.flip.map(|flip| match flip {
            FlipName::Never => Flip::Never,
            FlipName::Random => Flip::Random,
            FlipName::Alternating => Flip::Alternating,
        });
        set(&mut augmentation.flip, &flip);
        set(&mut augmentation.crop_padding, &self.crop_padding);
        let border = self.crop_border.map(|border| match border {
            BorderName::Black => Border::Black,
            BorderName::Reflect => Border::Reflect,
        });
        set(&mut augmentation.crop_border, &border);
        set(&mut augmentation.shift, &self.shift);
        set(&mut augmentation.rotation_degrees, &self.rotation);
        set(&mut augmentation.cutout, &self.cutout);
    }
}

/// Initialization and normalization.
#[derive(clap::Args)]
pub struct BeginningArguments {
    /// How initial weights are drawn
    #[arg(long, value_enum, help_heading = "Recipe")]
    initializer: Option<InitializerName>,
    /// Whether the first convolution begins with filters that whiten the training images
    #[arg(long, value_enum, help_heading = "Recipe")]
    whitening: Option<WhiteningName>,
    /// Weight of a batch's statistics in the running statistics of batch normalizations [default: as the network says]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Recipe")]
    batch_norm_momentum: Option<f64>,
    /// Normalization of pixels; weights of --init include theirs
    #[arg(long, value_enum, help_heading = "Recipe")]
    normalize: Option<NormalizeName>,
}

impl BeginningArguments {
    /// The flag of an initialization that was given.
    pub fn initializes(&self) -> Option<&'static str> {
        match self.whitening {
            _ if self.initializer.is_some() => Some("--initializer"),
            Some(WhiteningName::Start) => Some("--whitening start"),
            _ => None,
        }
    }

    /// Whether the normalization was given.
    pub fn normalizes(&self) -> bool {
        self.normalize.is_some()
    }

    /// Applies the flags to a configuration.
    pub fn apply(&self, config: &mut TrainConfig) {
        let initializer = self.initializer.map(|name| match name {
            InitializerName::Published => Initializer::Published,
            InitializerName::He => Initializer::He,
            InitializerName::Dirac => Initializer::Dirac,
        });
        set(&mut config.initializer, &initializer);
        let whitening = self.whitening.map(|name| match name {
            WhiteningName::None => Whitening::None,
            WhiteningName::Start => Whitening::Start,
            WhiteningName::Fixed => Whitening::Fixed,
        });
        set(&mut config.whitening, &whitening);
        config.batch_norm_momentum = self.batch_norm_momentum.or(config.batch_norm_momentum);
        let normalize = self.normalize.map(|name| match name {
            NormalizeName::Published => Normalize::Published,
            NormalizeName::Standard => Normalize::Standard,
        });
        set(&mut config.normalize, &normalize);
    }
}
