//! Every kernel on every device, in the cases of the operations that are as large as in training.
//!
//! An id is `KERNEL/DEVICE/CASE`, and a regular expression picks some:
//!
//! ```sh
//! cargo bench --bench kernels
//! cargo bench --bench kernels -- conv2d_backward
//! cargo bench --bench kernels -- 'gpu/.*conv2'
//! ```
//!
//! Times are the device's own: of a GPU, by its timestamps, the kernel's alone; on the CPU those that the twins report, under the
//! twins' names, which with Winograd's algorithm have a name for all its stages together. Where products are counted, elements
//! are floating-point operations: Gelem/s are GFLOP/s. All other kernels are bound by memory: their bytes are those of operands
//! and results, each once. Batches have 64 images. On the CPU and on software adapters, which widen them, there are no cases of
//! 16-bit floats.
//!
//! At the end of each device comes a table, a row a kernel and case: what it computes and moves a second, and its share
//! of what the device can do at most, measured in the same run: multiply-adds in registers (on the CPU a matrix product)
//! and copying memory. The share is that of the time which the scarcer of the two would take. Small layers stay in
//! caches, which are faster than memory: their shares may pass 100 %.

#![allow(clippy::expect_used, reason = "criterion's closures cannot return an error")]

mod ceilings;
mod common;

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::time::Duration;

use cifar_gpu::gpu::{GpuDevice, RehearsedAdapter, shaders};
use cifar_gpu::ops::case::{Case, Purpose};
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, Result, ops, profile};
use criterion::{BenchmarkId, SamplingMode, Throughput};

use ceilings::Ceilings;
use common::{SAMPLES, Suite};

/// A sample is the mean of as many runs of a case as take the kernels about so many seconds,
const SAMPLE_SECONDS: f64 = 0.02;
/// but not of more than these.
const MOST_RUNS: usize = 10;

/// What a kernel did in a run of a case.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    seconds: f64,
    /// Floating-point operations, where they are counted.
    flops: f64,
    /// Bytes of operands and results.
    bytes: f64,
}

/// What the kernels of a case did in a run of it, by name.
type Run = BTreeMap<&'static str, Work>;

fn main() -> Result<()> {
    let cases: Vec<_> = ops::cases().into_iter().filter(|case| case.purpose == Purpose::Bench).collect();
    warn_of_missing(&cases)?;
    Suite::run(|suite| {
        if matches!(&suite.device, Device::Gpu(gpu) if !gpu.has_timestamps()) {
            eprintln!("{}: left out: the adapter has no timestamps", suite.device_name);
            return Ok(());
        }
        let has_f16 = matches!(&suite.device, Device::Gpu(gpu) if gpu.has_f16() && !gpu.is_software());
        let mut figures = Vec::new();
        for case in cases.iter().filter(|case| case.dtype != DType::F16 || has_f16) {
            bench(suite, case, &mut figures)?;
        }
        report(suite, &figures);
        Ok(())
    })
}

/// Names the kernels that no case runs, on any kind of adapter.
fn warn_of_missing(cases: &[Case]) -> Result<()> {
    let mut missing = shaders::kernel_names();
    for software in [false, true] {
        let gpu = GpuDevice::rehearsal(software)?;
        cases.iter().try_for_each(|case| case.run(&Device::Gpu(gpu.clone())))?;
        let launched = gpu.launched_variants();
        missing.retain(|kernel| launched.iter().all(|variant| variant.name != *kernel));
    }
    if !missing.is_empty() {
        eprintln!("kernels without a benchmark: {}", missing.join(", "));
    }
    Ok(())
}

/// Runs a case once.
fn run(case: &Case, device: &Device) -> Result<Run> {
    profile::start();
    let done = case.run(device).and_then(|()| device.synchronize());
    let events = profile::stop().events;
    done?;
    let mut run = Run::new();
    for event in events {
        let work = run.entry(event.name).or_default();
        work.seconds += event.duration_ns as f64 / 1e9;
        work.flops += event.flops as f64;
        work.bytes += event.bytes as f64;
    }
    Ok(run)
}

/// The kernels that a case runs on a device, without their times. Those of a GPU are rehearsed, so that nothing is compiled of
/// which no time is wanted.
fn kernels(case: &Case, device: &Device) -> Result<Run> {
    match device {
        Device::Cpu(_) => run(case, device),
        Device::Gpu(gpu) => {
            let (subgroup, cooperative) = (gpu.subgroup(), gpu.cooperative_matrix());
            let adapter = RehearsedAdapter {
                software: gpu.is_software(),
                subgroup,
                cooperative,
                registers: Some(gpu.registers()),
                small_tiles: gpu.small_tiles(),
            };
            run(case, &Device::Gpu(GpuDevice::rehearsal_of(adapter)?))
        }
    }
}

/// The times of every kernel in several runs of a case, behind a first one that makes pipelines and memory.
fn samples(case: &Case, device: &Device) -> Result<BTreeMap<&'static str, Vec<f64>>> {
    let first = run(case, device)?;
    let seconds: f64 = first.values().map(|work| work.seconds).sum();
    let runs = ((SAMPLE_SECONDS / seconds.max(1e-9)) as usize).clamp(1, MOST_RUNS);
    let mut samples: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for _ in 0..SAMPLES {
        let mut sums: BTreeMap<_, f64> = BTreeMap::new();
        for _ in 0..runs {
            run(case, device)?.iter().for_each(|(name, work)| *sums.entry(*name).or_default() += work.seconds);
        }
        sums.into_iter().for_each(|(name, sum)| samples.entry(name).or_default().push((sum / runs as f64).max(1e-9)));
    }
    Ok(samples)
}

/// Times the kernels of a case that pass the filter, and adds what they do to the figures.
fn bench(suite: &mut Suite, case: &Case, figures: &mut Vec<(String, Work)>) -> Result<()> {
    let device = &suite.device;
    let label = case.name.split_once('/').map_or(case.name.as_str(), |(_, label)| label);
    // All kernels of a case are timed in the same runs.
    let samples = LazyCell::new(|| samples(case, device).expect("a run of the case"));
    for (name, work) in kernels(case, device)? {
        let mut group = suite.criterion.benchmark_group(name);
        group.throughput(match work.flops {
            0.0 => Throughput::Bytes(work.bytes as u64),
            flops => Throughput::Elements(flops as u64),
        });
        // The samples are there: asking for one takes no time.
        group.warm_up_time(Duration::from_nanos(1)).measurement_time(Duration::from_millis(1));
        group.sampling_mode(SamplingMode::Flat);
        let mut asked = 0;
        group.bench_function(BenchmarkId::new(suite.device_name, label), |bencher| {
            let times = samples.get(name).expect("the kernel's times");
            let seconds = times[asked % times.len()];
            bencher.iter_custom(|calls| Duration::from_secs_f64(seconds * calls as f64));
            asked += 1;
        });
        group.finish();
        if let Some(mut times) = (asked > 0).then(|| samples[name].clone()) {
            times.sort_by(f64::total_cmp);
            let seconds = (times[SAMPLES / 2 - 1] + times[SAMPLES / 2]) / 2.0;
            figures.push((format!("{name} | {label}"), Work { seconds, ..work }));
        }
    }
    Ok(())
}

/// Prints the figures beside the device's ceilings, if any were taken.
fn report(suite: &Suite, figures: &[(String, Work)]) {
    if figures.is_empty() {
        return;
    }
    let ceilings = Ceilings::measure(&suite.device);
    eprintln!(
        "\n{}: {}; at most {:.0} GFLOP/s and {:.1} GB/s\n\n\
         | kernel | case | time, µs | GFLOP/s | GB/s | share of the ceiling |\n|---|---|---:|---:|---:|---:|",
        suite.device_name,
        suite.device.description(),
        ceilings.flops / 1e9,
        ceilings.bytes / 1e9,
    );
    for (what, Work { seconds, flops, bytes }) in figures {
        let least = (flops / ceilings.flops).max(bytes / ceilings.bytes);
        let rate = |amount: f64| if amount > 0.0 { format!("{:.1}", amount / seconds / 1e9) } else { "–".into() };
        let (flops, bytes, share) = (rate(*flops), rate(*bytes), 100.0 * least / seconds);
        eprintln!("| {what} | {:.1} | {flops} | {bytes} | {share:.0} % |", 1e6 * seconds);
    }
    eprintln!();
}
