//! Launchers of the Winograd kernels.

use super::super::gpu::{Tiles, contraction_launch};
use super::super::{Finish, Splits, Tiling};
use super::{LONGEST_LINE, WinogradGeometry};
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::conv2d::Conv2dGeometry;
use crate::ops::{as_u32, launch_elementwise};
use crate::tensor::DType;

fn constants(values: &[(&'static str, usize)]) -> Vec<(&'static str, u32)> {
    values.iter().map(|&(name, value)| (name, value as u32)).collect()
}

impl WinogradGeometry {
    /// Constants of the kernels that process the tiles of an image of this size.
    fn sizes(&self, op: &'static str, channels: usize, height: usize, width: usize) -> Result<[u32; 6]> {
        let tiles_h = self.conv.out_h.div_ceil(self.outputs);
        // The largest index that is computed: an element of the transformed tiles.
        as_u32(op, self.matrices() * self.tiles() * channels)?;
        Ok([self.tiles(), self.tiles_w(), tiles_h, channels, height, width].map(|size| size as u32))
    }

    fn variant(&self, more: &[(&'static str, usize)]) -> Vec<(&'static str, u32)> {
        constants(&[&[("OUTPUTS", self.outputs), ("KERNEL", self.kernel())], more].concat())
    }
}

pub(super) fn winograd_transform_input(
    gpu: &GpuDevice,
    w: &WinogradGeometry,
    input: &GpuBuffer,
    transformed: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "winograd_transform_input";
    let c = &w.conv;
    let mut uniform = w.sizes(OP, c.in_c, c.in_h, c.in_w)?.to_vec();
    uniform.extend([c.pad_top as u32, c.pad_left as u32]);
    let count = w.tiles() * c.in_c;
    launch_elementwise(gpu, OP, &w.variant(&[]), bytemuck::cast_slice(&uniform), &[input, transformed], count)
}

pub(super) fn winograd_transform_cotangent(
    gpu: &GpuDevice,
    w: &WinogradGeometry,
    d_output: &GpuBuffer,
    transformed: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "winograd_transform_cotangent";
    let c = &w.conv;
    let mut uniform = w.sizes(OP, c.out_c, c.out_h, c.out_w)?.to_vec();
    uniform.extend([0, 0]);
    let count = w.tiles() * c.out_c;
    launch_elementwise(gpu, OP, &w.variant(&[]), bytemuck::cast_slice(&uniform), &[d_output, transformed], count)
}

pub(super) fn winograd_transform_weight(
    gpu: &GpuDevice,
    w: &WinogradGeometry,
    flip: bool,
    weight: &GpuBuffer,
    transformed: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "winograd_transform_weight";
    let pair = [w.conv.in_c, w.conv.out_c];
    as_u32(OP, w.matrices() * pair[0] * pair[1])?;
    let uniform = pair.map(|channels| channels as u32);
    let variant = w.variant(&[("FLIP", usize::from(flip))]);
    launch_elementwise(gpu, OP, &variant, bytemuck::cast_slice(&uniform), &[weight, transformed], pair[0] * pair[1])
}

pub(super) fn winograd_product(
    gpu: &GpuDevice,
    w: &WinogradGeometry,
    tiling: Tiling,
    patches: &GpuBuffer,
    weight: &GpuBuffer,
    products: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "winograd_product";
    let tiles = Tiles::new(gpu, tiling)?;
    let own = constants(&[("CHANNELS", w.conv.in_c), ("COLUMNS", w.conv.out_c), ("MATRICES", w.matrices())]);
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &[own, tiles.constants()].concat()),
        uniform: bytemuck::bytes_of(&as_u32(OP, w.tiles())?),
        buffers: &[patches, weight, products],
        workgroups: w.matrices() as u64 * tiles.count(w.tiles(), w.conv.out_c),
        flops: 2 * (w.matrices() * w.conv.in_c * w.conv.out_c) as u64 * w.tiles() as u64,
    })?)
}

pub(super) fn winograd_transform_output(
    gpu: &GpuDevice,
    w: &WinogradGeometry,
    products: &GpuBuffer,
    finish: Finish<&GpuBuffer, &GpuBuffer>,
    output: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "winograd_transform_output";
    let c = &w.conv;
    let mut uniform = w.sizes(OP, c.out_c, c.out_h, c.out_w)?.to_vec();
    let (mut buffers, mut kinds) = (vec![products, output], ["BIAS", "RELU", "DROPOUT", "GATE"].map(|kind| (kind, 0)));
    match finish {
        Finish::Activate { bias, relu, dropout } => {
            (kinds[0].1, kinds[1].1, kinds[2].1) =
                (usize::from(bias.is_some()), usize::from(relu), usize::from(dropout.is_some()));
            buffers.extend(bias);
            buffers.extend(dropout.map(|(_, state)| state));
            uniform.extend(dropout.iter().flat_map(|(dropout, _)| dropout.parameters()));
        }
        Finish::Gate(gate) => {
            kinds[3].1 = usize::from(gate.is_some());
            buffers.extend(gate.map(|gate| gate.output));
            uniform.extend(gate.map(|gate| gate.factor.to_bits()));
        }
    }
    let variant = w.variant(&kinds);
    launch_elementwise(gpu, OP, &variant, bytemuck::cast_slice(&uniform), &buffers, w.tiles() * c.out_c)
}

/// The contraction over tiles: the weight gradient of a 1×1 convolution for each element of a tile.
pub(super) fn winograd_weight_product(
    gpu: &GpuDevice,
    w: &WinogradGeometry,
    tiling: Tiling,
    splits: Splits,
    patches: &GpuBuffer,
    cotangents: &GpuBuffer,
    partial: &GpuBuffer,
) -> Result<()> {
    // Tiles have no neighbors here: several rows of them are one line, which fills slabs.
    let rows_in_line = (1..=LONGEST_LINE / w.tiles_w())
        .rev()
        .find(|rows| splits.lines.is_multiple_of(*rows) && splits.lines_per_split.is_multiple_of(*rows))
        .unwrap_or(1);
    let splits =
        Splits { lines: splits.lines / rows_in_line, lines_per_split: splits.lines_per_split / rows_in_line, ..splits };
    let (lines, tiles) = (splits.lines, w.tiles_w() * rows_in_line);
    let product = Conv2dGeometry {
        batch: w.matrices(),
        in_h: lines,
        in_w: tiles,
        out_h: lines,
        out_w: tiles,
        kernel_h: 1,
        kernel_w: 1,
        pad_top: 0,
        pad_left: 0,
        ..w.conv
    };
    contraction_launch(gpu, DType::F32, &product, tiling, w.matrices(), splits, patches, cotangents, partial)
}

pub(super) fn winograd_reduce_weight(
    gpu: &GpuDevice,
    w: &WinogradGeometry,
    splits: usize,
    partial: &GpuBuffer,
    d_weight: &GpuBuffer,
    d_bias: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "winograd_reduce_weight";
    let (in_c, out_c) = (w.conv.in_c, w.conv.out_c);
    let uniform = [as_u32(OP, splits)?, as_u32(OP, in_c)?, as_u32(OP, out_c)?];
    let buffers = [partial, d_weight, d_bias];
    launch_elementwise(gpu, OP, &w.variant(&[]), bytemuck::cast_slice(&uniform), &buffers, (in_c + 1) * out_c)
}
