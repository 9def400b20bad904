//! Faults on the way: devices that are lost, memory that is not there, numbers that are not finite.
//!
//! A test's name is `device/what`, and any part of it selects it. Where no adapter is found the GPU's tests fail. `LOSSES` and `SEED` in
//! the environment make a campaign of the losses, `STEPS` one of the memory: `scripts/campaign device` and `memory`.

#[allow(dead_code, reason = "not all tests use all of it")]
mod common;
#[path = "common/resident.rs"]
mod resident;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use cifar_gpu::data::{Dataset, Splits, synthetic};
use cifar_gpu::gpu::{GpuDevice, GpuOptions, Statistics};
use cifar_gpu::nn::Network;
use cifar_gpu::ops::adam::Adam;
use cifar_gpu::ops::random::RandomStream;
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::run::{Metrics, Observer, SavedRun, Sources, recover, resume, train};
use cifar_gpu::train::{DeviceDataset, NonFinite, OnNonFinite, StepMetrics, StepSettings, Stepper, TrainConfig};
use cifar_gpu::{Device, Error, ImageShape};
use common::{Outcome, on_both_devices};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::RngExt;
use resident::resident_bytes;

const SGD: OptimizerConfig = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.01, nesterov: true });
const ADAM: OptimizerConfig =
    OptimizerConfig::Adam(Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true });
const SEED: u64 = 5;
const IMAGES: usize = 5;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for mode in [OnNonFinite::Stop, OnNonFinite::Skip] {
        trials.extend(on_both_devices(&format!("broken_steps_update_nothing/{mode:?}"), move |device| {
            broken_steps_update_nothing(device, mode)
        }));
    }
    trials.extend(on_both_devices("broken_weights_stop_training", broken_weights_stop_training));
    trials.push(Trial::test("gpu/lost_devices_are_opened_again", lost_devices_are_opened_again));
    trials.extend(on_both_devices("steps_at_constant_memory", steps_at_constant_memory));
    trials.push(Trial::test("gpu/losses_without_progress_end_a_run", losses_without_progress));
    libtest_mimic::run(&arguments, trials).exit();
}

fn training_set(images: usize) -> cifar_gpu::Result<Dataset> {
    Ok(synthetic::generate(ImageShape::CIFAR, images, 0, synthetic::SEED)?.train)
}

fn on_device(network: &Network, data: &Dataset) -> cifar_gpu::Result<DeviceDataset> {
    DeviceDataset::new(network.device(), data, &network.architecture().normalization)
}

fn settings(dropout: bool) -> StepSettings {
    StepSettings::default().with(|settings| (settings.seed, settings.dropout) = (SEED, dropout))
}

/// Puts a value into the first element of some parameters; all of them as they were.
fn put(network: &Network, names: &[&str], value: f32) -> cifar_gpu::Result<Vec<f32>> {
    let before = network.parameters().flat().to_vec()?;
    let mut values = before.clone();
    for parameter in network.parameters().iter().filter(|p| names.contains(&p.name.as_str())) {
        values[parameter.start] = value;
    }
    network.parameters().flat().write(&values)?;
    Ok(before)
}

/// A step whose loss overflows updates neither weights nor optimizer nor average, and is told where it did; later steps do if they
/// are to be made.
fn broken_steps_update_nothing(device: &Device, mode: OnNonFinite) -> Outcome {
    let network = common::network("lenet5", device, SEED)?;
    let images = on_device(&network, &training_set(IMAGES)?)?;
    let optimizer = Optimizer::new(ADAM, device, network.parameters())?;
    let settings = settings(true).with(|settings| {
        settings.on_non_finite = mode;
        settings.average_decay = Some(0.9);
        settings.micro_batch = Some(2);
    });
    let mut stepper = Stepper::new(&network, &images, optimizer, settings)?;
    let indices = [3, 0, 4];
    stepper.step(&indices, 0, 1e-3)?;
    if stepper.drain()?[0].fault().is_some() {
        return Err("the first step is none of those".into());
    }
    // Each is finite, and so is the norm; a product of three is not.
    let good = put(&network, &["conv2.weight", "fc1.weight", "fc2.weight"], 1e19)?;
    let before = stepper.state()?;
    stepper.step(&indices, 0, 1e-3)?;
    let metrics = stepper.drain()?;
    let Some(NonFinite::Loss(_)) = metrics[0].fault() else { return Err(format!("{metrics:?}").into()) };
    if stepper.state()?.tensors != before.tensors {
        return Err("the broken step changed something".into());
    }
    let place = stepper.locate(1, &indices, 0)?;
    if place.as_deref() != Some("the output of fc2") {
        return Err(format!("{place:?} is said to be the first that is not finite").into());
    }
    network.parameters().flat().write(&good)?;
    stepper.step(&indices, 0, 1e-3)?;
    let metrics = stepper.drain()?;
    let has_updated = network.parameters().flat().to_vec()? != good;
    if metrics[0].fault().is_some() || has_updated != (mode == OnNonFinite::Skip) {
        return Err(format!("{mode:?}, but has updated: {has_updated}; {metrics:?}").into());
    }
    Ok(())
}

/// Weights that are not finite end all updates, whatever follows broken steps; restoring a state begins them again.
fn broken_weights_stop_training(device: &Device) -> Outcome {
    let network = common::network("resnet20", device, SEED)?;
    let images = on_device(&network, &training_set(IMAGES)?)?;
    let optimizer = Optimizer::new(SGD, device, network.parameters())?;
    let settings = settings(false).with(|settings| settings.on_non_finite = OnNonFinite::Skip);
    let mut stepper = Stepper::new(&network, &images, optimizer, settings)?;
    stepper.step(&[0, 1], 0, 0.01)?;
    let before = stepper.state()?;
    let good = put(&network, &["layer2.0.conv1.weight"], f32::NAN)?;
    stepper.step(&[0, 1], 0, 0.01)?;
    network.parameters().flat().write(&good)?;
    stepper.step(&[0, 1], 0, 0.01)?;
    let faults: Vec<_> = stepper.drain()?.iter().map(|metrics| metrics.fault().is_some()).collect();
    if faults != [false, true, false] || network.parameters().flat().to_vec()? != good {
        return Err(format!("steps with faults: {faults:?}; later ones must change nothing").into());
    }
    put(&network, &["layer2.0.conv1.weight"], f32::NAN)?;
    let place = stepper.locate(1, &[0, 1], 0)?;
    if place.as_deref() != Some("layer2.0.conv1.weight") || stepper.state()?.is_finite() {
        return Err(format!("{place:?} is said to be the first that is not finite").into());
    }
    stepper.restore(&before)?;
    stepper.step(&[0, 1], 0, 0.01)?;
    if stepper.drain()?[0].fault().is_some() || network.parameters().flat().to_vec()? == good {
        return Err("a restored state does not train".into());
    }
    Ok(())
}

fn open() -> Result<GpuDevice, Error> {
    Ok(GpuDevice::open(GpuOptions::default())?)
}

/// Loses its device once this many steps are done.
struct Losing {
    gpu: GpuDevice,
    at: u64,
}

impl Observer for Losing {
    fn stepped(&mut self, _epoch: u32, steps: &[StepMetrics]) {
        if steps.last().is_some_and(|step| step.step + 1 >= self.at) {
            self.gpu.lose();
        }
    }
}

/// A small run with a checkpoint every other step: 18 steps.
fn config() -> cifar_gpu::Result<TrainConfig> {
    Ok(TrainConfig::fast("lenet5")?.with(|config| {
        (config.epochs, config.batch_size) = (3, 4);
        (config.checkpoints.every_steps, config.log_every) = (2, 1);
    }))
}

fn splits() -> cifar_gpu::Result<Splits> {
    Ok(synthetic::generate(ImageShape::CIFAR, 24, 8, synthetic::SEED)?)
}

/// The results of a run: its weights, and its losses.
fn results(run: &Path) -> Result<(Vec<u8>, Vec<u32>), Failed> {
    let losses = Metrics::read(run)?.steps.iter().map(|step| step.loss.to_bits()).collect();
    Ok((std::fs::read(run.join("weights.safetensors"))?, losses))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Thousands of steps, with their metrics read, take no more memory than the first ones, and make nothing on the device.
fn steps_at_constant_memory(device: &Device) -> Outcome {
    const MOST_GROWTH: u64 = 4 << 20;
    let steps = number("STEPS").unwrap_or(300);
    let network = common::network("lenet5", device, SEED)?;
    let images = on_device(&network, &training_set(IMAGES)?)?;
    let optimizer = Optimizer::new(ADAM, device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &images, optimizer, settings(true))?;
    let mut train = |steps: u64| -> cifar_gpu::Result<()> {
        for step in 0..steps {
            // An epoch's full batches and its last one.
            stepper.step(if step % 3 == 2 { &[4] } else { &[3, 0] }, 0, 1e-6)?;
            if stepper.is_full() {
                stepper.drain()?;
            }
        }
        stepper.drain().map(|_| ())
    };
    let made = || match device {
        Device::Cpu(_) => None,
        // Each reading of the metrics makes a buffer, and frees it.
        Device::Gpu(gpu) => Some((Statistics { submissions: 0, buffers: 0, ..gpu.statistics() }, gpu.memory())),
    };
    train(100)?;
    let (before, resident_before) = (made(), resident_bytes());
    train(steps)?;
    let (after, resident_after) = (made(), resident_bytes());
    if before != after {
        return Err(format!("{before:?} became {after:?} in {steps} steps").into());
    }
    let growth = resident_after.zip(resident_before).map(|(after, before)| after.saturating_sub(before));
    println!("{steps} steps, {}: {growth:?} bytes more in memory", device.description());
    if steps >= 10_000 && growth > Some(MOST_GROWTH) {
        return Err(format!("{growth:?} bytes more are in memory after {steps} steps").into());
    }
    Ok(())
}

/// Runs whose device is lost again and again come out as if it had not been.
fn lost_devices_are_opened_again() -> Outcome {
    let (losses, seed) = (number("LOSSES").unwrap_or(3), number("SEED").unwrap_or(1));
    let mut random = RandomStream::new(seed, 1);
    let folder = tempfile::tempdir()?;
    let (config, splits, stop) = (config()?, splits()?, AtomicBool::new(false));
    let begin = |out: &Path, at: u64| {
        let gpu = open()?;
        let sources = Sources { splits: &splits, init: None, out: Some(out) };
        train(&config, &Device::Gpu(gpu.clone()), sources, &stop, &mut Losing { gpu, at })
    };
    let undisturbed = folder.path().join("undisturbed");
    begin(&undisturbed, u64::MAX)?;
    let expected = results(&undisturbed)?;
    let (mut lost, mut runs) = (0, 0);
    while lost < losses {
        runs += 1;
        let run = folder.path().join(format!("run-{runs}"));
        let mut next = |done: u64| if lost < losses { done + random.random_range(1..8) } else { u64::MAX };
        let first = begin(&run, next(0));
        recover(first, |_, saved| {
            lost += 1;
            let mut next = |done: u64| if lost < losses { done + random.random_range(1..8) } else { u64::MAX };
            let Some(saved) = saved else { return begin(&run, next(0)) };
            let done = Metrics::read(saved)?.steps.last().map_or(0, |step| step.step);
            let gpu = open()?;
            let device = Device::Gpu(gpu.clone());
            let observer = &mut Losing { gpu, at: next(done) };
            resume(&SavedRun::read(saved)?, None, &device, &splits, saved, &stop, observer)
        })?;
        if results(&run)? != expected {
            return Err(format!("run {runs} came out differently").into());
        }
        std::fs::remove_dir_all(&run)?;
    }
    println!("{lost} losses in {runs} runs, all with the bits of an undisturbed one");
    Ok(())
}

/// A device that is lost before each checkpoint ends the run with its error, and with what is saved.
fn losses_without_progress() -> Outcome {
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    let (config, splits, stop) = (config()?, splits()?, AtomicBool::new(false));
    let gpu = open()?;
    let sources = Sources { splits: &splits, init: None, out: Some(&run) };
    let begun = train(&config, &Device::Gpu(gpu.clone()), sources, &stop, &mut Losing { gpu, at: 5 });
    let mut attempts = 0;
    let result = recover(begun, |_, saved| {
        attempts += 1;
        let saved = saved.ok_or_else(|| Error::Setting("the run is gone".into()))?;
        let gpu = open()?;
        let device = Device::Gpu(gpu.clone());
        resume(&SavedRun::read(saved)?, None, &device, &splits, saved, &stop, &mut Losing { gpu, at: 0 })
    });
    match result {
        Err(Error::RunGpu { run: of, step: Some(4), source }) if of == run && source.is_loss() && attempts == 2 => {
            Ok(())
        }
        other => Err(format!("{attempts} attempts, then {other:?}").into()),
    }
}
