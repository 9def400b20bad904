//! Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024): the momentum of a weight matrix is
//! replaced by the nearest semi-orthogonal matrix, approximately, before the update.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::conv2d;
use super::linear::geometry;
use super::loss_scaling::sum_of_squares;
use super::{StepState, as_u32, common_device, elementwise, expect};
use crate::error::{Error, Result};
use crate::tensor::{DType, Device, Tensor};

/// Coefficients of the quintic polynomial, which maps singular values from 0 to 1 to values near 1 in a few iterations.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
/// Iterations of it for an update.
const NEWTON_SCHULZ_STEPS: usize = 3;

/// Settings of Muon. The learning rate is in the step's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Muon {
    /// Momentum: fraction of the velocity kept from step to step.
    pub momentum: f32,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
    /// Factor of the learning rate in the state.
    pub rate_factor: f32,
    /// Decoupled weight decay, per unit of the learning rate in the state.
    pub weight_decay: f32,
    /// Whether each weight is first scaled to the norm √outputs, which suits weights before a batch normalization.
    pub fixed_norm: bool,
}

/// Updates `parameter` and `velocity`, tensors of one shape `[.., out]`, in place; the velocity starts as zeros.
///
/// # Errors
/// If shapes, types or devices do not fit together, or the device fails.
pub fn muon_update(muon: Muon, state: &Tensor, gradient: &Tensor, parameter: &Tensor, velocity: &Tensor) -> Result<()> {
    let Some((&outputs, inputs)) = parameter.shape().split_last() else {
        return Err(Error::shape("muon", "a parameter without axes has no outputs"));
    };
    let direction = muon_momentum(muon.momentum, muon.nesterov, state, gradient, velocity)?;
    let matrix = direction.reshape(&[inputs.iter().product(), outputs])?;
    let orthogonal = orthogonalized(state, &matrix)?.reshape(parameter.shape())?;
    if muon.fixed_norm {
        muon_normalize((outputs as f32).sqrt(), state, parameter)?;
    }
    muon_step(muon, state, &orthogonal, parameter)
}

/// The semi-orthogonal matrix nearest to `matrix`, approximately: by Newton–Schulz iterations. The matrix is scaled in place.
///
/// # Errors
/// If it is not a matrix, or the device fails.
pub fn orthogonalized(state: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    let &[rows, columns] = matrix.shape() else {
        return Err(Error::shape("muon", format!("{:?} is not a matrix", matrix.shape())));
    };
    // Then no singular value is above 1.
    muon_normalize(1.0, state, matrix)?;
    let [a, b, c] = COEFFICIENTS;
    let mut x = matrix.clone();
    for _ in 0..NEWTON_SCHULZ_STEPS {
        // X ← aX + (bA + cA²)X, where A = XXᵀ, or the same from the right with XᵀX: the smaller of the two.
        let gram = if rows < columns { times_transposed(&x)? } else { transposed_times(&x)? };
        let polynomial = elementwise::combine(b, &gram, c, &times(&gram, &gram)?)?;
        let product = if rows < columns { times(&polynomial, &x)? } else { times(&x, &polynomial)? };
        x = elementwise::combine(a, &x, 1.0, &product)?;
    }
    Ok(x)
}

/// `x · y`.
fn times(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    super::linear::forward(&conv2d::Plans::default(), conv2d::Epilogue::default(), x, y, None)
}

/// `x · xᵀ`: the product for the cotangent of a fully connected layer's input.
fn times_transposed(x: &Tensor) -> Result<Tensor> {
    let g = geometry(&[x.shape()[0]; 2], x.shape())?;
    let product = conv2d::backward_input(&g, &x.reshape(&g.output_shape())?, &x.reshape(&g.weight_shape())?)?;
    product.reshape(&[g.batch, g.in_c])
}

/// `xᵀ · x`: the product for the gradient of a fully connected layer's weight.
fn transposed_times(x: &Tensor) -> Result<Tensor> {
    let g = geometry(x.shape(), &[x.shape()[1]; 2])?;
    let (product, _) = conv2d::backward_weight(&g, &x.reshape(&g.input_shape())?, &x.reshape(&g.output_shape())?)?;
    product.reshape(&[g.in_c, g.out_c])
}

/// Adds the gradient to `velocity` and returns the direction, both of the gradient's shape.
///
/// # Errors
/// If shapes, types or devices do not fit together, or the device fails.
pub fn muon_momentum(
    momentum: f32,
    nesterov: bool,
    state: &Tensor,
    gradient: &Tensor,
    velocity: &Tensor,
) -> Result<Tensor> {
    const OP: &str = "muon_momentum";
    let device = common_device(OP, &[state, gradient, velocity])?;
    StepState::expect(OP, state)?;
    expect(OP, "gradient", gradient, gradient.shape(), DType::F32)?;
    expect(OP, "velocity", velocity, gradient.shape(), DType::F32)?;
    as_u32(OP, gradient.len())?;
    let direction = device.empty(gradient.shape())?;
    match device {
        Device::Cpu(_) => cpu::muon_momentum(
            momentum,
            nesterov,
            &StepState::read(OP, state)?,
            &gradient.cpu(OP)?.read(),
            &mut velocity.cpu(OP)?.write(),
            &mut direction.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => gpu::muon_momentum(
            gpu,
            gradient.len(),
            momentum,
            nesterov,
            state.gpu(OP)?,
            gradient.gpu(OP)?,
            velocity.gpu(OP)?,
            direction.gpu(OP)?,
        )?,
    }
    Ok(direction)
}

/// Scales `values` in place to the Euclidean norm `norm`.
///
/// # Errors
/// If types or devices do not fit together, or the device fails.
pub fn muon_normalize(norm: f32, state: &Tensor, values: &Tensor) -> Result<()> {
    const OP: &str = "muon_normalize";
    let device = common_device(OP, &[state, values])?;
    StepState::expect(OP, state)?;
    expect(OP, "values", values, values.shape(), DType::F32)?;
    let partial = sum_of_squares(values)?;
    match device {
        Device::Cpu(_) => cpu::muon_normalize(
            norm,
            &StepState::read(OP, state)?,
            &partial.cpu(OP)?.read(),
            &mut values.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => gpu::muon_normalize(
            gpu,
            partial.len(),
            values.len(),
            norm,
            state.gpu(OP)?,
            partial.gpu(OP)?,
            values.gpu(OP)?,
        )?,
    }
    Ok(())
}

/// Moves `parameter` against `direction`, of the same shape, and decays it.
///
/// # Errors
/// If shapes, types or devices do not fit together, or the device fails.
pub fn muon_step(muon: Muon, state: &Tensor, direction: &Tensor, parameter: &Tensor) -> Result<()> {
    const OP: &str = "muon_step";
    let device = common_device(OP, &[state, direction, parameter])?;
    StepState::expect(OP, state)?;
    expect(OP, "direction", direction, parameter.shape(), DType::F32)?;
    expect(OP, "parameter", parameter, parameter.shape(), DType::F32)?;
    as_u32(OP, parameter.len())?;
    match device {
        Device::Cpu(_) => cpu::muon_step(
            muon,
            &StepState::read(OP, state)?,
            &direction.cpu(OP)?.read(),
            &mut parameter.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => {
            gpu::muon_step(gpu, parameter.len(), muon, state.gpu(OP)?, direction.gpu(OP)?, parameter.gpu(OP)?)?;
        }
    }
    Ok(())
}
