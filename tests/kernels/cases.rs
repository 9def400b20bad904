//! The table of cases, and how each operation is held against its oracle.

use std::sync::Arc;

use cifar_gpu::ops::adam::{Adam, adam_step};
use cifar_gpu::ops::batch_assembly::{Augmentation, ImageChunk, Normalisation, batch_assembly};
use cifar_gpu::ops::batch_norm::{self, Running, Statistics};
use cifar_gpu::ops::conv2d::{self, Algorithm, Conv2dGeometry, Direction, Padding, Plan, Plans, Target, Tiling};
use cifar_gpu::ops::convert::convert;
use cifar_gpu::ops::count_iterations::count_iterations;
use cifar_gpu::ops::dropout::{self, Dropout};
use cifar_gpu::ops::gradient_clipping::gradient_clipping;
use cifar_gpu::ops::loss_scaling::{loss_scaling, sum_of_squares};
use cifar_gpu::ops::max_pool2d::{self, MaxPool2dGeometry};
use cifar_gpu::ops::random::{RandomStream, threefry};
use cifar_gpu::ops::record_metrics::record_metrics;
use cifar_gpu::ops::sgd::{Sgd, sgd_step};
use cifar_gpu::ops::weight_average::weight_average;
use cifar_gpu::ops::{StepState, elementwise, global_avg_pool, linear, relu, softmax_cross_entropy};
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, Tensor};

use crate::Outcome;
use crate::compare::{
    COOPERATIVE_TOLERANCE, Conditioned, Exactness, TOLERANCE, WINOGRAD_4_TOLERANCE, compare, compare_exact,
    compare_within,
};
use crate::oracle;

/// A case's body, run on each device.
pub type Run = Arc<dyn Fn(&Device) -> Outcome + Send + Sync>;

/// Random numbers in [-1, 1), the same for the same stream.
pub fn numbers(count: usize, stream: u32) -> Vec<f32> {
    let mut random = RandomStream::new(0xc1fa, stream);
    (0..count).map(|_| random.next_f32() * 2.0 - 1.0).collect()
}

/// Random numbers, and a tensor that holds them.
fn random(device: &Device, shape: &[usize], stream: u32) -> cifar_gpu::Result<(Vec<f32>, Tensor)> {
    let values = numbers(shape.iter().product(), stream);
    let tensor = device.tensor(shape, &values)?;
    Ok((values, tensor))
}

/// Random numbers as a type holds them, and a tensor of it that holds them.
fn random_as(device: &Device, dtype: DType, shape: &[usize], stream: u32) -> cifar_gpu::Result<(Vec<f32>, Tensor)> {
    let tensor = device.allocate(shape, dtype)?;
    tensor.write(&numbers(shape.iter().product(), stream))?;
    Ok((tensor.to_vec()?, tensor))
}

/// Types that activations may have, and how they show in a case's name.
const REALS: [(DType, &str); 2] = [(DType::F32, ""), (DType::F16, "_f16")];

fn exact(values: impl IntoIterator<Item = f64>) -> Vec<Conditioned> {
    values.into_iter().map(Conditioned::exact).collect()
}

fn case(name: impl Into<String>, run: impl Fn(&Device) -> Outcome + Send + Sync + 'static) -> (String, Run) {
    (name.into(), Arc::new(run))
}

/// Every case: its name and its body.
pub fn all() -> Vec<(String, Run)> {
    let mut cases = Vec::new();
    let (valid, same) = (Padding::Valid, Padding::Same);
    // Odd and prime sides, strides 1 to 3, every padding, batch 1, channels that no tile divides.
    for (input, kernel, out_c, stride, padding) in [
        ([1, 1, 1, 1], [1, 1], 1, 1, valid),
        ([2, 7, 5, 3], [3, 3], 10, 1, same),
        ([1, 11, 13, 5], [5, 3], 7, 2, same),
        ([3, 9, 8, 4], [2, 2], 8, 1, same),
        ([2, 10, 7, 6], [3, 3], 9, 3, valid),
        ([1, 8, 8, 12], [3, 3], 96, 1, valid),
        ([2, 6, 6, 96], [1, 1], 10, 1, same),
        ([5, 1, 1, 33], [1, 1], 20, 1, valid),
        ([2, 5, 5, 8], [3, 3], 16, 1, Padding::Explicit(2)),
        ([2, 16, 16, 8], [3, 3], 12, 2, Padding::Explicit(1)),
        ([1, 17, 3, 2], [7, 1], 3, 1, Padding::Explicit(3)),
        ([3, 2, 2, 4], [1, 1], 4, 3, Padding::Explicit(1)),
        ([9, 15, 15, 20], [3, 3], 24, 1, same),
        ([66, 8, 8, 3], [5, 5], 32, 1, valid),
    ] {
        let ([n, h, w, c], [kh, kw]) = (input, kernel);
        let name = format!("conv2d/{n}x{h}x{w}x{c}_to_{out_c}_kernel_{kh}x{kw}_stride_{stride}_{padding:?}");
        // Of 16 bits those that take other ways through the kernels, for the time that drivers take to compile.
        let narrow = [[1, 8, 8, 12], [2, 6, 6, 96], [2, 16, 16, 8], [2, 7, 5, 3]].contains(&input);
        for (dtype, suffix) in REALS.into_iter().take(if narrow { 2 } else { 1 }) {
            cases.push(case(format!("{name}{suffix}"), move |device| {
                convolution(device, dtype, None, &input, &[kh, kw, c, out_c], stride, padding)
            }));
        }
    }
    for (input, out_c, padding) in
        [([2, 7, 9, 3], 5, valid), ([3, 9, 12, 33], 18, same), ([5, 8, 6, 40], 36, Padding::Explicit(4))]
    {
        let [n, h, w, c] = input;
        let name = format!("conv2d/winograd-2 direct-8x8/{n}x{h}x{w}x{c}_to_{out_c}_kernel_5x5_{padding:?}");
        cases.push(case(name, move |device| {
            let plan = "winograd-2 direct-8x8".parse()?;
            convolution(device, DType::F32, Some(plan), &input, &[5, 5, c, out_c], 1, padding)
        }));
    }
    // Every algorithm and family of tiles, with shapes that fill no tile, reach over several and have odd channels. Few of
    // them: software drivers take seconds to compile a tile that is unrolled for a GPU.
    let (odd, wide) = (([2, 7, 5, 3], 10, 1, same), ([3, 9, 11, 20], 100, 2, same));
    for (plan, (input, out_c, stride, padding)) in [
        ("direct-4x16", odd),
        ("direct-8x8", wide),
        ("direct-8x32", odd),
        ("broadcast-2x16", odd),
        ("broadcast-4x8", wide),
        ("broadcast-8x16", ([3, 9, 15, 12], 18, 1, valid)),
        ("broadcast-4x8", ([2, 6, 11, 8], 12, 3, Padding::Explicit(2))),
        ("broadcast-2x12", ([3, 5, 4, 10], 9, 1, same)),
        ("staged-64x64", odd),
        ("staged-128x96", wide),
        ("winograd-2 direct-8x8", ([1, 1, 1, 1], 1, 1, same)),
        ("winograd-2 direct-8x8", ([3, 9, 12, 33], 18, 1, valid)),
        ("winograd-4 direct-4x16", ([3, 9, 12, 33], 18, 1, valid)),
        ("winograd-2 broadcast-8x16", ([3, 9, 12, 33], 18, 1, valid)),
        ("winograd-4 broadcast-2x16", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
        ("winograd-4 direct-8x8", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
        ("winograd-2 staged-64x64", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
    ] {
        let [n, h, w, c] = input;
        let name = format!("conv2d/{plan}/{n}x{h}x{w}x{c}_to_{out_c}_kernel_3x3_stride_{stride}_{padding:?}");
        cases.push(case(name, move |device| {
            convolution(device, DType::F32, Some(plan.parse()?), &input, &[3, 3, c, out_c], stride, padding)
        }));
    }
    for (plan, (input, out_c, stride, padding)) in [
        ("staged-64x32", odd),
        ("cooperative-64x32", ([2, 5, 7, 4], 12, 1, same)),
        ("cooperative-64x32", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
    ] {
        let [n, h, w, c] = input;
        let name = format!("conv2d/{plan}_f16/{n}x{h}x{w}x{c}_to_{out_c}_kernel_3x3_stride_{stride}_{padding:?}");
        cases.push(case(name, move |device| {
            let plan: Plan = plan.parse()?;
            let g = Conv2dGeometry::new(&input, &[3, 3, c, out_c], stride, padding)?;
            if plan.suits(Target::new(device, DType::F16), &g) {
                return convolution(device, DType::F16, Some(plan), &input, &[3, 3, c, out_c], stride, padding);
            }
            // Few adapters have cooperative matrices; the others must say so.
            let [x, w] = [&g.input_shape(), &g.weight_shape()].map(|shape| device.zeros(shape, DType::F16));
            match (device, conv2d::forward_by(plan, &g, false, &x?, &w?, &device.empty(&[out_c])?)) {
                (Device::Gpu(_), Ok(_)) => Err("cooperative matrices on an adapter that has none".into()),
                _ => Ok(()),
            }
        }));
    }
    for [batch, inputs, outputs] in [[1, 1, 1], [3, 7, 5], [64, 100, 10], [17, 1600, 200]] {
        let name = format!("linear/{batch}x{inputs}_to_{outputs}");
        for (dtype, suffix) in REALS {
            let name = format!("{name}{suffix}");
            cases.push(case(name, move |device| fully_connected(device, dtype, batch, inputs, outputs)));
        }
    }
    for (input, kernel, stride) in [
        ([1, 1, 1, 1], [1, 1], 1),
        ([2, 7, 5, 3], [2, 2], 2),
        ([1, 13, 11, 5], [3, 3], 2),
        ([3, 9, 8, 4], [3, 2], 1),
        ([2, 10, 7, 6], [2, 2], 3),
        ([2, 32, 32, 7], [3, 3], 2),
    ] {
        let ([n, h, w, c], [kh, kw]) = (input, kernel);
        let name = format!("max_pool2d/{n}x{h}x{w}x{c}_kernel_{kh}x{kw}_stride_{stride}");
        for (dtype, suffix) in REALS {
            cases.push(case(format!("{name}{suffix}"), move |device| pooling(device, dtype, &input, kernel, stride)));
        }
    }
    for count in [1, 255, 256, 1009] {
        for (dtype, suffix) in REALS {
            let name = format!("elementwise/{count}{suffix}");
            cases.push(case(name, move |device| elementwise_operations(device, dtype, count)));
            cases.push(case(format!("dropout/{count}{suffix}"), move |device| dropping(device, dtype, count)));
        }
        cases.push(case(format!("convert/{count}"), move |device| converting(device, count)));
        cases.push(case(format!("sgd_step/{count}"), move |device| sgd_updates(device, count)));
        cases.push(case(format!("adam_step/{count}"), move |device| adam_updates(device, count)));
    }
    // More workgroups than one dimension of the grid holds.
    cases.push(case("elementwise/17000003_folded_grid", |device| {
        let count = 17_000_003;
        let tensor = device.empty(&[count])?;
        elementwise::fill(1.5, &tensor)?;
        let values = tensor.to_vec()?;
        compare_exact("fill", &values, &vec![1.5; count])
    }));
    for shape in [[1, 1, 1, 1], [3, 5, 7, 11], [2, 6, 6, 10]] {
        let [n, h, w, c] = shape;
        for (dtype, suffix) in REALS {
            let name = format!("global_avg_pool/{n}x{h}x{w}x{c}{suffix}");
            cases.push(case(name, move |device| averaging(device, dtype, shape)));
        }
    }
    for shape in [[1, 1, 2, 1], [3, 5, 7, 11], [2, 6, 6, 10], [5, 60, 60, 3]] {
        let [n, h, w, c] = shape;
        for (dtype, suffix) in REALS {
            let name = format!("batch_norm/{n}x{h}x{w}x{c}{suffix}");
            cases.push(case(name, move |device| normalising(device, dtype, shape)));
        }
    }
    for (batch, classes, largest) in [(1, 2, 1.0), (7, 10, 5.0), (300, 3, 1.0), (5, 1000, 3.0), (16, 10, 1e4)] {
        for smoothing in [0.0, 0.1, 1.0] {
            let name = format!("softmax_cross_entropy/{batch}x{classes}_logits_to_{largest}_smoothing_{smoothing}");
            cases.push(case(name, move |device| cross_entropy(device, batch, classes, largest, smoothing)));
        }
    }
    for (dtype, suffix) in REALS {
        cases.push(case(format!("batch_assembly/two_chunks{suffix}"), move |device| assembling(device, dtype, None)));
        for (name, augmentation) in [
            ("flip-crop", Augmentation { crop_padding: 2, ..Augmentation::FLIP_CROP }),
            ("mirror", Augmentation::MIRROR),
            ("keras", Augmentation::KERAS),
            ("strong", Augmentation { crop_padding: 1, cutout: 2, ..Augmentation::STRONG }),
            ("upside-down", Augmentation { rotation_degrees: 180.0, shift: 1.0, ..Augmentation::NONE }),
            ("cutout", Augmentation { cutout: 3, ..Augmentation::NONE }),
        ] {
            let name = format!("batch_assembly/{name}{suffix}");
            cases.push(case(name, move |device| assembling(device, dtype, Some(augmentation))));
        }
    }
    for count in [1, 257, 100_003] {
        cases.push(case(format!("loss_scaling/{count}"), move |device| scaling_losses(device, count)));
        cases.push(case(format!("gradient_clipping/{count}"), move |device| clipping(device, count)));
        cases.push(case(format!("weight_average/{count}"), move |device| averaging_weights(device, count)));
    }
    cases.push(case("record_metrics/slot", recording_metrics));
    for iterations in [0, 1, 65_535] {
        cases.push(case(format!("count_iterations/{iterations}"), move |device| {
            let generated = (0..iterations).fold(0_u64, |x, _| (1_664_525 * x + 1_013_904_223) % (1 << 32));
            let counted = count_iterations(device, iterations)?.to_vec_u32()?;
            compare_exact("count_iterations", &counted, &[iterations, generated as u32])
        }));
    }
    cases
}

/// All three products of a convolution, by one plan or as the device chooses.
fn convolution(
    device: &Device,
    dtype: DType,
    plan: Option<Plan>,
    input: &[usize],
    weight: &[usize],
    stride: usize,
    padding: Padding,
) -> Outcome {
    let g = Conv2dGeometry::new(input, weight, stride, padding)?;
    let plan = |direction| plan.unwrap_or_else(|| Plan::usual(Target::new(device, dtype), direction, &g));
    let (x, input) = random_as(device, dtype, &g.input_shape(), 1)?;
    let (w, weight) = random_as(device, dtype, &g.weight_shape(), 2)?;
    let (b, bias) = random(device, &[g.out_c], 3)?;
    let (d, d_output) = random_as(device, dtype, &g.output_shape(), 4)?;
    let exactness = |direction, dtype| {
        let tolerance = match plan(direction) {
            Plan { algorithm: Algorithm::Winograd { outputs }, .. } if outputs + g.kernel_h > 5 => WINOGRAD_4_TOLERANCE,
            Plan { tiling: Tiling::Cooperative { .. }, .. } => COOPERATIVE_TOLERANCE,
            _ => TOLERANCE,
        };
        Exactness { dtype, tolerance }
    };
    for relu in [false, true] {
        let output = conv2d::forward_by(plan(Direction::Forward), &g, relu, &input, &weight, &bias)?.to_vec()?;
        let what = if relu { "conv2d_forward with ReLU" } else { "conv2d_forward" };
        let expected = oracle::conv2d_forward(&g, relu, &x, &w, &b);
        compare_within(exactness(Direction::Forward, dtype), what, &output, &expected)?;
    }
    let transposed = conv2d::transpose_weight(&g, &weight)?.to_vec()?;
    let expected: Vec<f32> = (0..w.len())
        .map(|i| {
            let (c, o, tap) = (i % g.in_c, i / g.in_c % g.out_c, i / g.in_c / g.out_c);
            w[(tap * g.in_c + c) * g.out_c + o]
        })
        .collect();
    compare_exact("conv2d_transpose_weight", &transposed, &expected)?;
    let mut expected = oracle::conv2d_backward_input(&g, &d, &w);
    for mask in [None, Some(&input)] {
        let plan = plan(Direction::BackwardInput);
        let d_input = conv2d::backward_input_by(plan, &g, &d_output, &weight, mask)?.to_vec()?;
        if mask.is_some() {
            expected.iter_mut().zip(&x).filter(|(_, x)| **x <= 0.0).for_each(|(sum, _)| *sum = Conditioned::exact(0.0));
        }
        compare_within(exactness(Direction::BackwardInput, dtype), "conv2d_backward_input", &d_input, &expected)?;
    }
    let (d_weight, d_bias) = (device.empty(&g.weight_shape())?, device.empty(&[g.out_c])?);
    conv2d::backward_weight_by(plan(Direction::BackwardWeight), &g, &input, &d_output, &d_weight, &d_bias)?;
    let (expected_weight, expected_bias) = oracle::conv2d_backward_weight(&g, &x, &d);
    compare_within(
        exactness(Direction::BackwardWeight, DType::F32),
        "conv2d_backward_weight",
        &d_weight.to_vec()?,
        &expected_weight,
    )?;
    let exactness = exactness(Direction::BackwardWeight, DType::F32);
    compare_within(exactness, "conv2d_backward_weight, bias", &d_bias.to_vec()?, &expected_bias)
}

fn fully_connected(device: &Device, dtype: DType, batch: usize, inputs: usize, outputs: usize) -> Outcome {
    let (x, input) = random_as(device, dtype, &[batch, inputs], 1)?;
    let (w, weight) = random_as(device, dtype, &[inputs, outputs], 2)?;
    let (b, bias) = random(device, &[outputs], 3)?;
    let output = linear::forward(&Plans::default(), true, &input, &weight, &bias)?;
    let mut expected = Vec::new();
    for row in x.chunks(inputs) {
        for o in 0..outputs {
            let mut sum = Conditioned::exact(f64::from(b[o]));
            row.iter().enumerate().for_each(|(i, &v)| sum.add(f64::from(v) * f64::from(w[i * outputs + o])));
            sum.value = sum.value.max(0.0);
            expected.push(sum);
        }
    }
    compare_exact("shape", output.shape(), &[batch, outputs])?;
    compare_within(Exactness::of(dtype), "linear", &output.to_vec()?, &expected)
}

fn pooling(device: &Device, dtype: DType, input: &[usize], kernel: [usize; 2], stride: usize) -> Outcome {
    let g = MaxPool2dGeometry::new(input, kernel, stride)?;
    // A few different values only, so that windows have equals.
    let x: Vec<f32> = numbers(input.iter().product(), 1).iter().map(|v| (v * 3.0).round()).collect();
    let (d, d_output) = random_as(device, dtype, &g.output_shape(), 2)?;
    let tensor = device.allocate(input, dtype)?;
    tensor.write(&x)?;
    let (output, choice) = max_pool2d::forward(&g, &tensor)?;
    let (expected_output, expected_choice) = oracle::max_pool2d_forward(&g, &x);
    compare_exact("max_pool2d_forward", &output.to_vec()?, &expected_output)?;
    compare_exact("max_pool2d_forward, choice", &choice.to_vec_u32()?, &expected_choice)?;
    let d_input = max_pool2d::backward(&g, &choice, &d_output)?.to_vec()?;
    let expected = oracle::max_pool2d_backward(&g, &expected_choice, &d);
    compare_within(Exactness::of(dtype), "max_pool2d_backward", &d_input, &expected)
}

fn elementwise_operations(device: &Device, dtype: DType, count: usize) -> Outcome {
    let (a, ta) = random_as(device, dtype, &[count], 1)?;
    let (b, tb) = random_as(device, dtype, &[count], 2)?;
    let sums = exact(a.iter().zip(&b).map(|(a, b)| f64::from(*a) + f64::from(*b)));
    compare_within(Exactness::of(dtype), "add", &elementwise::add(&ta, &tb)?.to_vec()?, &sums)?;
    if dtype == DType::F32 {
        let filled = device.empty(&[count])?;
        elementwise::fill(-2.5, &filled)?;
        compare_exact("fill", &filled.to_vec()?, &vec![-2.5; count])?;
        let scaled: Vec<f32> = a.iter().map(|a| 3.25 * a).collect();
        compare_exact("scale", &elementwise::scale(&ta, &device.tensor(&[1], &[3.25])?)?.to_vec()?, &scaled)?;
    }
    let zeros = device.zeros(&[count], dtype)?;
    compare_exact("zeros", &zeros.to_vec()?, &vec![0.0; count])?;
    let output = relu::forward(&ta)?;
    let positive: Vec<f32> = a.iter().map(|&a| if a > 0.0 { a } else { 0.0 }).collect();
    compare_exact("relu_forward", &output.to_vec()?, &positive)?;
    let passed: Vec<f32> = a.iter().zip(&b).map(|(&a, &b)| if a > 0.0 { b } else { 0.0 }).collect();
    compare_exact("relu_backward", &relu::backward(&output, &tb)?.to_vec()?, &passed)
}

fn dropping(device: &Device, dtype: DType, count: usize) -> Outcome {
    let (x, input) = random_as(device, dtype, &[count], 1)?;
    let state = StepState::new(0x1234_5678_9abc, 77, 0.0).tensor(device)?;
    for (probability, stream) in [(0.25, 0), (0.5, 3)] {
        let output = dropout::apply(Dropout { probability, stream }, &state, &input)?.to_vec()?;
        let expected = x.iter().enumerate().map(|(i, &x)| {
            let random = threefry([0x5678_9abc, 0x1234 + stream], [i as u32 / 2, 77])[i % 2];
            if f64::from(random) / 2_f64.powi(32) < f64::from(probability) {
                0.0
            } else {
                f64::from(x) / (1.0 - f64::from(probability))
            }
        });
        compare_within(Exactness::of(dtype), "dropout", &output, &exact(expected))?;
    }
    Ok(())
}

/// Both ways, with what rounds to zero, to the largest number and to none, and halfway cases.
fn converting(device: &Device, count: usize) -> Outcome {
    let special = [0.0, -0.0, 1e-9, 65_504.0, -65_519.0, 65_536.0, 6e-8, 1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0];
    let wide: Vec<f32> = special.into_iter().chain(numbers(count, 1)).cycle().take(count).collect();
    let narrow = convert(&device.tensor(&[count], &wide)?, DType::F16)?;
    compare_exact("to 16 bits", &narrow.to_vec()?, &device.tensor_f16(&[count], &wide)?.to_vec()?)?;
    let back = convert(&narrow, DType::F32)?;
    compare_exact("to 32 bits", &back.to_vec()?, &narrow.to_vec()?)?;
    if convert(&back, DType::F32).is_ok() {
        return Err("nothing to convert".into());
    }
    Ok(())
}

fn scaling_losses(device: &Device, count: usize) -> Outcome {
    let (values, gradients) = random(device, &[count], 1)?;
    let sum = values.iter().fold(Conditioned::default(), |mut sum, v| {
        sum.add(f64::from(*v) * f64::from(*v));
        sum
    });
    let partial = sum_of_squares(&gradients)?;
    let total: f32 = partial.to_vec()?.iter().sum();
    compare("sum_of_squares", &[total], &[sum])?;
    let scaling = device.tensor(&[4], &[1024.0, 1998.0, 0.0, 0.0])?;
    let step = |gradients: &Tensor| -> cifar_gpu::Result<(f32, Vec<f32>)> {
        let state = StepState::new(7, 8, 0.5).tensor(device)?;
        loss_scaling(&sum_of_squares(gradients)?, &scaling, &state)?;
        let words = state.to_vec_u32()?;
        assert_eq!(words[..5], StepState::new(7, 8, 0.5).words()[..5], "the rest of the state");
        Ok((f32::from_bits(words[7]), scaling.to_vec()?))
    };
    let norm = exact([sum.value.sqrt() / 1024.0]);
    // Finite: the factor undoes the scale; the 2000th such step in a row doubles it.
    let (factor, after) = step(&gradients)?;
    compare_exact(
        "loss_scaling, finite",
        &[factor, after[0], after[1], after[2]],
        &[1.0 / 1024.0, 1024.0, 1999.0, 0.0],
    )?;
    compare("norm", &after[3..], &norm)?;
    let (factor, after) = step(&gradients)?;
    compare_exact("loss_scaling, growth", &[factor, after[0], after[1]], &[1.0 / 1024.0, 2048.0, 0.0])?;
    // Not finite, wherever: the update is called off and the scale halved.
    for (at, value) in [(0, f32::INFINITY), (count / 2, f32::NAN), (count - 1, f32::NEG_INFINITY)] {
        let mut broken = values.clone();
        broken[at] = value;
        let (factor, _) = step(&device.tensor(&[count], &broken)?)?;
        compare_exact("loss_scaling, not finite", &[factor], &[-1.0])?;
    }
    let after = scaling.to_vec()?;
    compare_exact("loss_scaling, halved", &after[..3], &[256.0, 0.0, 3.0])
}

fn clipping(device: &Device, count: usize) -> Outcome {
    let (values, gradients) = random(device, &[count], 1)?;
    let norm = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    // Far too long, just right, not worth clipping, and called off.
    for (factor, share) in [(1.0, 0.01), (0.25, 0.5), (1.0, 1.5), (-1.0, 0.1)] {
        let max_norm = (share * norm) as f32;
        let state = StepState { gradient_factor: factor, ..StepState::new(7, 8, 0.5) }.tensor(device)?;
        gradient_clipping(max_norm, &sum_of_squares(&gradients)?, &state)?;
        let wide = f64::from(factor);
        let expected = if factor < 0.0 { wide } else { wide.min(f64::from(max_norm) / (norm + 1e-6 / wide)) };
        compare("gradient_factor", &[f32::from_bits(state.to_vec_u32()?[7])], &exact([expected]))?;
    }
    Ok(())
}

fn averaging_weights(device: &Device, count: usize) -> Outcome {
    let (p, parameter) = random(device, &[count], 1)?;
    let (mut a, average) = random(device, &[count], 2)?;
    for share in [1.0, 0.001, 0.25] {
        let state = StepState { average_share: share, ..StepState::new(7, 8, 0.5) }.tensor(device)?;
        weight_average(&state, &parameter, &average)?;
        let expected: Vec<_> = a
            .iter()
            .zip(&p)
            .map(|(&a, &p)| Conditioned {
                value: f64::from(a) + f64::from(share) * (f64::from(p) - f64::from(a)),
                magnitude: f64::from(a.abs() + p.abs()),
            })
            .collect();
        a = average.to_vec()?;
        compare("weight_average", &a, &expected)?;
        // The next round starts elsewhere.
        average.write(&numbers(count, 3))?;
        a = average.to_vec()?;
    }
    compare_exact("parameter", &parameter.to_vec()?, &p)
}

fn averaging(device: &Device, dtype: DType, shape: [usize; 4]) -> Outcome {
    let [n, h, w, c] = shape;
    let (x, input) = random_as(device, dtype, &shape, 1)?;
    let (d, d_output) = random_as(device, dtype, &[n, c], 2)?;
    let exactness = Exactness::of(dtype);
    let output = global_avg_pool::forward(&input)?.to_vec()?;
    compare_within(exactness, "global_avg_pool_forward", &output, &oracle::global_avg_pool_forward(h * w, c, &x))?;
    let d_input = global_avg_pool::backward(shape, &d_output)?.to_vec()?;
    compare_within(exactness, "global_avg_pool_backward", &d_input, &oracle::global_avg_pool_backward(h * w, c, &d))
}

fn normalising(device: &Device, dtype: DType, shape: [usize; 4]) -> Outcome {
    let (rows, channels) = (shape[0] * shape[1] * shape[2], shape[3]);
    // A mean far from zero: squares must not cancel.
    let tensor = device.allocate(&shape, dtype)?;
    tensor.write(&numbers(rows * channels, 1).iter().map(|v| 30.0 + v).collect::<Vec<_>>())?;
    let x = tensor.to_vec()?;
    let ([w, b], [d, m, v]) = ([2, 3].map(|s| numbers(channels, s)), [4, 5, 6].map(|s| numbers(rows * channels, s)));
    let d_output = device.allocate(&shape, dtype)?;
    d_output.write(&d)?;
    let d = d_output.to_vec()?;
    let [weight, bias] = [&w, &b].map(|values| device.tensor(&[channels], values));
    let (weight, bias) = (weight?, bias?);
    let (start_mean, start_variance): (Vec<f32>, Vec<f32>) =
        (0..channels).map(|c| (m[c % m.len()], 1.5 + v[c % v.len()])).unzip();
    let exactness = Exactness::of(dtype);
    let wide = |c: usize, i: usize| f64::from(x[i * channels + c]);
    let n = rows as f64;
    let means: Vec<f64> = (0..channels).map(|c| (0..rows).map(|i| wide(c, i)).sum::<f64>() / n).collect();
    let squares: Vec<f64> =
        (0..channels).map(|c| (0..rows).map(|i| (wide(c, i) - means[c]).powi(2)).sum::<f64>()).collect();
    for kind in [Statistics::Batch, Statistics::Running] {
        let running_mean = device.tensor(&[channels], &start_mean)?;
        let running_variance = device.tensor(&[channels], &start_variance)?;
        let running = Running { mean: &running_mean, variance: &running_variance };
        let (mean, scale): (Vec<f64>, Vec<f64>) = (0..channels)
            .map(|c| {
                let (mean, variance) = match kind {
                    Statistics::Batch => (means[c], squares[c] / n),
                    Statistics::Running => (f64::from(start_mean[c]), f64::from(start_variance[c])),
                };
                (mean, 1.0 / (variance + 1e-5).sqrt())
            })
            .unzip();
        let normal = |i: usize| (f64::from(x[i]) - mean[i % channels]) * scale[i % channels];
        for relu in [false, true] {
            let (output, statistics) = batch_norm::forward(kind, relu, &tensor, &weight, &bias, running)?;
            let values = output.to_vec()?;
            let expected: Vec<_> = (0..x.len())
                .map(|i| {
                    let c = i % channels;
                    let value = normal(i) * f64::from(w[c]) + f64::from(b[c]);
                    let magnitude = (f64::from(x[i]).abs() + mean[c].abs()) * scale[c] * f64::from(w[c]).abs() + 1.0;
                    Conditioned { value: if relu { value.max(0.0) } else { value }, magnitude }
                })
                .collect();
            compare_within(exactness, "batch_norm_forward", &values, &expected)?;
            if kind == Statistics::Running {
                continue;
            }
            let (d_weight, d_bias) = (device.empty(&[channels])?, device.empty(&[channels])?);
            let d_input = batch_norm::backward(
                &tensor,
                &statistics,
                &weight,
                &d_output,
                relu.then_some(&output),
                &d_weight,
                &d_bias,
            )?;
            let d = |i: usize| if relu && values[i] <= 0.0 { 0.0 } else { f64::from(d[i]) };
            let [mut products, mut sums] =
                [vec![Conditioned::default(); channels], vec![Conditioned::default(); channels]];
            for i in 0..x.len() {
                products[i % channels].add(d(i) * normal(i));
                // The mean that is subtracted has rounded.
                products[i % channels].magnitude += d(i).abs() * 30.0 * scale[i % channels];
                sums[i % channels].add(d(i));
            }
            compare("batch_norm_backward_weight", &d_weight.to_vec()?, &products)?;
            compare("batch_norm_backward_weight, bias", &d_bias.to_vec()?, &sums)?;
            let expected: Vec<_> = (0..x.len())
                .map(|i| {
                    let c = i % channels;
                    let mut sum = Conditioned::default();
                    let factor = f64::from(w[c]) * scale[c];
                    sum.add(factor * d(i));
                    sum.add(-factor * sums[c].value / n);
                    sum.add(-factor * normal(i) * products[c].value / n);
                    let rounded = sums[c].magnitude + (normal(i).abs() + 30.0 * scale[c]) * products[c].magnitude;
                    sum.magnitude += factor.abs() * rounded / n;
                    sum
                })
                .collect();
            compare_within(exactness, "batch_norm_backward_input", &d_input.to_vec()?, &expected)?;
        }
        let moved = |start: f32, to: f64| match kind {
            // Two steps were done.
            Statistics::Batch => to + 0.81 * (f64::from(start) - to),
            Statistics::Running => f64::from(start),
        };
        let expected: Vec<_> =
            (0..channels).map(|c| Conditioned { value: moved(start_mean[c], means[c]), magnitude: 31.0 }).collect();
        compare("running mean", &running_mean.to_vec()?, &expected)?;
        let expected: Vec<_> = (0..channels)
            .map(|c| Conditioned { value: moved(start_variance[c], squares[c] / (n - 1.0)), magnitude: 31.0 })
            .collect();
        compare("running variance", &running_variance.to_vec()?, &expected)?;
    }
    Ok(())
}

fn cross_entropy(device: &Device, batch: usize, classes: usize, largest: f32, smoothing: f32) -> Outcome {
    let mut logits: Vec<f32> = numbers(batch * classes, 1).iter().map(|v| v * largest).collect();
    let mut random = RandomStream::new(5, 0);
    let labels: Vec<u32> = (0..batch).map(|_| random.next_below(classes as u32)).collect();
    // Two equal largest logits: the first counts.
    logits[0] = largest * 2.0;
    logits[1] = largest * 2.0;
    let result = softmax_cross_entropy::forward(
        smoothing,
        &device.tensor(&[batch, classes], &logits)?,
        &device.tensor_u32(&[batch], &labels)?,
    )?;
    let expected = oracle::softmax_cross_entropy(f64::from(smoothing), classes, &logits, &labels);
    compare("loss", &result.loss.to_vec()?, &[expected.loss])?;
    compare_exact("correct", &result.correct.to_vec()?, &[expected.correct])?;
    compare("d_logits", &result.d_logits.to_vec()?, &expected.d_logits)
}

fn assembling(device: &Device, dtype: DType, augmentation: Option<Augmentation>) -> Outcome {
    let (images, height, width) = (5, 3, 5);
    let pixels = height * width;
    let bytes: Vec<u8> = numbers(images * 3 * pixels, 1).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
    let labels: Vec<u32> = vec![9, 8, 7, 6, 5];
    let chunks = [(0, 2), (2, 5)].map(|(start, end): (usize, usize)| {
        let bytes = &bytes[start * 3 * pixels..end * 3 * pixels];
        device.tensor_u8(&[end - start, 3, pixels], bytes).map(|images| ImageChunk { start, images })
    });
    let [a, b] = chunks;
    let indices = [4, 1, 2, 0, 4, 3, 1];
    let output = device.allocate(&[indices.len(), height, width, 3], dtype)?;
    let labels_out = device.allocate(&[indices.len()], DType::U32)?;
    let normalisation = Normalisation::from_mean_std([0.5, 0.1, 0.0], [0.5, 0.25, 1.0]);
    let state = StepState { epoch: 3, ..StepState::new(0x1234_5678_9abc, 77, 0.0) };
    let state_tensor = state.tensor(device)?;
    batch_assembly(
        &normalisation,
        augmentation.as_ref().map(|augmentation| (augmentation, &state_tensor)),
        &[a?, b?],
        &device.tensor_u32(&[images], &labels)?,
        &device.tensor_u32(&[indices.len()], &indices)?,
        &output,
        &labels_out,
    )?;
    let expected = oracle::batch_assembly(&normalisation, augmentation, &state, [height, width], &bytes, &indices);
    compare_within(Exactness::of(dtype), "batch_assembly", &output.to_vec()?, &expected)?;
    let expected: Vec<u32> = indices.iter().map(|&i| labels[i as usize]).collect();
    compare_exact("batch_assembly, labels", &labels_out.to_vec_u32()?, &expected)
}

fn recording_metrics(device: &Device) -> Outcome {
    let history = device.tensor(&[3, 2], &[-1.0; 6])?;
    let state = StepState { slot: 1, ..StepState::new(0, 0, 0.0) }.tensor(device)?;
    record_metrics(&state, &device.tensor(&[1], &[0.5])?, &device.tensor(&[1], &[7.0])?, &history)?;
    compare_exact("history", &history.to_vec()?, &[-1.0, -1.0, 0.5, 7.0, -1.0, -1.0])
}

fn sgd_updates(device: &Device, count: usize) -> Outcome {
    for nesterov in [false, true] {
        let sgd = Sgd { momentum: 0.9, weight_decay: 0.01, nesterov };
        let (start, parameter) = random(device, &[count], 1)?;
        let velocity = device.zeros(&[count], DType::F32)?;
        let (mut p, mut v): (Vec<f64>, _) = (start.iter().map(|&p| f64::from(p)).collect(), vec![0.0; count]);
        for step in 0..3 {
            let (g, gradient) = random(device, &[count], 10 + step)?;
            let state = StepState { gradient_factor: 0.5, ..StepState::new(0, step, 0.1) };
            let off = StepState { gradient_factor: -1.0, ..state }.tensor(device)?;
            sgd_step(sgd, &off, &gradient, &parameter, &velocity)?;
            let state = state.tensor(device)?;
            sgd_step(sgd, &state, &gradient, &parameter, &velocity)?;
            for i in 0..count {
                let g = 0.5 * f64::from(g[i]) + 0.01 * p[i];
                v[i] = 0.9 * v[i] + g;
                p[i] -= 0.1 * if nesterov { g + 0.9 * v[i] } else { v[i] };
            }
        }
        let near_one = |values: &[f64]| values.iter().map(|&value| Conditioned { value, magnitude: 1.0 }).collect();
        let (p, v): (Vec<_>, Vec<_>) = (near_one(&p), near_one(&v));
        compare("parameter", &parameter.to_vec()?, &p)?;
        compare("velocity", &velocity.to_vec()?, &v)?;
    }
    Ok(())
}

fn adam_updates(device: &Device, count: usize) -> Outcome {
    let (rate, decay, epsilon) = (0.01, 0.1, 1e-8);
    for decoupled in [false, true] {
        let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, decoupled };
        let (start, parameter) = random(device, &[count], 1)?;
        let first = device.zeros(&[count], DType::F32)?;
        let second = device.zeros(&[count], DType::F32)?;
        let mut p: Vec<f64> = start.iter().map(|&p| f64::from(p)).collect();
        let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
        for step in 1..4 {
            let (g, gradient) = random(device, &[count], 10 + step)?;
            let (c1, c2) = (1.0 - 0.9_f64.powi(step as i32), 1.0 - 0.999_f64.powi(step as i32));
            let state = StepState {
                first_moment_correction: c1 as f32,
                second_moment_correction: c2 as f32,
                gradient_factor: 0.5,
                ..StepState::new(0, step, rate as f32)
            };
            let off = StepState { gradient_factor: -1.0, ..state };
            adam_step(adam, &off.tensor(device)?, &gradient, &parameter, &first, &second)?;
            adam_step(adam, &state.tensor(device)?, &gradient, &parameter, &first, &second)?;
            for i in 0..count {
                let mut g = 0.5 * f64::from(g[i]);
                if decoupled {
                    p[i] *= 1.0 - rate * decay;
                } else {
                    g += decay * p[i];
                }
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                p[i] -= rate / c1 * m[i] / ((v[i] / c2).sqrt() + epsilon);
            }
        }
        let expected: Vec<_> = p.iter().map(|&value| Conditioned { value, magnitude: 1.0 }).collect();
        compare("parameter", &parameter.to_vec()?, &expected)?;
    }
    Ok(())
}
