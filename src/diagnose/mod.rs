//! Device checks and benchmarks with this program's kernels: correctness, and the speed of whole steps.

pub mod bench;
pub mod ceiling;
pub mod check;
