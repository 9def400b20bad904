//! Launchers of the average-pooling kernels.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::pool2d::{self, Pool2dGeometry};
use crate::tensor::DType;

pub(super) fn avg_pool2d_forward(
    gpu: &GpuDevice,
    dtype: DType,
    g: &Pool2dGeometry,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    pool2d::launch(gpu, "avg_pool2d_forward", dtype, g, &g.output_shape(), &[input, output])
}

pub(super) fn avg_pool2d_backward(
    gpu: &GpuDevice,
    dtype: DType,
    g: &Pool2dGeometry,
    d_output: &GpuBuffer,
    d_input: &GpuBuffer,
) -> Result<()> {
    pool2d::launch(gpu, "avg_pool2d_backward", dtype, g, &g.input_shape(), &[d_output, d_input])
}
