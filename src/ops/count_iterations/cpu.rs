//! CPU twin of the kernel that counts iterations.

use crate::profile;

pub(super) fn count_iterations(iterations: u32, counted: &mut [u32]) {
    let _timed = profile::twin("count_iterations", 0, size_of_val(counted));
    counted[0] = iterations;
    counted[1] = (0..iterations).fold(0_u32, |x, _| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
}
