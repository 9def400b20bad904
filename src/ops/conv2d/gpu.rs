//! Launchers of the convolution kernels.

use super::phase::Phase;
use super::plan::Tiling;
use super::{Conv2dGeometry, Splits};
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, GpuError, Launch, ShaderVariant};
use crate::ops::dropout::DropoutMask;
use crate::ops::{Gate, as_u32, half, launch_elementwise};
use crate::tensor::DType;

/// Invocations of a workgroup that stages nothing: the number that software renderers compute at a time. More would idle at the
/// edges.
const DIRECT_LANES: usize = 8;
/// Splits from which on several of them are loaded at a time; for fewer, the loops for that cost more than they gain.
const MANY_SPLITS: usize = 8;
/// Rows of a tile of cooperative matrices that belong to one subgroup: with two subgroups side by side, it loads each operand about
/// as often as the other.
const SUBGROUP_ROWS: usize = 32;
/// Invocations that a workgroup may have on every GPU.
const MOST_LANES: usize = 256;

/// The tiles of one matrix product.
pub(super) struct Tiles {
    tiling: Tiling,
    lanes: usize,
    /// Size of the device's cooperative matrices, if the tiles consist of them.
    side: u32,
    /// Rows and columns of subgroups that share a tile of such matrices.
    subgroups: [usize; 2],
    /// Whether larger slabs are staged.
    deep: bool,
}

impl Tiles {
    /// Tiles on a device.
    ///
    /// # Errors
    /// If the device has no such tiles.
    pub(super) fn new(gpu: &GpuDevice, tiling: Tiling) -> Result<Self> {
        let matrix = gpu.cooperative_matrix();
        let missing = |feature: &str| GpuError::MissingFeature { adapter: gpu.description(), feature: feature.into() };
        if gpu.budget().small_tiles && !tiling.is_small() {
            return Err(missing("a compiler for tiles of this size").into());
        }
        let mut subgroups = [1, 1];
        let lanes = match tiling {
            Tiling::Direct { .. } => DIRECT_LANES,
            // A workgroup is a subgroup.
            Tiling::Broadcast { .. } => gpu.subgroup().ok_or_else(|| missing("SUBGROUP"))? as usize,
            Tiling::Staged { rows, columns, sums } => rows * columns / sums.count(),
            Tiling::Cooperative { rows, .. } => {
                let matrix = matrix.ok_or_else(|| missing("EXPERIMENTAL_COOPERATIVE_MATRIX"))?;
                let bands = rows / SUBGROUP_ROWS;
                let columns = if 2 * bands * matrix.subgroup as usize <= MOST_LANES { 2 } else { 1 };
                subgroups = [bands, columns];
                bands * columns * matrix.subgroup as usize
            }
        };
        let deep = tiling.is_deep(gpu.budget().workgroup_bytes);
        Ok(Tiles { tiling, lanes, side: matrix.map_or(0, |matrix| matrix.side), subgroups, deep })
    }

    /// The shaders' constants.
    pub(super) fn constants(&self) -> Vec<(&'static str, u32)> {
        let lanes = ("LANES", self.lanes as u32);
        match self.tiling {
            Tiling::Direct { rows, columns } => {
                vec![("TILING", 0), lanes, ("ROWS", rows as u32), ("COLUMNS_PER_LANE", columns as u32)]
            }
            Tiling::Broadcast { rows, columns } => {
                vec![("TILING", 1), lanes, ("ROWS", rows as u32), ("COLUMNS_PER_LANE", columns as u32)]
            }
            Tiling::Staged { rows, columns, sums } => vec![
                ("TILING", 2),
                lanes,
                ("LANE_ROWS", sums.rows() as u32),
                ("LANE_COLUMNS", sums.columns() as u32),
                ("TILE_ROWS", rows as u32),
                ("TILE_COLUMNS", columns as u32),
                ("DEEP", u32::from(self.deep)),
            ],
            Tiling::Cooperative { rows, columns } => vec![
                ("TILING", 3),
                lanes,
                ("SUBGROUPS", (self.subgroups[0] * self.subgroups[1]) as u32),
                ("SUBGROUP_ROWS", self.subgroups[0] as u32),
                ("SUBGROUP_COLUMNS", self.subgroups[1] as u32),
                ("SIDE", self.side),
                ("TILE_ROWS", rows as u32),
                ("TILE_COLUMNS", columns as u32),
            ],
        }
    }

    /// Number of tiles in the product of one split for the gradients of weight and bias.
    fn contraction_count(&self, g: &Conv2dGeometry) -> u64 {
        match self.tiling {
            // Groups of rows are those of one line of the window that read the same vector of channels.
            Tiling::Broadcast { rows, columns } => {
                let vectors = if g.in_c.is_multiple_of(4) { g.in_c / 4 } else { g.in_c };
                let groups = g.kernel_h * vectors;
                groups.div_ceil(self.lanes * rows.div_ceil(4)) as u64 * g.out_c.div_ceil(columns) as u64
            }
            // One row more than there are weights: the bias.
            _ => self.count(g.products() + 1, g.out_c),
        }
    }

    /// Number of tiles in a product.
    pub(super) fn count(&self, rows: usize, columns: usize) -> u64 {
        let (tile_rows, tile_columns) = match self.tiling {
            Tiling::Direct { rows, columns } | Tiling::Broadcast { rows, columns } => (self.lanes * rows, columns),
            Tiling::Staged { rows, columns, .. } | Tiling::Cooperative { rows, columns } => (rows, columns),
        };
        rows.div_ceil(tile_rows) as u64 * columns.div_ceil(tile_columns) as u64
    }
}

fn constants(
    dtype: DType,
    g: &Conv2dGeometry,
    tiles: &Tiles,
    own: &[(&'static str, usize)],
) -> Vec<(&'static str, u32)> {
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
    ];
    shared
        .iter()
        .chain(own)
        .map(|&(name, value)| (name, value as u32))
        .chain([half(dtype)])
        .chain(tiles.constants())
        .collect()
}

#[expect(clippy::too_many_arguments, reason = "the kernel's bindings and tiling")]
pub(super) fn conv2d_forward(
    gpu: &GpuDevice,
    dtype: DType,
    g: &Conv2dGeometry,
    tiling: Tiling,
    relu: bool,
    dropout: Option<(DropoutMask, &GpuBuffer)>,
    input: &GpuBuffer,
    weight: &GpuBuffer,
    bias: Option<&GpuBuffer>,
    output: &GpuBuffer,
) -> Result<()> {
    let rows = g.out_pixels();
    let tiles = Tiles::new(gpu, tiling)?;
    let (dropping, state) = dropout.unzip();
    let own = [
        ("CHANNELS", g.in_c),
        ("COLUMNS", g.out_c),
        ("BIAS", usize::from(bias.is_some())),
        ("RELU", usize::from(relu)),
        ("DROPOUT", usize::from(dropping.is_some())),
    ];
    let mut uniform = vec![as_u32("conv2d_forward", rows)?];
    uniform.extend(dropping.iter().flat_map(DropoutMask::parameters));
    let buffers: Vec<_> = [input, weight, output].into_iter().chain(bias).chain(state).collect();
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new("conv2d_forward", &constants(dtype, g, &tiles, &own)),
        uniform: bytemuck::cast_slice(&uniform),
        buffers: &buffers,
        workgroups: tiles.count(rows, g.out_c),
        flops: g.flops(),
    })?)
}

#[expect(clippy::too_many_arguments, reason = "the kernel's bindings and tiling")]
pub(super) fn conv2d_backward_input(
    gpu: &GpuDevice,
    dtype: DType,
    g: &Conv2dGeometry,
    tiling: Tiling,
    d_output: &GpuBuffer,
    transposed_weight: &GpuBuffer,
    gate: Option<Gate<&GpuBuffer>>,
    d_input: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "conv2d_backward_input";
    let tiles = Tiles::new(gpu, tiling)?;
    let buffers: Vec<_> =
        [d_output, transposed_weight, d_input].into_iter().chain(gate.map(|gate| gate.output)).collect();
    let factor = gate.map_or(1.0, |gate| gate.factor);
    let products: usize = Phase::all(g).map(|phase| phase.pixels() * phase.taps()).sum();
    for phase in Phase::all(g) {
        let rows = g.batch * phase.pixels();
        let (y, x) = (phase.y, phase.x);
        let own = [
            ("CHANNELS", g.out_c),
            ("COLUMNS", g.in_c),
            ("GATE", usize::from(gate.is_some())),
            ("WEIGHT_W", g.kernel_w),
            ("FIRST_Y", y.first),
            ("FIRST_X", x.first),
            ("FIRST_KY", y.first_tap),
            ("FIRST_KX", x.first_tap),
        ];
        // The shader expects zero taps in one direction only.
        let window = Conv2dGeometry {
            kernel_h: if x.taps == 0 { 0 } else { y.taps },
            kernel_w: x.taps.max(1),
            pad_top: y.shift,
            pad_left: x.shift,
            ..*g
        };
        gpu.record(&Launch {
            variant: ShaderVariant::new(OP, &constants(dtype, &window, &tiles, &own)),
            uniform: bytemuck::cast_slice(&[as_u32(OP, rows)?, factor.to_bits()]),
            buffers: &buffers,
            workgroups: tiles.count(rows, g.in_c),
            flops: g.flops() * (phase.pixels() * phase.taps()) as u64 / products.max(1) as u64,
        })?;
    }
    Ok(())
}

pub(super) fn conv2d_transpose_weight(
    gpu: &GpuDevice,
    dtype: DType,
    g: &Conv2dGeometry,
    weight: &GpuBuffer,
    transposed: &GpuBuffer,
) -> Result<()> {
    let count = g.products() * g.out_c;
    let constants = [("IN_C", g.in_c as u32), ("OUT_C", g.out_c as u32), half(dtype)];
    let uniform = as_u32("conv2d_transpose_weight", count)?;
    let buffers = [weight, transposed];
    launch_elementwise(gpu, "conv2d_transpose_weight", &constants, bytemuck::bytes_of(&uniform), &buffers, count)
}

#[expect(clippy::too_many_arguments, reason = "the kernel's bindings and tiling")]
pub(super) fn conv2d_backward_weight(
    gpu: &GpuDevice,
    dtype: DType,
    g: &Conv2dGeometry,
    tiling: Tiling,
    splits: Splits,
    input: &GpuBuffer,
    d_output: &GpuBuffer,
    partial: &GpuBuffer,
) -> Result<()> {
    contraction_launch(gpu, dtype, g, tiling, 1, splits, input, d_output, partial)
}

/// Launches `conv2d_backward_weight` for `matrices` products whose operands are stored consecutively, as images.
#[expect(clippy::too_many_arguments, reason = "the kernel's bindings and tiling")]
pub(super) fn contraction_launch(
    gpu: &GpuDevice,
    dtype: DType,
    g: &Conv2dGeometry,
    tiling: Tiling,
    matrices: usize,
    splits: Splits,
    input: &GpuBuffer,
    d_output: &GpuBuffer,
    partial: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "conv2d_backward_weight";
    let tiles = Tiles::new(gpu, tiling)?;
    let own = [("IN_C", g.in_c), ("OUT_C", g.out_c), ("MATRICES", matrices)];
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &constants(dtype, g, &tiles, &own)),
        uniform: bytemuck::cast_slice(&[as_u32(OP, splits.lines)?, as_u32(OP, splits.lines_per_split)?]),
        buffers: &[input, d_output, partial],
        workgroups: (splits.count * matrices) as u64 * tiles.contraction_count(g),
        flops: g.flops(),
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
    let many = ("MANY", u32::from(splits >= MANY_SPLITS));
    launch_elementwise(gpu, OP, &[many], bytemuck::cast_slice(&uniform), &[partial, d_weight, d_bias], count)
}
