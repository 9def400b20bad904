//! Tests and benchmarks of a device with this program's own kernels: whether it computes right, and how fast whole steps are.

pub mod bench;
pub mod check;
