//! What keeps 16-bit cotangents from vanishing.

use crate::error::{Error, Result};
use crate::ops::loss_scaling::{ELEMENTS, FIRST_SCALE, loss_scaling, sum_of_squares};
use crate::tape::{Gradients, Parameters, Var};
use crate::tensor::Device;
use crate::tensor::Tensor;

/// Multiplies losses before their backward pass, and adapts the factor to what gradients allow; see
/// [`crate::ops::loss_scaling`].
#[derive(Debug)]
pub struct LossScaler {
    scaling: Tensor,
    /// The first element of it.
    scale: Tensor,
}

/// What a [`LossScaler`] has come to.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ScalerState {
    /// What the loss is multiplied by.
    pub scale: f32,
    /// Steps that were skipped because a gradient was not finite.
    pub skipped_steps: u64,
    /// Euclidean norm of the gradients of the last step that was not skipped, without the scale.
    pub gradient_norm: f32,
}

impl LossScaler {
    /// A scaler at its first step.
    pub fn new(device: &Device) -> Result<Self> {
        let mut start = [0.0; ELEMENTS];
        start[0] = FIRST_SCALE;
        let scaling = device.tensor(&[ELEMENTS], &start)?;
        Ok(LossScaler { scale: scaling.view(0, &[1])?, scaling })
    }

    /// Gradients of the scaled loss; the factor that undoes the scale goes into the step's state for the optimizer, or word
    /// to leave everything as it is if a gradient is not finite. An optimizer counts skipped steps, too.
    ///
    /// # Errors
    /// As for [`Var::backward`], and if the parameters did not come onto the tape by [`Parameters::on`].
    pub fn backward(&self, loss: &Var, state: &Tensor, parameters: &Parameters) -> Result<Gradients> {
        let gradients = loss.backward_from(&self.scale)?;
        let flat = gradients
            .flat(parameters.flat())
            .ok_or_else(|| Error::Tape("the loss does not depend on these parameters".into()))?;
        loss_scaling(&sum_of_squares(flat)?, &self.scaling, state)?;
        Ok(gradients)
    }

    /// What it keeps from step to step.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.scaling
    }

    /// The scale and how often it was too large. Waits for the device.
    pub fn state(&self) -> Result<ScalerState> {
        let values = self.scaling.to_vec()?;
        Ok(ScalerState { scale: values[0], skipped_steps: values[2] as u64, gradient_norm: values[3] })
    }
}
