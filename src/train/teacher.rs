//! Distillation: a trained network, the teacher, whose predictions a network in training imitates.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::nn::{Architecture, Network};
use crate::ops::batch_assembly::Normalization;
use crate::ops::distillation::Distillation;
use crate::ops::elementwise::Combine;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};
use crate::weights::WeightsFile;

/// Settings of distillation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TeacherSettings {
    /// The teacher's weights file.
    pub weights: PathBuf,
    /// Weight of the distillation loss, 0 to 1; the cross-entropy with the labels has the rest.
    #[serde(default = "usual_weight")]
    pub weight: f64,
    /// Temperature of the predictions that are compared.
    #[serde(default = "usual_temperature")]
    pub temperature: f64,
}

fn usual_weight() -> f64 {
    0.9
}

fn usual_temperature() -> f64 {
    4.0
}

impl TeacherSettings {
    /// The usual settings with this weights file.
    pub fn new(weights: PathBuf) -> Self {
        TeacherSettings { weights, weight: usual_weight(), temperature: usual_temperature() }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(Error::field("weight", format!("{} must be between 0 and 1", self.weight)));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(Error::field("temperature", format!("{} must be a positive number", self.temperature)));
        }
        Ok(())
    }

    /// The teacher's architecture.
    ///
    /// # Errors
    /// If the file cannot be read, or does not describe its network.
    pub fn architecture(&self) -> Result<Architecture> {
        WeightsFile::read(&self.weights)?.architecture(None)
    }

    /// The teacher for a network, with plans and precision of that network.
    ///
    /// # Errors
    /// As for [`TeacherSettings::architecture`], and [`Teacher::check`].
    pub fn open(&self, student: &Network) -> Result<Teacher> {
        let file = WeightsFile::read(&self.weights)?;
        let network = student.sibling(file.architecture(None)?)?;
        file.load_into(&network)?;
        Ok(self.teacher(network))
    }

    /// This network as the teacher.
    pub(super) fn teacher(&self, network: Network) -> Teacher {
        Teacher::new(network, self.weight as f32, self.temperature as f32)
    }
}

/// A network whose predictions another one imitates.
#[derive(Debug)]
pub struct Teacher {
    network: Network,
    weight: f32,
    temperature: f32,
}

impl Teacher {
    /// A teacher for the loss `(1 − weight) · cross-entropy + weight · distillation`, the latter at this temperature: see
    /// [`Distillation`].
    pub fn new(network: Network, weight: f32, temperature: f32) -> Self {
        Teacher { network, weight, temperature }
    }

    /// Checks that it can teach a network.
    ///
    /// # Errors
    /// [`Error::Shape`] if its images or classes are others, or it is on another device.
    pub fn check(&self, student: &Network) -> Result<()> {
        let (own, other) = (student.architecture(), self.network.architecture());
        let (classes, other_classes) = (own.num_classes()?, other.num_classes()?);
        if (own.input, classes) != (other.input, other_classes) {
            let message = format!(
                "{} takes images of {} and has {classes} classes; the teacher {} takes images of {} and has {other_classes}",
                own.name, own.input, other.name, other.input
            );
            return Err(Error::shape("teacher", message));
        }
        match student.device().same(self.network.device()) {
            true => Ok(()),
            false => Err(Error::DeviceMismatch { op: "teacher" }),
        }
    }

    /// The loss of a student with these logits and this cross-entropy. `pixels` returns the batch that the student has seen with
    /// another normalization and type.
    pub(super) fn mixed(
        &self,
        loss: &Var,
        logits: &Var,
        pixels: impl FnOnce(&Normalization, DType) -> Result<Tensor>,
    ) -> Result<Var> {
        let images = pixels(&self.network.architecture().normalization, self.network.dtype())?;
        let inference = Tape::inference();
        let teacher = self.network.forward(&inference, &inference.constant(&images))?.tensor().clone();
        let imitation = logits.apply(Distillation { teacher, temperature: self.temperature })?;
        let mix = Combine { x_factor: 1.0 - self.weight, y_factor: self.weight };
        loss.tape().apply(mix, &[loss, &imitation])
    }
}
