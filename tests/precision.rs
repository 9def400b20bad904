//! Half precision: 16-bit activations train as 32-bit ones do, reproducibly, and scaled losses recover from overflow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "not all tests use all of it")]
mod common;

use cifar_gpu::data::synthetic;
use cifar_gpu::nn::Network;
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::{LossScaler, Optimizer, OptimizerConfig, ScalerState};
use cifar_gpu::tape::Tape;
use cifar_gpu::tensor::DType;
use cifar_gpu::tensor::Precision;
use cifar_gpu::train::{DeviceDataset, StepSettings, Stepper};
use cifar_gpu::{Device, Result};
use common::{Outcome, on_both_devices, outer_gradients, relative, relative_distance, within};
use libtest_mimic::{Arguments, Trial};

const SEED: u64 = 5;
fn settings(dropout: bool) -> StepSettings {
    StepSettings::default().with(|settings| (settings.seed, settings.dropout) = (SEED, dropout))
}

const SGD: OptimizerConfig = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false });

fn main() {
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(on_both_devices("gradients/lenet5", |device| same_gradients(device, "lenet5", 16)));
    trials.push(Trial::test("cpu/gradients/ygnet", || same_gradients(&Device::cpu(), "ygnet", 2)));
    trials.extend(on_both_devices("training/lenet5", same_training));
    trials.extend(on_both_devices("overflow/lenet5", overflow_is_survived));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A loss, and the gradients of the parameters with their names.
type LossAndGradients = (f64, Vec<(String, Vec<f32>)>);

fn network(device: &Device, arch: &str, dtype: DType) -> Result<Network> {
    let mut network = common::network(arch, device, SEED)?;
    network.set_precision(if dtype == DType::F16 { Precision::F16 } else { Precision::F32 })?;
    Ok(network)
}

fn images(network: &Network, count: usize) -> Result<DeviceDataset> {
    let set = synthetic::generate(network.architecture().input, count, 1, SEED)?.train;
    DeviceDataset::new(network.device(), &set, &network.architecture().normalization)
}

/// Gradients of the loss itself, whatever it was scaled by.
fn same_gradients(device: &Device, arch: &str, batch: usize) -> Outcome {
    let gradients = |dtype| -> Result<LossAndGradients> {
        let network = network(device, arch, dtype)?;
        let indices: Vec<u32> = (0..).take(batch).collect();
        let batch = images(&network, batch)?.batch(&indices)?;
        let tape = Tape::recording(None);
        let logits = network.forward(&tape, &tape.constant(&batch.images))?;
        let loss = logits.apply(SoftmaxCrossEntropy::new(&batch.labels)?)?;
        let state = StepState::new(SEED, 0, 0.0).tensor(device)?;
        let gradients = match dtype {
            DType::F16 => LossScaler::new(device)?.backward(&loss, &state, network.parameters())?,
            _ => loss.backward()?,
        };
        let factor = f32::from_bits(state.to_vec_u32()?[7]);
        let mut gradients = outer_gradients(&network, &gradients)?;
        gradients.iter_mut().flat_map(|(_, values)| values).for_each(|value| *value *= factor);
        Ok((f64::from(loss.tensor().to_vec()?[0]), gradients))
    };
    let ((wide_loss, wide), (narrow_loss, narrow)) = (gradients(DType::F32)?, gradients(DType::F16)?);
    within("loss", relative(narrow_loss, wide_loss), 2e-3)?;
    for ((name, wide), (_, narrow)) in wide.iter().zip(&narrow) {
        // Where two elements of a pooling window round to the same number, another one may be chosen.
        within(name, relative_distance(narrow, wide), 0.1)?;
    }
    if narrow == wide {
        return Err("16 bits round nothing: the test compares a precision with itself".into());
    }
    Ok(())
}

/// Losses of some steps, and the parameters after them as bits.
fn train(device: &Device, dtype: DType) -> Result<(Vec<f32>, Vec<u32>, Option<ScalerState>)> {
    const BATCH: usize = 16;
    let network = network(device, "lenet5", dtype)?;
    let images = images(&network, 8 * BATCH)?;
    let mut stepper =
        Stepper::new(&network, &images, Optimizer::new(SGD, device, network.parameters())?, settings(true))?;
    let indices: Vec<u32> = (0..).take(8 * BATCH).collect();
    for batch in indices.chunks(BATCH).cycle().take(24) {
        stepper.step(batch, 0, 0.02)?;
    }
    let losses = stepper.drain()?.iter().map(|metrics| metrics.loss).collect();
    let parameters = network.parameters().flat().to_vec()?.into_iter().map(f32::to_bits).collect();
    Ok((losses, parameters, stepper.scaler_state()?))
}

fn same_training(device: &Device) -> Outcome {
    let (wide, _, none) = train(device, DType::F32)?;
    let (narrow, parameters, scaler) = train(device, DType::F16)?;
    let last = |losses: &[f32]| losses.iter().rev().take(8).map(|&loss| f64::from(loss)).sum::<f64>() / 8.0;
    let (first, wide, narrow_last) = (f64::from(wide[0]), last(&wide), last(&narrow));
    if wide > 0.97 * first {
        return Err(format!("the loss only falls from {first} to {wide}: the test would show nothing").into());
    }
    within("mean of the last losses", relative(narrow_last, wide), 1e-2)?;
    let scaler = scaler.ok_or("nothing scaled the loss")?;
    if none.is_some() || scaler.skipped_steps > 0 || scaler.gradient_norm.is_nan() || scaler.gradient_norm <= 0.0 {
        return Err(format!("{none:?}, {scaler:?}").into());
    }
    if train(device, DType::F16)?.1 != parameters {
        return Err("the same seed gave other bits".into());
    }
    Ok(())
}

/// Weights so large that cotangents do not fit at first: those steps change nothing, until the scale is small enough.
fn overflow_is_survived(device: &Device) -> Outcome {
    let network = network(device, "lenet5", DType::F16)?;
    for parameter in network.parameters().iter().filter(|p| p.name == "conv2.weight" || p.name == "fc1.weight") {
        let large: Vec<f32> = parameter.tensor.to_vec()?.iter().map(|w| 40.0 * w).collect();
        parameter.tensor.write(&large)?;
    }
    let images = images(&network, 16)?;
    let settings = settings(false).with(|settings| settings.average_decay = Some(0.9));
    let mut stepper = Stepper::new(&network, &images, Optimizer::new(SGD, device, network.parameters())?, settings)?;
    // The average is elsewhere to begin with, so that it shows if it moves.
    let average = stepper.result().parameters().flat().clone();
    average.write(&vec![0.5; average.len()])?;
    let average_before = average.to_vec()?;
    let indices: Vec<u32> = (0..16).collect();
    let before = network.parameters().flat().to_vec()?;
    let mut scale = f32::INFINITY;
    for step in 1..=24 {
        stepper.step(&indices, 0, 1e-7)?;
        stepper.drain()?;
        let state = stepper.scaler_state()?.ok_or("nothing scaled the loss")?;
        let changed = network.parameters().flat().to_vec()? != before;
        if (average.to_vec()? != average_before) != changed {
            return Err(format!("step {step}: the average moves and the parameters do not, or the reverse").into());
        }
        match (state.skipped_steps == step, changed) {
            (true, false) if state.scale < scale => scale = state.scale,
            (false, true) if step > 1 => return Ok(()),
            _ => return Err(format!("step {step}: {state:?}, parameters changed: {changed}").into()),
        }
    }
    Err("the scale never became small enough".into())
}
