//! Settings of a training run, and the published recipes.

use crate::error::{Error, Result};
use crate::ops::adam::Adam;
use crate::ops::sgd::Sgd;
use crate::optim::{OptimizerConfig, Schedule};
use crate::tensor::DType;
use crate::train::autotune::Autotune;

/// Which optimiser updates the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimization {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam; weight decay, if any, adds to the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
}

impl std::fmt::Display for Optimization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Optimization::Sgd => "SGD",
            Optimization::Adam => "Adam",
            Optimization::AdamW => "AdamW",
        })
    }
}

/// Width of activations, of their cotangents, and of the weights that products read. Everything is added up with 32 bits,
/// and parameters are kept with 32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, and the loss is scaled.
    F16,
}

impl Precision {
    /// Type of the elements.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
        }
    }
}

/// Everything that decides how a run goes, but for the data and the device.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrainConfig {
    /// Name of the architecture.
    pub arch: String,
    /// Passes over the training images.
    pub epochs: u32,
    /// Images of a step.
    pub batch_size: usize,
    /// Which optimiser.
    pub optimizer: Optimization,
    /// Base learning rate.
    pub lr: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Whether SGD looks ahead along the velocity.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Seed of weights, order and dropout.
    pub seed: u64,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Whether dropout is on.
    pub dropout: bool,
    /// Train on only so many images, the first ones.
    pub limit_train: Option<usize>,
    /// Test on only so many images, the first ones.
    pub limit_test: Option<usize>,
    /// Stop after so many steps, wherever the epoch is.
    pub max_steps: Option<u64>,
    /// Write a line of metrics every so many steps; 0 writes lines of epochs only.
    pub log_every: u64,
    /// How much is tried before kernels are chosen; `None` leaves it to the kind of device.
    pub autotune: Option<Autotune>,
    /// Width of activations.
    pub precision: Precision,
}

impl TrainConfig {
    /// The recipe that an architecture was published with, but for its augmentation.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`].
    pub fn published(arch: &str) -> Result<Self> {
        let common = TrainConfig {
            arch: arch.to_owned(),
            epochs: 15,
            batch_size: 64,
            optimizer: Optimization::Sgd,
            lr: 0.01,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            seed: 1,
            shuffle: true,
            dropout: true,
            limit_train: None,
            limit_test: None,
            max_steps: None,
            log_every: 0,
            autotune: None,
            precision: Precision::F32,
        };
        match arch {
            "ygnet" | "ygnet-final-relu" => {
                Ok(TrainConfig { epochs: 200, nesterov: true, schedule: Schedule::TimeDecay { decay: 5e-5 }, ..common })
            }
            "lenet5" => Ok(TrainConfig { batch_size: 4, lr: 1e-4, ..common }),
            // The paper gives four rates, of which the best was taken for each network, and no batch size.
            "all-cnn-c" => Ok(TrainConfig {
                epochs: 350,
                lr: 0.05,
                weight_decay: 1e-3,
                schedule: Schedule::Step { milestones: [200.0 / 350.0, 250.0 / 350.0, 300.0 / 350.0], factor: 0.1 },
                ..common
            }),
            _ => Err(Error::UnknownArchitecture(arch.to_owned())),
        }
    }

    /// A short recipe for the built-in synthetic set, which takes minutes on a CPU.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`].
    pub fn practice(arch: &str) -> Result<Self> {
        let published = TrainConfig::published(arch)?;
        Ok(match arch {
            "lenet5" => TrainConfig { epochs: 4, batch_size: 64, lr: 0.02, schedule: Schedule::Constant, ..published },
            // Deep and without normalisation: SGD needs long to find a first foothold, and dropout makes that longer.
            _ => TrainConfig {
                epochs: 2,
                batch_size: 32,
                optimizer: Optimization::Adam,
                lr: 5e-4,
                weight_decay: 0.0,
                schedule: Schedule::OneCycle,
                dropout: false,
                ..published
            },
        })
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// [`Error::Setting`] that names the flag.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Setting(message));
        if self.batch_size == 0 {
            return fail("--batch-size must be at least 1".into());
        }
        if self.epochs == 0 {
            return fail("--epochs must be at least 1".into());
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return fail(format!("--lr {} must be a positive number", self.lr));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return fail(format!("--momentum {} must be at least 0 and below 1", self.momentum));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return fail(format!("--weight-decay {} must not be negative", self.weight_decay));
        }
        if self.limit_train == Some(0) || self.limit_test == Some(0) || self.max_steps == Some(0) {
            return fail("--limit-train, --limit-test and --max-steps must be at least 1".into());
        }
        Ok(())
    }

    /// The optimiser's settings.
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
        match self.optimizer {
            Optimization::Sgd => OptimizerConfig::Sgd(Sgd {
                momentum: self.momentum as f32,
                weight_decay: self.weight_decay as f32,
                nesterov: self.nesterov,
            }),
            Optimization::Adam => adam(false),
            Optimization::AdamW => adam(true),
        }
    }
}
