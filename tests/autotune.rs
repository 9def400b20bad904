//! Choosing kernels by trying them: the choice is remembered, a broken memory harms nothing, and results stay right.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;

use cifar_gpu::Device;
use cifar_gpu::gpu::{Budget, CooperativeMatrix, GpuDevice, GpuOptions};
use cifar_gpu::nn::Architecture;
use cifar_gpu::ops::conv2d::tune::Verdict;
use cifar_gpu::ops::conv2d::{DeviceKind, Direction, Plan, Target};
use cifar_gpu::tensor::DType;
use cifar_gpu::train::{Autotune, Search, Tuning, autotune};
use tempfile::tempdir;

/// What is tuned for lenet5 on the CPU, with this cache file.
fn tune(mode: Autotune, cache: &std::path::Path) -> Vec<Tuning> {
    search(Search { mode, cache: Some(cache), again: false })
}

fn search(search: Search<'_>) -> Vec<Tuning> {
    let mut tunings = Vec::new();
    let lenet5 = Architecture::by_name("lenet5", 10).unwrap();
    autotune(&Device::cpu(), DType::F32, &lenet5, 2, true, search, &mut |t| tunings.push(t.clone())).unwrap();
    tunings
}

#[test]
fn choices_are_right_and_remembered() {
    let folder = tempdir().unwrap();
    let cache = folder.path().join("new folder").join("autotune.json");
    let tried = tune(Autotune::Full, &cache);
    // Five layers in three directions, but for the cotangent of the images.
    assert_eq!(tried.len(), 14);
    for tuning in &tried {
        assert!(tuning.trials.iter().all(|(_, verdict)| matches!(verdict, Verdict::Timed(_))), "{tuning:?}");
        assert!(tuning.trials.iter().any(|(plan, _)| *plan == tuning.chosen));
    }
    let remembered = tune(Autotune::Full, &cache);
    for (tried, remembered) in tried.iter().zip(&remembered) {
        assert!(remembered.trials.is_empty(), "{remembered:?}");
        assert_eq!(tried.chosen, remembered.chosen);
    }
    // Who wants little tried takes what was found by trying all.
    let quick = tune(Autotune::Quick, &cache);
    assert!(quick.iter().zip(&tried).all(|(quick, tried)| quick.trials.is_empty() && quick.chosen == tried.chosen));
    let before = fs::read_to_string(&cache).unwrap();
    fs::write(&cache, before.replace("winograd", "direct").replace("direct-8x16", "direct-8x8")).unwrap();
    let again = search(Search { mode: Autotune::Full, cache: Some(&cache), again: true });
    assert!(again.iter().all(|tuning| !tuning.trials.is_empty()));
    let remembered = tune(Autotune::Full, &cache);
    assert!(remembered.iter().zip(&again).all(|(remembered, again)| remembered.chosen == again.chosen));
}

/// What tuning had allocated stayed allocated as long as the run lasted.
#[test]
fn a_gpu_keeps_no_memory_of_the_trials() {
    let gpu = GpuDevice::open(GpuOptions::default()).expect("these tests need a GPU adapter, a software one will do");
    let lenet5 = Architecture::by_name("lenet5", 10).unwrap();
    let search = Search { mode: Autotune::Quick, cache: None, again: false };
    let mut timed = 0;
    let mut hear = |tuning: &Tuning| {
        timed += tuning.trials.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Timed(_))).count();
    };
    autotune(&Device::Gpu(gpu.clone()), DType::F32, &lenet5, 2, true, search, &mut hear).unwrap();
    let memory = gpu.memory();
    assert!(timed > 0 && memory.buffers_made > 0);
    assert_eq!((memory.allocated_bytes, memory.in_use_bytes, memory.peak_bytes), (0, 0, 0), "{memory:?}");
}

#[test]
fn a_broken_or_foreign_cache_is_tried_anew() {
    let folder = tempdir().unwrap();
    let cache = folder.path().join("autotune.json");
    for contents in ["", "not JSON", r#"{"format": 1, "devices": 3}"#, r#"{"format": 999, "devices": {}}"#] {
        fs::write(&cache, contents).unwrap();
        assert!(tune(Autotune::Quick, &cache).iter().all(|tuning| !tuning.trials.is_empty()), "{contents}");
    }
    // A plan that this device has no use for is not taken from the file.
    let text = fs::read_to_string(&cache).unwrap();
    fs::write(&cache, text.replace("direct-8x8", "staged-32x32")).unwrap();
    assert!(tune(Autotune::Quick, &cache).iter().all(|tuning| !tuning.trials.is_empty()));
}

#[test]
fn off_tries_nothing() {
    let folder = tempdir().unwrap();
    let cache = folder.path().join("autotune.json");
    assert!(tune(Autotune::Off, &cache).is_empty());
    assert!(!cache.exists());
}

#[test]
fn plans_are_known_by_their_names() {
    let g = Architecture::by_name("ygnet", 10).unwrap().convolutions(2).unwrap()[1].1;
    let tensor_cores = Some(CooperativeMatrix { side: 16, subgroup: 32 });
    for (kind, cooperative, subgroup) in [
        (DeviceKind::Cpu, None, None),
        (DeviceKind::SoftwareGpu, None, None),
        (DeviceKind::SoftwareGpu, None, Some(8)),
        (DeviceKind::Gpu, None, Some(32)),
        (DeviceKind::Gpu, tensor_cores, Some(32)),
    ] {
        for (direction, dtype) in Direction::ALL.into_iter().flat_map(|d| [(d, DType::F32), (d, DType::F16)]) {
            let plans = Plan::candidates(
                Target { kind, dtype, cooperative, subgroup, budget: Budget::of_vendor(0x10de), is_inference: false },
                direction,
                &g,
                false,
            );
            for plan in &plans {
                assert_eq!(plan.to_string().parse().as_ref(), Ok(plan));
            }
            let with = |name: &str| plans.iter().any(|plan| plan.to_string().contains(name));
            assert_eq!(with("winograd"), dtype == DType::F32, "{plans:?}");
            assert_eq!(with("broadcast"), subgroup == Some(8), "{plans:?}");
            assert_eq!(with("cooperative"), dtype == DType::F16 && cooperative.is_some(), "{plans:?}");
        }
    }
    for wrong in [
        "",
        "direct",
        "direct-8x",
        "direct-8x6",
        "direct-8x64",
        "direct-6x8",
        "direct-1x8",
        "staged-512x96",
        "staged-1152921504606847008x16",
        "cooperative-32x96",
        "winograd-3 direct-8x8",
        "fast-8x8",
    ] {
        assert!(wrong.parse::<Plan>().is_err(), "{wrong}");
    }
}
