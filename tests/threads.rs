//! Several threads share one device, and values are dropped in the middle of their work.
//!
//! A test's name is `device/what`, and any part of it selects it. Where no adapter is found the GPU's tests fail.

#[allow(dead_code, reason = "not all tests use all of it")]
mod common;
#[path = "common/resident.rs"]
mod resident;

use cifar_gpu::data::{Dataset, synthetic};
use cifar_gpu::gpu::{GpuDevice, GpuError, Program};
use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::run::SavedRun;
use cifar_gpu::tape::{Gradients, Tape};
use cifar_gpu::train::{DeviceDataset, StepSettings, Stepper, TrainConfig};
use cifar_gpu::{Classifier, Device, Error, ImageShape, Replay, Tensor};
use common::{Batch, Outcome, forward, on_both_devices};
use libtest_mimic::Arguments;
use resident::resident_bytes;

const SGD: OptimizerConfig = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.01, nesterov: true });
const THREADS: u64 = 4;
const STEPS: u32 = 6;
const BATCH: usize = 5;

/// What several threads may use at once: this does not compile otherwise. A tape and its variables belong to one thread.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Device>();
    is_shared::<GpuDevice>();
    is_shared::<Program>();
    is_shared::<Replay<Tensor>>();
    is_shared::<Tensor>();
    is_shared::<Gradients>();
    is_shared::<Architecture>();
    is_shared::<Network>();
    is_shared::<Optimizer>();
    is_shared::<Classifier>();
    is_shared::<Dataset>();
    is_shared::<DeviceDataset>();
    is_shared::<Stepper<'_>>();
    is_shared::<TrainConfig>();
    is_shared::<SavedRun>();
    is_shared::<Error>();
    is_shared::<GpuError>();
};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(on_both_devices("threads_get_the_bits_of_one", threads_get_the_bits_of_one));
    trials.extend(on_both_devices("nothing_that_is_dropped_stays", nothing_that_is_dropped_stays));
    libtest_mimic::run(&arguments, trials).exit();
}

fn training_set(seed: u64) -> cifar_gpu::Result<Dataset> {
    Ok(synthetic::generate(ImageShape::CIFAR, 4 * BATCH, 0, seed)?.train)
}

fn step_settings(seed: u64) -> StepSettings {
    StepSettings::default().with(|settings| (settings.seed, settings.dropout) = (seed, true))
}

/// One thread's work: a network of its own is trained, by captured steps or on a tape, and then classifies, as does one that all share.
/// The bits of its parameters and of all logits.
fn work(device: &Device, shared: &Network, seed: u64) -> cifar_gpu::Result<Vec<u32>> {
    let network = common::network("lenet5", device, seed)?;
    let data = training_set(seed)?;
    let images = DeviceDataset::new(device, &data, &network.architecture().normalization)?;
    let mut optimizer = Optimizer::new(SGD, device, network.parameters())?;
    if seed.is_multiple_of(2) {
        let mut stepper = Stepper::new(&network, &images, optimizer, step_settings(seed))?;
        for step in 0..STEPS {
            let first = step % 3 * 5;
            stepper.step(&[first, first + 1, first + 2, first + 3, first + 4], 0, 0.01)?;
        }
        stepper.drain()?;
    } else {
        let labels: Vec<_> = data.labels()[..BATCH].iter().map(|&label| label.into()).collect();
        let batch = Batch::new(&network, &data.images()[..BATCH * data.shape().bytes()], &labels)?;
        for step in 0..STEPS {
            common::train(&network, &mut optimizer, &batch, StepState::new(seed, step, 0.01), true)?;
        }
    }
    let mut values = network.parameters().flat().to_vec()?;
    let pictures: Vec<_> = data.images().chunks(data.shape().bytes()).collect();
    for network in [&network, shared] {
        let predictions = Classifier::new(network, data.class_names().to_vec())?.predict(&pictures)?;
        values.extend(predictions.into_iter().flat_map(|prediction| prediction.logits));
    }
    Ok(values.into_iter().map(f32::to_bits).collect())
}

fn threads_get_the_bits_of_one(device: &Device) -> Outcome {
    let shared = common::network("lenet5", device, 99)?;
    let alone = (0..THREADS).map(|seed| work(device, &shared, seed)).collect::<cifar_gpu::Result<Vec<_>>>()?;
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| {
                scope.spawn({
                    let shared = &shared;
                    move || work(device, shared, seed)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")).collect()
    });
    for (seed, (alone, together)) in alone.into_iter().zip(together).enumerate() {
        if alone != together?? {
            return Err(format!("thread {seed} got other bits than it gets alone").into());
        }
    }
    Ok(())
}

/// Work that is left in the middle, each time at another place.
fn leave_unfinished(device: &Device, place: u32) -> cifar_gpu::Result<()> {
    let network = common::network("lenet5", device, 1)?;
    let data = training_set(1)?;
    let images = DeviceDataset::new(device, &data, &network.architecture().normalization)?;
    let mut optimizer = Optimizer::new(SGD, device, network.parameters())?;
    let labels: Vec<_> = data.labels()[..BATCH].iter().map(|&label| label.into()).collect();
    let batch = Batch::new(&network, &data.images()[..BATCH * data.shape().bytes()], &labels)?;
    let mut step = StepState::new(1, 0, 0.01);
    optimizer.begin_step(&mut step);
    let state = step.tensor(device)?;
    let tape = Tape::recording(Some(state.clone()));
    let (logits, loss) = forward(&network, &batch, &tape)?;
    match place {
        // A tape, and a variable that outlives it.
        0 => drop((tape, logits)),
        // Gradients that update nothing.
        1 => drop(loss.backward()?),
        // A result that nobody waits for.
        2 => drop(loss.tensor().start_read()?),
        // Steps whose metrics nobody reads.
        3 => {
            drop((tape, logits, loss));
            let mut stepper = Stepper::new(&network, &images, optimizer, step_settings(1))?;
            stepper.step(&[0, 1, 2], 0, 0.01)?;
            stepper.step(&[0, 1, 2], 0, 0.01)?;
        }
        // A capture whose work fails.
        4 => {
            let mut replay: Replay<Tensor> = Replay::default();
            let failed = replay.run(device, || {
                let output = network.forward(&Tape::inference(), &Tape::inference().constant(&batch.images));
                output.map(|output| output.tensor().clone()).and(Err(Error::Setting("given up".into())))
            });
            assert!(failed.is_err() && !replay.is_captured());
        }
        // A thread that panics with all of it.
        _ => {
            let panicked = std::thread::scope(|scope| {
                let worker = scope.spawn(|| {
                    let _held = common::train(&network, &mut optimizer, &batch, step, true);
                    std::panic::resume_unwind(Box::new("given up"));
                });
                worker.join().is_err()
            });
            assert!(panicked);
        }
    }
    Ok(())
}

const PLACES: u32 = 6;

fn nothing_that_is_dropped_stays(device: &Device) -> Outcome {
    let in_use = || match device {
        Device::Cpu(_) => resident_bytes().unwrap_or(0),
        Device::Gpu(gpu) => gpu.memory().in_use_bytes,
    };
    // The first rounds make what the device and the allocator keep, such as free memory.
    for place in (0..8).flat_map(|_| 0..PLACES) {
        leave_unfinished(device, place)?;
    }
    let before = in_use();
    for place in (0..4).flat_map(|_| 0..PLACES) {
        leave_unfinished(device, place)?;
    }
    // On the CPU the allocator keeps some; a network of 1.6 MB and its images would have stayed 24 times.
    let most = if matches!(device, Device::Cpu(_)) { 16 << 20 } else { 0 };
    let after = in_use();
    if after > before + most {
        return Err(format!("{} bytes are still in use", after - before).into());
    }
    Ok(())
}
