//! Whole training steps (forward, loss, backward, SGD update) and inference of the networks on every device.
//!
//! An id is `training_step/DEVICE/NETWORK` or `inference/DEVICE/NETWORK`, and a regular expression picks some:
//!
//! ```sh
//! cargo bench --bench step
//! cargo bench --bench step -- 'training_step/gpu'
//! CIFAR_GPU_BENCH_BATCH=256 cargo bench --bench step -- 'gpu/ygnet'
//! ```
//!
//! Elements are images: elem/s are images a second. Batches have 64 images unless the environment says otherwise; on a
//! software adapter those of all networks but lenet5 have 8.

#![allow(clippy::expect_used, clippy::panic, reason = "criterion's closures cannot return an error")]

mod common;

use rand::RngExt;
use std::cell::LazyCell;
use std::env;
use std::hint::black_box;
use std::time::Instant;

use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::random::RandomStream;
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::{Device, ImageShape, Result, Tape, Tensor};
use criterion::{BenchmarkId, Throughput};

use common::Suite;

/// The networks whose steps are timed.
const NETWORKS: [&str; 3] = ["lenet5", "ygnet", "all-cnn-c"];
/// Classes that they tell apart.
const CLASSES: usize = 10;
const BATCH_VARIABLE: &str = "CIFAR_GPU_BENCH_BATCH";
/// Calls after which the device is waited for, so that its queue neither runs dry nor grows without bound.
const CALLS_PER_WAIT: u64 = 16;

fn main() -> Result<()> {
    let asked = env::var(BATCH_VARIABLE)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|e| panic!("{BATCH_VARIABLE} is {text:?}: {e}")));
    Suite::run(|suite| {
        let is_software = matches!(&suite.device, Device::Gpu(gpu) if gpu.is_software());
        for name in NETWORKS {
            let usual = if is_software && name != "lenet5" { 8 } else { 64 };
            network(suite, name, asked.unwrap_or(usual));
        }
        Ok(())
    })
}

/// Times what `setup` returns under the id `name/device/label`, with the device's work done within the time.
///
/// `setup` runs only if the id passes the filter.
fn bench<T, W: FnMut() -> Result<T>>(
    suite: &mut Suite,
    name: &str,
    label: &str,
    throughput: Throughput,
    setup: impl FnOnce(&Device) -> Result<W>,
) {
    let device = &suite.device;
    let mut work = LazyCell::new(|| {
        let mut work = setup(device).expect("setup");
        // Pipelines are built in the first call.
        work().expect("first call");
        device.synchronize().expect("first call");
        work
    });
    let mut group = suite.criterion.benchmark_group(name);
    group.throughput(throughput);
    group.bench_function(BenchmarkId::new(suite.device_name, label), |bencher| {
        let work = &mut *work;
        bencher.iter_custom(|calls| {
            let start = Instant::now();
            for call in 1..=calls {
                black_box(work().expect("call"));
                if call % CALLS_PER_WAIT == 0 || call == calls {
                    device.synchronize().expect("call");
                }
            }
            start.elapsed()
        });
    });
    group.finish();
}

/// A tensor of random numbers in [-1, 1).
fn random(device: &Device, shape: &[usize]) -> Result<Tensor> {
    let mut random = RandomStream::new(1, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
    device.tensor(shape, &values)
}

/// Random labels.
fn random_below(device: &Device, bound: usize, count: usize) -> Result<Tensor> {
    let mut random = RandomStream::new(1, 1);
    let values: Vec<u32> = (0..count).map(|_| random.random_range(..bound as u32)).collect();
    device.tensor_u32(&[count], &values)
}

fn network(suite: &mut Suite, name: &str, batch: usize) {
    let shape = ImageShape::CIFAR.batch(batch);
    let images = Throughput::Elements(batch as u64);
    bench(suite, "training_step", name, images.clone(), |device| {
        let net = Network::new(Architecture::by_name(name, CLASSES)?, device, 1)?;
        let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.001, nesterov: true });
        let mut optimizer = Optimizer::new(sgd, device, net.parameters())?;
        let images = random(device, &shape)?;
        let labels = random_below(device, CLASSES, batch)?;
        let mut state = StepState::new(1, 0, 0.01);
        let state_tensor = state.tensor(device)?;
        Ok(move || {
            state.step += 1;
            optimizer.begin_step(&mut state);
            state.store(&state_tensor)?;
            let tape = Tape::recording(Some(state_tensor.clone()));
            let logits = net.forward(&tape, &tape.constant(&images))?;
            let gradients = logits.apply(SoftmaxCrossEntropy::new(&labels)?)?.backward()?;
            optimizer.step(&state_tensor, net.parameters(), &gradients)
        })
    });
    bench(suite, "inference", name, images, |device| {
        let net = Network::new(Architecture::by_name(name, CLASSES)?, device, 1)?;
        let images = random(device, &shape)?;
        Ok(move || {
            let tape = Tape::inference();
            net.forward(&tape, &tape.constant(&images))
        })
    });
}
