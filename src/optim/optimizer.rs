//! Optimizers: their state per parameter, and the update.

use crate::error::{Error, Result};
use crate::ops::StepState;
use crate::ops::adam::{Adam, adam_step};
use crate::ops::sgd::{Sgd, sgd_step};
use crate::tape::{Gradients, Parameters};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// An optimizer's kind and settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam or AdamW.
    Adam(Adam),
}

/// An optimizer with its state.
#[derive(Debug)]
pub struct Optimizer {
    memory: Memory,
    updates: u64,
}

/// State of an optimizer; each tensor has the layout of the parameters' tensor.
#[derive(Debug)]
enum Memory {
    Sgd { sgd: Sgd, velocity: Tensor },
    Adam { adam: Adam, first_moment: Tensor, second_moment: Tensor },
}

impl Optimizer {
    /// An optimizer for these parameters; [`Optimizer::step`] must be given the same ones.
    pub fn new(config: OptimizerConfig, device: &Device, parameters: &Parameters) -> Result<Self> {
        let zeros = || device.zeros(parameters.flat().shape(), DType::F32);
        let memory = match config {
            OptimizerConfig::Sgd(sgd) => Memory::Sgd { sgd, velocity: zeros()? },
            OptimizerConfig::Adam(adam) => Memory::Adam { adam, first_moment: zeros()?, second_moment: zeros()? },
        };
        Ok(Optimizer { memory, updates: 0 })
    }

    /// Counts one update and writes Adam's moment corrections into the step's state.
    pub fn begin_step(&mut self, state: &mut StepState) {
        self.updates += 1;
        if let Memory::Adam { adam, .. } = self.memory {
            // After this many updates the corrections are 1.
            let updates = i32::try_from(self.updates).unwrap_or(i32::MAX);
            state.first_moment_correction = (1.0 - adam.beta1.powi(updates)) as f32;
            state.second_moment_correction = (1.0 - adam.beta2.powi(updates)) as f32;
        }
    }

    /// Its state tensors, by name.
    pub fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match &self.memory {
            Memory::Sgd { velocity, .. } => vec![("velocity", velocity)],
            Memory::Adam { first_moment, second_moment, .. } => {
                vec![("first_moment", first_moment), ("second_moment", second_moment)]
            }
        }
    }

    /// Sets the number of updates done, to resume; the state tensors are restored separately.
    pub fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// Updates all parameters in place, in one kernel call, with learning rate and corrections from the step's state.
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if a parameter took no part in the loss, and [`Error::Tape`] if the parameters were not put on
    /// the tape by [`Parameters::on`].
    pub fn step(&self, state: &Tensor, parameters: &Parameters, gradients: &Gradients) -> Result<()> {
        for parameter in parameters {
            gradients.parameter(&parameter.name)?;
        }
        let flat = parameters.flat();
        let gradients = gradients
            .flat(flat)
            .ok_or_else(|| Error::Tape("the gradients are not those of the optimizer's parameters".into()))?;
        match &self.memory {
            Memory::Sgd { sgd, velocity } => sgd_step(*sgd, state, gradients, flat, velocity),
            Memory::Adam { adam, first_moment, second_moment } => {
                adam_step(*adam, state, gradients, flat, first_moment, second_moment)
            }
        }
    }
}
