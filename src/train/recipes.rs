//! Recipes: settings that go together, for each network.

use crate::data::LabelSet;
use crate::error::Result;
use crate::gpu::Backend;
use crate::nn::Architecture;
use crate::ops::batch_assembly::{Augmentation, Border, Flip, Normalization};
use crate::optim::Schedule;
use crate::tensor::Precision;
use crate::train::config::{SYNTHETIC, TrainConfig};
use crate::train::evaluate::TestTimeAugmentation;
use crate::train::options::{
    Checkpoints, ClassWeighting, Initializer, MuonSettings, Normalize, OnDeviceLoss, OptimizerKind, Whitening,
};
use crate::train::step::OnNonFinite;
use crate::weights::architecture;

/// Steps after which a network should have overfit a batch.
const OVERFITTING_STEPS: u32 = 200;
/// Adam's learning rate for that check.
const OVERFITTING_RATE: f64 = 1e-3;

/// Normalization for a described network: as described, or else the default.
fn described(network: &Architecture) -> Normalize {
    match network.normalization == Normalization::identity(network.input.channels()) {
        true => Normalize::Standard,
        false => Normalize::Published,
    }
}

impl TrainConfig {
    /// The recipe that an architecture was published with.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`](crate::Error::UnknownArchitecture).
    pub fn published(arch: &str) -> Result<Self> {
        let network = architecture(arch, None)?;
        let common = TrainConfig {
            arch: arch.to_owned(),
            data: SYNTHETIC.to_owned(),
            labels: LabelSet::Fine,
            image_size: None,
            gray: None,
            device: None,
            backend: Backend::Primary,
            epochs: 15,
            batch_size: 64,
            micro_batch: None,
            optimizer: OptimizerKind::Sgd,
            lr: 0.01,
            momentum: 0.9,
            nesterov: false,
            muon: MuonSettings::default(),
            bias_lr_factor: 1.0,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            schedule_epochs: None,
            seed: 1,
            shuffle: true,
            dropout: network.dropout(),
            augmentation: Augmentation::NONE,
            label_smoothing: 0.0,
            class_weights: ClassWeighting::None,
            clip_norm: 0.0,
            average_decay: 0.0,
            warmup_epochs: 0.0,
            teacher: None,
            initializer: Initializer::Published,
            whitening: Whitening::None,
            batch_norm_momentum: None,
            normalize: Normalize::Published,
            validation: None,
            test_on_training: false,
            tta: TestTimeAugmentation::None,
            limit_train: None,
            limit_test: None,
            max_steps: None,
            log_every: 0,
            checkpoints: Checkpoints::default(),
            profile: false,
            autotune: None,
            precision: Precision::F32,
            on_non_finite: OnNonFinite::default(),
            on_device_loss: OnDeviceLoss::default(),
        };
        match network.name.as_str() {
            "ygnet" | "ygnet-final-relu" | "ygnet-bn" => {
                let schedule = Schedule::TimeDecay { decay: 5e-5 };
                Ok(TrainConfig { epochs: 200, nesterov: true, schedule, augmentation: Augmentation::KERAS, ..common })
            }
            "lenet5" => Ok(TrainConfig { batch_size: 4, lr: 1e-4, ..common }),
            // The paper chose the best of four rates for each network and gives no batch size.
            "all-cnn-c" => Ok(TrainConfig {
                epochs: 350,
                lr: 0.05,
                weight_decay: 1e-3,
                schedule: Schedule::Step { milestones: vec![200.0 / 350.0, 250.0 / 350.0, 300.0 / 350.0], factor: 0.1 },
                ..common
            }),
            // He et al., 2015: 64,000 steps, the rate lowered after 32,000 and 48,000.
            "resnet20" => Ok(TrainConfig {
                epochs: 164,
                batch_size: 128,
                lr: 0.1,
                weight_decay: 1e-4,
                schedule: Schedule::Step { milestones: vec![0.5, 0.75], factor: 0.1 },
                augmentation: Augmentation::FLIP_CROP,
                ..common
            }),
            // There is no published recipe: use defaults that suit most networks.
            _ => Ok(TrainConfig { epochs: 30, normalize: described(&network), ..common.usual() }),
        }
    }

    /// These settings with defaults that suit most networks.
    fn usual(self) -> Self {
        // A description states the network's initialization.
        let is_described = Architecture::is_file(&self.arch);
        TrainConfig {
            batch_size: 64,
            lr: 0.05,
            nesterov: true,
            weight_decay: 5e-4,
            schedule: Schedule::OneCycle { peak_at: 0.25 },
            augmentation: Augmentation::FLIP_CROP,
            clip_norm: 2.0,
            initializer: if is_described { self.initializer } else { Initializer::He },
            normalize: if is_described { self.normalize } else { Normalize::Standard },
            ..self
        }
    }

    /// A short recipe for real images, made for this program.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`](crate::Error::UnknownArchitecture).
    pub fn fast(arch: &str) -> Result<Self> {
        let name = architecture(arch, None)?.name;
        let common = TrainConfig::published(arch)?.usual();
        if name == "lenet5" {
            return Ok(TrainConfig { epochs: 30, lr: 0.03, dropout: vec![0.1, 0.0], ..common });
        }
        let deep = TrainConfig { epochs: 40, lr: 0.05, label_smoothing: 0.1, average_decay: 0.999, ..common };
        Ok(match name.as_str() {
            "ygnet" | "ygnet-final-relu" => TrainConfig { dropout: vec![0.0, 0.1, 0.1], ..deep },
            "all-cnn-c" => TrainConfig {
                epochs: 20,
                dropout: vec![0.0, 0.1, 0.1],
                augmentation: Augmentation { flip: Flip::Alternating, ..Augmentation::FLIP_CROP },
                ..deep
            },
            // After Keller Jordan's airbench94_muon.
            "ygnet-bn" => TrainConfig {
                epochs: 24,
                batch_size: 512,
                optimizer: OptimizerKind::Muon,
                muon: MuonSettings { lr: 0.1, momentum: 0.6, fixed_norm: true },
                momentum: 0.85,
                bias_lr_factor: 8.0,
                weight_decay: 1e-3,
                schedule: Schedule::OneCycle { peak_at: 0.23 },
                dropout: vec![0.0; 3],
                augmentation: Augmentation {
                    flip: Flip::Alternating,
                    crop_border: Border::Reflect,
                    cutout: 8,
                    ..Augmentation::FLIP_CROP
                },
                label_smoothing: 0.2,
                clip_norm: 0.0,
                average_decay: 0.0,
                initializer: Initializer::Dirac,
                whitening: Whitening::Fixed,
                batch_norm_momentum: Some(0.4),
                ..deep
            },
            // The same optimizer, without whitening: 86.80 % of a validation set after 5 epochs, with SGD 82.36 %.
            "resnet20" => TrainConfig {
                batch_size: 256,
                lr: 0.1,
                optimizer: OptimizerKind::Muon,
                muon: MuonSettings { lr: 0.1, momentum: 0.6, fixed_norm: true },
                momentum: 0.85,
                bias_lr_factor: 8.0,
                augmentation: Augmentation {
                    flip: Flip::Alternating,
                    crop_border: Border::Reflect,
                    ..Augmentation::FLIP_CROP
                },
                clip_norm: 0.0,
                average_decay: 0.0,
                ..deep
            },
            _ => deep,
        })
    }

    /// A short recipe for the built-in synthetic set, which takes minutes on a CPU.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`](crate::Error::UnknownArchitecture).
    pub fn practice(arch: &str) -> Result<Self> {
        let published = TrainConfig::published(arch)?;
        Ok(match architecture(arch, None)?.name.as_str() {
            "lenet5" => TrainConfig { epochs: 4, batch_size: 64, lr: 0.02, schedule: Schedule::Constant, ..published },
            // The network is deep and has no normalization: with SGD the loss stays flat for a long time at first, and dropout
            // prolongs that.
            _ => TrainConfig {
                epochs: 2,
                batch_size: 32,
                optimizer: OptimizerKind::Adam,
                lr: 5e-4,
                weight_decay: 0.0,
                schedule: Schedule::OneCycle { peak_at: 0.25 },
                dropout: vec![0.0; published.dropout.len()],
                augmentation: Augmentation::NONE,
                ..published
            },
        })
    }

    /// Turns the settings into a sanity check that overfits the first batch, without regularization. Uses Adam, whose learning rate
    /// needs no tuning, unless the optimizer and its rate are kept.
    pub fn overfit_one_batch(&mut self, keep_optimizer: bool) {
        if !keep_optimizer {
            (self.optimizer, self.lr) = (OptimizerKind::Adam, OVERFITTING_RATE);
        }
        self.limit_train = Some(self.batch_size);
        (self.test_on_training, self.limit_test, self.validation) = (true, None, None);
        self.epochs = OVERFITTING_STEPS;
        self.dropout.fill(0.0);
        self.augmentation = Augmentation::NONE;
        self.schedule = Schedule::Constant;
        (self.label_smoothing, self.weight_decay, self.average_decay, self.warmup_epochs) = (0.0, 0.0, 0.0, 0.0);
        self.clip_norm = 0.0;
        (self.bias_lr_factor, self.whitening, self.batch_norm_momentum) = (1.0, Whitening::None, None);
        self.teacher = None;
        self.class_weights = ClassWeighting::None;
        self.tta = TestTimeAugmentation::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use crate::nn::ARCHITECTURES;
    use crate::tensor::{ImageShape, ImageSize};
    use crate::train::usual_evaluation_batch;

    #[test]
    fn every_recipe_fits_its_network() {
        let images = synthetic::generate(ImageShape::CIFAR, 20, 10, 0).unwrap().train;
        for arch in ARCHITECTURES {
            for recipe in [TrainConfig::published, TrainConfig::fast, TrainConfig::practice] {
                let config = recipe(arch).unwrap();
                config.validate().unwrap();
                assert_eq!(config.architecture(&images).unwrap().name, arch);
            }
        }
        assert!(TrainConfig::fast("vgg").is_err());
    }

    #[test]
    fn a_run_may_be_for_other_images() {
        let size = ImageSize { height: 48, width: 40 };
        let config =
            TrainConfig { image_size: Some(size), gray: Some(true), ..TrainConfig::published("lenet5").unwrap() };
        config.validate().unwrap();
        let shape = config.image_shape().unwrap();
        assert_eq!(shape.axes(), [48, 40, 1]);
        let images = synthetic::generate(shape, 10, 1, 0).unwrap().train;
        let architecture = config.architecture(&images).unwrap();
        assert_eq!((architecture.input, architecture.normalization.mean.len()), (shape, 1));
        let others = synthetic::generate(ImageShape::CIFAR, 10, 1, 0).unwrap().train;
        let message = config.architecture(&others).unwrap_err().to_string();
        assert!(message.contains("48×40×1") && message.contains("32×32×3"), "{message}");
        // Standard normalization has the images' channels.
        let standard = TrainConfig { normalize: Normalize::Standard, ..config.clone() };
        assert_eq!(standard.architecture(&images).unwrap().normalization.std.len(), 1);
        // A settings file round-trips.
        let read = |text: &str| TrainConfig::published("lenet5").unwrap().with_toml(text.parse().unwrap());
        assert_eq!(read(&config.to_toml().unwrap()).unwrap(), config);
        assert_eq!(read("image_size = 64").unwrap().image_shape().unwrap().axes(), [64, 64, 3]);
        for wrong in ["image_size = 0", "image_size = \"64x\"", "gray = 1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let batches = [(32, 32), (64, 64), (128, 64), (4096, 4096)].map(|(height, width)| {
            let shape = ImageShape::new(height, width, 3).unwrap();
            (usual_evaluation_batch(shape), config.evaluation_batch(shape, 1000))
        });
        // The recipe trains on four images at a time.
        assert_eq!(batches, [(64, 64), (64, 64), (32, 32), (1, 4)]);
        let small = TrainConfig { image_size: Some(ImageSize { height: 8, width: 8 }), ..config };
        assert!(small.validate().unwrap_err().to_string().contains("conv2"));
    }
}
