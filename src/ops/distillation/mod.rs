//! The loss of distillation: how far a student's predictions are from a teacher's.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{Context, Cotangents, Op, Output, Upstream, as_u32, common_device, elementwise, expect, operands};
use crate::error::{Error, Result};
use crate::tensor::{DType, Device, Tensor};

/// The operation of a tape: `T² · KL(softmax(teacher / T) ‖ softmax(student / T))`, the mean over the rows in nats, `[1]`, of the
/// student's logits `[batch, classes]` (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015).
#[derive(Debug, Clone)]
pub struct Distillation {
    /// The teacher's logits `[batch, classes]`, which get no gradient.
    pub teacher: Tensor,
    /// The temperature T, which is positive: the higher, the more the smaller logits count.
    pub temperature: f32,
}

impl Op for Distillation {
    /// Gradient of the loss, `[batch, classes]`.
    type Saved = Tensor;

    fn name(&self) -> &'static str {
        "distillation"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Tensor>> {
        const OP: &str = "distillation";
        let [student] = operands(OP, inputs)?;
        let Distillation { teacher, temperature } = self;
        let device = common_device(OP, &[student, teacher])?;
        let &[batch, classes] = student.shape() else {
            return Err(Error::shape(OP, format!("logits {:?} must have two axes", student.shape())));
        };
        if !(temperature.is_finite() && *temperature > 0.0) {
            return Err(Error::shape(OP, format!("temperature {temperature} is not positive")));
        }
        as_u32(OP, student.len())?;
        expect(OP, "the student's logits", student, &[batch, classes], DType::F32)?;
        expect(OP, "the teacher's logits", teacher, &[batch, classes], DType::F32)?;
        let (loss, d_student) = (device.empty(&[1])?, device.empty(&[batch, classes])?);
        match device {
            Device::Cpu(_) => cpu::distillation(
                classes,
                *temperature,
                &student.cpu(OP)?.read(),
                &teacher.cpu(OP)?.read(),
                &mut d_student.cpu(OP)?.write(),
                &mut loss.cpu(OP)?.write(),
            ),
            Device::Gpu(gpu) => gpu::distillation(
                gpu,
                batch,
                classes,
                *temperature,
                student.gpu(OP)?,
                teacher.gpu(OP)?,
                d_student.gpu(OP)?,
                loss.gpu(OP)?,
            )?,
        }
        Ok(Output::new(loss, d_student))
    }

    fn backward(&self, d_student: Tensor, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(elementwise::scale(&d_student, upstream.cotangent)?.into())
    }
}
