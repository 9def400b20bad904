//! Every kernel on every device against a plain f64 oracle, from the cases that stand beside the operations.
//!
//! A test's name is `device/operation/what`, and any part of it selects it: `cargo test --test kernels -- gpu/conv2d`.
//! `random/` are cases of random shapes: `ROUNDS` and `SEED` in the environment make a campaign of them (`scripts/campaign kernels`).
//! Tensors are fenced by guard words and poisoned before use, so that stray writes and forgotten elements show. Where no
//! adapter is found the GPU's tests fail.

mod edges;
mod gradients;
mod languages;
mod shaders;
#[path = "../common/variants.rs"]
mod variants;

use std::sync::LazyLock;

use cifar_gpu::Device;
use cifar_gpu::gpu::{GpuDevice, GpuOptions};
use cifar_gpu::ops::case::{Case, Purpose};
use cifar_gpu::tensor::cpu::CpuDevice;
use libtest_mimic::{Arguments, Failed, Trial};

/// What a case answers: nothing, or what is wrong.
type Outcome = Result<(), Failed>;

/// The guarded GPU that all cases share.
static GPU: LazyLock<Result<GpuDevice, String>> = LazyLock::new(|| open(|options| options.guarded = true));

/// The same with the checks that shaders of this crate run without.
static CHECKED_GPU: LazyLock<Result<GpuDevice, String>> =
    LazyLock::new(|| open(|options| (options.guarded, options.checked) = (true, true)));

fn open(change: impl FnOnce(&mut GpuOptions)) -> Result<GpuDevice, String> {
    GpuDevice::open(GpuOptions::default().with(change)).map_err(|e| e.to_string())
}

fn gpu(shared: &'static LazyLock<Result<GpuDevice, String>>) -> Result<&'static GpuDevice, Failed> {
    shared.as_ref().map_err(|e| Failed::from(format!("no GPU to test on: {e}")))
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let drawn = cifar_gpu::ops::random_cases(number("SEED").unwrap_or(1), number("ROUNDS").unwrap_or(1) as usize);
    for (place, case) in drawn.into_iter().enumerate() {
        trials.push(Trial::test(format!("random/{place}/{}", case.name), move || on_both(&case)));
    }
    for case in cifar_gpu::ops::cases() {
        if !matches!(case.purpose, Purpose::Test | Purpose::Check) {
            continue;
        }
        let (on_cpu, on_checked) = (case.clone(), case.clone());
        if case.purpose == Purpose::Check {
            trials.push(Trial::test(format!("checked/{}", case.name), move || checks_change_nothing(&on_checked)));
        }
        trials.push(Trial::test(format!("cpu/{}", case.name), move || {
            Ok(on_cpu.verify(&Device::Cpu(CpuDevice::poisoned()))?)
        }));
        trials.push(Trial::test(format!("gpu/{}", case.name), move || {
            let gpu = gpu(&GPU)?;
            case.verify(&Device::Gpu(gpu.clone()))?;
            Ok(gpu.check_guards()?)
        }));
    }
    for (name, run) in gradients::all() {
        let on_cpu = run.clone();
        trials.push(Trial::test(format!("cpu/{name}"), move || on_cpu(&Device::Cpu(CpuDevice::poisoned()))));
        trials.push(Trial::test(format!("gpu/{name}"), move || {
            let gpu = gpu(&GPU)?;
            run(&Device::Gpu(gpu.clone()))?;
            Ok(gpu.check_guards()?)
        }));
    }
    trials.extend(shaders::all());
    trials.extend(languages::all());
    trials.extend(edges::all());
    libtest_mimic::run(&arguments, trials).exit();
}

/// A case of a random shape on both devices.
fn on_both(case: &Case) -> Outcome {
    case.verify(&Device::Cpu(CpuDevice::poisoned()))?;
    let gpu = gpu(&GPU)?;
    case.verify(&Device::Gpu(gpu.clone()))?;
    gpu.check_guards()?;
    checks_change_nothing(case)
}

/// With all indices checked, kernels give the same bits: no index was outside.
fn checks_change_nothing(case: &Case) -> Outcome {
    let results = |gpu: &GpuDevice| -> Result<Vec<(String, Vec<u64>)>, Failed> {
        let results = case.results(&Device::Gpu(gpu.clone()))?.into_iter();
        Ok(results.map(|(name, values)| (name, values.into_iter().map(f64::to_bits).collect())).collect())
    };
    let (unchecked, checked) = (results(gpu(&GPU)?)?, results(gpu(&CHECKED_GPU)?)?);
    match unchecked.iter().zip(&checked).find(|(unchecked, checked)| unchecked != checked) {
        None if unchecked.len() == checked.len() && !unchecked.is_empty() => Ok(()),
        None => Err(format!("{} and {} results", unchecked.len(), checked.len()).into()),
        Some((result, _)) => Err(format!("`{}` is another one with checks", result.0).into()),
    }
}
