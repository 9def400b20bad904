//! Optimisers: what they remember of each parameter, and the update.

use crate::device::Device;
use crate::error::Result;
use crate::nn::Parameter;
use crate::ops::StepState;
use crate::ops::adam::{Adam, adam_step};
use crate::ops::sgd::{Sgd, sgd_step};
use crate::tape::Gradients;
use crate::tensor::{DType, Tensor};

/// Which optimiser, with its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam or AdamW.
    Adam(Adam),
}

/// An optimiser with what it remembers of each parameter.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// For each parameter the velocity, or the first and second moment.
    slots: Vec<Vec<Tensor>>,
    updates: i32,
}

impl Optimizer {
    /// An optimiser for these parameters; [`Optimizer::step`] must be given the same ones.
    pub fn new(config: OptimizerConfig, device: &Device, parameters: &[Parameter]) -> Result<Self> {
        let count = match config {
            OptimizerConfig::Sgd(_) => 1,
            OptimizerConfig::Adam(_) => 2,
        };
        let slots = parameters
            .iter()
            .map(|p| (0..count).map(|_| device.zeros(p.tensor.shape(), DType::F32)).collect())
            .collect::<Result<_>>()?;
        Ok(Optimizer { config, slots, updates: 0 })
    }

    /// Counts one update and puts what it needs, Adam's moment corrections, into the step's state.
    pub fn begin_step(&mut self, state: &mut StepState) {
        self.updates += 1;
        if let OptimizerConfig::Adam(adam) = self.config {
            state.first_moment_correction = (1.0 - adam.beta1.powi(self.updates)) as f32;
            state.second_moment_correction = (1.0 - adam.beta2.powi(self.updates)) as f32;
        }
    }

    /// Updates the parameters in place, with learning rate and corrections from the step's state.
    ///
    /// # Errors
    /// [`crate::Error::MissingGradient`] if a parameter took no part in the loss.
    pub fn step(&self, state: &Tensor, parameters: &[Parameter], gradients: &Gradients) -> Result<()> {
        for (parameter, slots) in parameters.iter().zip(&self.slots) {
            let gradient = gradients.parameter(&parameter.name)?;
            match (self.config, slots.as_slice()) {
                (OptimizerConfig::Sgd(sgd), [velocity]) => {
                    sgd_step(sgd, state, gradient, &parameter.tensor, velocity)?;
                }
                (OptimizerConfig::Adam(adam), [first, second]) => {
                    adam_step(adam, state, gradient, &parameter.tensor, first, second)?;
                }
                _ => unreachable!("slots are made for this optimiser in `new`"),
            }
        }
        Ok(())
    }
}
