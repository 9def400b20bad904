//! Assembly of each vendor's compiler, shortened, and what is read from it.

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

fn part(multiply_adds: u64, instructions: u64, cycles: u64) -> Option<Part> {
    Some(Part { multiply_adds, instructions, cycles })
}

pub fn trials() -> Vec<Trial> {
    let test = |name: &str, vendor: Vendor, text: &'static str, expected: Assembly| {
        Trial::test(format!("reader/{name}"), move || {
            let parsed = Assembly::parse(vendor, text);
            if parsed == expected { Ok(()) } else { Err(Failed::from(format!("{parsed:?}"))) }
        })
    };
    let loads = |loads: &[(u32, usize)]| loads.iter().copied().collect();
    vec![
        test(
            "AMD",
            Vendor::Amd,
            AMD,
            // The inner loop is its own block; a dual instruction is two in one cycle.
            Assembly { block: part(2, 4, 3), inner_loop: part(2, 4, 3), workgroup_loads: loads(&[(128, 2)]) },
        ),
        test(
            "NVIDIA",
            Vendor::Nvidia,
            NVIDIA,
            Assembly { block: part(2, 3, 6), inner_loop: part(2, 5, 13), workgroup_loads: loads(&[(128, 1)]) },
        ),
        test(
            "Apple",
            Vendor::Apple,
            APPLE,
            Assembly { block: part(1, 2, 2), inner_loop: part(2, 6, 6), workgroup_loads: loads(&[(128, 1), (32, 1)]) },
        ),
        test(
            "Qualcomm",
            Vendor::Qualcomm,
            QUALCOMM,
            // One of them is executed three times.
            Assembly { block: part(4, 4, 6), inner_loop: part(4, 6, 8), workgroup_loads: loads(&[(32, 1)]) },
        ),
    ]
}
