//! The parts of training recipes against PyTorch's own functions: `fixtures/recipes.json`, which `fixtures/recipes.py` makes.
#![expect(clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not all tests use all of it")]
mod common;
#[path = "common/fixtures.rs"]
mod fixtures;
#[allow(dead_code, reason = "not all tests use all of it")]
#[path = "common/json_fixture.rs"]
mod json_fixture;

use std::sync::LazyLock;

use cifar_gpu::data::Dataset;
use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::batch_assembly::{Augmentation, Flip, ImageChunk, Normalization, batch_assembly};
use cifar_gpu::ops::batch_norm::{self, Running, Settings, Statistics};
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::{Optimizer, OptimizerConfig, Schedule};
use cifar_gpu::tape::Tape;
use cifar_gpu::tensor::DType;
use cifar_gpu::train::{DeviceDataset, StepSettings, Stepper, TestTimeAugmentation, TrainConfig};
use cifar_gpu::weights::WeightsFile;
use cifar_gpu::{Classifier, Device, ImageShape};
use common::{Outcome, on_both_devices, relative_distance, relative_maximum, within};
use fixtures::fixture;
use json_fixture::JsonFixture;
use libtest_mimic::{Arguments, Trial};
use safetensors::SafeTensors;

static FIXTURE: LazyLock<JsonFixture> = LazyLock::new(|| JsonFixture::parse(include_str!("fixtures/recipes.json")));

fn label_smoothing(device: &Device) -> Outcome {
    const PART: &str = "label_smoothing";
    let labels: Vec<u32> = FIXTURE.numbers(PART, "labels").iter().map(|&label| label as u32).collect();
    let criterion = SoftmaxCrossEntropy::new(&device.tensor_u32(&[4], &labels)?)?;
    let logits = Tape::recording(None).variable(&FIXTURE.tensor(device, &[4, 5], PART, "logits")?);
    let loss = logits.apply(criterion.smoothing(FIXTURE.number(PART, "smoothing") as f32))?;
    within("loss", relative_maximum(&loss.tensor().to_vec()?, &[FIXTURE.number(PART, "loss")]), 1e-6)?;
    FIXTURE.close("d_logits", loss.backward()?.get(&logits).ok_or("no gradient")?, PART, "d_logits")
}

fn normalization(device: &Device) -> Outcome {
    const PART: &str = "batch_norm";
    let shape: Vec<usize> = FIXTURE.numbers(PART, "shape").iter().map(|&side| side as usize).collect();
    let channels = shape[3];
    let (input, cotangent) =
        (FIXTURE.tensor(device, &shape, PART, "input")?, FIXTURE.tensor(device, &shape, PART, "cotangent")?);
    let (weight, bias) =
        (FIXTURE.tensor(device, &[channels], PART, "weight")?, FIXTURE.tensor(device, &[channels], PART, "bias")?);
    let (mean, variance) = (device.tensor(&[channels], &[0.0; 3])?, device.tensor(&[channels], &[1.0; 3])?);
    let running = &Running { mean: mean.clone(), variance: variance.clone() };
    let (output, statistics) =
        batch_norm::forward(Statistics::Batch, Settings::default(), &input, &weight, &bias, running)?;
    FIXTURE.close("output", &output, PART, "output")?;
    FIXTURE.close("running mean", &mean, PART, "running_mean")?;
    FIXTURE.close("running variance", &variance, PART, "running_var")?;
    let (d_weight, d_bias) = (device.empty(&[channels])?, device.empty(&[channels])?);
    let d_input = batch_norm::backward(&input, &statistics, &weight, &cotangent, None, &d_weight, &d_bias)?;
    FIXTURE.close("d_input", &d_input, PART, "d_input")?;
    FIXTURE.close("d_weight", &d_weight, PART, "d_weight")?;
    FIXTURE.close("d_bias", &d_bias, PART, "d_bias")?;
    let (output, _) = batch_norm::forward(Statistics::Running, Settings::default(), &input, &weight, &bias, running)?;
    FIXTURE.close("inference", &output, PART, "inference")
}

fn schedules() -> Outcome {
    const PART: &str = "schedules";
    let base = FIXTURE.number(PART, "base");
    for (name, schedule) in [
        ("cosine", Schedule::Cosine),
        ("step", Schedule::Step { milestones: vec![0.5, 0.75], factor: 0.1 }),
        ("time_decay", Schedule::TimeDecay { decay: 0.25 }),
        ("one_cycle_rise", Schedule::OneCycle { peak_at: 0.25 }),
    ] {
        for (step, expected) in (0..).zip(FIXTURE.numbers(PART, name)) {
            let rate = schedule.rate(base, step, 20);
            within(&format!("{name}, step {step}"), (rate - expected).abs() / base, 1e-12)?;
        }
    }
    Ok(())
}

fn augmentation(device: &Device) -> Outcome {
    const PART: &str = "augmentation";
    let side = FIXTURE.number(PART, "side") as usize;
    let bytes: Vec<u8> = FIXTURE.numbers(PART, "images").iter().map(|&byte| byte as u8).collect();
    let count = bytes.len() / (3 * side * side);
    let indices: Vec<u32> = (0..).take(count).collect();
    let seed = FIXTURE.integer(PART, "seed");
    let state = StepState {
        epoch: FIXTURE.number(PART, "epoch") as u32,
        ..StepState::new(seed, FIXTURE.number(PART, "step") as u32, 0.0)
    };
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
            &Normalization::new([0.5; 3], [0.25; 3]),
            Some((&augmentation, &state.tensor(device)?)),
            &[ImageChunk { start: 0, images }],
            &device.tensor_u32(&[count], &indices)?,
            &device.tensor_u32(&[count], &indices)?,
            &output,
            &device.allocate(&[count], DType::U32)?,
        )?;
        FIXTURE.close(name, &output, PART, name)?;
    }
    Ok(())
}

/// Over many images and steps: each place and side as often as any other, and nothing out of range.
fn augmentation_statistics(device: &Device) -> Outcome {
    const SIDE: usize = 8;
    const IMAGES: usize = 256;
    const STEPS: u32 = 16;
    // The one bright pixel tells where everything went.
    let (x, y) = (2, 4);
    let mut bytes = vec![0; IMAGES * 3 * SIDE * SIDE];
    bytes.chunks_exact_mut(SIDE * SIDE).for_each(|plane| plane[y * SIDE + x] = 255);
    let images = device.tensor_u8(&[IMAGES, 3, SIDE * SIDE], &bytes)?;
    let chunks = [ImageChunk { start: 0, images }];
    let indices = device.tensor_u32(&[IMAGES], &(0..).take(IMAGES).collect::<Vec<u32>>())?;
    let output = device.empty(&[IMAGES, SIDE, SIDE, 3])?;
    let labels = device.allocate(&[IMAGES], DType::U32)?;
    // Where the bright pixel's weight lies in each image: sums over its rows and columns.
    let places = |augmentation: &Augmentation, step, epoch| -> cifar_gpu::Result<Vec<[f64; 3]>> {
        let state = StepState { epoch, ..StepState::new(11, step, 0.0) }.tensor(device)?;
        let plain = Normalization::new([0.0; 3], [1.0; 3]);
        batch_assembly(&plain, Some((augmentation, &state)), &chunks, &indices, &indices, &output, &labels)?;
        let values = output.to_vec()?;
        Ok(values
            .chunks_exact(SIDE * SIDE * 3)
            .map(|image| {
                let mut sums = [0.0; 3];
                for (i, pixel) in image.chunks_exact(3).enumerate() {
                    let weight = f64::from(pixel[0]);
                    sums[0] += weight;
                    sums[1] += weight * (i % SIDE) as f64;
                    sums[2] += weight * (i / SIDE) as f64;
                }
                [sums[0], sums[1] / sums[0], sums[2] / sums[0]]
            })
            .collect())
    };
    let expect = |what: &str, count: f64, expected: f64| {
        // Five deviations of a count that is so often expected.
        let bound = 5.0 * expected.sqrt();
        if (count - expected).abs() <= bound { Ok(()) } else { Err(format!("{what}: {count}, {expected} expected")) }
    };
    let draws = IMAGES as f64 * f64::from(STEPS);
    let mut mirrored = 0.0;
    let mut offsets = [[0.0; 5]; 2];
    let mut angles = [0.0; 4];
    for step in 0..STEPS {
        for [_, column, _] in places(&Augmentation { flip: Flip::Random, ..Augmentation::NONE }, step, 0)? {
            mirrored += f64::from(u8::from(column == (SIDE - 1 - x) as f64));
        }
        for [_, column, row] in places(&Augmentation { crop_padding: 2, ..Augmentation::NONE }, step, 0)? {
            offsets[0][(column - x as f64 + 2.0) as usize] += 1.0;
            offsets[1][(row - y as f64 + 2.0) as usize] += 1.0;
        }
        // Seen from the center, the bright pixel is to the left and a little below; turned, it stays as far away.
        let center = 0.5 * (SIDE - 1) as f64;
        let start = (y as f64 - center).atan2(x as f64 - center);
        for [_, column, row] in places(&Augmentation { rotation_degrees: 40.0, ..Augmentation::NONE }, step, 0)? {
            let turned = (row - center).atan2(column - center) - start;
            let degrees = turned.sin().atan2(turned.cos()).to_degrees();
            // Interpolation blurs the place.
            if degrees.abs() > 50.0 {
                return Err(format!("turned by {degrees}°").into());
            }
            angles[((degrees + 40.0) / 20.0).clamp(0.0, 3.0) as usize] += 1.0;
        }
    }
    expect("mirrored", mirrored, draws / 2.0)?;
    for (axis, counts) in offsets.iter().enumerate() {
        for (offset, &count) in counts.iter().enumerate() {
            expect(&format!("crops along axis {axis} by {offset}"), count, draws / 5.0)?;
        }
    }
    // To either side as often; blurred, quarters of the range are only nearly so.
    expect("turned to the left", angles[0] + angles[1], draws / 2.0)?;
    for (quarter, &count) in angles.iter().enumerate() {
        if !(0.15 * draws..0.35 * draws).contains(&count) {
            return Err(format!("quarter {quarter} of the angles: {count} of {draws}").into());
        }
    }
    // In two epochs each image is seen from both sides.
    let alternating = Augmentation { flip: Flip::Alternating, ..Augmentation::NONE };
    let (first, second) = (places(&alternating, 3, 0)?, places(&alternating, 9, 1)?);
    if first.iter().zip(&second).any(|(a, b)| a[1] == b[1]) {
        return Err("an image was seen from the same side in two epochs".into());
    }
    let sides = first.iter().filter(|place| place[1] == x as f64).count();
    Ok(expect("sides of the first epoch", sides as f64, IMAGES as f64 / 2.0)?)
}

/// ygnet with batch normalization and the weights and images of the other fixtures.
fn fixture_network(device: &Device, folder: &std::path::Path) -> Result<(Network, Dataset), libtest_mimic::Failed> {
    // Its own layers' weights, in a file together with those of the convolutions.
    let network = Network::new(Architecture::by_name("ygnet-bn", 10)?, device, 0)?;
    let own = folder.join("own.safetensors");
    let names: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    cifar_gpu::weights::save(&own, &network, &names)?;
    let (own, init) = (std::fs::read(own)?, fixture("ygnet_init.safetensors"));
    let (own, init) = (SafeTensors::deserialize(&own)?, SafeTensors::deserialize(&init)?);
    let both = own.tensors().into_iter().filter(|(name, _)| name.starts_with("bn")).chain(init.tensors());
    let merged = folder.join("merged.safetensors");
    std::fs::write(&merged, safetensors::serialize(both, None)?)?;
    WeightsFile::read(&merged)?.load_into(&network)?;
    let batch = fixture("ygnet_batch.safetensors");
    let batch = SafeTensors::deserialize(&batch)?;
    let labels = batch.tensor("labels")?.data().chunks_exact(4).map(|label| u16::from(label[0])).collect();
    Ok((network, Dataset::new(ImageShape::CIFAR, batch.tensor("images")?.data().to_vec(), labels, names)?))
}

/// Smoothed labels, clipped gradients, Nesterov's momentum, weight decay, warm-up and batch normalization together.
fn whole_recipe(device: &Device) -> Outcome {
    const PART: &str = "recipe";
    let folder = tempfile::tempdir()?;
    let (network, dataset) = fixture_network(device, folder.path())?;
    let images = DeviceDataset::new(device, &dataset, &network.architecture().normalization)?;
    let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 5e-4, nesterov: true });
    let config = TrainConfig::published("ygnet-bn")?.with(|config| {
        config.lr = FIXTURE.number(PART, "lr");
        config.warmup_epochs = 3.0;
        config.schedule = Schedule::Constant;
    });
    let settings = StepSettings::default().with(|settings| {
        settings.label_smoothing = 0.1;
        settings.clip_norm = Some(FIXTURE.number(PART, "clip_norm") as f32);
    });
    let optimizer = Optimizer::new(sgd, device, network.parameters())?;
    let mut stepper = Stepper::new(&network, &images, optimizer, settings)?;
    let indices: Vec<u32> = (0..dataset.len() as u32).collect();
    let expected = FIXTURE.numbers(PART, "losses");
    for step in 0..expected.len() as u64 {
        stepper.step(&indices, 0, config.rate(step, 1))?;
    }
    let losses: Vec<f32> = stepper.drain()?.iter().map(|step| step.loss).collect();
    within("losses", relative_maximum(&losses, &expected), 1e-4)?;
    let batch = images.batch(&indices)?;
    let tape = Tape::inference();
    let logits = network.forward(&tape, &tape.constant(&batch.images))?;
    // Nearly the same statistics in deep layers enlarge what rounding has done.
    let expected: Vec<f32> = FIXTURE.numbers(PART, "inference_logits").iter().map(|&v| v as f32).collect();
    within("logits with running statistics", relative_distance(&logits.tensor().to_vec()?, &expected), 2e-3)
}

/// With test-time augmentation a data set and its mirror image are the same to a network; without, they are not.
fn test_time_augmentation(device: &Device) -> Outcome {
    let network = common::network("lenet5", device, 3)?;
    let bytes: Vec<u8> = (0..20 * 3072_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mirrored: Vec<u8> = bytes.chunks_exact(32).flat_map(|row| row.iter().rev().copied()).collect();
    let names: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    let loss = |bytes: &[u8], tta| -> cifar_gpu::Result<f64> {
        let dataset =
            Dataset::new(ImageShape::CIFAR, bytes.to_vec(), (0..20).map(|i| i % 10).collect(), names.clone())?;
        // A whole batch and a part of one, which go different ways.
        Ok(Classifier::new(&network, names.clone())?.evaluate(&dataset, 16, tta, |_| {})?.loss)
    };
    let mirror = TestTimeAugmentation::Mirror;
    let (one, other) = (loss(&bytes, mirror)?, loss(&mirrored, mirror)?);
    within("mirrored", (one - other).abs() / one, 1e-6)?;
    let none = TestTimeAugmentation::None;
    if (loss(&bytes, none)? - loss(&mirrored, none)?).abs() < 1e-4 * one {
        return Err("mirror images look the same to this network: the test would show nothing".into());
    }
    let six = TestTimeAugmentation::MirrorShift;
    if (loss(&bytes, six)? - one).abs() < 1e-4 * one {
        return Err("shifted images look the same to this network".into());
    }
    Ok(())
}

/// The average of the weights is what its formula says of the weights of every step.
fn average(device: &Device) -> Outcome {
    let network = common::network("lenet5", device, 3)?;
    let bytes = (0..16 * 3072_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let names = (0..10).map(|class| format!("class {class}")).collect();
    let dataset = Dataset::new(ImageShape::CIFAR, bytes, (0..16).map(|i| i % 10).collect(), names)?;
    let images = DeviceDataset::new(device, &dataset, &network.architecture().normalization)?;
    let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false });
    let optimizer = Optimizer::new(sgd, device, network.parameters())?;
    let settings = StepSettings::default().with(|settings| settings.average_decay = Some(0.4));
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
    let cases: [Case; 7] = [
        ("label_smoothing", label_smoothing),
        ("batch_norm", normalization),
        ("augmentation", augmentation),
        ("augmentation_statistics", augmentation_statistics),
        ("whole_recipe", whole_recipe),
        ("average", average),
        ("test_time_augmentation", test_time_augmentation),
    ];
    trials.extend(cases.into_iter().flat_map(|(name, run)| on_both_devices(name, run)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
