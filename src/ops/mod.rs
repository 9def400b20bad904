//! The operations: each folder has the geometry and the tape rule (`mod.rs`, forward beside backward), the CPU twin (`cpu.rs`), the
//! GPU launcher (`gpu.rs`), and test cases with expected results (`cases.rs`). The shaders have the same names. Operations do not
//! depend on networks or file formats.

pub mod case;
mod draw;
mod op;
mod padding;
pub mod pool2d;
pub mod random;
mod step_state;

/// Declares the modules of operations, and gathers their cases.
macro_rules! operations {
    ($($operation:ident),* $(,)?) => {
        $(pub mod $operation;)*

        fn drawn_by(draw: &mut Draw) -> Vec<case::Case> {
            [$($operation::cases::cases(draw)),*].into_iter().flatten().collect()
        }
    };
}

// rustfmt does not see modules in macros: scripts/check passes these files to it.
operations! {
    adam,
    avg_pool2d,
    batch_assembly,
    batch_norm,
    conv2d,
    convert,
    count_iterations,
    distillation,
    dropout,
    elementwise,
    flatten,
    global_avg_pool,
    gradient_clipping,
    linear,
    loss_scaling,
    max_pool2d,
    muon,
    pad_channels,
    record_metrics,
    relu,
    sgd,
    softmax,
    softmax_cross_entropy,
    update_guard,
    weight_average,
}

pub use draw::Draw;
pub use op::{Context, Cotangents, Gate, GateEffect, Op, Output, Upstream, Wanted, operands};
pub use padding::Padding;
pub use step_state::StepState;

use crate::error::{Error, Result};
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// The cases of every operation.
pub fn cases() -> Vec<case::Case> {
    drawn_by(&mut Draw::nothing())
}

/// Cases of random shapes and settings, so many rounds of every operation, the same for the same seed.
pub fn random_cases(seed: u64, rounds: usize) -> Vec<case::Case> {
    let mut cases = drawn_by(&mut Draw::new(seed, rounds));
    cases.retain(|case| case.purpose == case::Purpose::Random);
    cases
}

/// Elements that one workgroup of an element-by-element kernel handles.
const ELEMENTS_PER_WORKGROUP: u64 = 256;

/// The device of all operands of `op`.
fn common_device<'a>(op: &'static str, tensors: &[&'a Tensor]) -> Result<&'a Device> {
    let first = tensors.first().ok_or_else(|| Error::shape(op, "no operands"))?;
    if tensors.iter().any(|t| !t.device().same(first.device())) {
        return Err(Error::DeviceMismatch { op });
    }
    Ok(first.device())
}

/// Checks an operand's shape and element type.
fn expect(op: &'static str, what: &str, tensor: &Tensor, shape: &[usize], dtype: DType) -> Result<()> {
    if tensor.shape() != shape || tensor.dtype() != dtype {
        return Err(Error::shape(
            op,
            format!("{what} is {:?} {:?}, expected {dtype:?} {shape:?}", tensor.dtype(), tensor.shape()),
        ));
    }
    Ok(())
}

/// Checks the shape of an operand that may be of 32-bit or 16-bit floats.
fn expect_real(op: &'static str, what: &str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
    let dtype = if tensor.dtype() == DType::F16 { DType::F16 } else { DType::F32 };
    expect(op, what, tensor, shape, dtype)
}

/// The constant that tells kernels how wide their floats are in memory.
fn half(dtype: DType) -> (&'static str, u32) {
    ("HALF", u32::from(dtype == DType::F16))
}

/// Converts a count for kernels.
fn as_u32(op: &'static str, count: usize) -> Result<u32> {
    // Kernels compute element offsets in 32 bits, some of them signed.
    i32::try_from(count).map(|n| n as u32).map_err(|_| Error::shape(op, format!("{count} elements are too many")))
}

/// How many of `count` elements an invocation of a kernel takes that can take four neighbors, and how many invocations that makes:
/// four where they divide the axis along which the kernel's operands differ.
fn in_fours(axis: usize, count: usize) -> ((&'static str, u32), usize) {
    if axis.is_multiple_of(4) { (("WIDE", 1), count / 4) } else { (("WIDE", 0), count) }
}

/// Records an element-by-element kernel over `count` invocations.
fn launch_elementwise(
    gpu: &GpuDevice,
    name: &'static str,
    constants: &[(&'static str, u32)],
    uniform: &[u8],
    buffers: &[&GpuBuffer],
    count: usize,
) -> Result<()> {
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(name, constants),
        uniform,
        buffers,
        workgroups: (count as u64).div_ceil(ELEMENTS_PER_WORKGROUP),
        flops: 0,
    })?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_cases_of_its_own_names() {
        let cases = cases();
        let names: BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        // Kernels are looked up by these names.
        assert!(names.iter().all(|name| name.split('/').nth(1).is_some_and(|what| !what.is_empty())), "{names:?}");
    }
}
