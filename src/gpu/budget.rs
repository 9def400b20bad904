//! What an invocation and a workgroup should use at most, by the vendor of the GPU: what an invocation keeps must fit into its
//! registers, or it is spilled to memory and becomes several times slower; what a workgroup stages decides how many run on a core at a
//! time. wgpu does not report it; the vendors' documents and compilers do.

/// What kernels of a GPU should use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Registers of 32 bits of an invocation.
    pub registers: u32,
    /// Bytes of workgroup memory of a workgroup that multiplies.
    pub workgroup_bytes: u32,
    /// Channels from which on Winograd's algorithm is taken without a trial: it multiplies a quarter as often as a convolution, and moves
    /// about five times as many bytes.
    pub winograd_channels: usize,
    /// Whether the driver's compiler can be given small tiles only: others take it minutes and gigabytes.
    pub small_tiles: bool,
}

const KIB: u32 = 1024;

/// Where nothing is known of the GPU: the registers that Apple's and Intel's have, and the memory that every one has.
const UNKNOWN: Budget = Budget { registers: 128, workgroup_bytes: 16 * KIB, winograd_channels: 96, small_tiles: false };

/// Vendors of GPUs as PCI and Khronos number them, and what kernels should use there. `tests/shader_stats` asks the vendors' compilers
/// whether what is chosen by this table is spilled.
const BUDGETS: [(u32, Budget); 8] = [
    // NVIDIA: 255 each, 65,536 in a multiprocessor of up to 48 warps of 32, and 100 KiB or more of memory. With 168, 12 warps fit,
    // which hide the latency of arithmetic and workgroup memory; those are two workgroups of 192, so that each may have a third, and on
    // Turing, which has 64 KiB, a half.
    // With fewer channels, the model of `tests/shader_stats` expects Winograd's F(4×4) to gain a fifth on an H200 and to lose a third on
    // an RTX 4090, which has as much arithmetic and a fifth of the bandwidth.
    (0x10de, Budget { registers: 255, workgroup_bytes: 32 * KIB, winograd_channels: 192, ..UNKNOWN }),
    // AMD, RDNA: 256 each, 1,536 for the subgroups of 32 on a SIMD, so that 10 subgroups of 144 fit; on four SIMDs they are six
    // workgroups of 192, which share 128 KiB.
    (0x1002, Budget { registers: 256, ..UNKNOWN }),
    // Intel, Xe: 128 of 32 bytes for a thread of 8 invocations; 64 KiB and more on a core.
    (0x8086, UNKNOWN),
    // Qualcomm, Adreno 7xx: 48 of four floats each, with 4 waves of 128 on a core, which are few; 32 KiB for a workgroup. Its compiler
    // needs a quarter more of them than NVIDIA's.
    (0x5143, Budget { registers: 148, ..UNKNOWN }),
    // Arm, Mali: 64 each, 32 for the most threads; workgroups have no memory of their own but the cache's.
    (0x13b5, Budget { registers: 64, ..UNKNOWN }),
    // Apple: 128 each, 208 KiB on a core for 384 invocations with all of them, 512 with 100; 32 KiB for a workgroup.
    (0x106b, UNKNOWN),
    // Mesa's software renderers: as for NVIDIA, so that tests run what its GPUs do.
    (0x10005, Budget { registers: 255, workgroup_bytes: 32 * KIB, winograd_channels: 192, ..UNKNOWN }),
    // SwiftShader, which runs on the CPU: for some tiles with eight rows of an invocation, the time of its compiler grows with the branches
    // around loads and stores.
    (Budget::SWIFT_SHADER, Budget { small_tiles: true, ..UNKNOWN }),
];

impl Default for Budget {
    fn default() -> Self {
        UNKNOWN
    }
}

impl Budget {
    /// Number of SwiftShader's vendor.
    pub(super) const SWIFT_SHADER: u32 = 0x1ae0;

    /// That of a vendor's GPUs, by its PCI or Khronos number; a cautious one for unknown ones. Metal reports no vendor, and most of its
    /// GPUs are Apple's.
    pub fn of_vendor(vendor: u32) -> Self {
        BUDGETS.iter().find(|(known, _)| *known == vendor).map_or(UNKNOWN, |&(_, budget)| budget)
    }
}
