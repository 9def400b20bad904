//! Loss scaling, which keeps 16-bit cotangents from underflowing.

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::ops::loss_scaling::{ELEMENTS, FIRST_SCALE, loss_scaling, sum_of_squares};
use crate::tape::{Gradients, Parameters, Var};
use crate::tensor::Device;
use crate::tensor::Tensor;

/// Scales losses before the backward pass, and adapts the scale to overflows of gradients; see [`crate::ops::loss_scaling`].
#[derive(Debug)]
pub struct LossScaler {
    scaling: Tensor,
    /// Its first element, the scale.
    scale: Tensor,
}

/// Current state of a [`LossScaler`].
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ScalerState {
    /// Factor of the loss.
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

    /// Factor of the loss, `[1]`.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// Writes the inverse scale into the step's state for the optimizer, or a negative factor that makes it skip the update if one of
    /// the `gradients`, a tensor of all of them, is not finite. Optimizers also count skipped steps.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn unscale(&self, gradients: &Tensor, state: &Tensor) -> Result<()> {
        loss_scaling(&sum_of_squares(gradients)?, &self.scaling, state)
    }

    /// Gradients of the scaled loss, and then [`LossScaler::unscale`].
    ///
    /// # Errors
    /// As for [`Var::backward`], and if the parameters were not put on the tape by [`Parameters::on`].
    pub fn backward(&self, loss: &Var, state: &Tensor, parameters: &Parameters) -> Result<Gradients> {
        let gradients = loss.backward_from(&self.scale)?;
        let flat = gradients
            .flat(parameters.flat())
            .ok_or_else(|| Error::Tape("the loss does not depend on these parameters".into()))?;
        self.unscale(flat, state)?;
        Ok(gradients)
    }

    /// Its state, which persists between steps.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.scaling
    }

    /// The scale and the number of skipped steps. Waits for the device.
    #[cfg(not(target_family = "wasm"))]
    pub fn state(&self) -> Result<ScalerState> {
        block_on(self.state_async())
    }

    /// [`LossScaler::state`] where the thread must not block.
    pub async fn state_async(&self) -> Result<ScalerState> {
        let values = self.scaling.to_vec_async().await?;
        Ok(ScalerState { scale: values[0], skipped_steps: values[2] as u64, gradient_norm: values[3] })
    }
}
