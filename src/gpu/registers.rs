//! How many registers an invocation may use, by the vendor of the GPU: what a kernel keeps must fit, or it is spilled to memory and
//! becomes several times slower. wgpu does not report it; the vendors' documents and compilers do.

/// Registers of 32 bits that an invocation has where nothing is known of the GPU: what Apple's and Intel's have.
const UNKNOWN: u32 = 128;

/// Vendors of GPUs as PCI and Khronos number them, and registers of 32 bits that an invocation may use. `tests/shader_stats` asks
/// the vendors' compilers whether what is chosen by this table is spilled.
const REGISTERS: [(u32, u32); 6] = [
    // NVIDIA: 255 each, 65,536 in a multiprocessor of up to 48 warps of 32, 100 KiB or more of memory for its workgroups. From 168
    // on, 12 warps fit, which hide the latency of arithmetic and workgroup memory.
    (0x10de, 255),
    // AMD, RDNA: 256 each, 1,536 for the subgroups of 32 on a SIMD, so that 8 subgroups of 180 fit; 64 KiB of memory for a workgroup.
    (0x1002, 256),
    // Intel, Xe: 128 of 32 bytes for a thread of 8 invocations, 64 KiB of memory for a workgroup.
    (0x8086, 128),
    // Qualcomm, Adreno 7xx: 48 of four floats each, with 4 waves of 128 on a core, which are few; 32 KiB of memory for a workgroup.
    (0x5143, 192),
    // Arm, Mali: 64 each, 32 for the most threads; workgroups have no memory of their own but the cache's.
    (0x13b5, 64),
    // Apple: 128 each, 208 KiB on a core for 384 invocations with all of them, 512 with 100; 32 KiB of memory for a workgroup.
    (0x106b, 128),
];

/// SwiftShader, which runs on the CPU, by its Khronos number.
const SWIFTSHADER: u32 = 0x1ae0;

/// Whether a driver's compiler can be given small tiles only, by the vendor. SwiftShader's takes minutes and gigabytes for some of
/// those with 8 rows an invocation: their time grows with the branches around loads and stores.
pub(super) fn needs_small_tiles(vendor: u32) -> bool {
    vendor == SWIFTSHADER
}

/// Registers of 32 bits that an invocation may use without spilling on GPUs of a vendor, by its PCI or Khronos number; a cautious
/// number for unknown ones. Metal reports no vendor, and most of its GPUs are Apple's.
pub fn registers_of_vendor(vendor: u32) -> u32 {
    REGISTERS.iter().find(|(known, _)| *known == vendor).map_or(UNKNOWN, |&(_, registers)| registers)
}
