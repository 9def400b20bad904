//! Every kernel on every device against a plain f64 oracle, from the cases that stand beside the operations.
//!
//! A test's name is `device/operation/what`, and any part of it selects it: `cargo test --test kernels -- gpu/conv2d`.
//! Tensors are fenced by guard words and poisoned before use, so that stray writes and forgotten elements show. Where no
//! adapter is found the GPU's tests fail.

mod gradients;
mod languages;
mod shaders;
#[path = "../common/variants.rs"]
mod variants;

use std::sync::LazyLock;

use cifar_gpu::Device;
use cifar_gpu::gpu::{GpuDevice, GpuOptions};
use cifar_gpu::ops::case::Purpose;
use cifar_gpu::tensor::cpu::CpuDevice;
use libtest_mimic::{Arguments, Failed, Trial};

/// What a case answers: nothing, or what is wrong.
type Outcome = Result<(), Failed>;

/// The guarded GPU that all cases share.
static GPU: LazyLock<Result<GpuDevice, String>> = LazyLock::new(|| {
    GpuDevice::open(GpuOptions::default().with(|options| options.guarded = true)).map_err(|e| e.to_string())
});

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for case in cifar_gpu::ops::cases() {
        if !matches!(case.purpose, Purpose::Test | Purpose::Check) {
            continue;
        }
        let on_cpu = case.clone();
        trials.push(Trial::test(format!("cpu/{}", case.name), move || {
            Ok(on_cpu.verify(&Device::Cpu(CpuDevice::poisoned()))?)
        }));
        trials.push(Trial::test(format!("gpu/{}", case.name), move || {
            let gpu = GPU.as_ref().map_err(|e| Failed::from(format!("no GPU to test on: {e}")))?;
            case.verify(&Device::Gpu(gpu.clone()))?;
            Ok(gpu.check_guards()?)
        }));
    }
    for (name, run) in gradients::all() {
        let on_cpu = run.clone();
        trials.push(Trial::test(format!("cpu/{name}"), move || on_cpu(&Device::Cpu(CpuDevice::poisoned()))));
        trials.push(Trial::test(format!("gpu/{name}"), move || {
            let gpu = GPU.as_ref().map_err(|e| Failed::from(format!("no GPU to test on: {e}")))?;
            run(&Device::Gpu(gpu.clone()))?;
            Ok(gpu.check_guards()?)
        }));
    }
    trials.extend(shaders::all());
    trials.extend(languages::all());
    libtest_mimic::run(&arguments, trials).exit();
}
