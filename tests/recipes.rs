//! The parts of training recipes against PyTorch's own functions: `fixtures/recipes.json`, which `fixtures/recipes.py` makes.
#![expect(clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not all tests use all of it")]
mod common;

use std::sync::LazyLock;

use cifar_gpu::data::Dataset;
use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::batch_assembly::{Augmentation, Flip, ImageChunk, Normalisation, batch_assembly};
use cifar_gpu::ops::batch_norm::{self, Running, Statistics};
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::ops::softmax_cross_entropy;
use cifar_gpu::optim::{Optimizer, OptimizerConfig, Schedule};
use cifar_gpu::tape::Tape;
use cifar_gpu::tensor::DType;
use cifar_gpu::train::{DeviceDataset, StepSettings, Stepper, TrainConfig};
use cifar_gpu::weights::WeightsFile;
use cifar_gpu::{Device, Tensor};
use common::{Outcome, on_both_devices, relative_distance, relative_maximum, within};
use libtest_mimic::{Arguments, Trial};
use safetensors::SafeTensors;
use serde_json::Value;

static FIXTURE: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("fixtures/recipes.json");
    serde_json::from_str(text).unwrap_or_else(|e| panic!("recipes.json: {e}"))
});

fn numbers(part: &str, name: &str) -> Vec<f64> {
    let list = FIXTURE[part][name].as_array().unwrap_or_else(|| panic!("{part} has no list {name}"));
    list.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

fn number(part: &str, name: &str) -> f64 {
    FIXTURE[part][name].as_f64().unwrap_or(f64::NAN)
}

fn tensor(device: &Device, shape: &[usize], part: &str, name: &str) -> cifar_gpu::Result<Tensor> {
    device.tensor(shape, &numbers(part, name).iter().map(|&v| v as f32).collect::<Vec<_>>())
}

fn close(what: &str, actual: &Tensor, part: &str, name: &str) -> Outcome {
    within(what, relative_maximum(&actual.to_vec()?, &numbers(part, name)), 1e-5)
}

fn label_smoothing(device: &Device) -> Outcome {
    const PART: &str = "label_smoothing";
    let labels: Vec<u32> = numbers(PART, "labels").iter().map(|&label| label as u32).collect();
    let result = softmax_cross_entropy::forward(
        number(PART, "smoothing") as f32,
        &tensor(device, &[4, 5], PART, "logits")?,
        &device.tensor_u32(&[4], &labels)?,
    )?;
    within("loss", relative_maximum(&result.loss.to_vec()?, &[number(PART, "loss")]), 1e-6)?;
    close("d_logits", &result.d_logits, PART, "d_logits")
}

fn normalisation(device: &Device) -> Outcome {
    const PART: &str = "batch_norm";
    let shape: Vec<usize> = numbers(PART, "shape").iter().map(|&side| side as usize).collect();
    let channels = shape[3];
    let (input, cotangent) = (tensor(device, &shape, PART, "input")?, tensor(device, &shape, PART, "cotangent")?);
    let (weight, bias) = (tensor(device, &[channels], PART, "weight")?, tensor(device, &[channels], PART, "bias")?);
    let (mean, variance) = (device.tensor(&[channels], &[0.0; 3])?, device.tensor(&[channels], &[1.0; 3])?);
    let running = Running { mean: &mean, variance: &variance };
    let (output, statistics) = batch_norm::forward(Statistics::Batch, false, &input, &weight, &bias, running)?;
    close("output", &output, PART, "output")?;
    close("running mean", &mean, PART, "running_mean")?;
    close("running variance", &variance, PART, "running_var")?;
    let (d_weight, d_bias) = (device.empty(&[channels])?, device.empty(&[channels])?);
    let d_input = batch_norm::backward(&input, &statistics, &weight, &cotangent, None, &d_weight, &d_bias)?;
    close("d_input", &d_input, PART, "d_input")?;
    close("d_weight", &d_weight, PART, "d_weight")?;
    close("d_bias", &d_bias, PART, "d_bias")?;
    let (output, _) = batch_norm::forward(Statistics::Running, false, &input, &weight, &bias, running)?;
    close("inference", &output, PART, "inference")
}

fn schedules() -> Outcome {
    const PART: &str = "schedules";
    let base = number(PART, "base");
    for (name, schedule) in [
        ("cosine", Schedule::Cosine),
        ("step", Schedule::Step { milestones: vec![0.5, 0.75], factor: 0.1 }),
        ("time_decay", Schedule::TimeDecay { decay: 0.25 }),
        ("one_cycle_rise", Schedule::OneCycle { peak_at: 0.25 }),
    ] {
        for (step, expected) in (0..).zip(numbers(PART, name)) {
            let rate = schedule.rate(base, step, 20);
            within(&format!("{name}, step {step}"), (rate - expected).abs() / base, 1e-12)?;
        }
    }
    Ok(())
}

fn augmentation(device: &Device) -> Outcome {
    const PART: &str = "augmentation";
    let side = number(PART, "side") as usize;
    let bytes: Vec<u8> = numbers(PART, "images").iter().map(|&byte| byte as u8).collect();
    let count = bytes.len() / (3 * side * side);
    let indices: Vec<u32> = (0..).take(count).collect();
    let seed = FIXTURE[PART]["seed"].as_u64().ok_or("no seed")?;
    let state =
        StepState { epoch: number(PART, "epoch") as u32, ..StepState::new(seed, number(PART, "step") as u32, 0.0) };
    let cutout = Augmentation { cutout: 3, ..Augmentation::NONE };
    let half_turn = Augmentation { rotation_degrees: 180.0, shift: 0.5, ..Augmentation::NONE };
    for (name, augmentation) in [
        ("flip-crop", Augmentation::FLIP_CROP),
        ("keras", Augmentation::KERAS),
        ("strong", Augmentation::STRONG),
        ("cutout", cutout),
        ("half-turn", half_turn),
    ] {
        assert_eq!(name == "strong", augmentation.flip == Flip::Alternating);
        let images = device.tensor_u8(&[count, 3, side * side], &bytes)?;
        let output = device.empty(&[count, side, side, 3])?;
        batch_assembly(
            &Normalisation::from_mean_std([0.5; 3], [0.25; 3]),
            Some((&augmentation, &state.tensor(device)?)),
            &[ImageChunk { start: 0, images }],
            &device.tensor_u32(&[count], &indices)?,
            &device.tensor_u32(&[count], &indices)?,
            &output,
            &device.allocate(&[count], DType::U32)?,
        )?;
        close(name, &output, PART, name)?;
    }
    Ok(())
}

/// ygnet with batch normalisation and the weights and images of the other fixtures.
fn fixture_network(device: &Device, folder: &std::path::Path) -> Result<(Network, Dataset), libtest_mimic::Failed> {
    // Its own layers' weights, in a file together with those of the convolutions.
    let network = Network::new(Architecture::by_name("ygnet-bn", 10)?, device, 0)?;
    let own = folder.join("own.safetensors");
    let names: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    cifar_gpu::weights::save(&own, &network, &names)?;
    let path = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let (own, init) = (std::fs::read(own)?, std::fs::read(path("ygnet_init.safetensors"))?);
    let (own, init) = (SafeTensors::deserialize(&own)?, SafeTensors::deserialize(&init)?);
    let both = own.tensors().into_iter().filter(|(name, _)| name.starts_with("bn")).chain(init.tensors());
    let merged = folder.join("merged.safetensors");
    std::fs::write(&merged, safetensors::serialize(both, None)?)?;
    WeightsFile::read(&merged)?.load_into(&network)?;
    let batch = std::fs::read(path("ygnet_batch.safetensors"))?;
    let batch = SafeTensors::deserialize(&batch)?;
    let labels = batch.tensor("labels")?.data().chunks_exact(4).map(|label| u16::from(label[0])).collect();
    Ok((network, Dataset::new(batch.tensor("images")?.data().to_vec(), labels, names)?))
}

/// Smoothed labels, clipped gradients, Nesterov's momentum, weight decay, warm-up and batch normalisation together.
fn whole_recipe(device: &Device) -> Outcome {
    const PART: &str = "recipe";
    let folder = tempfile::tempdir()?;
    let (network, dataset) = fixture_network(device, folder.path())?;
    let images = DeviceDataset::new(device, &dataset, network.architecture().preprocessing.normalisation())?;
    let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 5e-4, nesterov: true });
    let config = TrainConfig {
        lr: number(PART, "lr"),
        warmup_epochs: 3.0,
        schedule: Schedule::Constant,
        ..TrainConfig::published("ygnet-bn")?
    };
    let settings = StepSettings {
        label_smoothing: 0.1,
        clip_norm: Some(number(PART, "clip_norm") as f32),
        ..StepSettings::default()
    };
    let optimizer = Optimizer::new(sgd, device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &images, optimizer, settings)?;
    let indices: Vec<u32> = (0..dataset.len() as u32).collect();
    let expected = numbers(PART, "losses");
    for step in 0..expected.len() as u64 {
        stepper.step(&indices, 0, config.rate(step, 100, 1))?;
    }
    let losses: Vec<f32> = stepper.drain()?.iter().map(|step| step.loss).collect();
    within("losses", relative_maximum(&losses, &expected), 1e-4)?;
    let batch = images.batch(&indices)?;
    let tape = Tape::inference();
    let logits = network.forward(&tape, &tape.constant(&batch.images))?;
    // Nearly the same statistics in deep layers enlarge what rounding has done.
    let expected: Vec<f32> = numbers(PART, "inference_logits").iter().map(|&v| v as f32).collect();
    within("logits with running statistics", relative_distance(&logits.tensor().to_vec()?, &expected), 2e-3)
}

/// The average of the weights is what its formula says of the weights of every step.
fn average(device: &Device) -> Outcome {
    let network = common::network("lenet5", device, 3)?;
    let bytes = (0..16 * 3072_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let names = (0..10).map(|class| format!("class {class}")).collect();
    let dataset = Dataset::new(bytes, (0..16).map(|i| i % 10).collect(), names)?;
    let images = DeviceDataset::new(device, &dataset, network.architecture().preprocessing.normalisation())?;
    let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false });
    let optimizer = Optimizer::new(sgd, device, network.parameters())?;
    let settings = StepSettings { average_decay: Some(0.4), ..StepSettings::default() };
    let mut stepper = Stepper::new(&network, &images, optimizer, settings)?;
    let weights = || network.parameters().flat().to_vec();
    let mut expected: Vec<f64> = weights()?.iter().map(|&v| f64::from(v)).collect();
    for step in 1..8 {
        stepper.step(&(0..16).collect::<Vec<_>>(), 0, 0.05)?;
        stepper.drain()?;
        // Until the decay is reached, which it is here after 6 steps, the average reaches back less far.
        let decay = 0.4_f64.min((1.0 + f64::from(step)) / (10.0 + f64::from(step)));
        expected
            .iter_mut()
            .zip(weights()?)
            .for_each(|(average, v)| *average += (1.0 - decay) * (f64::from(v) - *average));
    }
    let actual = stepper.result().parameters().flat().to_vec()?;
    within("average", relative_maximum(&actual, &expected), 1e-6)?;
    let last: Vec<f64> = weights()?.iter().map(|&v| f64::from(v)).collect();
    if relative_maximum(&actual, &last) < 1e-4 {
        return Err("the average is the last weights: the test would show nothing".into());
    }
    Ok(())
}

fn main() {
    let mut trials = vec![Trial::test("schedules", schedules)];
    type Case = (&'static str, fn(&Device) -> Outcome);
    let cases: [Case; 5] = [
        ("label_smoothing", label_smoothing),
        ("batch_norm", normalisation),
        ("augmentation", augmentation),
        ("whole_recipe", whole_recipe),
        ("average", average),
    ];
    trials.extend(cases.into_iter().flat_map(|(name, run)| on_both_devices(name, run)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
