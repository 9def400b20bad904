//! How a convolution's products are computed: the algorithm, and on a GPU the tiles of its matrix products.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::{Conv2dGeometry, winograd};
use crate::gpu::{Budget, CooperativeMatrix};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Which of a convolution's three products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Output from input and weight.
    Forward,
    /// Cotangent of the input from that of the output and the weight.
    BackwardInput,
    /// Gradient of the weight from the input and the cotangent of the output.
    BackwardWeight,
}

impl Direction {
    /// All three.
    pub const ALL: [Direction; 3] = [Direction::Forward, Direction::BackwardInput, Direction::BackwardWeight];

    /// Name of the kernel that computes it directly.
    pub fn kernel(self) -> &'static str {
        match self {
            Direction::Forward => "conv2d_forward",
            Direction::BackwardInput => "conv2d_backward_input",
            Direction::BackwardWeight => "conv2d_backward_weight",
        }
    }
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// One matrix product with the patches of the image, which are never stored.
    ImplicitGemm,
    /// Winograd's minimal filtering with tiles of `outputs` × `outputs`: 2 or 4.
    Winograd {
        /// Outputs along a tile's side.
        outputs: usize,
    },
}

/// The sums that an invocation of a staged tile keeps in registers: more of them need fewer loads for each, and more registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sums {
    /// 8 × 8: some 170 registers of 32 bits, with operands and loads under way.
    S8x8,
    /// 8 × 4: some 110.
    S8x4,
    /// 4 × 8: some 100.
    S4x8,
    /// 4 × 4: some 70.
    S4x4,
}

impl Sums {
    /// All of them.
    pub const ALL: [Sums; 4] = [Sums::S8x8, Sums::S8x4, Sums::S4x8, Sums::S4x4];

    /// Rows of an invocation.
    pub fn rows(self) -> usize {
        if matches!(self, Sums::S8x8 | Sums::S8x4) { 8 } else { 4 }
    }

    /// Columns of an invocation.
    pub fn columns(self) -> usize {
        if matches!(self, Sums::S8x8 | Sums::S4x8) { 8 } else { 4 }
    }

    /// All sums of an invocation.
    pub fn count(self) -> usize {
        self.rows() * self.columns()
    }
}

/// How a matrix product is cut up on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tiling {
    /// An invocation reads its operands straight from memory, without a barrier, and keeps `rows` × `columns` sums in
    /// registers: for drivers that run on a CPU.
    Direct {
        /// Rows of an invocation.
        rows: usize,
        /// Columns of an invocation, a multiple of 4.
        columns: usize,
    },
    /// As [`Tiling::Direct`], but each invocation of a subgroup reads another row of the right operand, and they hand them
    /// round: for drivers that run on a CPU and pay for every load of every invocation.
    Broadcast {
        /// Rows of an invocation; where pixels are contracted, those of one column of the window, a multiple of 4.
        rows: usize,
        /// Columns of an invocation, a multiple of 4.
        columns: usize,
    },
    /// A workgroup stages slabs of both operands in its memory and owns `rows` × `columns` sums, of which each invocation
    /// keeps some in registers: for GPUs.
    Staged {
        /// Rows of a workgroup, a multiple of 32.
        rows: usize,
        /// Columns of a workgroup, a multiple of 16.
        columns: usize,
        /// Those of an invocation.
        sums: Sums,
    },
    /// Some subgroups stage slabs of both operands, 16 bits wide, and own `rows` × `columns` sums as cooperative matrices:
    /// for GPUs with tensor cores.
    Cooperative {
        /// Rows of a workgroup, a multiple of 32.
        rows: usize,
        /// Columns of a workgroup, a multiple of 32.
        columns: usize,
    },
}

/// How one of a convolution's products is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Plan {
    /// What is computed.
    pub algorithm: Algorithm,
    /// How it is cut up; of no meaning on the CPU.
    pub tiling: Tiling,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Algorithm::Winograd { outputs } = self.algorithm {
            write!(f, "winograd-{outputs} ")?;
        }
        match self.tiling {
            Tiling::Direct { rows, columns } => write!(f, "direct-{rows}x{columns}"),
            Tiling::Broadcast { rows, columns } => write!(f, "broadcast-{rows}x{columns}"),
            Tiling::Staged { rows, columns, sums: Sums::S8x8 } => write!(f, "staged-{rows}x{columns}"),
            Tiling::Staged { rows, columns, sums } => {
                write!(f, "staged-{rows}x{columns}-{}x{}", sums.rows(), sums.columns())
            }
            Tiling::Cooperative { rows, columns } => write!(f, "cooperative-{rows}x{columns}"),
        }
    }
}

/// A plan's name that means none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no plan for a convolution: one looks like `direct-8x8`, `staged-128x96`, `staged-64x64-8x4` or `winograd-2 direct-8x8`"
)]
pub struct UnknownPlan(String);

impl FromStr for Plan {
    type Err = UnknownPlan;

    fn from_str(text: &str) -> Result<Self, UnknownPlan> {
        let parse = || {
            let (algorithm, tiling) = match text.strip_prefix("winograd-") {
                Some(rest) => {
                    let (outputs, tiling) = rest.split_once(' ')?;
                    let outputs = outputs.parse().ok().filter(|n| matches!(n, 2 | 4))?;
                    (Algorithm::Winograd { outputs }, tiling)
                }
                None => (Algorithm::ImplicitGemm, text),
            };
            let (family, sides) = tiling.split_once('-')?;
            let (sides, sums) = match sides.split_once('-').filter(|_| family == "staged") {
                Some((sides, of_lane)) => {
                    let has_name = |sums: &Sums| format!("{}x{}", sums.rows(), sums.columns()) == of_lane;
                    (sides, Sums::ALL.into_iter().find(has_name)?)
                }
                None => (sides, Sums::S8x8),
            };
            let (rows, columns) = sides.split_once('x')?;
            let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
            let tiling = match family {
                "direct" => Tiling::Direct { rows, columns },
                "broadcast" => Tiling::Broadcast { rows, columns },
                "staged" => Tiling::Staged { rows, columns, sums },
                "cooperative" => Tiling::Cooperative { rows, columns },
                _ => return None,
            };
            let known = tiling.is_valid();
            known.then_some(Plan { algorithm, tiling })
        };
        parse().ok_or_else(|| UnknownPlan(text.to_owned()))
    }
}

/// Candidate tiles without barriers, the most promising first.
const DIRECT: [Tiling; 5] = [direct(8, 8), direct(4, 16), direct(4, 32), direct(8, 16), direct(4, 8)];
/// The same where the invocations of a subgroup can hand values round.
const BROADCAST: [Tiling; 6] =
    [broadcast(2, 16), broadcast(4, 16), broadcast(4, 8), broadcast(3, 16), broadcast(8, 16), broadcast(4, 32)];
/// Candidate tiles on GPUs, the most promising first: those whose registers an invocation has are tried.
const STAGED: [Tiling; 14] = [
    staged(128, 96, Sums::S8x8),
    staged(64, 96, Sums::S4x8),
    staged(128, 64, Sums::S8x8),
    staged(64, 64, Sums::S8x4),
    staged(64, 96, Sums::S8x8),
    staged(64, 64, Sums::S4x8),
    staged(128, 32, Sums::S8x4),
    staged(64, 32, Sums::S4x8),
    staged(64, 64, Sums::S8x8),
    staged(64, 96, Sums::S8x4),
    staged(32, 64, Sums::S4x4),
    staged(64, 64, Sums::S4x4),
    staged(32, 32, Sums::S4x4),
    staged(128, 16, Sums::S4x4),
];
/// How many of those that fit are tried where time is short.
const QUICK_STAGED: usize = 5;
/// Candidate tiles with cooperative matrices.
const COOPERATIVE: [Tiling; 4] = [cooperative(128, 96), cooperative(64, 96), cooperative(128, 64), cooperative(64, 32)];

const fn direct(rows: usize, columns: usize) -> Tiling {
    Tiling::Direct { rows, columns }
}

const fn broadcast(rows: usize, columns: usize) -> Tiling {
    Tiling::Broadcast { rows, columns }
}

const fn staged(rows: usize, columns: usize, sums: Sums) -> Tiling {
    Tiling::Staged { rows, columns, sums }
}

const fn cooperative(rows: usize, columns: usize) -> Tiling {
    Tiling::Cooperative { rows, columns }
}

/// Tiles below which a GPU's cores are not all busy: large ones have about a hundred.
const FEW_TILES: usize = 64;

/// Tiles that usually suit a product on a GPU whose invocations have so many registers.
fn usual_staged(direction: Direction, g: &Conv2dGeometry, registers: u32) -> Tiling {
    // How many products are computed at a time, and the size of each.
    let (products, rows, columns) = match direction {
        Direction::Forward => (1, g.out_pixels(), g.out_c),
        // Those of a stride's phases wait for one another.
        Direction::BackwardInput => (1, (g.batch * g.in_h * g.in_w).div_ceil(g.stride * g.stride), g.in_c),
        Direction::BackwardWeight => (g.splits().count, g.products() + 1, g.out_c),
    };
    // Tiles that divide the columns waste nothing. The first has the most sums for each load; the last fits everywhere.
    let (tile_columns, tilings) = match columns {
        columns if columns.is_multiple_of(96) => (96, [staged(128, 96, Sums::S8x8), staged(64, 96, Sums::S4x8)]),
        33.. => (64, [staged(128, 64, Sums::S8x8), staged(64, 64, Sums::S4x8)]),
        17.. => (32, [staged(128, 32, Sums::S8x4), staged(64, 32, Sums::S4x8)]),
        _ => (16, [staged(128, 16, Sums::S4x4); 2]),
    };
    let tiles = products * rows.div_ceil(128) * columns.div_ceil(tile_columns);
    // One tile occupies one core of many.
    let small = match tile_columns {
        32.. if tiles < FEW_TILES => Some(staged(32, tile_columns.min(64), Sums::S4x4)),
        _ => None,
    };
    let fitting = small.into_iter().chain(tilings).find(|tiling| tiling.registers(direction) <= registers);
    fitting.unwrap_or(staged(32, 32, Sums::S4x4))
}

impl Tiling {
    /// All candidate tiles.
    pub fn all() -> impl Iterator<Item = Tiling> {
        DIRECT.into_iter().chain(BROADCAST).chain(STAGED).chain(COOPERATIVE)
    }

    /// About how many registers of 32 bits an invocation needs on a GPU for a product, as NVIDIA's compiler uses them: within a seventh.
    pub fn registers(self, direction: Direction) -> u32 {
        let Tiling::Staged { rows, columns, sums } = self else { return 0 };
        let lanes = rows * columns / sums.count();
        let operands = 2 * (sums.rows() + sums.columns());
        // Vectors of four of a slab of 16 products, which are loaded while another one is multiplied.
        let of_columns = (4 * columns).div_ceil(lanes);
        let loads = if direction == Direction::BackwardWeight {
            let of_rows = (4 * rows).div_ceil(lanes);
            // And the tap, channel and pixel of each.
            4 * (of_rows + of_columns) + 5 * of_rows + 2 * of_columns + 16
        } else {
            // Four rows at a time, and where each begins.
            let of_rows = rows.div_ceil(lanes);
            4 * (4 * of_rows + of_columns) + 4 * of_rows + 20
        };
        (sums.count() + operands + loads) as u32
    }

    /// Whether a workgroup with so much memory stages larger slabs: of 24 channels instead of 16, where channels divide into them, so
    /// that with 96 columns every invocation loads the same; of up to 32 pixels instead of 16, so that they are whole lines.
    pub fn is_deep(self, workgroup_bytes: u32) -> bool {
        let Tiling::Staged { rows, columns: 96, sums: Sums::S8x8 } = self else { return false };
        // Vectors of 32 pixels' rows and columns, as many for each invocation.
        let lanes = rows * 96 / Sums::S8x8.count();
        let vectors = [rows, 96].map(|side| (32 * side / 4).next_multiple_of(lanes));
        16 * vectors.iter().sum::<usize>() <= workgroup_bytes as usize
    }

    /// Whether its sums are cooperative matrices.
    pub(super) fn is_cooperative(self) -> bool {
        matches!(self, Tiling::Cooperative { .. })
    }

    /// Whether compilers that can be given small tiles only compile it.
    pub(super) fn is_small(self) -> bool {
        match self {
            Tiling::Direct { rows, columns } | Tiling::Broadcast { rows, columns } => rows <= 4 && rows * columns <= 64,
            // Slabs of them are unrolled.
            Tiling::Staged { .. } | Tiling::Cooperative { .. } => false,
        }
    }

    /// Whether the shaders can be made for it.
    fn is_valid(self) -> bool {
        match self {
            Tiling::Direct { rows, columns } => {
                // Where pixels are contracted, four rows are loaded at a time.
                rows.is_multiple_of(4)
                    && (4..=16).contains(&rows)
                    && columns.is_multiple_of(4)
                    && (4..=32).contains(&columns)
            }
            Tiling::Broadcast { rows, columns } => {
                (1..=16).contains(&rows) && columns.is_multiple_of(4) && (4..=32).contains(&columns)
            }
            Tiling::Staged { rows, columns, sums } => {
                rows.is_multiple_of(32)
                    && columns.is_multiple_of(16)
                    && (32..=1024).contains(&rows)
                    && (16..=512).contains(&columns)
                    && (1..=256).contains(&(rows * columns / sums.count()))
            }
            Tiling::Cooperative { rows, columns } => {
                rows.is_multiple_of(32)
                    && columns.is_multiple_of(32)
                    && (64..=128).contains(&rows)
                    && (32..=128).contains(&columns)
            }
        }
    }
}

/// Kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The CPU device.
    Cpu,
    /// A software renderer: a GPU adapter that runs on the CPU.
    SoftwareGpu,
    /// A GPU.
    Gpu,
}

impl DeviceKind {
    /// The kind of a device.
    pub fn of(device: &Device) -> Self {
        match device {
            Device::Cpu(_) => DeviceKind::Cpu,
            Device::Gpu(gpu) if gpu.is_software() => DeviceKind::SoftwareGpu,
            Device::Gpu(_) => DeviceKind::Gpu,
        }
    }
}

/// Requirements on a plan: the device and the type of the operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Kind of device.
    pub kind: DeviceKind,
    /// Type of the operands.
    pub dtype: DType,
    /// The device's cooperative matrices, if it has some.
    pub cooperative: Option<CooperativeMatrix>,
    /// Invocations of the device's subgroups, if kernels may rely on it.
    pub subgroup: Option<u32>,
    /// What kernels of a GPU should use at most.
    pub budget: Budget,
    /// Whether no gradients will be taken of what is computed.
    pub is_inference: bool,
}

impl Target {
    /// A device with operands of this type.
    pub fn new(device: &Device, dtype: DType) -> Self {
        let (cooperative, subgroup, budget) = match device {
            Device::Cpu(_) => (None, None, Budget::default()),
            Device::Gpu(gpu) => (gpu.cooperative_matrix(), gpu.subgroup(), gpu.budget()),
        };
        Target { kind: DeviceKind::of(device), dtype, cooperative, subgroup, budget, is_inference: false }
    }

    /// Whether subgroups can broadcast unrolled slabs: those of software renderers, not of GPUs.
    fn can_broadcast(self) -> bool {
        matches!(self.subgroup, Some(4 | 8 | 16))
    }

    /// The device and type of an operand.
    pub fn of(operand: &Tensor) -> Self {
        Target::new(operand.device(), operand.dtype())
    }
}

/// Channels from which on Winograd's transforms cost less than they save, on the CPU and software renderers.
const WINOGRAD_CHANNELS: usize = 16;
/// Channels must be a multiple of this for cooperative matrices, which load vectors of four.
const COOPERATIVE_CHANNELS: usize = 4;

impl Plan {
    /// The default plan for a kind of device, without a trial.
    pub fn usual(target: Target, direction: Direction, g: &Conv2dGeometry) -> Plan {
        let kind = target.kind;
        let least = if kind == DeviceKind::Gpu { target.budget.winograd_channels } else { WINOGRAD_CHANNELS };
        let enough = g.in_c.min(g.out_c) >= least;
        let differentiates_forward = direction == Direction::Forward && !target.is_inference;
        // Forward, the rounding of F(2×2, 5×5) leads networks too far from PyTorch's trajectories; on software renderers its
        // transforms cost as much as it saves.
        let saves = g.kernel_h == 3 || kind == DeviceKind::Cpu && !differentiates_forward;
        let winograd = [2, 4]
            .into_iter()
            .filter(|&outputs| enough && saves && winograd::fits(g, outputs, kind))
            // Forward, the larger tiles round so that max-pooling chooses otherwise where elements nearly tie: ygnet's gradients
            // are off by 1.7e-4 instead of 1.1e-4. Where no gradients are taken, that does not matter.
            .filter(|&outputs| outputs == 2 || kind != DeviceKind::Cpu || !differentiates_forward)
            // Larger tiles save more, except for the parts beyond the edge.
            .min_by_key(|&outputs| winograd::products_per_channel(g, outputs))
            // On GPUs the smaller ones save too little but where the larger ones reach too far, and then not for the weight.
            .filter(|&outputs| outputs == 4 || kind != DeviceKind::Gpu || direction != Direction::BackwardWeight)
            .map(|outputs| Algorithm::Winograd { outputs })
            .filter(|&algorithm| Plan { algorithm, tiling: direct(4, 16) }.suits(target, g));
        let algorithm = winograd.unwrap_or(Algorithm::ImplicitGemm);
        let tiling = match kind {
            DeviceKind::SoftwareGpu if target.can_broadcast() => match direction {
                Direction::Forward | Direction::BackwardInput => broadcast(2, 16),
                Direction::BackwardWeight => broadcast(4, 16),
            },
            DeviceKind::SoftwareGpu if target.budget.small_tiles => direct(4, 16),
            DeviceKind::Cpu | DeviceKind::SoftwareGpu => direct(8, 8),
            DeviceKind::Gpu => usual_staged(direction, g, target.budget.registers),
        };
        Plan { algorithm, tiling }
    }

    /// Candidate plans for a kind of device, the default first; `quick` omits those that are seldom the fastest.
    pub fn candidates(target: Target, direction: Direction, g: &Conv2dGeometry, quick: bool) -> Vec<Plan> {
        let tilings = match target.kind {
            DeviceKind::Cpu => &DIRECT[..1],
            DeviceKind::SoftwareGpu if target.can_broadcast() => &BROADCAST[..if quick { 3 } else { BROADCAST.len() }],
            DeviceKind::SoftwareGpu => &DIRECT[..if quick { 2 } else { DIRECT.len() }],
            DeviceKind::Gpu => &STAGED[..],
        };
        let fits =
            |tiling: &&Tiling| target.kind != DeviceKind::Gpu || tiling.registers(direction) <= target.budget.registers;
        let most = if quick && target.kind == DeviceKind::Gpu { QUICK_STAGED } else { usize::MAX };
        let tilings: Vec<_> = tilings.iter().filter(fits).take(most).collect();
        let algorithms =
            [Algorithm::ImplicitGemm, Algorithm::Winograd { outputs: 2 }, Algorithm::Winograd { outputs: 4 }];
        let mut plans = vec![Plan::usual(target, direction, g)];
        for algorithm in algorithms {
            for &tiling in COOPERATIVE.iter().chain(tilings.iter().copied()) {
                let plan = Plan { algorithm, tiling };
                // Where pixels are contracted, four rows are the least that an invocation owns.
                let same = matches!(tiling, Tiling::Broadcast { rows, .. } if !rows.is_multiple_of(4))
                    && direction == Direction::BackwardWeight;
                if plan.suits(target, g) && !same && !plans.contains(&plan) {
                    plans.push(plan);
                }
            }
        }
        plans
    }

    /// Whether it can compute a convolution's products.
    pub fn suits(self, target: Target, g: &Conv2dGeometry) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::ImplicitGemm => true,
            // Its transforms lose too much precision with 16-bit floats.
            Algorithm::Winograd { outputs } => target.dtype == DType::F32 && winograd::fits(g, outputs, target.kind),
        };
        let tiling = match self.tiling {
            Tiling::Direct { .. } | Tiling::Staged { .. } => true,
            Tiling::Broadcast { .. } => target.can_broadcast(),
            Tiling::Cooperative { .. } => {
                target.dtype == DType::F16
                    && target.cooperative.is_some()
                    && g.in_c.is_multiple_of(COOPERATIVE_CHANNELS)
                    && g.out_c.is_multiple_of(COOPERATIVE_CHANNELS)
            }
        };
        algorithm && tiling && (self.tiling.is_small() || !target.budget.small_tiles)
    }
}

/// The plans for a network's products; the default plans compute those without one.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    chosen: HashMap<(Direction, Conv2dGeometry), Plan>,
}

impl Plans {
    /// Chooses a plan, for batches of any size.
    pub fn choose(&mut self, direction: Direction, g: &Conv2dGeometry, plan: Plan) {
        self.chosen.insert((direction, Conv2dGeometry { batch: 0, ..*g }), plan);
    }

    /// The plan for a product.
    pub fn get(&self, target: Target, direction: Direction, g: &Conv2dGeometry) -> Plan {
        self.chosen
            .get(&(direction, Conv2dGeometry { batch: 0, ..*g }))
            .copied()
            // The plan may not support a batch larger than the one it was tuned for.
            .filter(|plan| plan.suits(target, g))
            .unwrap_or_else(|| Plan::usual(target, direction, g))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Padding;

    fn on(kind: DeviceKind, registers: u32) -> Target {
        let budget = Budget { registers, ..Budget::default() };
        Target { kind, dtype: DType::F32, cooperative: None, subgroup: None, budget, is_inference: false }
    }

    #[test]
    fn few_rows_are_cut_into_small_tiles() {
        let target = on(DeviceKind::Gpu, 255);
        let g = |input: [usize; 4], weight: [usize; 4]| Conv2dGeometry::new(&input, &weight, 1, Padding::Same).unwrap();
        let tiling = |direction, g| Plan::usual(target, direction, &g).tiling;
        // lenet5's first fully connected layer, with batches of 64: 8 tiles instead of 4, of a quarter of the work.
        let fc1 = g([64, 1, 1, 1600], [1, 1, 1600, 200]);
        assert_eq!(tiling(Direction::Forward, fc1), staged(32, 64, Sums::S4x4));
        assert_eq!(tiling(Direction::BackwardInput, fc1), staged(32, 64, Sums::S4x4));
        // The gradient of its weight has 13 × 4 tiles of 128 rows and no splits.
        assert_eq!(tiling(Direction::BackwardWeight, fc1), staged(32, 64, Sums::S4x4));
        let conv2 = |batch| g([batch, 32, 32, 96], [3, 3, 96, 96]);
        assert!(Direction::ALL.iter().all(|&direction| tiling(direction, conv2(64)) == staged(128, 96, Sums::S8x8)));
        // What counts is the tiles that would be taken: of 64 columns there would be 64, of 96 there are 32.
        assert_eq!(tiling(Direction::Forward, conv2(4)), staged(32, 64, Sums::S4x4));
        assert_eq!(tiling(Direction::BackwardWeight, conv2(4)), staged(128, 96, Sums::S8x8));
        // A cotangent's phases are computed one after the other: 32 tiles each.
        let strided = Conv2dGeometry::new(&[16, 32, 32, 96], &[3, 3, 96, 96], 2, Padding::Same).unwrap();
        assert_eq!(tiling(Direction::BackwardInput, strided), staged(32, 64, Sums::S4x4));
        let classes = g([64, 6, 6, 192], [1, 1, 192, 10]);
        assert_eq!(tiling(Direction::Forward, classes), staged(128, 16, Sums::S4x4));
    }

    #[test]
    fn tiles_fit_the_registers() {
        let g = |columns| Conv2dGeometry::new(&[64, 32, 32, 96], &[3, 3, 96, columns], 1, Padding::Same).unwrap();
        // The last has as few as no GPU of today.
        for registers in [255, 192, 128, 64, 32] {
            let target = on(DeviceKind::Gpu, registers);
            for (direction, columns) in Direction::ALL.into_iter().flat_map(|d| [10, 20, 64, 96].map(|n| (d, n))) {
                let plans = Plan::candidates(target, direction, &g(columns), false);
                let fits = |plan: &&Plan| plan.tiling.registers(direction) <= registers;
                let fitting = plans.iter().filter(fits).count();
                assert!(fitting == plans.len() || registers < 80, "{registers}: {plans:?}");
                assert!(!plans.is_empty());
            }
        }
        let names = |registers| {
            let plans = Plan::candidates(on(DeviceKind::Gpu, registers), Direction::Forward, &g(96), true);
            plans.iter().map(Plan::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(255)[0], "winograd-4 staged-128x96");
        assert_eq!(names(128)[0], "winograd-4 staged-64x96-4x8");
        // As NVIDIA's compiler uses them for 3×3 windows of ygnet.
        let product = Direction::Forward;
        let contraction = Direction::BackwardWeight;
        for (tiling, direction, used) in [
            (staged(128, 96, Sums::S8x8), product, 144),
            (staged(64, 64, Sums::S8x8), product, 152),
            (staged(64, 64, Sums::S8x4), product, 96),
            (staged(64, 96, Sums::S4x8), product, 104),
            (staged(64, 64, Sums::S4x4), product, 72),
            (staged(128, 96, Sums::S8x8), contraction, 128),
            (staged(64, 64, Sums::S8x8), contraction, 152),
            (staged(64, 96, Sums::S4x8), contraction, 88),
        ] {
            let estimated = f64::from(tiling.registers(direction));
            assert!(
                (0.95..1.2).contains(&(estimated / f64::from(used))),
                "{tiling:?}, {direction:?}: {estimated}, not {used}"
            );
        }
    }

    /// SwiftShader's compiler takes minutes for others.
    #[test]
    fn compilers_that_need_small_tiles_get_no_others() {
        for (subgroup, channels) in [None, Some(4)].into_iter().flat_map(|s| [3, 33, 96].map(|channels| (s, channels)))
        {
            let budget = Budget { small_tiles: true, ..Budget::default() };
            let target = Target { subgroup, budget, ..on(DeviceKind::SoftwareGpu, 128) };
            let g = Conv2dGeometry::new(&[2, 12, 12, channels], &[3, 3, channels, 18], 1, Padding::Same).unwrap();
            for (direction, quick) in Direction::ALL.into_iter().flat_map(|d| [(d, true), (d, false)]) {
                let plans = Plan::candidates(target, direction, &g, quick);
                assert!(!plans.is_empty() && plans.iter().all(|plan| plan.tiling.is_small()), "{plans:?}");
                // Tuned on another driver.
                let mut tuned = Plans::default();
                tuned.choose(direction, &g, "direct-8x8".parse().unwrap());
                assert_eq!(tuned.get(target, direction, &g), Plan::usual(target, direction, &g));
            }
        }
    }

    #[test]
    fn what_a_plan_cannot_compute_is_computed_otherwise() {
        let g = |batch| Conv2dGeometry::new(&[batch, 32, 32, 96], &[3, 3, 96, 96], 1, Padding::Same).unwrap();
        let winograd: Plan = "winograd-4 direct-8x8".parse().unwrap();
        let mut plans = Plans::default();
        plans.choose(Direction::Forward, &g(64), winograd);
        for kind in [DeviceKind::SoftwareGpu, DeviceKind::Gpu] {
            let target = |dtype| Target { dtype, ..on(kind, 255) };
            let algorithm = |dtype, batch| plans.get(target(dtype), Direction::Forward, &g(batch)).algorithm;
            assert_eq!(plans.get(target(DType::F32), Direction::Forward, &g(32)), winograd);
            assert_eq!(algorithm(DType::F32, 256), Algorithm::ImplicitGemm);
            assert_eq!(algorithm(DType::F16, 32), Algorithm::ImplicitGemm);
        }
    }
}
