// Tests the bits: compilers may assume that there are neither infinities nor NaNs.
fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}
