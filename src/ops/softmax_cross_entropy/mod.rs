//! The loss of a classifier: cross-entropy of the softmax of its logits.

mod cpu;
mod gpu;

use super::{Backward, Wanted, as_u32, common_device, elementwise, expect};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// What [`forward`] yields.
#[derive(Debug, Clone)]
pub struct SoftmaxCrossEntropy {
    /// Mean loss of the batch in nats, `[1]`.
    pub loss: Tensor,
    /// Number of images whose largest logit (the first of equals) is the label's, `[1]`, as a float.
    pub correct: Tensor,
    /// Gradient of the mean loss, `[batch, classes]`.
    pub d_logits: Tensor,
}

/// Mean cross-entropy of `logits [batch, classes]` with `labels [batch]`, its gradient, and the number correct.
///
/// Of a label's probability the share `smoothing` is spread evenly over all classes (Szegedy et al., "Rethinking the Inception
/// Architecture", 2016; as in PyTorch). Stable for logits of any finite size. A label past the last class counts as the last
/// class.
///
/// # Errors
/// If the shapes do not fit, or `smoothing` is not in [0, 1].
pub fn forward(smoothing: f32, logits: &Tensor, labels: &Tensor) -> Result<SoftmaxCrossEntropy> {
    const OP: &str = "softmax_cross_entropy";
    let device = common_device(OP, &[logits, labels])?;
    let &[batch, classes] = logits.shape() else {
        return Err(Error::shape(OP, format!("logits {:?} must have two axes", logits.shape())));
    };
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::shape(OP, format!("label smoothing {smoothing} is not in [0, 1]")));
    }
    as_u32(OP, logits.len())?;
    expect(OP, "logits", logits, &[batch, classes], DType::F32)?;
    expect(OP, "labels", labels, &[batch], DType::U32)?;
    let result = SoftmaxCrossEntropy {
        loss: device.empty(&[1])?,
        correct: device.empty(&[1])?,
        d_logits: device.empty(&[batch, classes])?,
    };
    match device {
        Device::Cpu(_) => cpu::softmax_cross_entropy(
            batch,
            classes,
            smoothing,
            &logits.cpu(OP)?.read(),
            &labels.cpu(OP)?.read(),
            &mut result.d_logits.cpu(OP)?.write(),
            &mut result.loss.cpu(OP)?.write(),
            &mut result.correct.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => gpu::softmax_cross_entropy(
            gpu,
            batch,
            classes,
            smoothing,
            logits.gpu(OP)?,
            labels.gpu(OP)?,
            result.d_logits.gpu(OP)?,
            result.loss.gpu(OP)?,
            result.correct.gpu(OP)?,
        )?,
    }
    Ok(result)
}

/// The tape rule of [`forward`]; the input is the logits, the output the loss.
#[derive(Debug)]
pub struct SoftmaxCrossEntropyBackward {
    /// Gradient of the mean loss, as the forward half computed it.
    pub d_logits: Tensor,
}

impl Backward for SoftmaxCrossEntropyBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(elementwise::scale(&self.d_logits, cotangent)?)])
    }
}
