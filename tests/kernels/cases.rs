//! The table of cases, and how each operation is held against its oracle.

use cifar_gpu::ops::adam::{Adam, adam_step};
use cifar_gpu::ops::batch_assembly::{ImageChunk, Normalisation, batch_assembly};
use cifar_gpu::ops::conv2d::{self, Conv2dGeometry, Padding};
use cifar_gpu::ops::dropout::{self, Dropout};
use cifar_gpu::ops::max_pool2d::{self, MaxPool2dGeometry};
use cifar_gpu::ops::random::{RandomStream, threefry};
use cifar_gpu::ops::record_metrics::record_metrics;
use cifar_gpu::ops::sgd::{Sgd, sgd_step};
use cifar_gpu::ops::{StepState, elementwise, global_avg_pool, linear, relu, softmax_cross_entropy};
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, Tensor};

use crate::Outcome;
use crate::compare::{Conditioned, compare, compare_exact};
use crate::oracle;

/// A case's body, run on each device.
pub type Run = Box<dyn Fn(&Device) -> Outcome + Send + Sync>;

/// A case and a twin for the other device.
pub struct Case(std::sync::Arc<dyn Fn(&Device) -> Outcome + Send + Sync>);

/// Random numbers in (-1, 1), the same for the same name.
pub fn numbers(count: usize, stream: u32) -> Vec<f32> {
    let mut random = RandomStream::new(0xc1fa, stream);
    (0..count).map(|_| random.next_f32() * 2.0 - 1.0).collect()
}

pub fn tensor(device: &Device, shape: &[usize], stream: u32) -> cifar_gpu::Result<(Vec<f32>, Tensor)> {
    let values = numbers(shape.iter().product(), stream);
    let tensor = device.tensor(shape, &values)?;
    Ok((values, tensor))
}
