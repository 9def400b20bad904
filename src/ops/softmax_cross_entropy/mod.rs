//! The loss of a classifier: cross-entropy of the softmax of its logits.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{Context, Cotangents, Op, Output, Upstream, as_u32, common_device, elementwise, expect, operands};
use crate::error::{Error, Result};
use crate::tensor::{DType, Device, Tensor};

/// Settings of the loss, without the tensors.
#[derive(Debug, Clone, Copy)]
struct Criterion {
    smoothing: f32,
    ignored: Option<u32>,
    mean_weight: f32,
}

/// The operation of a tape: mean cross-entropy in nats, `[1]`, of `logits [batch, classes]` with labels `[batch]`, and the
/// number of correct answers.
///
/// As PyTorch's `cross_entropy`: with label smoothing, the fraction `smoothing` of a label's probability is spread evenly over all
/// classes (Szegedy et al., "Rethinking the Inception Architecture", 2016), classes may have weights, and the mean is weighted by
/// those of the labels. Stable for logits of any finite size. A label past the last class counts as the last class.
#[derive(Debug, Clone)]
pub struct SoftmaxCrossEntropy {
    labels: Tensor,
    class_weights: Option<Tensor>,
    criterion: Criterion,
    correct: Tensor,
}

impl SoftmaxCrossEntropy {
    /// The loss for `labels [batch]`.
    ///
    /// # Errors
    /// If the device has no memory.
    pub fn new(labels: &Tensor) -> Result<Self> {
        let criterion = Criterion { smoothing: 0.0, ignored: None, mean_weight: 1.0 };
        let correct = labels.device().empty(&[1])?;
        Ok(SoftmaxCrossEntropy { labels: labels.clone(), class_weights: None, criterion, correct })
    }

    /// The same with the share `smoothing`, from 0 to 1, of each label's probability spread evenly over all classes.
    #[must_use]
    pub fn smoothing(mut self, smoothing: f32) -> Self {
        self.criterion.smoothing = smoothing;
        self
    }

    /// The same with weights of the classes.
    #[must_use]
    pub fn class_weights(mut self, weights: Option<&ClassWeights>) -> Self {
        self.class_weights = weights.map(|weights| weights.tensor.clone());
        self.criterion.mean_weight = weights.map_or(1.0, |weights| weights.mean);
        self
    }

    /// The same, but images with this label are ignored in the loss and in the number of correct ones. If all have it, the loss is
    /// 0.
    #[must_use]
    pub fn ignoring(mut self, label: u32) -> Self {
        self.criterion.ignored = Some(label);
        self
    }

    /// The number of images whose largest logit (the first of equals) is the label's, `[1]`, as a float. It is written when the
    /// operation is applied.
    pub fn correct(&self) -> &Tensor {
        &self.correct
    }
}

/// Weights of classes on a device.
#[derive(Debug, Clone)]
pub struct ClassWeights {
    tensor: Tensor,
    mean: f32,
}

impl ClassWeights {
    /// One weight for each class.
    ///
    /// # Errors
    /// If there are none, or one is negative or not finite.
    pub fn new(device: &Device, weights: &[f32]) -> Result<Self> {
        if weights.is_empty() || weights.iter().any(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            return Err(Error::shape("softmax_cross_entropy", format!("{weights:?} are not valid class weights")));
        }
        let mean = weights.iter().map(|&weight| f64::from(weight)).sum::<f64>() / weights.len() as f64;
        Ok(ClassWeights { tensor: device.tensor(&[weights.len()], weights)?, mean: mean as f32 })
    }
}

impl Op for SoftmaxCrossEntropy {
    /// Gradient of the mean loss, `[batch, classes]`.
    type Saved = Tensor;

    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Tensor>> {
        const OP: &str = "softmax_cross_entropy";
        let [logits] = operands(OP, inputs)?;
        let SoftmaxCrossEntropy { labels, class_weights, criterion, correct } = self;
        let operands: Vec<_> = [logits, labels, correct].into_iter().chain(class_weights).collect();
        let device = common_device(OP, &operands)?;
        let &[batch, classes] = logits.shape() else {
            return Err(Error::shape(OP, format!("logits {:?} must have two axes", logits.shape())));
        };
        if !(0.0..=1.0).contains(&criterion.smoothing) {
            return Err(Error::shape(OP, format!("label smoothing {} is not in [0, 1]", criterion.smoothing)));
        }
        as_u32(OP, logits.len())?;
        expect(OP, "logits", logits, &[batch, classes], DType::F32)?;
        expect(OP, "labels", labels, &[batch], DType::U32)?;
        if let Some(weights) = class_weights {
            expect(OP, "class weights", weights, &[classes], DType::F32)?;
        }
        let (loss, d_logits) = (device.empty(&[1])?, device.empty(&[batch, classes])?);
        match device {
            Device::Cpu(_) => cpu::softmax_cross_entropy(
                batch,
                classes,
                criterion,
                &logits.cpu(OP)?.read(),
                &labels.cpu(OP)?.read(),
                class_weights.as_ref().map(|weights| weights.floats(OP)).transpose()?.as_deref(),
                &mut d_logits.cpu(OP)?.write(),
                &mut loss.cpu(OP)?.write(),
                &mut correct.cpu(OP)?.write(),
            ),
            Device::Gpu(gpu) => gpu::softmax_cross_entropy(
                gpu,
                batch,
                classes,
                criterion,
                logits.gpu(OP)?,
                labels.gpu(OP)?,
                class_weights.as_ref().map(|weights| weights.gpu(OP)).transpose()?,
                d_logits.gpu(OP)?,
                loss.gpu(OP)?,
                correct.gpu(OP)?,
            )?,
        }
        Ok(Output::new(loss, d_logits))
    }

    fn backward(&self, d_logits: Tensor, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(elementwise::scale(&d_logits, upstream.cotangent)?.into())
    }
}
