//! The engine of a training step: what is replayed is what was recorded, and replaying makes nothing.
//!
//! A test's name is `device/what`, and any part of it selects it: `cargo test --test engine -- replay`. Where no adapter is
//! found the GPU's tests fail.

#[allow(dead_code, reason = "not all tests use all of it")]
mod common;

use cifar_gpu::data::{Dataset, synthetic};
use cifar_gpu::gpu::{GpuDevice, GpuOptions, Statistics};
use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::adam::Adam;
use cifar_gpu::ops::conv2d::DeviceKind;
use cifar_gpu::ops::flatten::Flatten;
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::tensor::cpu::CpuDevice;
use cifar_gpu::train::{
    DeviceDataset, StepSettings, Stepper, TestTimeAugmentation, TrainConfig, inference_bytes, run_bytes, training_bytes,
};
use cifar_gpu::{Classifier, Device, ImageShape, Tape};
use common::{Outcome, on_both_devices};
use libtest_mimic::{Arguments, Failed, Trial};

const SGD: OptimizerConfig = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.01, nesterov: true });
const ADAM: OptimizerConfig =
    OptimizerConfig::Adam(Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true });
const SEED: u64 = 5;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, arch, config, rate) in
        [("lenet5_sgd", "lenet5", SGD, 0.02), ("lenet5_adam", "lenet5", ADAM, 1e-3), ("ygnet_sgd", "ygnet", SGD, 0.01)]
    {
        trials.extend(on_both_devices(&format!("replay_is_recording/{name}"), move |device| {
            replay_is_recording(device, arch, config, rate)
        }));
    }
    trials.push(Trial::test("gpu/steps_make_nothing_after_the_first", steps_make_nothing));
    trials.push(Trial::test("gpu/evaluation_makes_nothing_after_the_first_batch", evaluation_makes_nothing));
    trials.push(Trial::test("gpu/one_kernel_call_updates_all_parameters", one_update));
    trials.push(Trial::test("gpu/a_replayed_step_writes_only_its_own_memory", programs_keep_their_memory));
    trials.push(Trial::test("gpu/memory_is_as_rehearsed/lenet5", || memory_is_as_rehearsed("lenet5", 64)));
    trials.push(Trial::test("gpu/memory_is_as_rehearsed/ygnet", || memory_is_as_rehearsed("ygnet", 3)));
    // On memory that is not zero from the start.
    trials.push(Trial::test("cpu/flat_gradients", || flat_gradients(&Device::Cpu(CpuDevice::poisoned()))));
    trials.push(Trial::test("gpu/flat_gradients", || {
        let gpu = GpuDevice::open(GpuOptions::default().with(|options| options.guarded = true));
        let gpu = gpu.map_err(|e| Failed::from(format!("no GPU to test on: {e}")))?;
        flat_gradients(&Device::Gpu(gpu.clone()))?;
        Ok(gpu.check_guards()?)
    }));
    libtest_mimic::run(&arguments, trials).exit();
}

/// A device of its own, whose counters nobody else moves.
fn own_gpu() -> Result<(Device, GpuDevice), Failed> {
    let gpu = GpuDevice::open(GpuOptions::default()).map_err(|e| Failed::from(format!("no GPU to test on: {e}")))?;
    Ok((Device::Gpu(gpu.clone()), gpu))
}

fn training_set(images: usize) -> cifar_gpu::Result<Dataset> {
    Ok(synthetic::generate(ImageShape::CIFAR, images, 0, synthetic::SEED)?.train)
}

fn on_device(network: &Network, data: &Dataset) -> cifar_gpu::Result<DeviceDataset> {
    DeviceDataset::new(network.device(), data, &network.architecture().normalization)
}

/// Images of a training set, and the most of them in a batch: two full ones and an odd last one.
const IMAGES: usize = 5;
const BATCH: usize = 2;

/// The batches of a few short epochs.
fn batches(epochs: usize) -> Vec<Vec<u32>> {
    let indices: Vec<u32> = (0..).map(|i| i * 3 % IMAGES as u32).take(IMAGES).collect();
    (0..epochs).flat_map(|_| indices.chunks(BATCH).map(<[u32]>::to_vec).collect::<Vec<_>>()).collect()
}

/// What came of a run: bits of the losses, and of the parameters in order.
type Bits = (Vec<u32>, Vec<Vec<u32>>);

fn bits(values: Vec<f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

fn parameters(network: &Network) -> cifar_gpu::Result<Vec<Vec<u32>>> {
    network.parameters().iter().map(|p| Ok(bits(p.tensor.to_vec()?))).collect()
}

fn settings(dropout: bool) -> StepSettings {
    StepSettings::default().with(|settings| (settings.seed, settings.dropout) = (SEED, dropout))
}

/// Every step recorded anew, as a user of the library would write it.
fn recorded(device: &Device, arch: &str, config: OptimizerConfig, rate: f64) -> cifar_gpu::Result<Bits> {
    let network = common::network(arch, device, SEED)?;
    let images = on_device(&network, &training_set(IMAGES)?)?;
    let mut optimizer = Optimizer::new(config, device, network.parameters())?;
    let mut losses = Vec::new();
    for (step, indices) in (0..).zip(batches(2)) {
        let mut state = StepState::new(SEED, step, rate as f32);
        optimizer.begin_step(&mut state);
        let state = state.tensor(device)?;
        let batch = images.batch(&indices)?;
        let tape = Tape::recording(Some(state.clone()));
        let logits = network.forward(&tape, &tape.constant(&batch.images))?;
        let loss = logits.apply(SoftmaxCrossEntropy::new(&batch.labels)?)?;
        optimizer.step(&state, network.parameters(), &loss.backward()?)?;
        losses.push(loss.tensor().to_vec()?[0]);
    }
    Ok((bits(losses), parameters(&network)?))
}

fn replayed(device: &Device, arch: &str, config: OptimizerConfig, rate: f64) -> cifar_gpu::Result<Bits> {
    let network = common::network(arch, device, SEED)?;
    let images = on_device(&network, &training_set(IMAGES)?)?;
    let optimizer = Optimizer::new(config, device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &images, optimizer, settings(true))?;
    for indices in batches(2) {
        stepper.step(&indices, 0, rate)?;
    }
    let losses = stepper.drain()?.iter().map(|metrics| metrics.loss).collect();
    Ok((bits(losses), parameters(&network)?))
}

fn replay_is_recording(device: &Device, arch: &str, config: OptimizerConfig, rate: f64) -> Outcome {
    let (recorded, replayed) = (recorded(device, arch, config, rate)?, replayed(device, arch, config, rate)?);
    if recorded.0 != replayed.0 {
        return Err(format!("losses {:x?} recorded, {:x?} replayed", recorded.0, replayed.0).into());
    }
    let first = recorded.0[0];
    if recorded.0.iter().all(|&loss| loss == first) {
        return Err("the loss does not move: the test would show nothing".into());
    }
    match recorded.1.iter().zip(&replayed.1).position(|(a, b)| a != b) {
        Some(parameter) => Err(format!("parameter {parameter} came out differently").into()),
        None => Ok(()),
    }
}

fn steps_make_nothing() -> Outcome {
    let (device, gpu) = own_gpu()?;
    let network = common::network("lenet5", &device, SEED)?;
    let images = on_device(&network, &training_set(IMAGES)?)?;
    let optimizer = Optimizer::new(SGD, &device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &images, optimizer, settings(true))?;
    // An epoch makes what there is to make, for either size of batch.
    let epoch = batches(1);
    for indices in &epoch {
        stepper.step(indices, 0, 0.01)?;
    }
    let before = gpu.statistics();
    let steps = 5 * epoch.len() as u64;
    for indices in epoch.iter().cycle().take(steps as usize) {
        stepper.step(indices, 0, 0.01)?;
    }
    let expected = Statistics { submissions: before.submissions + steps, ..before };
    if gpu.statistics() != expected {
        return Err(format!("{before:?} became {:?} in {steps} steps", gpu.statistics()).into());
    }
    let host = stepper.host_time();
    if host.steps != steps + 1 || host.busy_per_step().is_zero() {
        return Err(format!("{host:?} after {steps} steps and one").into());
    }
    let metrics = stepper.drain()?;
    let counted: Vec<_> = metrics.iter().map(|m| m.images).collect();
    let told: Vec<_> = epoch.iter().cycle().take(counted.len()).map(Vec::len).collect();
    if counted != told || metrics.len() as u64 != steps + epoch.len() as u64 {
        return Err(format!("batches of {counted:?} were counted, {told:?} trained on").into());
    }
    Ok(())
}

fn evaluate(network: &Network, images: &DeviceDataset, data: &Dataset, batch: usize) -> cifar_gpu::Result<()> {
    let classifier = Classifier::new(network, data.class_names().to_vec())?;
    classifier.evaluate_on(images, data, batch, TestTimeAugmentation::None, |_| {}).map(|_| ())
}

fn evaluation_makes_nothing() -> Outcome {
    let (device, gpu) = own_gpu()?;
    let network = common::network("lenet5", &device, SEED)?;
    let bind_groups = |count: usize| -> Result<u64, Failed> {
        let data = training_set(count)?;
        let images = on_device(&network, &data)?;
        let before = gpu.statistics();
        evaluate(&network, &images, &data, 4)?;
        let after = gpu.statistics();
        let batches = count.div_ceil(4) as u64;
        if after.submissions - before.submissions != batches {
            return Err(format!("{before:?} became {after:?} in {batches} batches").into());
        }
        Ok(after.bind_groups - before.bind_groups)
    };
    match (bind_groups(4)?, bind_groups(24)?) {
        (one, six) if one == six && one > 0 => Ok(()),
        (one, six) => Err(format!("{one} bind groups for one batch, {six} for six").into()),
    }
}

fn one_update() -> Outcome {
    let (device, gpu) = own_gpu()?;
    for config in [SGD, ADAM] {
        let network = common::network("lenet5", &device, SEED)?;
        let images = on_device(&network, &training_set(2)?)?;
        let optimizer = Optimizer::new(config, &device, network.parameters())?;
        let state = StepState::new(SEED, 0, 0.01).tensor(&device)?;
        let batch = images.batch(&[0, 1])?;
        let tape = Tape::recording(None);
        let logits = network.forward(&tape, &tape.constant(&batch.images))?;
        let gradients = logits.apply(SoftmaxCrossEntropy::new(&batch.labels)?)?.backward()?;
        let before = gpu.statistics().bind_groups;
        optimizer.step(&state, network.parameters(), &gradients)?;
        let calls = gpu.statistics().bind_groups - before;
        if calls != 1 {
            return Err(format!("{calls} kernel calls").into());
        }
    }
    Ok(())
}

/// Tensors made after a step was captured are not where it works: its later runs leave them as they are.
fn programs_keep_their_memory() -> Outcome {
    let (device, _) = own_gpu()?;
    let network = common::network("lenet5", &device, SEED)?;
    let images = on_device(&network, &training_set(IMAGES)?)?;
    let optimizer = Optimizer::new(SGD, &device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &images, optimizer, settings(true))?;
    let indices: Vec<u32> = (0..BATCH as u32).collect();
    stepper.step(&indices, 0, 0.02)?;
    // Of every size that a buffer of the step can have, several.
    let sizes = (6..22).flat_map(|power| [1.0, 1.2, 1.4, 1.6, 1.8].map(|part| (part * f64::from(1 << power)) as usize));
    let others = sizes
        .map(|size| {
            let tensor = device.empty(&[size])?;
            tensor.write(&vec![42.0; size])?;
            Ok(tensor)
        })
        .collect::<cifar_gpu::Result<Vec<_>>>()?;
    stepper.step(&indices, 0, 0.02)?;
    for other in others {
        if other.to_vec()?.iter().any(|&value| value != 42.0) {
            return Err(format!("a step wrote into a tensor of {} elements", other.len()).into());
        }
    }
    Ok(())
}

/// Gradients have their parameters' places, zeros elsewhere, and a missing one is named.
fn flat_gradients(device: &Device) -> Outcome {
    let network = common::network("lenet5", device, SEED)?;
    let optimizer = Optimizer::new(SGD, device, network.parameters())?;
    let state = StepState::new(SEED, 0, 0.01).tensor(device)?;
    // Logits that only the first layer's parameters lead to.
    let tape = Tape::recording(None);
    let parameters =
        network.parameters().on(&tape, cifar_gpu::tensor::DType::F32)?.collect::<cifar_gpu::Result<Vec<_>>>()?;
    let logits = parameters[0].apply(Flatten)?;
    let labels = device.tensor_u32(&[logits.shape()[0]], &vec![0; logits.shape()[0]])?;
    let gradients = logits.apply(SoftmaxCrossEntropy::new(&labels)?)?.backward()?;
    let flat = gradients.flat(network.parameters().flat()).ok_or("the gradients are not in one tensor")?.to_vec()?;
    let first = &network.parameters()[0];
    let (mine, others) = flat.split_at(first.tensor.len());
    if gradients.parameter(&first.name)?.to_vec()? != mine || mine.iter().all(|&g| g == 0.0) {
        return Err("the gradient is not in the parameter's place".into());
    }
    if others.iter().any(|&g| g != 0.0) {
        return Err("parameters that took no part have a gradient".into());
    }
    match optimizer.step(&state, network.parameters(), &gradients).map_err(|e| e.to_string()) {
        Err(message) if message.contains(&network.parameters()[1].name) => Ok(()),
        other => Err(format!("{other:?} does not name the parameter").into()),
    }
}

/// What is rehearsed without a GPU against what the pool, and the driver's allocator, give out in a real run.
fn memory_is_as_rehearsed(arch: &str, batch: usize) -> Outcome {
    let architecture = Architecture::by_name(arch, 10)?;
    let config = TrainConfig::published(arch)?.with(|config| config.batch_size = batch);
    let kind = DeviceKind::SoftwareGpu;
    // A whole run has a last batch that is nearly full, with a program of its own.
    for (what, images) in [("a step", batch), ("inference", batch), ("a run", 2 * batch - 1)] {
        let (device, gpu) = own_gpu()?;
        let data = training_set(images)?;
        let indices: Vec<u32> = (0..images as u32).collect();
        let on_device = DeviceDataset::new(&device, &data, &architecture.normalization)?;
        let data_set = gpu.memory().in_use_bytes;
        let allocator_before = gpu.allocator_bytes();
        let network = common::network(arch, &device, SEED)?;
        let optimizer = || Optimizer::new(SGD, &device, network.parameters());
        let rehearsed = match what {
            "inference" => {
                evaluate(&network, &on_device, &data, batch)?;
                inference_bytes(kind, cifar_gpu::tensor::Precision::F32, &architecture, batch)?
            }
            _ => {
                let mut stepper = Stepper::new(&network, &on_device, optimizer()?, settings(true))?;
                for indices in indices.chunks(batch).cycle().take(2 * images.div_ceil(batch)) {
                    stepper.step(indices, 0, 0.01)?;
                }
                stepper.drain()?;
                if what == "a run" {
                    evaluate(&network, &on_device, &data, 64.max(batch))?;
                    run_bytes(kind, &architecture, &config, images, images)?
                } else {
                    training_bytes(kind, &architecture, &config, batch)?
                }
            }
        };
        let memory = gpu.memory();
        let allocator = gpu.allocator_bytes().zip(allocator_before).map(|(now, before)| now - before);
        println!("{arch}, {what}: {rehearsed} bytes rehearsed, {memory:?}, allocator {allocator:?}");
        for (who, bytes) in [
            ("the pool's peak", Some(memory.peak_bytes - data_set)),
            ("the pool's buffers", Some(memory.allocated_bytes - data_set)),
            ("the driver's allocator", allocator),
        ] {
            let Some(bytes) = bytes else { continue };
            common::within(&format!("{what}: {who}"), common::relative(rehearsed as f64, bytes as f64), 0.1)?;
        }
    }
    Ok(())
}
