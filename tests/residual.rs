//! ResNet-20 against PyTorch's results in double precision; `fixtures/README.md` says how these were made.
#![expect(clippy::expect_used, reason = "a fixture that cannot be read fails the test")]

mod common;
#[allow(clippy::panic, reason = "tests")]
#[path = "common/fixtures.rs"]
mod fixtures;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use cifar_gpu::Device;
use cifar_gpu::nn::{Network, Summary};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::adam::Adam;
use cifar_gpu::ops::conv2d::{Direction, Plans};
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::tape::Tape;
use common::{Batch, Outcome, forward, on_both_devices, relative, relative_distance, relative_maximum, value, within};
use fixtures::fixture;
use libtest_mimic::{Arguments, Failed};
use safetensors::SafeTensors;

/// Largest relative error of logits and losses before any update.
const FORWARD_TOLERANCE: f64 = 1e-5;
/// The same with running statistics that are far from the batch's: logits are a hundred times as large.
const EVALUATION_TOLERANCE: f64 = 2e-5;
/// Largest relative distance of a parameter's gradient.
const GRADIENT_TOLERANCE: f64 = 1e-5;
/// Largest relative error of running statistics after one batch.
const STATISTICS_TOLERANCE: f64 = 1e-5;
/// Largest relative error of a loss of the trajectories: PyTorch's own 32-bit run with AdamW is off by 2e-3.
const TRAJECTORY_TOLERANCE: f64 = 1e-2;

/// What `resnet20.json` holds.
#[derive(serde::Deserialize)]
struct Fixture {
    loss_train: f64,
    loss_eval: f64,
    /// By optimizer, before each of 12 updates.
    losses: BTreeMap<String, Vec<f64>>,
}

static FIXTURE: LazyLock<Fixture> =
    LazyLock::new(|| serde_json::from_slice(&fixture("resnet20.json")).expect("resnet20.json is as written"));

fn main() {
    let mut trials = Vec::new();
    trials.extend(on_both_devices("resnet20/training", |device| training(device, false)));
    trials.extend(on_both_devices("resnet20/training_with_the_usual_plans", |device| training(device, true)));
    trials.extend(on_both_devices("resnet20/evaluation", evaluation));
    for (name, losses) in &FIXTURE.losses {
        let steps = losses.len();
        trials.extend(on_both_devices(&format!("resnet20/{steps}_steps_of_{name}"), |device| {
            trajectory(device, name, losses)
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn floats(file: &SafeTensors, name: &str) -> Result<Vec<f32>, Failed> {
    Ok(bytemuck::pod_collect_to_vec(file.tensor(name)?.data()))
}

fn doubles(file: &SafeTensors, name: &str) -> Result<Vec<f64>, Failed> {
    Ok(bytemuck::pod_collect_to_vec(file.tensor(name)?.data()))
}

/// The network with PyTorch's weights and running statistics, and the batch that PyTorch ran; its products are computed
/// directly unless `usual`.
fn load(device: &Device, usual: bool) -> Result<(Network, Batch), Failed> {
    let mut net = common::network("resnet20", device, 0)?;
    if !usual {
        let mut plans = Plans::default();
        for (_, geometry) in net.architecture().convolutions(1)? {
            for direction in Direction::ALL {
                plans.choose(direction, &geometry, "direct-8x8".parse()?);
            }
        }
        net.set_plans(plans);
    }
    let weights = fixture("resnet20_init.safetensors");
    let weights = SafeTensors::deserialize(&weights)?;
    for parameter in net.state() {
        parameter.tensor.write(&parameter.layout.to_inner(&floats(&weights, &parameter.name)?))?;
    }
    if net.state().count() != weights.len() || Summary::new(net.architecture())?.parameters != 269_722 {
        return Err("the network does not have PyTorch's parameters".into());
    }
    let batch = fixture("resnet20_batch.safetensors");
    let batch = SafeTensors::deserialize(&batch)?;
    let labels: Vec<u32> = bytemuck::pod_collect_to_vec(batch.tensor("labels")?.data());
    let batch = Batch::new(&net, batch.tensor("images")?.data(), &labels)?;
    Ok((net, batch))
}

fn training(device: &Device, usual: bool) -> Outcome {
    let (net, batch) = load(device, usual)?;
    let file = fixture("resnet20_reference.safetensors");
    let file = SafeTensors::deserialize(&file)?;
    let (logits, loss) = forward(&net, &batch, &Tape::recording(None))?;
    let error = relative_maximum(&logits.tensor().to_vec()?, &doubles(&file, "logits_train_f64")?);
    within("logits", error, FORWARD_TOLERANCE)?;
    within("loss", relative(value(&loss)?, FIXTURE.loss_train), FORWARD_TOLERANCE)?;
    for statistic in net.statistics().into_iter().flat_map(|statistics| statistics.iter()) {
        let expected = floats(&file, &format!("running.{}", statistic.name))?;
        let distance = relative_distance(&statistic.tensor.to_vec()?, &expected);
        within(&statistic.name, distance, STATISTICS_TOLERANCE)?;
    }
    for (name, actual) in common::outer_gradients(&net, &loss.backward()?)? {
        let whole = format!("grad.{name}");
        let (stride, expected) = match floats(&file, &whole) {
            Ok(values) => (1, values),
            Err(_) => (8, floats(&file, &format!("{whole}.every8"))?),
        };
        let sample: Vec<f32> = actual.into_iter().step_by(stride).collect();
        within(&name, relative_distance(&sample, &expected), GRADIENT_TOLERANCE)?;
    }
    Ok(())
}

fn evaluation(device: &Device) -> Outcome {
    let (net, batch) = load(device, false)?;
    let file = fixture("resnet20_reference.safetensors");
    let file = SafeTensors::deserialize(&file)?;
    let (logits, loss) = forward(&net, &batch, &Tape::inference())?;
    let error = relative_maximum(&logits.tensor().to_vec()?, &doubles(&file, "logits_eval_f64")?);
    within("logits", error, EVALUATION_TOLERANCE)?;
    within("loss", relative(value(&loss)?, FIXTURE.loss_eval), EVALUATION_TOLERANCE)
}

fn trajectory(device: &Device, optimizer: &str, losses: &[f64]) -> Outcome {
    let (net, batch) = load(device, false)?;
    let (config, rate) = match optimizer {
        "sgd_nesterov" => (OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: true }), 0.02),
        "adamw" => {
            let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true };
            (OptimizerConfig::Adam(adam), 1e-3)
        }
        other => return Err(format!("no settings for {other}").into()),
    };
    let mut optimizer = Optimizer::new(config, device, net.parameters())?;
    for (step, &expected) in (0..).zip(losses) {
        let loss = common::train(&net, &mut optimizer, &batch, StepState::new(0, step, rate), false)?;
        within(&format!("loss before update {step}"), relative(loss, expected), TRAJECTORY_TOLERANCE)?;
    }
    Ok(())
}
