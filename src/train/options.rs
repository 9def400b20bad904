//! The choices that a training run's settings offer.

use crate::data::Dataset;

/// Which optimizer updates the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam; weight decay, if any, is added to the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// Muon for weights, SGD for the rest.
    Muon,
}

impl std::fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OptimizerKind::Sgd => "SGD",
            OptimizerKind::Adam => "Adam",
            OptimizerKind::AdamW => "AdamW",
            OptimizerKind::Muon => "Muon",
        })
    }
}

/// How initial weights are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Initializer {
    /// As the architecture was published.
    #[default]
    Published,
    /// For rectifiers; see [`Architecture::set_he_init`](crate::nn::Architecture::set_he_init).
    He,
    /// Convolutions pass their input on; see [`Architecture::set_dirac_init`](crate::nn::Architecture::set_dirac_init).
    Dirac,
}

/// Use of a [`WhiteningFilters`](crate::train::WhiteningFilters) initialization of the first convolution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Whitening {
    /// It begins as the initializer says.
    #[default]
    None,
    /// It begins with whitening filters, which are trained.
    Start,
    /// It has whitening filters throughout.
    Fixed,
}

/// What follows the loss of a device during a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnDeviceLoss {
    /// The run stops, and can be resumed.
    #[default]
    Stop,
    /// The device is opened again, and the run goes on from its newest checkpoint; see [`recover`](crate::run::recover).
    Resume,
}

/// Settings of Muon for the weights that it updates.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MuonSettings {
    /// Base learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Whether each weight keeps the norm √outputs, which suits weights before a batch normalization.
    pub fixed_norm: bool,
}

impl Default for MuonSettings {
    fn default() -> Self {
        MuonSettings { lr: 0.05, momentum: 0.9, fixed_norm: false }
    }
}

/// How pixels become the network's input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Normalize {
    /// As the architecture was published.
    #[default]
    Published,
    /// To mean 0 and standard deviation 1 per channel over the training images.
    Standard,
}

/// Class weighting of images in the training loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClassWeighting {
    /// All images have the same weight.
    #[default]
    None,
    /// All classes have the same total weight: an image of a class with `n_c` of the `n` training images in `k` classes has weight
    /// `n / (k · n_c)`.
    Balanced,
}

impl ClassWeighting {
    /// The weights of the classes for these training images, if they are not all 1. A class without images has weight 0.
    pub fn of(self, train_set: &Dataset) -> Option<Vec<f32>> {
        match self {
            ClassWeighting::None => None,
            ClassWeighting::Balanced => {
                let counts = train_set.class_counts();
                let share = train_set.len() as f64 / counts.len() as f64;
                let weight = |&count: &usize| if count > 0 { (share / count as f64) as f32 } else { 0.0 };
                Some(counts.iter().map(weight).collect())
            }
        }
    }
}

/// When checkpoints are written and which are kept.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Checkpoints {
    /// Interval in steps; 0 turns this rule off.
    pub every_steps: u64,
    /// Interval in minutes; 0 turns this rule off.
    pub every_minutes: f64,
    /// Number of newest checkpoints kept, besides that of the best epoch.
    pub keep: usize,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Checkpoints { every_steps: 0, every_minutes: 5.0, keep: 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ImageShape;

    #[test]
    fn balanced_classes_count_alike() {
        let shape = ImageShape::new(1, 1, 1).unwrap();
        let labels = vec![0, 0, 0, 0, 0, 0, 2, 2];
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let set = Dataset::new(shape, vec![0; 8], labels, names).unwrap();
        let weights = ClassWeighting::Balanced.of(&set).unwrap();
        assert_eq!(weights, [8.0 / 18.0, 0.0, 8.0 / 6.0].map(|weight: f64| weight as f32));
        assert_eq!(ClassWeighting::None.of(&set), None);
    }
}
