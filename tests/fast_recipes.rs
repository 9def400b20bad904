//! The parts of fast recipes against PyTorch's own functions and the formulas of their publications: `fixtures/fast_recipes.json`,
//! which `fixtures/fast_recipes.py` makes.
#![expect(clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not all tests use all of it")]
mod common;
#[allow(dead_code, reason = "not all tests use all of it")]
#[path = "common/json_fixture.rs"]
mod json_fixture;

use std::sync::LazyLock;

use cifar_gpu::data::Dataset;
use cifar_gpu::nn::{Architecture, DescriptionReader, Init, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::batch_assembly::{Augmentation, Border, ImageChunk, Normalization, batch_assembly};
use cifar_gpu::ops::distillation::Distillation;
use cifar_gpu::ops::elementwise::Combine;
use cifar_gpu::ops::muon::{Muon, muon_update};
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::tape::{Layout, Parameters, Tape};
use cifar_gpu::tensor::{DType, Precision};
use cifar_gpu::train::{
    DeviceDataset, StepSettings, Stepper, Teacher, TestTimeAugmentation, TrainConfig, WhiteningFilters,
};
use cifar_gpu::{Classifier, Device, ImageShape};
use common::{Outcome, on_both_devices, relative_maximum, within};
use json_fixture::JsonFixture;
use libtest_mimic::{Arguments, Trial};

static FIXTURE: LazyLock<JsonFixture> =
    LazyLock::new(|| JsonFixture::parse(include_str!("fixtures/fast_recipes.json")));

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

fn described(text: &str) -> cifar_gpu::Result<Architecture> {
    DescriptionReader::default().read("a test", text, Some(5))
}

fn reflection(device: &Device) -> Outcome {
    const PART: &str = "reflection";
    let side = FIXTURE.integer(PART, "side") as usize;
    let augmentation = Augmentation {
        crop_padding: FIXTURE.integer(PART, "padding") as u32,
        crop_border: Border::Reflect,
        ..Augmentation::NONE
    };
    let state = StepState::new(FIXTURE.integer(PART, "seed"), FIXTURE.integer(PART, "step") as u32, 0.0);
    let images = device.tensor_u8(&[4, 3, side * side], &FIXTURE.bytes(PART, "images"))?;
    let (output, labels) = (device.empty(&[4, side, side, 3])?, device.allocate(&[4], DType::U32)?);
    let indices = device.tensor_u32(&[4], &[0, 1, 2, 3])?;
    batch_assembly(
        &Normalization::new([0.5; 3], [0.25; 3]),
        Some((&augmentation, &state.tensor(device)?)),
        &[ImageChunk { start: 0, images }],
        &indices,
        &indices,
        &output,
        &labels,
    )?;
    FIXTURE.close("output", &output, PART, "output")
}

fn test_time_augmentation(device: &Device) -> Outcome {
    const PART: &str = "tta";
    let text = r#"
        name = "one-layer"
        input = [8, 8, 3]
        layers = [{ type = "flatten" }, { type = "linear", name = "fc", features = "classes", bias = false }]
    "#;
    let network = Network::new(described(text)?, device, 0)?;
    let weight = &network.parameters()[0];
    weight.tensor.write(&weight.layout.to_inner(&FIXTURE.floats(PART, "weight")))?;
    let labels = FIXTURE.numbers(PART, "labels").iter().map(|&label| label as u16).collect();
    let shape = ImageShape::new(8, 8, 3)?;
    let images = Dataset::new(shape, FIXTURE.bytes("reflection", "images"), labels, names(5))?;
    let classifier = Classifier::new(network, names(5))?;
    for (name, tta) in [
        ("none", TestTimeAugmentation::None),
        ("mirror", TestTimeAugmentation::Mirror),
        ("mirror-shift", TestTimeAugmentation::MirrorShift),
    ] {
        // A whole batch and a part of one, which go different ways.
        let loss = classifier.evaluate(&images, 3, tta, |_| {})?.loss;
        let expected = FIXTURE.number(PART, name);
        within(name, (loss - expected).abs() / expected, 1e-5)?;
    }
    Ok(())
}

fn whitening(device: &Device) -> Outcome {
    const PART: &str = "whitening";
    let text = r#"
        name = "one-layer"
        input = [8, 8, 3]
        layers = [
            { type = "conv2d", name = "conv", channels = 60, kernel = 3, padding = "same" },
            { type = "relu" },
            { type = "conv2d", name = "head", channels = "classes", kernel = 1 },
            { type = "global_avg_pool" },
        ]
        [normalization]
        mean = [0.4, 0.4, 0.4]
        std = [0.2, 0.2, 0.2]
    "#;
    let network = Network::new(described(text)?, device, 0)?;
    let images = FIXTURE.bytes(PART, "images");
    let images = Dataset::new(ImageShape::new(8, 8, 3)?, images, vec![0; 20], names(5))?;
    WhiteningFilters::of(&network, &images)?.apply(&network)?;
    let weight = &network.parameters()[0];
    let weight = weight.layout.to_outer(&weight.tensor.to_vec()?);
    for (i, expected) in FIXTURE.numbers(PART, "filters").chunks(27).enumerate() {
        let (positive, negative) = (&weight[27 * i..27 * (i + 1)], &weight[27 * (27 + i)..27 * (28 + i)]);
        // The sign of an eigenvector is arbitrary.
        let (plus, minus) = (relative_maximum(positive, expected), relative_maximum(negative, expected));
        within(&format!("filter {i}"), plus.min(minus), 1e-4)?;
        if positive.iter().zip(negative).any(|(a, b)| *a != -b) {
            return Err(format!("filter {i} is not there with both signs").into());
        }
    }
    Ok(())
}

fn dirac(device: &Device) -> Outcome {
    let mut architecture = Architecture::by_name("resnet20", 10)?;
    architecture.set_dirac_init();
    let network = Network::new(architecture, device, 3)?;
    let filters = FIXTURE.floats("dirac", "filters");
    // The reference has three input channels: so do the first taps of wider layers, channel by channel.
    let mut seen = 0;
    for parameter in network.parameters().iter().skip(1) {
        let Layout::Conv2dWeight { out_c, in_c, kernel: [3, 3] } = parameter.layout else { continue };
        let weight = parameter.layout.to_outer(&parameter.tensor.to_vec()?);
        for out in 0..in_c.min(3) {
            let own = &weight[out * in_c * 9..][..27];
            if own != &filters[out * 27..][..27]
                || weight[(out * in_c + 3) * 9..(out + 1) * in_c * 9].iter().any(|&w| w != 0.0)
            {
                return Err(format!("filter {out} of {} does not pass its channel on", parameter.name).into());
            }
        }
        if out_c > in_c && weight[in_c * in_c * 9..].contains(&0.0) {
            return Err(format!("the further filters of {} are not random", parameter.name).into());
        }
        seen += 1;
    }
    if seen < 18 { Err(format!("only {seen} convolutions").into()) } else { Ok(()) }
}

fn muon(device: &Device) -> Outcome {
    const PART: &str = "muon";
    let layout = Layout::Conv2dWeight { out_c: 6, in_c: 2, kernel: [3, 3] };
    let on_device = |outer: &[f32]| device.tensor(&layout.inner_shape(), &layout.to_inner(outer));
    let parameter = on_device(&FIXTURE.floats(PART, "start"))?;
    let velocity = device.zeros(&layout.inner_shape(), DType::F32)?;
    let settings = Muon {
        momentum: FIXTURE.number(PART, "momentum") as f32,
        nesterov: true,
        rate_factor: 1.0,
        weight_decay: 0.0,
        fixed_norm: true,
    };
    for gradient in FIXTURE.floats(PART, "gradients").chunks(layout.elements()) {
        let state = StepState::new(0, 0, FIXTURE.number(PART, "rate") as f32).tensor(device)?;
        muon_update(settings, &state, &on_device(gradient)?, &parameter, &velocity)?;
    }
    let end = layout.to_outer(&parameter.to_vec()?);
    within("parameter", relative_maximum(&end, &FIXTURE.numbers(PART, "end")), 1e-4)
}

fn bias_rate(device: &Device) -> Outcome {
    const PART: &str = "bias_rate";
    let weight = Layout::LinearWeight { out_features: 4, channels: 3, pixels: 1 };
    let start = FIXTURE.floats(PART, "start");
    let values = [
        ("fc.weight".to_owned(), weight, start[..12].to_vec()),
        ("fc.bias".to_owned(), Layout::Bias(4), start[12..].to_vec()),
    ];
    let parameters = Parameters::new(device, values)?;
    let sgd = Sgd {
        momentum: FIXTURE.number(PART, "momentum") as f32,
        weight_decay: FIXTURE.number(PART, "decay") as f32,
        nesterov: true,
    };
    let factor = |name: &str| if name.ends_with("bias") { 64.0 } else { 1.0 };
    let config = OptimizerConfig::Sgd(sgd);
    let mut optimizer = Optimizer::with_rate_factors(config, device, &parameters, |p| factor(&p.name))?;
    let gradients = device.zeros(parameters.flat().shape(), DType::F32)?;
    for gradient in FIXTURE.floats(PART, "gradients").chunks(16) {
        for (parameter, values) in parameters.iter().zip([&gradient[..12], &gradient[12..]]) {
            let place = gradients.view(parameter.start, parameter.tensor.shape())?;
            place.write(&parameter.layout.to_inner(values))?;
        }
        let mut state = StepState::new(0, 0, FIXTURE.number(PART, "rate") as f32);
        optimizer.begin_step(&mut state);
        optimizer.step_from(&state.tensor(device)?, &parameters, &gradients)?;
    }
    let mut end = Vec::new();
    for parameter in &parameters {
        end.extend(parameter.layout.to_outer(&parameter.tensor.to_vec()?));
    }
    within("parameters", relative_maximum(&end, &FIXTURE.numbers(PART, "end")), 1e-5)
}

fn distillation(device: &Device) -> Outcome {
    const PART: &str = "distillation";
    let tape = Tape::recording(None);
    let student = tape.variable(&FIXTURE.tensor(device, &[6, 5], PART, "student")?);
    let teacher = FIXTURE.tensor(device, &[6, 5], PART, "teacher")?;
    let labels: Vec<u32> = FIXTURE.numbers(PART, "labels").iter().map(|&label| label as u32).collect();
    let [weight, temperature, smoothing] =
        ["weight", "temperature", "smoothing"].map(|name| FIXTURE.number(PART, name) as f32);
    let labels = SoftmaxCrossEntropy::new(&device.tensor_u32(&[6], &labels)?)?.smoothing(smoothing);
    let (own, imitation) = (student.apply(labels)?, student.apply(Distillation { teacher, temperature })?);
    let loss = tape.apply(Combine { x_factor: 1.0 - weight, y_factor: weight }, &[&own, &imitation])?;
    within("loss", relative_maximum(&loss.tensor().to_vec()?, &[FIXTURE.number(PART, "loss")]), 1e-6)?;
    FIXTURE.close("d_student", loss.backward()?.get(&student).ok_or("no gradient")?, PART, "d_student")
}

/// Twenty noisy images of ten classes.
fn noise() -> cifar_gpu::Result<Dataset> {
    let bytes = (0..20 * 3072_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    Ok(Dataset::new(ImageShape::CIFAR, bytes, (0..20).map(|i| i % 10).collect(), names(10))?)
}

const SGD: OptimizerConfig = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 1e-3, nesterov: true });

/// A network that imitates its own copy has nothing to learn, if both see the same pixels; and something if one sees others.
fn teacher_sees_the_same_pixels(device: &Device) -> Outcome {
    let images = noise()?;
    let loss = |std: f64| -> Result<f32, libtest_mimic::Failed> {
        let mut architecture = Architecture::by_name("lenet5", 10)?;
        architecture.set_dropout(&[0.0, 0.0])?;
        let network = Network::new(architecture.clone(), device, 3)?;
        architecture.normalization.std = vec![std; 3];
        let teacher = Network::new(architecture, device, 3)?;
        let on_device = DeviceDataset::new(device, &images, &network.architecture().normalization)?;
        let settings = StepSettings::default().with(|settings| settings.augmentation = Augmentation::STRONG);
        let optimizer = Optimizer::new(SGD, device, network.parameters())?;
        let stepper = Stepper::new(&network, &on_device, optimizer, settings)?;
        let mut stepper = stepper.with_teacher(Teacher::new(teacher, 1.0, 2.0))?;
        stepper.step(&(0..20).collect::<Vec<_>>(), 0, 0.0)?;
        Ok(stepper.drain()?[0].loss)
    };
    let own = Architecture::by_name("lenet5", 10)?.normalization.std[0];
    let (same, other) = (loss(own)?, loss(0.2 * own)?);
    within("loss of a copy", f64::from(same.abs()), 1e-6)?;
    if other < 1e-4 { Err(format!("loss of another network: {other}").into()) } else { Ok(()) }
}

/// Parts of batches give the weights and metrics that whole batches give, with dropout, augmentation and a part that is smaller.
fn accumulation(device: &Device, precision: Precision) -> Outcome {
    let images = noise()?;
    type Trained = (Vec<f32>, Vec<(f32, usize)>);
    let trained = |micro_batch| -> Result<Trained, libtest_mimic::Failed> {
        let mut architecture = Architecture::by_name("lenet5", 10)?;
        architecture.set_dropout(&[0.3, 0.5])?;
        let mut network = Network::new(architecture, device, 3)?;
        network.set_precision(precision)?;
        let on_device = DeviceDataset::new(device, &images, &network.architecture().normalization)?;
        let settings = StepSettings::default().with(|settings| {
            settings.seed = 5;
            settings.dropout = true;
            settings.augmentation = Augmentation::STRONG;
            settings.clip_norm = Some(1.0);
            settings.average_decay = Some(0.5);
            settings.micro_batch = micro_batch;
        });
        let optimizer = Optimizer::new(SGD, device, network.parameters())?;
        let mut stepper = Stepper::new(&network, &on_device, optimizer, settings)?;
        for step in 0..4 {
            // The last batch of an epoch is smaller, and fits into one part.
            let count = if step % 2 == 0 { 18 } else { 2 };
            stepper.step(&(0..count).collect::<Vec<_>>(), 0, 0.02)?;
        }
        let metrics = stepper.drain()?.iter().map(|step| (step.loss, step.correct)).collect();
        Ok((stepper.result().parameters().flat().to_vec()?, metrics))
    };
    let (whole, whole_metrics) = trained(None)?;
    let (parts, parts_metrics) = trained(Some(8))?;
    let tolerance = if precision == Precision::F16 { 2e-3 } else { 2e-5 };
    let expected: Vec<f64> = whole.iter().map(|&v| v.into()).collect();
    within("weights", relative_maximum(&parts, &expected), tolerance)?;
    for (whole, parts) in whole_metrics.iter().zip(&parts_metrics) {
        within("loss", f64::from((whole.0 - parts.0).abs()), 1e-2 * tolerance.sqrt())?;
        if whole.1 != parts.1 && precision == Precision::F32 {
            return Err(format!("{} correct instead of {}", parts.1, whole.1).into());
        }
    }
    let (others, _) = trained(Some(20))?;
    if others != whole { Err("a part that holds the whole batch changes the result".into()) } else { Ok(()) }
}

/// Fixed whitening filters stay as they are while the rest learns.
fn fixed_filters(device: &Device) -> Outcome {
    let images = noise()?;
    let network = common::network("ygnet-bn", device, 3)?;
    WhiteningFilters::of(&network, &images)?.apply(&network)?;
    let on_device = DeviceDataset::new(device, &images, &network.architecture().normalization)?;
    let config = TrainConfig::fast("ygnet-bn")?.with(|config| {
        config.whitening = cifar_gpu::train::Whitening::Fixed;
        config.optimizer = cifar_gpu::train::OptimizerKind::Muon;
    });
    let weights = || -> cifar_gpu::Result<Vec<Vec<f32>>> {
        network.parameters().iter().map(|parameter| parameter.tensor.to_vec()).collect()
    };
    let before = weights()?;
    let mut stepper = Stepper::new(&network, &on_device, config.optimizer(&network)?, StepSettings::default())?;
    stepper.step(&[0, 1, 2, 3], 0, 0.05)?;
    stepper.drain()?;
    let after = weights()?;
    for ((parameter, before), after) in network.parameters().iter().zip(before).zip(after) {
        if (before == after) != (parameter.name == "conv1.weight") {
            return Err(format!("{}: changed is {}", parameter.name, before != after).into());
        }
    }
    Ok(())
}

fn main() {
    // A description may ask for it, too.
    assert_eq!(serde_json::from_str::<Init>("\"dirac\"").ok(), Some(Init::Dirac));
    type Case = (&'static str, fn(&Device) -> Outcome);
    let cases: [Case; 11] = [
        ("reflection", reflection),
        ("test_time_augmentation", test_time_augmentation),
        ("whitening", whitening),
        ("dirac", dirac),
        ("muon", muon),
        ("bias_rate", bias_rate),
        ("distillation", distillation),
        ("teacher_sees_the_same_pixels", teacher_sees_the_same_pixels),
        ("accumulation", |device| accumulation(device, Precision::F32)),
        ("accumulation_f16", |device| accumulation(device, Precision::F16)),
        ("fixed_filters", fixed_filters),
    ];
    let trials: Vec<Trial> = cases.into_iter().flat_map(|(name, run)| on_both_devices(name, run)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
