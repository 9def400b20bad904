//! Settings of a training run.

use crate::data::{Dataset, LabelSet, MOST_CLASSES};
use crate::error::{Error, Result};
use crate::gpu::Backend;
use crate::nn::{Architecture, Network};
use crate::ops::adam::Adam;
use crate::ops::batch_assembly::{Augmentation, Normalization};
use crate::ops::muon::Muon;
use crate::ops::sgd::Sgd;
use crate::optim::{Optimizer, OptimizerConfig, Schedule};
use crate::tensor::{DeviceChoice, ImageShape, ImageSize, Precision};
use crate::train::autotune::Autotune;
use crate::train::dataset::DeviceDataset;
use crate::train::evaluate::TestTimeAugmentation;
use crate::train::options::{
    Checkpoints, ClassWeighting, Initializer, MuonSettings, Normalize, OnDeviceLoss, OptimizerKind, Whitening,
};
use crate::train::step::{OnNonFinite, StepSettings};
use crate::train::stepper::Stepper;
use crate::train::teacher::{Teacher, TeacherSettings};
use crate::weights::architecture;

/// Maximum evaluation batch size in images, unless the training batch is larger.
const EVALUATION_BATCH: usize = 64;
/// Maximum number of pixels of such a batch, unless one image has more.
const EVALUATION_PIXELS: usize = EVALUATION_BATCH * 64 * 64;

/// Default evaluation batch size for images of this shape: 64, and fewer for images above 64×64 pixels, to limit memory.
pub fn usual_evaluation_batch(shape: ImageShape) -> usize {
    (EVALUATION_PIXELS / shape.pixels()).clamp(1, EVALUATION_BATCH)
}

fn one() -> f64 {
    1.0
}

/// The value of [`TrainConfig::data`] for the built-in set.
pub const SYNTHETIC: &str = "synthetic";

/// All settings of a training run, except the images themselves.
///
/// Begin with a recipe, such as [`TrainConfig::published`], and change its fields, for instance by [`TrainConfig::with`].
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct TrainConfig {
    /// Name of a built-in architecture, or a file that describes one.
    pub arch: String,
    /// Folder of the images, or `synthetic`: for the record, and for resuming.
    pub data: String,
    /// Which labels of the images count.
    #[serde(default)]
    pub labels: LabelSet,
    /// Height and width that images are scaled to; by default those of the architecture's description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<ImageSize>,
    /// Whether images are gray, with one channel; by default as in the architecture's description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gray: Option<bool>,
    /// The requested device and its graphics API, for the record and for reruns. The device actually used is passed to
    /// [`train`](crate::run::train).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceChoice>,
    /// See `device`.
    #[serde(default)]
    pub backend: Backend,
    /// Passes over the training images.
    pub epochs: u32,
    /// Images per step.
    pub batch_size: usize,
    /// Images whose gradients are computed at a time, an even number: those of a larger batch are added up, which limits memory. By
    /// default the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// Base learning rate.
    pub lr: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Whether SGD and Muon use Nesterov momentum.
    pub nesterov: bool,
    /// Muon's settings for the weights that it updates; the other settings are those of SGD for the rest.
    #[serde(default)]
    pub muon: MuonSettings,
    /// Factor of the learning rate for biases, except those of the last layer; it does not apply to their weight decay.
    #[serde(default = "one")]
    pub bias_lr_factor: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Length of the schedule in epochs, after which the rate stays as it is; by default that of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_epochs: Option<u32>,
    /// Seed of initial weights, image order, augmentation and dropout.
    pub seed: u64,
    /// Whether the images are shuffled in each epoch.
    pub shuffle: bool,
    /// Probabilities of the dropout layers, in order.
    pub dropout: Vec<f32>,
    /// Random changes to the training images.
    pub augmentation: Augmentation,
    /// Share of each label's probability that is spread over all classes.
    pub label_smoothing: f64,
    /// Class weighting of images in the training loss; the test loss weights all images equally.
    #[serde(default)]
    pub class_weights: ClassWeighting,
    /// Maximum global gradient norm; 0 turns clipping off.
    pub clip_norm: f64,
    /// Decay of a running average of the weights, which is tested and saved in place of the weights; 0 for no average.
    pub average_decay: f64,
    /// Epochs in which the learning rate rises linearly from zero to the schedule's value.
    pub warmup_epochs: f64,
    /// The teacher of distillation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherSettings>,
    /// How initial weights are drawn.
    pub initializer: Initializer,
    /// Whether the first convolution has whitening filters.
    #[serde(default)]
    pub whitening: Whitening,
    /// Weight of a batch's statistics in the running statistics of all batch normalizations; by default as the architecture says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm_momentum: Option<f64>,
    /// How pixels become the network's input.
    pub normalize: Normalize,
    /// Test on this many of the training images, the last ones, which are not trained on, instead of the test images.
    pub validation: Option<usize>,
    /// Test on the training images instead: for [`TrainConfig::overfit_one_batch`].
    #[serde(default)]
    pub test_on_training: bool,
    /// Test-time augmentation of an additional test at the end of the run.
    #[serde(default)]
    pub tta: TestTimeAugmentation,
    /// Train on only the first N images.
    pub limit_train: Option<usize>,
    /// Test on only the first N images.
    pub limit_test: Option<usize>,
    /// Stop after N steps, even within an epoch.
    pub max_steps: Option<u64>,
    /// Write a line of metrics every N steps; 0 writes lines of epochs only.
    pub log_every: u64,
    /// When checkpoints are written and which are kept.
    pub checkpoints: Checkpoints,
    /// Time the kernels of some early steps and write a trace.
    #[serde(default)]
    pub profile: bool,
    /// Extent of the search for kernels; `None` for the default of the kind of device.
    pub autotune: Option<Autotune>,
    /// Width of activations.
    pub precision: Precision,
    /// What follows a step whose loss or gradients are not finite.
    #[serde(default)]
    pub on_non_finite: OnNonFinite,
    /// What follows the loss of the device, for those who call [`train`](crate::run::train).
    #[serde(default)]
    pub on_device_loss: OnDeviceLoss,
}

impl TrainConfig {
    /// These settings with some changes.
    ///
    /// ```
    /// # fn main() -> cifar_gpu::Result<()> {
    /// use cifar_gpu::train::TrainConfig;
    ///
    /// let config = TrainConfig::published("lenet5")?.with(|config| {
    ///     config.epochs = 3;
    ///     config.batch_size = 64;
    /// });
    /// assert_eq!(config.epochs, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The settings of a TOML file, with these as defaults. Its keys are the fields' names; a schedule and an augmentation may be
    /// given by name.
    ///
    /// # Errors
    /// [`Error::Setting`] that names the key.
    pub fn with_toml(&self, file: toml::Table) -> Result<Self> {
        let bad = |message: String| Error::Setting(message.trim().to_owned());
        let mut table = toml::Table::try_from(self).map_err(|e| bad(e.to_string()))?;
        for (key, value) in file {
            let value = match (key.as_str(), value) {
                ("schedule", toml::Value::String(kind)) => {
                    toml::Table::from_iter([("kind".into(), kind.into())]).into()
                }
                ("augmentation", toml::Value::String(name)) => {
                    toml::Value::try_from(Augmentation::named(&name)?).map_err(|e| bad(e.to_string()))?
                }
                // One number is height and width.
                ("image_size", toml::Value::Integer(side)) => side.to_string().into(),
                (_, value) => value,
            };
            match (table.get_mut(&key), value) {
                // Another kind of schedule has other settings.
                (Some(toml::Value::Table(old)), toml::Value::Table(new)) if !new.contains_key("kind") => {
                    old.extend(new)
                }
                (_, value) => {
                    table.insert(key, value);
                }
            }
        }
        let schedule = table.get("schedule").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let mut unknown = Vec::new();
        let config: Self = serde_ignored::deserialize(table, |path| unknown.push(path.to_string()))
            .map_err(|e: toml::de::Error| bad(e.to_string()))?;
        // Unknown fields of a schedule are not detected, since serde reads its kind first.
        let known = toml::Table::try_from(&config.schedule).map_err(|e| bad(e.to_string()))?;
        let surplus = schedule.keys().filter(|key| !known.contains_key(*key));
        unknown.extend(surplus.map(|key| format!("schedule.{key} ({})", config.schedule)));
        match unknown.as_slice() {
            [] => Ok(config),
            names => Err(bad(format!("there is no setting {}", names.join(", ")))),
        }
    }

    /// All settings as such a file.
    ///
    /// # Errors
    /// [`Error::Setting`], for numbers that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Setting(format!("settings: {e}")))
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Field`], [`Error::UnknownArchitecture`], or as [`Architecture::with_input`].
    pub fn validate(&self) -> Result<()> {
        self.validate_for(&self.network(None)?)
    }

    /// The same with this architecture, regardless of the file that `arch` names.
    pub(crate) fn validate_for(&self, network: &Architecture) -> Result<()> {
        let fail = |field, message: String| Err(Error::field(field, message));
        let must_be_positive = |field| fail(field, "must be at least 1".into());
        if self.batch_size == 0 {
            return must_be_positive("batch_size");
        }
        if self.schedule_epochs == Some(0) {
            return must_be_positive("schedule_epochs");
        }
        if let Some(size) = self.micro_batch.filter(|size| *size == 0 || !size.is_multiple_of(2)) {
            return fail("micro_batch", format!("{size} must be a positive even number"));
        }
        if self.epochs == 0 {
            return must_be_positive("epochs");
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return fail("lr", format!("{} must be a positive number", self.lr));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return fail("momentum", format!("{} must be at least 0 and below 1", self.momentum));
        }
        // TOML has no larger integers.
        if i64::try_from(self.seed).is_err() {
            return fail("seed", format!("{} must be at most {}", self.seed, i64::MAX));
        }
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        if !is_positive(self.muon.lr) {
            return fail("muon.lr", format!("{} must be a positive number", self.muon.lr));
        }
        if !(0.0..1.0).contains(&self.muon.momentum) {
            return fail("muon.momentum", format!("{} must be at least 0 and below 1", self.muon.momentum));
        }
        if !is_positive(self.bias_lr_factor) {
            return fail("bias_lr_factor", format!("{} must be a positive number", self.bias_lr_factor));
        }
        if let Some(momentum) = self.batch_norm_momentum.filter(|momentum| !(0.0..=1.0).contains(momentum)) {
            return fail("batch_norm_momentum", format!("{momentum} must be between 0 and 1"));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return fail("weight_decay", format!("{} must not be negative", self.weight_decay));
        }
        if let Some(rate) = self.dropout.iter().find(|rate| !(0.0..1.0).contains(*rate)) {
            return fail("dropout", format!("{rate} must be at least 0 and below 1"));
        }
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return fail("label_smoothing", format!("{} must be between 0 and 1", self.label_smoothing));
        }
        if !(self.clip_norm.is_finite() && self.clip_norm >= 0.0) {
            return fail("clip_norm", format!("{} must not be negative", self.clip_norm));
        }
        if !(0.0..1.0).contains(&self.average_decay) {
            return fail("average_decay", format!("{} must be at least 0 and below 1", self.average_decay));
        }
        if !(self.warmup_epochs.is_finite() && self.warmup_epochs >= 0.0) {
            return fail("warmup_epochs", format!("{} must not be negative", self.warmup_epochs));
        }
        if self.warmup_epochs >= f64::from(self.epochs) && self.warmup_epochs > 0.0 {
            let message = format!("{} would take the whole run of {} epochs", self.warmup_epochs, self.epochs);
            return fail("warmup_epochs", message);
        }
        if !(self.checkpoints.every_minutes.is_finite() && self.checkpoints.every_minutes >= 0.0) {
            let message = format!("{} must not be negative", self.checkpoints.every_minutes);
            return fail("checkpoints.every_minutes", message);
        }
        if self.checkpoints.keep == 0 {
            return fail("checkpoints.keep", "must be at least 1: a run is resumed from the newest".into());
        }
        let input = network.input;
        self.augmentation.validate(input.height(), input.width()).map_err(|e| e.within("augmentation"))?;
        self.schedule.validate().map_err(|e| e.within("schedule"))?;
        self.teacher.iter().try_for_each(TeacherSettings::validate).map_err(|e| e.within("teacher"))?;
        if self.validation == Some(0) {
            return must_be_positive("validation");
        }
        if self.validation.is_some() && self.test_on_training {
            return fail("validation", "and test_on_training exclude each other".into());
        }
        if self.limit_train == Some(0) {
            return must_be_positive("limit_train");
        }
        if self.limit_test == Some(0) {
            return must_be_positive("limit_test");
        }
        if self.max_steps == Some(0) {
            return must_be_positive("max_steps");
        }
        Ok(())
    }

    /// Name of the images that the run is tested on.
    pub fn tested_on(&self) -> &'static str {
        match self.validation {
            _ if self.test_on_training => "training",
            Some(_) => "validation",
            None => "test",
        }
    }

    /// The architecture for images of the requested shape.
    fn network(&self, classes: Option<usize>) -> Result<Architecture> {
        let architecture = architecture(&self.arch, classes)?;
        let input = architecture.input.changed(self.image_size, self.gray)?;
        if input == architecture.input { Ok(architecture) } else { architecture.with_input(input) }
    }

    /// The shape of the images that are trained and tested on.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`], or as [`Architecture::with_input`].
    pub fn image_shape(&self) -> Result<ImageShape> {
        Ok(self.network(None)?.input)
    }

    /// The architecture with the changes of the settings, for these training images.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`], and [`Error::Setting`] for fewer than 2 or more than 1000 classes, images of another shape
    /// than [`TrainConfig::image_shape`], or if the number of dropout rates differs from that of dropout layers.
    pub fn architecture(&self, train_set: &Dataset) -> Result<Architecture> {
        let classes = train_set.num_classes();
        if !(2..=MOST_CLASSES).contains(&classes) {
            return Err(Error::Setting(format!(
                "the images have {classes} classes; networks support 2 to {MOST_CLASSES}"
            )));
        }
        let mut architecture = self.network(Some(classes))?;
        if architecture.input != train_set.shape() {
            return Err(Error::Setting(format!(
                "the run is for images of {}, and these are of {}",
                architecture.input,
                train_set.shape()
            )));
        }
        architecture.set_dropout(&self.dropout)?;
        match self.initializer {
            Initializer::Published => {}
            Initializer::He => architecture.set_he_init(),
            Initializer::Dirac => architecture.set_dirac_init(),
        }
        if let Some(momentum) = self.batch_norm_momentum {
            architecture.set_batch_norm_momentum(momentum as f32);
        }
        if self.normalize == Normalize::Standard {
            let (mean, std) = train_set.color_statistics();
            architecture.normalization = Normalization::new(mean, std);
        }
        Ok(architecture)
    }

    /// Images of a training batch, given the number of training images.
    pub(crate) fn training_batch(&self, train_images: usize) -> usize {
        self.batch_size.min(train_images)
    }

    /// Images whose gradients are computed at a time, given the number of training images.
    pub fn computed_batch(&self, train_images: usize) -> usize {
        self.training_batch(train_images).min(self.micro_batch.unwrap_or(usize::MAX))
    }

    /// Evaluation batch size for images of this shape, given the number of training images.
    pub(crate) fn evaluation_batch(&self, shape: ImageShape, train_images: usize) -> usize {
        usual_evaluation_batch(shape).max(self.computed_batch(train_images))
    }

    /// Settings of a step besides the optimizer's, except the class weights, which depend on the images: see
    /// [`ClassWeighting::of`].
    pub fn step_settings(&self) -> StepSettings {
        StepSettings {
            seed: self.seed,
            dropout: self.dropout.iter().any(|&rate| rate > 0.0),
            augmentation: self.augmentation,
            label_smoothing: self.label_smoothing as f32,
            class_weights: None,
            clip_norm: (self.clip_norm > 0.0).then_some(self.clip_norm as f32),
            average_decay: (self.average_decay > 0.0).then_some(self.average_decay),
            micro_batch: self.micro_batch,
            on_non_finite: self.on_non_finite,
        }
    }

    /// Learning rate of step `step`, counted from 0, with `steps_per_epoch` to an epoch.
    pub fn rate(&self, step: u64, steps_per_epoch: u64) -> f64 {
        let total = steps_per_epoch * u64::from(self.schedule_epochs.unwrap_or(self.epochs));
        let rate = self.schedule.rate(self.lr, step.min(total), total);
        let warmup = self.warmup_epochs * steps_per_epoch as f64;
        if (step as f64) < warmup { rate * (step + 1) as f64 / (warmup + 1.0) } else { rate }
    }

    /// The optimizer's settings.
    pub fn optimizer_config(&self) -> OptimizerConfig {
        let adam = |decoupled| {
            OptimizerConfig::Adam(Adam {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: self.weight_decay as f32,
                decoupled,
            })
        };
        let sgd =
            Sgd { momentum: self.momentum as f32, weight_decay: self.weight_decay as f32, nesterov: self.nesterov };
        match self.optimizer {
            OptimizerKind::Sgd => OptimizerConfig::Sgd(sgd),
            OptimizerKind::Adam => adam(false),
            OptimizerKind::AdamW => adam(true),
            OptimizerKind::Muon => {
                let muon = Muon {
                    momentum: self.muon.momentum as f32,
                    nesterov: self.nesterov,
                    rate_factor: (self.muon.lr / self.lr) as f32,
                    weight_decay: self.weight_decay as f32,
                    fixed_norm: self.muon.fixed_norm,
                };
                OptimizerConfig::Muon(muon, sgd)
            }
        }
    }

    /// The stepper of a run with these settings and class weights, and the teacher if there is one.
    ///
    /// # Errors
    /// As for [`Stepper::new`] and [`Stepper::with_teacher`].
    pub(crate) fn stepper<'a>(
        &self,
        network: &'a Network,
        images: &'a DeviceDataset,
        class_weights: Option<Vec<f32>>,
        teacher: Option<Teacher>,
    ) -> Result<Stepper<'a>> {
        let settings = StepSettings { class_weights, ..self.step_settings() };
        let stepper = Stepper::new(network, images, self.optimizer(network)?, settings)?;
        teacher.into_iter().try_fold(stepper, Stepper::with_teacher)
    }

    /// The optimizer of a network's parameters.
    ///
    /// # Errors
    /// If the device cannot hold its state.
    pub fn optimizer(&self, network: &Network) -> Result<Optimizer> {
        let fixed = match self.whitening {
            Whitening::Fixed => network.first_convolution().map(|weight| weight.start),
            Whitening::None | Whitening::Start => None,
        };
        let last = network.parameters().last().map(|parameter| parameter.start);
        Optimizer::with_rate_factors(self.optimizer_config(), network.device(), network.parameters(), |parameter| {
            match parameter.name.ends_with(".bias") && Some(parameter.start) != last {
                true => self.bias_lr_factor as f32,
                false if Some(parameter.start) == fixed => 0.0,
                false => 1.0,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let error = |change: fn(&mut TrainConfig)| {
            TrainConfig::published("lenet5").unwrap().with(change).validate().unwrap_err().to_string()
        };
        assert_eq!(error(|config| config.batch_size = 0), "batch_size must be at least 1");
        assert_eq!(error(|config| config.checkpoints.keep = 0).split(' ').next(), Some("checkpoints.keep"));
        assert_eq!(error(|config| config.augmentation.cutout = 65), "augmentation.cutout 65 must be at most 64");
        assert!(
            error(|config| config.schedule = Schedule::OneCycle { peak_at: 1.0 }).starts_with("schedule.peak_at 1 ")
        );
    }
}
