//! What the compilers' statistics say in terms that all GPUs have.

use super::compiler::{Result, Statistics};
use super::gpus::Vendor;

/// The figures of a compiled variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Registers of an invocation, in the vendor's unit.
    pub registers: u64,
    /// Spilled registers, or the instructions that spill.
    pub spilled: u64,
    /// Bytes of memory for what does not fit in registers.
    pub scratch_bytes: u64,
    /// How many run on a core at a time, in the unit of [`occupancy_unit`].
    pub occupancy: u64,
}

impl Figures {
    /// Reads a driver's statistics.
    ///
    /// # Errors
    /// If it tells others than it is known for.
    pub fn of(vendor: Vendor, statistics: &Statistics) -> Result<Self> {
        let get = |name: &str| {
            let known = || format!("the driver reports no `{name}`, only {:?}", statistics.keys());
            statistics.get(name).copied().ok_or_else(known)
        };
        Ok(match vendor {
            Vendor::Amd => Figures {
                registers: get("VGPRs")?,
                spilled: get("Spilled VGPRs")? + get("Spilled SGPRs")?,
                scratch_bytes: get("Scratch size")?,
                occupancy: get("Subgroups per SIMD")?,
            },
            Vendor::Nvidia => Figures {
                registers: get("Number of GPRs")?,
                spilled: get("Spills to memory")?,
                scratch_bytes: get("SLM size")?,
                occupancy: get("Max warps/SM")?,
            },
            Vendor::Apple => Figures {
                registers: get("GPRs")?,
                spilled: get("Spills")?,
                scratch_bytes: get("Scratch")?,
                occupancy: get("Threads")?,
            },
            // Private memory is written for spilled registers and for arrays alike.
            Vendor::Qualcomm => Figures {
                registers: get("Registers used")?,
                spilled: get("STP Count")?,
                scratch_bytes: get("STP Count")? * 4,
                occupancy: get("Max Waves Per Core")?,
            },
        })
    }

    /// What no kernel may need, if it does.
    pub fn fault(self) -> Option<String> {
        (self.spilled + self.scratch_bytes > 0)
            .then(|| format!("{} spilled, {} bytes of scratch memory", self.spilled, self.scratch_bytes))
    }
}

/// What an occupancy counts.
pub fn occupancy_unit(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Amd => "subgroups a SIMD",
        Vendor::Nvidia => "warps an SM",
        Vendor::Apple => "threads a core",
        Vendor::Qualcomm => "waves a core",
    }
}
