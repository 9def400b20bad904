//! How a convolution's products are computed: the algorithm, and on a GPU the tiles of its matrix products.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::{Conv2dGeometry, winograd};
use crate::device::Device;

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
    /// A workgroup stages slabs of both operands in its memory and owns `rows` × `columns` sums, of which each invocation
    /// keeps 8 × 8 in registers: for GPUs.
    Staged {
        /// Rows of a workgroup, a multiple of 32.
        rows: usize,
        /// Columns of a workgroup, a multiple of 16.
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
            Tiling::Staged { rows, columns } => write!(f, "staged-{rows}x{columns}"),
        }
    }
}

/// A plan's name that means none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no plan for a convolution: one looks like `direct-8x8`, `staged-128x96` or `winograd-2 direct-8x8`"
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
            let (rows, columns) = sides.split_once('x')?;
            let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
            let tiling = match family {
                "direct" => Tiling::Direct { rows, columns },
                "staged" => Tiling::Staged { rows, columns },
                _ => return None,
            };
            let known = tiling.is_valid();
            known.then_some(Plan { algorithm, tiling })
        };
        parse().ok_or_else(|| UnknownPlan(text.to_owned()))
    }
}

impl Tiling {
    /// Whether the shaders can be made for it.
    fn is_valid(self) -> bool {
        match self {
            Tiling::Direct { rows, columns } => {
                (1..=16).contains(&rows) && columns.is_multiple_of(4) && (4..=32).contains(&columns)
            }
            Tiling::Staged { rows, columns } => {
                let lanes = rows * columns / 64;
                rows.is_multiple_of(32) && columns.is_multiple_of(16) && (1..=256).contains(&lanes)
            }
        }
    }
}

/// What kind of device computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The CPU device.
    Cpu,
    /// A GPU adapter that runs on the CPU.
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

/// Channels from which on Winograd's transforms cost less than they save.
const WINOGRAD_CHANNELS: usize = 16;

impl Plan {
    /// What usually suits a kind of device, without having tried it.
    pub fn usual(kind: DeviceKind, direction: Direction, g: &Conv2dGeometry) -> Plan {
        let winograd = winograd::fits(g) && g.in_c.min(g.out_c) >= WINOGRAD_CHANNELS;
        let algorithm = match kind {
            DeviceKind::SoftwareGpu if winograd => Algorithm::Winograd { outputs: 4 },
            _ => Algorithm::ImplicitGemm,
        };
        let columns = match direction {
            Direction::Forward | Direction::BackwardWeight => g.out_c,
            Direction::BackwardInput => g.in_c,
        };
        let tiling = match kind {
            DeviceKind::Cpu | DeviceKind::SoftwareGpu => Tiling::Direct { rows: 8, columns: 8 },
            // Tiles that divide the columns waste nothing.
            DeviceKind::Gpu if columns.is_multiple_of(96) => Tiling::Staged { rows: 128, columns: 96 },
            DeviceKind::Gpu if columns > 32 => Tiling::Staged { rows: 128, columns: 64 },
            DeviceKind::Gpu if columns > 16 => Tiling::Staged { rows: 128, columns: 32 },
            DeviceKind::Gpu => Tiling::Staged { rows: 128, columns: 16 },
        };
        Plan { algorithm, tiling }
    }

    /// Plans worth trying on a kind of device, the usual one first; `quick` leaves out those that seldom win.
    pub fn candidates(kind: DeviceKind, direction: Direction, g: &Conv2dGeometry, quick: bool) -> Vec<Plan> {
        let tilings: &[&str] = match (kind, quick) {
            (DeviceKind::Cpu, _) => &["direct-8x8"],
            (DeviceKind::SoftwareGpu, true) => &["direct-8x8", "direct-4x16"],
            (DeviceKind::SoftwareGpu, false) => {
                &["direct-8x8", "direct-4x16", "direct-4x32", "direct-8x16", "direct-4x8"]
            }
            (DeviceKind::Gpu, true) => {
                &["staged-128x96", "staged-64x96", "staged-128x64", "staged-64x64", "staged-64x32"]
            }
            (DeviceKind::Gpu, false) => &[
                "staged-128x96",
                "staged-64x96",
                "staged-128x64",
                "staged-64x64",
                "staged-128x32",
                "staged-64x32",
                "staged-128x16",
                "staged-64x16",
                "staged-32x32",
                "staged-32x64",
            ],
        };
        let algorithms: &[&str] = if winograd::fits(g) { &["", "winograd-2 ", "winograd-4 "] } else { &[""] };
        let mut plans = vec![Plan::usual(kind, direction, g)];
        for algorithm in algorithms {
            for tiling in tilings {
                match format!("{algorithm}{tiling}").parse() {
                    Ok(plan) if !plans.contains(&plan) => plans.push(plan),
                    _ => {}
                }
            }
        }
        plans
    }
}

/// Which plan computes which product; where none was chosen, the usual one does.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    chosen: HashMap<(Direction, Conv2dGeometry), Plan>,
}

impl Plans {
    /// Chooses a plan, for batches of any size.
    pub fn choose(&mut self, direction: Direction, g: &Conv2dGeometry, plan: Plan) {
        self.chosen.insert((direction, Conv2dGeometry { batch: 0, ..*g }), plan);
    }

    /// The plan for a product on a kind of device.
    pub fn get(&self, kind: DeviceKind, direction: Direction, g: &Conv2dGeometry) -> Plan {
        self.chosen
            .get(&(direction, Conv2dGeometry { batch: 0, ..*g }))
            .copied()
            // A larger batch than the one that was tuned for may be too large.
            .filter(|plan| plan.algorithm == Algorithm::ImplicitGemm || winograd::fits(g))
            .unwrap_or_else(|| Plan::usual(kind, direction, g))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv2d::Padding;

    #[test]
    fn batches_too_large_for_winograds_tiles_are_computed_otherwise() {
        let g = |batch| Conv2dGeometry::new(&[batch, 32, 32, 96], &[3, 3, 96, 96], 1, Padding::Same).unwrap();
        let winograd: Plan = "winograd-4 direct-8x8".parse().unwrap();
        let mut plans = Plans::default();
        plans.choose(Direction::Forward, &g(64), winograd);
        for kind in [DeviceKind::Cpu, DeviceKind::SoftwareGpu, DeviceKind::Gpu] {
            assert_eq!(plans.get(kind, Direction::Forward, &g(32)), winograd);
            assert_eq!(plans.get(kind, Direction::Forward, &g(256)).algorithm, Algorithm::ImplicitGemm);
        }
    }
}
