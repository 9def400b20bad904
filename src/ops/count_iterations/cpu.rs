//! CPU twin of the kernel that counts iterations.

pub(super) fn count_iterations(iterations: u32, counted: &mut [u32]) {
    counted[0] = iterations;
    counted[1] = (0..iterations).fold(0_u32, |x, _| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
}
