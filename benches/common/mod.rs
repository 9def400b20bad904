//! What the benchmarks share: the devices, the batch sizes and the timing loop.

#![allow(clippy::expect_used, clippy::panic, reason = "criterion's closures cannot return an error")]

use std::cell::LazyCell;
use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cifar_gpu::gpu::Backend;
use cifar_gpu::ops::random::RandomStream;
use cifar_gpu::{Device, DeviceChoice, Result, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput};
use rand::RngExt;

/// The networks whose shapes are timed.
pub const NETWORKS: [&str; 3] = ["lenet5", "ygnet", "all-cnn-c"];
/// Classes that they tell apart.
pub const CLASSES: usize = 10;

const BATCH_VARIABLE: &str = "CIFAR_GPU_BENCH_BATCH";
/// Calls after which the device is waited for, so that its queue neither runs dry nor grows without bound.
const CALLS_PER_WAIT: u64 = 16;
/// Times a benchmark is measured.
const SAMPLES: usize = 10;

/// Benchmarks on one device.
pub struct Suite {
    criterion: Criterion,
    /// `cpu` or `gpu`.
    pub device_name: &'static str,
    /// The device.
    pub device: Device,
    /// Images in a batch.
    pub batch: usize,
    /// Images in a batch where much is computed: fewer than elsewhere on a software adapter.
    pub costly_batch: usize,
}

impl Suite {
    /// Runs `benchmarks` on the CPU, and on the GPU if one opens.
    pub fn run(benchmarks: impl Fn(&mut Suite) -> Result<()>) -> Result<()> {
        let mut criterion = Criterion::default()
            .without_plots()
            .sample_size(SAMPLES)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .configure_from_args();
        let batch = env::var(BATCH_VARIABLE)
            .ok()
            .map(|text| text.parse().unwrap_or_else(|e| panic!("{BATCH_VARIABLE} is {text:?}: {e}")));
        for (device_name, choice) in [("cpu", DeviceChoice::Cpu), ("gpu", DeviceChoice::Gpu)] {
            let device = match Device::open(choice, Backend::Primary) {
                Ok((device, _)) => device,
                Err(reason) => {
                    eprintln!("{device_name}: left out: {reason}");
                    continue;
                }
            };
            let software = matches!(&device, Device::Gpu(gpu) if gpu.is_software());
            let costly_batch = batch.unwrap_or(if software { 8 } else { 64 });
            let batch = batch.unwrap_or(64);
            eprintln!("{device_name}: {}; batches of {batch}, costly ones of {costly_batch}", device.description());
            let mut suite = Suite { criterion, device_name, device, batch, costly_batch };
            benchmarks(&mut suite)?;
            criterion = suite.criterion;
        }
        criterion.final_summary();
        Ok(())
    }

    /// Times what `setup` returns under the id `name/device/label`, with the device's work done within the time.
    ///
    /// `setup` runs only if the id passes the filter. Returns the median of the seconds that a call took, if any was timed.
    pub fn bench<T, W: FnMut() -> Result<T>>(
        &mut self,
        name: &str,
        label: &str,
        throughput: Throughput,
        setup: impl FnOnce(&Device) -> Result<W>,
    ) -> Option<f64> {
        let device = &self.device;
        let mut work = LazyCell::new(|| {
            let mut work = setup(device).expect("setup");
            // Pipelines are built in the first call.
            work().expect("first call");
            device.synchronize().expect("first call");
            work
        });
        let mut seconds = Vec::new();
        let mut group = self.criterion.benchmark_group(name);
        group.throughput(throughput);
        group.bench_function(BenchmarkId::new(self.device_name, label), |bencher| {
            let work = &mut *work;
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                for call in 1..=calls {
                    black_box(work().expect("call"));
                    if call % CALLS_PER_WAIT == 0 || call == calls {
                        device.synchronize().expect("call");
                    }
                }
                let elapsed = start.elapsed();
                seconds.push(elapsed.as_secs_f64() / calls as f64);
                elapsed
            });
        });
        group.finish();
        // The first ones were to warm up; a mere test has no more.
        let mut samples = seconds.split_off(seconds.len().checked_sub(SAMPLES)?);
        samples.sort_by(f64::total_cmp);
        Some((samples[SAMPLES / 2 - 1] + samples[SAMPLES / 2]) / 2.0)
    }
}

/// A tensor of random numbers in [-1, 1).
pub fn random(device: &Device, shape: &[usize]) -> Result<Tensor> {
    let mut random = RandomStream::new(1, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
    device.tensor(shape, &values)
}

/// Random numbers below `bound`: labels, or indices of images.
pub fn random_below(device: &Device, bound: usize, count: usize) -> Result<Tensor> {
    let mut random = RandomStream::new(1, 1);
    let values: Vec<u32> = (0..count).map(|_| random.random_range(..bound as u32)).collect();
    device.tensor_u32(&[count], &values)
}
