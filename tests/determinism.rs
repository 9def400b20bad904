//! Training gives the same bits each time, other bits for another seed, and the same losses on either device.
//!
//! Cases are named `device/network/what`, or `network/what` where both devices take part. Where no adapter is found those
//! that need one fail.

mod common;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use cifar_gpu::data::synthetic;
use cifar_gpu::nn::Network;
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::tape::Tape;
use cifar_gpu::{Device, ImageShape};
use common::{
    Batch, Outcome, forward, gpu, on_both_devices, relative, relative_distance, relative_maximum, value, within,
};
use libtest_mimic::{Arguments, Failed, Trial};

/// Training steps of a run.
const STEPS: u32 = 30;
/// Largest relative difference between the devices' losses in any step of a run.
const LOSS_TOLERANCE: f64 = 1e-3;
/// A batch whose sums are long. Mesa 22.3.6 has a driver that ends every loop of a shader invocation without a word after
/// 65,535 iterations in all, so a kernel whose loops grow with the batch is wrong there and right everywhere else.
const LARGE_BATCH: usize = 256;
/// Largest relative difference between the devices' logits and losses of such a batch.
const LARGE_FORWARD_TOLERANCE: f64 = 1e-5;
/// Largest relative distance between the devices' gradients of such a batch. Where rounding decides near-ties of
/// max-pooling otherwise, the layers below are off by 1e-3; a loop that ends early leaves out more than half of a sum.
const LARGE_GRADIENT_TOLERANCE: f64 = 1e-2;

/// Seeds of the runs that are compared.
#[derive(Clone, Copy)]
struct Seeds {
    weights: u64,
    dropout: u64,
    first_step: u32,
}

const SEEDS: Seeds = Seeds { weights: 1, dropout: 2, first_step: 0 };

/// What came of a run.
struct Run {
    losses: Vec<f64>,
    /// Bits of every parameter, by name.
    parameters: BTreeMap<String, Vec<u32>>,
}

/// A network, and one run of it on each device that several tests look at.
struct Case {
    network: &'static str,
    batch: usize,
    /// Learning rate: large enough that the loss moves, small enough that rounding errors hardly grow.
    rate: f32,
    cpu: OnceLock<Result<Run, String>>,
    gpu: OnceLock<Result<Run, String>>,
}

impl Case {
    const fn new(network: &'static str, batch: usize, rate: f32) -> Self {
        Case { network, batch, rate, cpu: OnceLock::new(), gpu: OnceLock::new() }
    }

    /// The run on this device, made when first asked for.
    fn usual_run(&self, device: &Device) -> Result<&Run, Failed> {
        let cell = match device {
            Device::Cpu(_) => &self.cpu,
            Device::Gpu(_) => &self.gpu,
        };
        let run = cell.get_or_init(|| self.run(device, SEEDS, STEPS).map_err(|e| e.to_string()));
        run.as_ref().map_err(Failed::from)
    }

    /// Trains from scratch with dropout, every step on images of its own.
    fn run(&self, device: &Device, seeds: Seeds, steps: u32) -> cifar_gpu::Result<Run> {
        let net = common::network(self.network, device, seeds.weights)?;
        let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: true });
        let mut optimizer = Optimizer::new(sgd, device, net.parameters())?;
        let mut losses = Vec::new();
        for (number, batch) in (0..steps).zip(batches(self.batch, steps as usize)?) {
            let step = StepState::new(seeds.dropout, seeds.first_step + number, self.rate);
            losses.push(common::train(&net, &mut optimizer, &upload(&net, &batch)?, step, true)?);
        }
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        let parameters = net.parameters().iter().map(|p| Ok((p.name.clone(), bits(p.tensor.to_vec()?))));
        Ok(Run { losses, parameters: parameters.collect::<cifar_gpu::Result<_>>()? })
    }
}

static CASES: [Case; 2] = [Case::new("lenet5", 16, 0.05), Case::new("ygnet", 4, 0.005)];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for case in &CASES {
        let name = case.network;
        trials.extend(on_both_devices(&format!("{name}/same_seed_same_bits"), |device| same_bits(device, case)));
        trials.extend(on_both_devices(&format!("{name}/other_seed_other_bits"), |device| other_bits(device, case)));
        trials.push(Trial::test(format!("{name}/devices_agree_over_{STEPS}_steps"), || devices_agree(case)));
        trials.push(Trial::test(format!("{name}/devices_agree_at_batch_{LARGE_BATCH}"), || large_batch(case)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Consecutive batches of the practice set: bytes and labels.
fn batches(size: usize, count: usize) -> cifar_gpu::Result<Vec<(Vec<u8>, Vec<u32>)>> {
    let set = synthetic::generate(ImageShape::CIFAR, size * count, 0, synthetic::SEED)?.train;
    let images = set.images().chunks(size * set.shape().bytes()).map(<[u8]>::to_vec);
    Ok(images.zip(set.labels().chunks(size).map(|labels| labels.iter().map(|&l| l.into()).collect())).collect())
}

fn upload(net: &Network, (images, labels): &(Vec<u8>, Vec<u32>)) -> cifar_gpu::Result<Batch> {
    Batch::new(net, images, labels)
}

fn same_bits(device: &Device, case: &Case) -> Outcome {
    let (first, second) = (case.usual_run(device)?, case.run(device, SEEDS, STEPS)?);
    for (step, (first, second)) in first.losses.iter().zip(&second.losses).enumerate() {
        if first.to_bits() != second.to_bits() {
            return Err(format!("the loss of step {step} was {first} and then {second}").into());
        }
    }
    for (name, first) in &first.parameters {
        let differing = first.iter().zip(&second.parameters[name]).filter(|(a, b)| a != b).count();
        if differing > 0 {
            return Err(format!("{differing} of the {} elements of {name} came out differently", first.len()).into());
        }
    }
    Ok(())
}

fn other_bits(device: &Device, case: &Case) -> Outcome {
    let usual = case.run(device, SEEDS, 1)?;
    for (what, seeds) in [
        ("the seed of the weights", Seeds { weights: SEEDS.weights + 1, ..SEEDS }),
        ("the seed of dropout", Seeds { dropout: SEEDS.dropout + 1, ..SEEDS }),
        ("the number of the step", Seeds { first_step: SEEDS.first_step + 1, ..SEEDS }),
    ] {
        let other = case.run(device, seeds, 1)?;
        if let Some((name, _)) = usual.parameters.iter().find(|(name, bits)| other.parameters[*name] == **bits) {
            return Err(format!("{what} makes no difference to {name}").into());
        }
    }
    Ok(())
}

fn devices_agree(case: &Case) -> Outcome {
    let (cpu, gpu) = (case.usual_run(&Device::cpu())?, case.usual_run(&gpu()?)?);
    for (step, (&cpu, &gpu)) in cpu.losses.iter().zip(&gpu.losses).enumerate() {
        within(&format!("loss of step {step}"), relative(gpu, cpu), LOSS_TOLERANCE)?;
    }
    Ok(())
}

/// Logits, loss and every parameter's gradient in one training step.
type Step = (Vec<f32>, f64, Vec<(String, Vec<f32>)>);

fn large_batch(case: &Case) -> Outcome {
    let batch = &batches(LARGE_BATCH, 1)?[0];
    let step = |device: &Device| -> cifar_gpu::Result<Step> {
        let net = common::network(case.network, device, SEEDS.weights)?;
        let state = StepState::new(SEEDS.dropout, 0, case.rate).tensor(device)?;
        let (logits, loss) = forward(&net, &upload(&net, batch)?, &Tape::recording(Some(state)))?;
        let gradients = common::outer_gradients(&net, &loss.backward()?)?;
        Ok((logits.tensor().to_vec()?, value(&loss)?, gradients))
    };
    let (gpu, cpu) = (step(&gpu()?)?, step(&Device::cpu())?);
    let cpu_logits: Vec<f64> = cpu.0.iter().map(|&v| f64::from(v)).collect();
    within("logits", relative_maximum(&gpu.0, &cpu_logits), LARGE_FORWARD_TOLERANCE)?;
    within("loss", relative(gpu.1, cpu.1), LARGE_FORWARD_TOLERANCE)?;
    for ((name, gpu), (_, cpu)) in gpu.2.iter().zip(&cpu.2) {
        within(&format!("gradient of {name}"), relative_distance(gpu, cpu), LARGE_GRADIENT_TOLERANCE)?;
    }
    Ok(())
}
