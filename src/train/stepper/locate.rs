//! Finds the tensor of a step that went wrong.

use super::{Part, PartKind, Stepper};
use crate::error::Result;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::ops::StepState;
use crate::tape::Parameters;
use crate::tensor::Tensor;

async fn is_finite(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.to_vec_async().await?.iter().all(|value| value.is_finite()))
}

/// The parameter or statistic, among them all in one tensor, that has the first value which is not finite; the last one if `reversed`.
fn first_of(parameters: &Parameters, flat: &[f32], reversed: bool) -> Option<String> {
    let is_broken = |start: usize, len: usize| flat[start..start + len].iter().any(|value| !value.is_finite());
    let mut broken = parameters.iter().filter(|p| is_broken(p.start, p.tensor.len())).map(|p| p.name.clone());
    if reversed { broken.next_back() } else { broken.next() }
}

impl Stepper<'_> {
    /// The first tensor that is not finite in the training state, by name.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn broken_weights(&self) -> Result<Option<String>> {
        block_on(self.broken_weights_async())
    }

    /// [`Stepper::broken_weights`] where the thread must not block.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn broken_weights_async(&self) -> Result<Option<String>> {
        let networks = [Some(self.network), self.average.as_ref()];
        for network in networks.into_iter().flatten() {
            for all in [Some(network.parameters()), network.statistics()].into_iter().flatten() {
                if let Some(name) = first_of(all, &all.flat().to_vec_async().await?, false) {
                    return Ok(Some(name));
                }
            }
        }
        for (name, tensor) in self.optimizer.tensors() {
            if !is_finite(tensor).await? {
                return Ok(Some(format!("the optimizer's {name}")));
            }
        }
        Ok(None)
    }

    /// Computes a step again, whose update was called off, to say which tensor was the first that is not finite: weights, the output
    /// of a layer, the loss, or the gradient of a weight. Moves running statistics.
    ///
    /// # Errors
    /// If the device fails, or an index is past the last image.
    #[cfg(not(target_family = "wasm"))]
    pub fn locate(&self, step: u64, indices: &[u32], epoch: u32) -> Result<Option<String>> {
        block_on(self.locate_async(step, indices, epoch))
    }

    /// [`Stepper::locate`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Stepper::locate`].
    pub async fn locate_async(&self, step: u64, indices: &[u32], epoch: u32) -> Result<Option<String>> {
        if let Some(name) = self.broken_weights_async().await? {
            return Ok(Some(name));
        }
        self.images.check(indices)?;
        let size = self.part_size(indices.len());
        for (number, own) in indices.chunks(size).enumerate() {
            let first = number * size;
            let kind = PartKind { images: own.len(), batch: indices.len(), is_first: first == 0, is_last: false };
            let state = self.step_state(step, epoch, 0.0);
            let part = Part::new(self.network.device(), kind)?;
            part.tell(&StepState { first_image: first as u32, share: kind.share(), ..state }, own)?;
            let mut outputs = Vec::new();
            let loss = self.loss(&part.state, &part.indices, &mut |layer, output| {
                outputs.push((layer.to_owned(), output.tensor().clone()));
                Ok(())
            })?;
            for (layer, output) in outputs {
                if !is_finite(&output).await? {
                    return Ok(Some(format!("the output of {layer}")));
                }
            }
            if !is_finite(loss.tensor()).await? {
                return Ok(Some("the loss".into()));
            }
            let parameters = self.network.parameters();
            let gradients = self.gradients(&loss, (!kind.is_whole()).then_some(&part.share))?;
            // The last layers' come first.
            if let Some(name) = first_of(parameters, &gradients.of_all(parameters)?.to_vec_async().await?, true) {
                return Ok(Some(format!("the gradient of {name}")));
            }
        }
        Ok(None)
    }
}
