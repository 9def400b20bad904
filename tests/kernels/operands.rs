//! Random operands, and what is expected without rounding.

use cifar_gpu::ops::random::RandomStream;
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, Tensor};
use rand::RngExt;

use crate::compare::Conditioned;

/// Random numbers in [-1, 1), the same for the same stream.
pub fn numbers(count: usize, stream: u32) -> Vec<f32> {
    let mut random = RandomStream::new(0xc1fa, stream);
    (0..count).map(|_| random.random::<f32>() * 2.0 - 1.0).collect()
}

/// Random numbers, and a tensor that holds them.
pub fn random(device: &Device, shape: &[usize], stream: u32) -> cifar_gpu::Result<(Vec<f32>, Tensor)> {
    let values = numbers(shape.iter().product(), stream);
    let tensor = device.tensor(shape, &values)?;
    Ok((values, tensor))
}

/// Random numbers as a type holds them, and a tensor of it that holds them.
pub fn random_as(device: &Device, dtype: DType, shape: &[usize], stream: u32) -> cifar_gpu::Result<(Vec<f32>, Tensor)> {
    let tensor = device.allocate(shape, dtype)?;
    tensor.write(&numbers(shape.iter().product(), stream))?;
    Ok((tensor.to_vec()?, tensor))
}

/// Expected values that no rounding error is allowed for.
pub fn exact(values: impl IntoIterator<Item = f64>) -> Vec<Conditioned> {
    values.into_iter().map(Conditioned::exact).collect()
}
