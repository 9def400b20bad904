//! Assembly of each vendor's compiler, shortened, and what is read from it.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};

use super::assembly::{Assembly, Part};
use super::gpus::Vendor;

const AMD: &str = "
BB0:
\ts_load_dwordx4 s[0:3], s[2:3], null   ; F40A0001
BB1:
\tds_load_2addr_b64 v[0:3], v5 offset1:1
\tds_read_b128 v[0:3], v5
BB2:
\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_mul_f32 v4, v5, v6
\tv_fma_f32 v0, v1, v2, v3
\ts_cbranch_scc0 BB2
\tv_fma_f32 v0, v1, v2, v3
\ts_cbranch_vccz BB4
BB3:
\ts_add_i32 s0, s1, s2
\ts_branch BB3
BB4:
\ts_branch BB1
\ts_endpgm";

const NVIDIA: &str = "
block.u 0 L0 [] -> {
      r0        = s2r sr[0x21]                      // delay=1 wr:0
} -> [1]
block 1 L2 [0, 3] -> {
@!p0              bra pT L10                        // delay=2 wt=000011
} -> [2, 3]
block 2 L3 [1] -> {
      r1..5     = ld.shared.strong.cta.b128 [r0+0x0] // delay=3 wr:0
      r5        = ffma.ftz r1 r2 r5                 // delay=1
      r6        = ffma.ftz r1 r3 r6                 // delay=2
} -> [3]
block 3 L4 [1, 2] -> {
                  bra L2                            // delay=5
} -> [1, 4]
block 4 L5 [3] -> {
                  exit                              // delay=1
} -> []";

const APPLE: &str = "
shader: MESA_SHADER_COMPUTE
   0: 520e00000000           get_sr   r4, sr51
   6: 69912002f4000010       lload    r36_r37_r38_r39, r16l, 0, i32, xyzw
   e: 69912002f4000010       lload    r40_r41, r16l, 0, i16, xy
  16: baa9a8822854822d       ffma     $r74, $r116, $r36, r74
  1e: 20c0e8010000           jmp_none 488
  24: baa9a8822854822d       ffma     $r75, $r116, $r36, r75
  2c: 00c0b089ffff           jmp_any  -38
  32: 8800                   stop
   0: 7e11400a8000           mov      r4, r0";

const QUALCOMM: &str = "
Native code for unnamed CL shader (null) with blake3 c847:
@in(r48.x)\tin0 (wrmask=0x7)
mov.u32u32 r48.w, 1
l760:
(sy)(ss)ldl.u32 r0.x, l[r1.x], 4
(rpt2)mad.f32 r39.y, r11.y, r46.z, (last)r39.y
mad.f32 r29.y, r11.y, r0.x, r29.y
br p0.z, #l1017
add.u r1.x, r1.x, 1
jump #l760
l1017:
end";

/// A loop that is entered at its condition, which stands at its end.
const ROTATED: &str = "
BB0:
\ts_branch BB2
BB1:
\tv_fma_f32 v0, v1, v2, v3
BB2:
\ts_cmp_eq_u32 s0, 0
\ts_cbranch_scc0 BB1
BB3:
\ts_endpgm";

/// Matrix units are busy for 16 cycles with each product.
const TENSOR_CORES: &str = "
block.u 0 L0 [0] -> {
      r4..8     = ldsm.16.m8n8.x4 [r0]                           // delay=2 wr:0
      r8..12    = hmma.m16n8k16.f32 r4..8 r12..14 r8..12         // delay=3 wr:1
@!p0              bra pT L0                                      // delay=5
} -> [0]";

fn part(multiply_adds: u64, instructions: u64, cycles: u64) -> Option<Part> {
    Some(Part { multiply_adds, multiply_add_cycles: multiply_adds, instructions, cycles, storage_bytes: 0 })
}

/// What a test expects: the busiest block and loop, and the loads from workgroup memory.
type Expected = (Option<Part>, Option<Part>, BTreeMap<u32, usize>);

/// Accesses of storage buffers, and how many bits they load and store.
const ACCESSES: [(Vendor, &str, u64); 5] = [
    (Vendor::Amd, "BB0:\n\tbuffer_load_b128 v[0:3], v0\n\tbuffer_store_d16_b16 v1, v0\n\tbuffer_gl0_inv", 144),
    (Vendor::Amd, "BB0:\n\tbuffer_load_dwordx2 v[0:1], v0\n\tglobal_store_short v1, v0\n\tbuffer_load_dword v1", 112),
    (
        Vendor::Nvidia,
        "block 0 [] -> {\n r1 = ld.global.a64.constant.b128 [r2], p0 // delay=2\n st.global.a64.strong.gpu.u16 r1 // delay=1\n} -> []",
        144,
    ),
    (
        Vendor::Apple,
        "  0: 05112810c012 load     r2_r3, du12, r1, i32, xy, a\n  8: 4511 store    r2l, du14, r1, i16, x, a",
        80,
    ),
    (Vendor::Qualcomm, "isam.v.base0 (u32)(xyzw)r1.z, r0.w, s#0\nstib.b.untyped.1d.u16.2.imm.base0 r2.w, r0.x, 3", 160),
];

pub fn trials() -> Vec<Trial> {
    let test = |name: &str, vendor: Vendor, text: &'static str, expected: Expected| {
        Trial::test(format!("reader/{name}"), move || {
            let Assembly { block, inner_loop, workgroup_loads, .. } = Assembly::parse(vendor, text);
            let told = (block, inner_loop, workgroup_loads);
            if told == expected { Ok(()) } else { Err(Failed::from(format!("{told:?}"))) }
        })
    };
    let loads = |loads: &[(u32, usize)]| loads.iter().copied().collect();
    let mut trials = vec![
        // The inner loop is its own block; a dual instruction is two in one cycle.
        test("AMD", Vendor::Amd, AMD, (part(2, 4, 3), part(2, 4, 3), loads(&[(128, 2)]))),
        test("loop entered at its end", Vendor::Amd, ROTATED, (part(1, 1, 1), part(1, 3, 3), loads(&[]))),
        test("NVIDIA", Vendor::Nvidia, NVIDIA, (part(2, 3, 6), part(2, 5, 13), loads(&[(128, 1)]))),
        test("tensor cores", Vendor::Nvidia, TENSOR_CORES, {
            let busy =
                Part { multiply_adds: 64, multiply_add_cycles: 16, instructions: 3, cycles: 10, storage_bytes: 0 };
            (Some(busy), Some(busy), loads(&[]))
        }),
        test("Apple", Vendor::Apple, APPLE, (part(1, 2, 2), part(2, 6, 6), loads(&[(128, 1), (32, 1)]))),
        // One of them is executed three times.
        test("Qualcomm", Vendor::Qualcomm, QUALCOMM, (part(4, 4, 6), part(4, 6, 8), loads(&[(32, 1)]))),
    ];
    trials.push(Trial::test("reader/accesses of storage buffers", || {
        for (vendor, text, bits) in ACCESSES {
            let outside = Assembly::parse(vendor, text).outside;
            if outside.storage_bytes * 8 != bits {
                return Err(Failed::from(format!("{text}\n{outside:?}, not {bits} bits")));
            }
        }
        Ok(())
    }));
    trials
}
