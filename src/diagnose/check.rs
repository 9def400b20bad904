//! A device's own test: every kernel against its CPU twin, and known faults of drivers, found by measuring.
//!
//! This asks whether *this* adapter and driver compute right, on small odd shapes; the test suite asks more of the kernels.

use rand::RngExt;

use crate::error::Result;
use crate::nn::{Architecture, Network};
use crate::ops::Padding;
use crate::ops::adam::{Adam, adam_step};
use crate::ops::batch_assembly::{Augmentation, ImageChunk, Normalization, batch_assembly};
use crate::ops::batch_norm::{self, Running, Settings, Statistics};
use crate::ops::conv2d::{self, Algorithm, Conv2dGeometry, DeviceKind, Epilogue, Plan, Target};
use crate::ops::convert::convert;
use crate::ops::count_iterations::count_iterations;
use crate::ops::dropout::{self, DropoutMask};
use crate::ops::gradient_clipping::gradient_clipping;
use crate::ops::loss_scaling::{loss_scaling, sum_of_squares};
use crate::ops::max_pool2d;
use crate::ops::pool2d::Pool2dGeometry;
use crate::ops::random::RandomStream;
use crate::ops::record_metrics::record_metrics;
use crate::ops::sgd::{Sgd, sgd_step};
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::ops::weight_average::weight_average;
use crate::ops::{Gate, StepState, elementwise, global_avg_pool, relu};
use crate::tape::Tape;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Largest difference that passes, as a share of the largest magnitude of what is right.
const TOLERANCE: f64 = 2e-5;
/// The same for 16-bit floats and for Winograd's larger tiles.
const ROUGH_TOLERANCE: f64 = 2e-3;
/// Plans that a GPU takes without having tried them.
const UNTRIED: [&str; 6] =
    ["staged-128x96", "staged-128x64", "staged-128x32", "staged-128x16", "staged-32x64", "staged-32x32"];
/// Iterations after which some drivers end an invocation's loops, and a few more.
const MANY_ITERATIONS: u32 = 70_000;

/// What came of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    /// The kernels, or the fault looked for.
    pub name: String,
    /// What was found.
    pub verdict: Verdict,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Both devices agree, up to this share of the largest magnitude.
    Pass(f64),
    /// They do not, by this share.
    Fail(f64),
    /// The driver would not do it; this is its reason.
    Refused(String),
    /// A fault that is known and that kernels are written round.
    Fault(String),
    /// The adapter does not have it, and nothing needs it.
    Absent(String),
}

impl Verdict {
    /// Whether the device can be trusted all the same.
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Pass(_) | Verdict::Fault(_) | Verdict::Absent(_))
    }
}

type Work = Box<dyn Fn(&Device) -> Result<Vec<Tensor>>>;

/// Checks a device; `hear` is told of each result as it comes.
///
/// # Errors
/// If the CPU itself fails, or the device is lost.
pub fn check(device: &Device, hear: &mut dyn FnMut(&CheckResult)) -> Result<()> {
    let cpu = Device::cpu();
    for (name, tolerance, work) in cases(device)? {
        let expected = values(&work(&cpu)?)?;
        let verdict = match work(device).and_then(|tensors| values(&tensors)) {
            Ok(actual) => match largest_difference(&actual, &expected) {
                difference if difference <= tolerance => Verdict::Pass(difference),
                difference => Verdict::Fail(difference),
            },
            Err(error) => Verdict::Refused(error.to_string()),
        };
        hear(&CheckResult { name, verdict });
    }
    hear(&CheckResult { name: format!("loops of {MANY_ITERATIONS} iterations"), verdict: long_loops(device)? });
    if let Device::Gpu(gpu) = device {
        for (name, has, need) in [
            ("16-bit floats", gpu.has_f16(), "16-bit activations"),
            ("subgroups of one size", gpu.subgroup().is_some(), "broadcast tiles, for software drivers"),
            ("cooperative matrices", gpu.cooperative_matrix().is_some(), "tensor cores with 16-bit activations"),
            ("timestamps", gpu.has_timestamps(), "times of single kernels"),
        ] {
            let verdict = if has { Verdict::Pass(0.0) } else { Verdict::Absent(format!("no {need}")) };
            hear(&CheckResult { name: name.into(), verdict });
        }
    }
    Ok(())
}

/// Whether loops run to their end.
fn long_loops(device: &Device) -> Result<Verdict> {
    let [actual, expected] = [device, &Device::cpu()].map(|device| {
        let counted = count_iterations(device, MANY_ITERATIONS)?;
        counted.to_vec_u32()
    });
    let (actual, expected) = (actual?, expected?);
    Ok(if actual == expected {
        Verdict::Pass(0.0)
    } else {
        Verdict::Fault(format!("this driver ends them after {}; no kernel here comes near", actual[0]))
    })
}

/// All elements of each tensor, as floats.
fn values(tensors: &[Tensor]) -> Result<Vec<Vec<f64>>> {
    let values = tensors.iter().map(|tensor| {
        Ok(match tensor.dtype() {
            DType::F32 | DType::F16 => tensor.to_vec()?.iter().map(|&v| f64::from(v)).collect(),
            DType::U32 | DType::U8 => tensor.to_vec_u32()?.iter().map(|&v| f64::from(v)).collect(),
        })
    });
    values.collect()
}

/// The largest difference of any tensor, each by its own magnitude; infinite if there are more or fewer numbers.
fn largest_difference(actual: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    if actual.iter().map(Vec::len).ne(expected.iter().map(Vec::len)) {
        return f64::INFINITY;
    }
    actual.iter().zip(expected).map(|(actual, expected)| difference(actual, expected)).fold(0.0, f64::max)
}

/// Largest difference over the largest magnitude; infinite if a number is not one.
fn difference(actual: &[f64], expected: &[f64]) -> f64 {
    let magnitude = expected.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let mut largest = 0.0_f64;
    for (a, e) in actual.iter().zip(expected) {
        let difference = (a - e).abs();
        if !difference.is_finite() {
            return f64::INFINITY;
        }
        largest = largest.max(difference);
    }
    largest / magnitude
}

fn numbers(count: usize, stream: u32) -> Vec<f32> {
    let mut random = RandomStream::new(0xc4ec, stream);
    (0..count).map(|_| random.random::<f32>() * 2.0 - 1.0).collect()
}

fn random(device: &Device, shape: &[usize], stream: u32) -> Result<Tensor> {
    device.tensor(shape, &numbers(shape.iter().product(), stream))
}

/// Every kernel in some call, with how far results may be apart.
fn cases(device: &Device) -> Result<Vec<(String, f64, Work)>> {
    let mut cases: Vec<(String, f64, Work)> = Vec::new();
    let mut add = |name: &str, tolerance, work: Work| cases.push((name.to_owned(), tolerance, work));
    let has_f16 = match device {
        Device::Cpu(_) => true,
        Device::Gpu(gpu) => gpu.has_f16(),
    };
    let (full, half) = (DType::F32, DType::F16);
    let mut convolutions = vec![
        ("3 to 10 channels", full, [2, 9, 7, 3, 10], 3, 1, None),
        ("96 to 96 channels", full, [1, 8, 8, 96, 96], 3, 1, None),
        ("5×5 windows", full, [2, 10, 10, 8, 12], 5, 1, None),
        ("1×1 windows", full, [2, 6, 6, 20, 10], 1, 1, None),
        ("stride 2", full, [2, 9, 7, 8, 12], 3, 2, None),
        ("16-bit floats", half, [2, 9, 7, 8, 12], 3, 1, None),
        ("direct-8x8", full, [2, 9, 7, 8, 12], 3, 1, Some("direct-8x8")),
        ("broadcast-2x16", full, [2, 9, 7, 8, 12], 3, 1, Some("broadcast-2x16")),
        ("staged-64x64", full, [2, 9, 7, 8, 12], 3, 1, Some("staged-64x64")),
        ("cooperative-64x32", half, [2, 9, 7, 8, 12], 3, 1, Some("cooperative-64x32")),
        ("winograd-2", full, [2, 9, 7, 16, 12], 3, 1, Some("winograd-2 direct-8x8")),
        ("winograd-4", full, [2, 9, 7, 16, 12], 3, 1, Some("winograd-4 direct-8x8")),
    ];
    // Software drivers, which never take them, need minutes to compile them.
    if DeviceKind::of(device) == DeviceKind::Gpu {
        convolutions.extend(UNTRIED.map(|plan| (plan, full, [3, 9, 11, 20, 100], 3, 1, Some(plan))));
    }
    for (what, dtype, size, kernel, stride, plan) in convolutions {
        let [n, h, w, c, o] = size;
        let g = Conv2dGeometry::new(&[n, h, w, c], &[kernel, kernel, c, o], stride, Padding::Same)?;
        let plan: Option<Plan> = plan.and_then(|plan| plan.parse().ok());
        let suits = plan.is_none_or(|plan| plan.suits(Target::new(device, dtype), &g));
        if suits && (dtype == full || has_f16) {
            let rounds = dtype == half || plan.is_some_and(|plan| plan.algorithm == Algorithm::Winograd { outputs: 4 });
            let tolerance = if rounds { ROUGH_TOLERANCE } else { TOLERANCE };
            let name = format!("conv2d, {what}");
            add(&name, tolerance, Box::new(move |device| convolution(device, dtype, &g, plan)));
        }
    }
    let pool = Pool2dGeometry::new("max_pool2d", &[2, 9, 7, 5], [3, 3], 2, Padding::Valid)?;
    add(
        "max_pool2d",
        TOLERANCE,
        Box::new(move |device| {
            let (output, choice) = max_pool2d::forward(&pool, &random(device, &[2, 9, 7, 5], 1)?)?;
            let d_input = max_pool2d::backward(&pool, &choice, &random(device, &pool.output_shape(), 2)?)?;
            Ok(vec![output, choice, d_input])
        }),
    );
    add(
        "global_avg_pool",
        TOLERANCE,
        Box::new(|device| {
            let output = global_avg_pool::forward(&random(device, &[3, 5, 7, 11], 1)?)?;
            Ok(vec![global_avg_pool::backward([3, 5, 7, 11], &output)?, output])
        }),
    );
    add("batch_norm", TOLERANCE, Box::new(normalization));
    add(
        "relu, add, scale, fill",
        TOLERANCE,
        Box::new(|device| {
            let (a, b) = (random(device, &[1009], 1)?, random(device, &[1009], 2)?);
            let output = relu::forward(&a)?;
            let filled = device.empty(&[1009])?;
            elementwise::fill(0.5, &filled)?;
            let scaled = elementwise::scale(&a, &device.tensor(&[1], &[3.25])?)?;
            Ok(vec![
                relu::backward(Gate { output: &output, factor: 1.0 }, &b)?,
                elementwise::add(&a, &b)?,
                scaled,
                filled,
                output,
            ])
        }),
    );
    add(
        "dropout",
        TOLERANCE,
        Box::new(|device| {
            let state = StepState::new(7, 8, 0.0).tensor(device)?;
            Ok(vec![dropout::apply(DropoutMask { probability: 0.4, stream: 2 }, &state, &random(device, &[1009], 1)?)?])
        }),
    );
    add("batch_assembly", TOLERANCE, Box::new(assembly));
    add(
        "softmax_cross_entropy",
        TOLERANCE,
        Box::new(|device| {
            let labels: Vec<u32> = (0..70).map(|i| i % 10).collect();
            let logits = elementwise::scale(&random(device, &[70, 10], 1)?, &device.tensor(&[1], &[8.0])?)?;
            let criterion = SoftmaxCrossEntropy::new(&device.tensor_u32(&[70], &labels)?)?.smoothing(0.1);
            let tape = Tape::recording(None);
            let (logits, correct) = (tape.variable(&logits), criterion.correct().clone());
            let loss = logits.apply(criterion)?;
            let d_logits = loss.backward()?.get(&logits).cloned();
            Ok([loss.tensor().clone(), correct].into_iter().chain(d_logits).collect())
        }),
    );
    add("sgd_step, adam_step", TOLERANCE, Box::new(updates));
    add("gradient_clipping, loss_scaling", TOLERANCE, Box::new(scaling));
    if has_f16 {
        add("convert", TOLERANCE, Box::new(|device| Ok(vec![convert(&random(device, &[1009], 1)?, DType::F16)?])));
    }
    for name in ["lenet5", "ygnet-bn"] {
        add(&format!("{name}: loss and gradients"), ROUGH_TOLERANCE, Box::new(move |device| network(device, name)));
    }
    Ok(cases)
}

fn convolution(device: &Device, dtype: DType, g: &Conv2dGeometry, plan: Option<Plan>) -> Result<Vec<Tensor>> {
    let plan = |direction| plan.unwrap_or_else(|| Plan::usual(Target::new(device, dtype), direction, g));
    let operand = |shape: &[usize], stream| {
        let tensor = device.allocate(shape, dtype)?;
        tensor.write(&numbers(shape.iter().product(), stream))?;
        Ok::<_, crate::error::Error>(tensor)
    };
    let (input, weight) = (operand(&g.input_shape(), 1)?, operand(&g.weight_shape(), 2)?);
    let (bias, d_output) = (random(device, &[g.out_c], 3)?, operand(&g.output_shape(), 4)?);
    let state = StepState::new(7, 8, 0.0).tensor(device)?;
    let dropout = DropoutMask { probability: 0.4, stream: 2 };
    let epilogue = Epilogue { relu: true, dropout: Some((dropout, &state)) };
    let gate = Gate { output: &input, factor: dropout.scale() };
    let output = conv2d::forward_by(plan(conv2d::Direction::Forward), g, epilogue, &input, &weight, Some(&bias))?;
    let backward_input = plan(conv2d::Direction::BackwardInput);
    let d_input = conv2d::backward_input_by(backward_input, g, &d_output, &weight, Some(gate))?;
    let (d_weight, d_bias) = (device.empty(&g.weight_shape())?, device.empty(&[g.out_c])?);
    let backward_weight = plan(conv2d::Direction::BackwardWeight);
    conv2d::backward_weight_by(backward_weight, g, &input, &d_output, &d_weight, &d_bias)?;
    Ok(vec![output, d_input, d_weight, d_bias])
}

fn normalization(device: &Device) -> Result<Vec<Tensor>> {
    let (input, d_output) = (random(device, &[3, 5, 7, 11], 1)?, random(device, &[3, 5, 7, 11], 2)?);
    let (weight, bias) = (random(device, &[11], 3)?, random(device, &[11], 4)?);
    let (mean, variance) = (random(device, &[11], 5)?, device.tensor(&[11], &[1.5; 11])?);
    let running = &Running { mean: mean.clone(), variance: variance.clone() };
    let rectified = Settings { relu: true, ..Settings::default() };
    let (output, statistics) = batch_norm::forward(Statistics::Batch, rectified, &input, &weight, &bias, running)?;
    let (d_weight, d_bias) = (device.empty(&[11])?, device.empty(&[11])?);
    // Without the mask, so that rounding near zero does not decide.
    let d_input = batch_norm::backward(&input, &statistics, &weight, &d_output, None, &d_weight, &d_bias)?;
    let (inference, _) =
        batch_norm::forward(Statistics::Running, Settings::default(), &input, &weight, &bias, running)?;
    Ok(vec![output, statistics, d_input, d_weight, d_bias, inference, mean, variance])
}

fn assembly(device: &Device) -> Result<Vec<Tensor>> {
    let state = StepState::new(7, 8, 0.0).tensor(device)?;
    let mut results = Vec::new();
    for (channels, augmentation) in [
        (3, None),
        (3, Some(Augmentation::KERAS)),
        (3, Some(Augmentation::FLIP_CROP)),
        (1, None),
        (1, Some(Augmentation::KERAS)),
    ] {
        let bytes: Vec<u8> = numbers(4 * channels * 72, 1).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
        let images = device.tensor_u8(&[4, channels, 72], &bytes)?;
        let (output, labels) = (device.empty(&[5, 9, 8, channels])?, device.allocate(&[5], DType::U32)?);
        batch_assembly(
            &Normalization::new(vec![0.5; channels], vec![0.25; channels]),
            augmentation.as_ref().map(|augmentation| (augmentation, &state)),
            &[ImageChunk { start: 0, images }],
            &device.tensor_u32(&[4], &[3, 1, 2, 0])?,
            &device.tensor_u32(&[5], &[3, 0, 1, 2, 3])?,
            &output,
            &labels,
        )?;
        results.extend([output, labels]);
    }
    Ok(results)
}

fn updates(device: &Device) -> Result<Vec<Tensor>> {
    let state = StepState { average_share: 0.25, ..StepState::new(7, 8, 0.1) }.tensor(device)?;
    let gradient = random(device, &[1009], 1)?;
    let sgd = Sgd { momentum: 0.9, weight_decay: 0.01, nesterov: true };
    let (parameter, velocity) = (random(device, &[1009], 2)?, random(device, &[1009], 3)?);
    sgd_step(sgd, &state, &gradient, &parameter, &velocity)?;
    let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, decoupled: true };
    let (other, first) = (random(device, &[1009], 4)?, random(device, &[1009], 5)?);
    let second = elementwise::add(&device.tensor(&[1009], &[1.5; 1009])?, &first)?;
    adam_step(adam, &state, &gradient, &other, &first, &second)?;
    let average = random(device, &[1009], 6)?;
    weight_average(&state, &parameter, &average)?;
    Ok(vec![parameter, velocity, other, first, second, average])
}

fn scaling(device: &Device) -> Result<Vec<Tensor>> {
    let state = StepState::new(7, 8, 0.5).tensor(device)?;
    let partial = sum_of_squares(&random(device, &[1009], 1)?)?;
    let scaling = device.tensor(&[4], &[1024.0, 0.0, 0.0, 0.0])?;
    loss_scaling(&partial, &scaling, &state)?;
    gradient_clipping(0.001, &partial, &state)?;
    let history = device.zeros(&[2, 2], DType::F32)?;
    record_metrics(&state, &device.tensor(&[1], &[0.5])?, &device.tensor(&[1], &[7.0])?, &history)?;
    // The factor's bits as a float; the other words of the state are not the kernels' to change.
    let factor = device.tensor(&[1], &[f32::from_bits(state.to_vec_u32()?[7])])?;
    // The scale would hide what is small beside it.
    let [scale, others] =
        [0..1, 1..4].map(|part| scaling.to_vec().and_then(|v| device.tensor(&[part.len()], &v[part])));
    Ok(vec![scale?, others?, factor, history])
}

fn network(device: &Device, name: &str) -> Result<Vec<Tensor>> {
    let network = Network::new(Architecture::by_name(name, 10)?, device, 5)?;
    let images = random(device, &network.architecture().input.batch(4), 1)?;
    let tape = Tape::recording(Some(StepState::new(7, 8, 0.0).tensor(device)?));
    let logits = network.forward(&tape, &tape.constant(&images))?;
    let loss = logits.apply(SoftmaxCrossEntropy::new(&device.tensor_u32(&[4], &[1, 9, 3, 0])?)?)?;
    let gradients = loss.backward()?;
    // The last layer's: those before hang on near-ties of pooling.
    let last = network.parameters().last().map(|p| gradients.parameter(&p.name).cloned()).transpose()?;
    Ok([loss.tensor().clone()].into_iter().chain(last).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ops::conv2d::Direction;

    /// Training took tiles of which the check knew nothing.
    #[test]
    fn what_gpus_take_untried_is_checked() {
        let target = Target { kind: DeviceKind::Gpu, dtype: DType::F32, cooperative: None, subgroup: None };
        let mut taken = BTreeSet::new();
        for (batch, out_c) in [1, 64].into_iter().flat_map(|batch| [10, 20, 50, 96].map(|out_c| (batch, out_c))) {
            let g = Conv2dGeometry::new(&[batch, 32, 32, 3], &[3, 3, 3, out_c], 1, Padding::Same).unwrap();
            taken.extend(Direction::ALL.map(|direction| Plan::usual(target, direction, &g).to_string()));
        }
        assert_eq!(taken, UNTRIED.map(String::from).into());
    }

    /// What is small beside another tensor of the same case passed whatever it was.
    #[test]
    fn each_tensor_counts_by_its_own_magnitude() {
        let expected = vec![vec![1024.0], vec![5e-5, 0.0]];
        assert_eq!(largest_difference(&expected, &expected), 0.0);
        for wrong in [vec![vec![1024.0], vec![0.0, 0.0]], vec![vec![1024.0], vec![5e-5]], vec![vec![1024.0]]] {
            assert!(largest_difference(&wrong, &expected) >= 1.0, "{wrong:?}");
        }
        assert_eq!(largest_difference(&[vec![f64::NAN]], &[vec![1.0]]), f64::INFINITY);
    }
}
