//! Launchers of the convolution kernels.

use super::{Conv2dGeometry, Splits};
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::{as_u32, launch_elementwise};

/// Rows of the product that one invocation keeps in registers.
const ROWS: usize = 8;
/// Columns of the product that one invocation keeps in registers, a multiple of 4.
const COLUMNS_PER_LANE: usize = 8;
/// Most invocations of a workgroup.
const MOST_LANES: usize = 64;

/// Invocations of a workgroup: no more than there is work for, so that small batches do not idle.
fn lanes(rows: usize) -> usize {
    rows.div_ceil(ROWS).next_power_of_two().clamp(8, MOST_LANES)
}

fn constants(g: &Conv2dGeometry, lanes: usize, own: &[(&'static str, usize)]) -> Vec<(&'static str, u32)> {
    let shared = [
        ("KERNEL_H", g.kernel_h),
        ("KERNEL_W", g.kernel_w),
        ("STRIDE", g.stride),
        ("PAD_TOP", g.pad_top),
        ("PAD_LEFT", g.pad_left),
        ("IN_H", g.in_h),
        ("IN_W", g.in_w),
        ("OUT_H", g.out_h),
        ("OUT_W", g.out_w),
        ("ROWS", ROWS),
        ("COLUMNS_PER_LANE", COLUMNS_PER_LANE),
        ("LANES", lanes),
    ];
    shared.iter().chain(own).map(|&(name, value)| (name, value as u32)).collect()
}

fn tiles(rows: usize, columns: usize, lanes: usize) -> u64 {
    rows.div_ceil(lanes * ROWS) as u64 * columns.div_ceil(COLUMNS_PER_LANE) as u64
}

pub(super) fn conv2d_forward(
    gpu: &GpuDevice,
    g: &Conv2dGeometry,
    relu: bool,
    input: &GpuBuffer,
    weight: &GpuBuffer,
    bias: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    let rows = g.out_pixels();
    let lanes = lanes(rows);
    let own = [("CHANNELS", g.in_c), ("COLUMNS", g.out_c), ("RELU", usize::from(relu))];
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new("conv2d_forward", &constants(g, lanes, &own)),
        uniform: bytemuck::bytes_of(&as_u32("conv2d_forward", rows)?),
        buffers: &[input, weight, bias, output],
        workgroups: tiles(rows, g.out_c, lanes),
    })?)
}

pub(super) fn conv2d_backward_input(
    gpu: &GpuDevice,
    g: &Conv2dGeometry,
    d_output: &GpuBuffer,
    transposed_weight: &GpuBuffer,
    d_input: &GpuBuffer,
) -> Result<()> {
    let rows = g.batch * g.in_h * g.in_w;
    let lanes = lanes(rows);
    let own = [("CHANNELS", g.out_c), ("COLUMNS", g.in_c)];
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new("conv2d_backward_input", &constants(g, lanes, &own)),
        uniform: bytemuck::bytes_of(&as_u32("conv2d_backward_input", rows)?),
        buffers: &[d_output, transposed_weight, d_input],
        workgroups: tiles(rows, g.in_c, lanes),
    })?)
}

pub(super) fn conv2d_transpose_weight(
    gpu: &GpuDevice,
    g: &Conv2dGeometry,
    weight: &GpuBuffer,
    transposed: &GpuBuffer,
) -> Result<()> {
    let count = g.products() * g.out_c;
    let constants = [("IN_C", g.in_c as u32), ("OUT_C", g.out_c as u32)];
    let uniform = as_u32("conv2d_transpose_weight", count)?;
    let buffers = [weight, transposed];
    launch_elementwise(gpu, "conv2d_transpose_weight", &constants, bytemuck::bytes_of(&uniform), &buffers, count)
}

pub(super) fn conv2d_backward_weight(
    gpu: &GpuDevice,
    g: &Conv2dGeometry,
    splits: Splits,
    input: &GpuBuffer,
    d_output: &GpuBuffer,
    partial: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "conv2d_backward_weight";
    // One row more than there are weights: the bias.
    let rows = g.products() + 1;
    let lanes = lanes(rows);
    let own = [("IN_C", g.in_c), ("OUT_C", g.out_c)];
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &constants(g, lanes, &own)),
        uniform: bytemuck::cast_slice(&[as_u32(OP, splits.lines)?, as_u32(OP, splits.lines_per_split)?]),
        buffers: &[input, d_output, partial],
        workgroups: splits.count as u64 * tiles(rows, g.out_c, lanes),
    })?)
}

pub(super) fn split_k_reduce(
    gpu: &GpuDevice,
    splits: usize,
    weights: usize,
    biases: usize,
    partial: &GpuBuffer,
    d_weight: &GpuBuffer,
    d_bias: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "split_k_reduce";
    let count = weights + biases;
    let uniform = [as_u32(OP, count)?, as_u32(OP, weights)?, as_u32(OP, splits)?];
    launch_elementwise(gpu, OP, &[], bytemuck::cast_slice(&uniform), &[partial, d_weight, d_bias], count)
}
