//! How each layer's operation is held against its oracle.

use cifar_gpu::Device;
use cifar_gpu::ops::batch_assembly::{Augmentation, ImageChunk, Normalization, batch_assembly};
use cifar_gpu::ops::batch_norm::{self, Running, Settings, Statistics};
use cifar_gpu::ops::conv2d::{self, Algorithm, Conv2dGeometry, Direction, Epilogue, Plan, Plans, Target, Tiling};
use cifar_gpu::ops::dropout::DropoutMask;
use cifar_gpu::ops::max_pool2d;
use cifar_gpu::ops::pool2d::Pool2dGeometry;
use cifar_gpu::ops::random::RandomStream;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::ops::{Gate, Padding, StepState, global_avg_pool, linear};
use cifar_gpu::tape::Tape;
use cifar_gpu::tensor::DType;
use rand::RngExt;

use crate::compare::{
    COOPERATIVE_TOLERANCE, Conditioned, Exactness, TOLERANCE, WINOGRAD_4_TOLERANCE, compare, compare_exact,
    compare_within,
};
use crate::operands::{numbers, random, random_as};
use crate::{Outcome, oracle};

/// All three products of a convolution, by one plan or as the device chooses.
pub fn convolution(
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
    let dropout = DropoutMask { probability: 0.4, stream: 2 };
    let state = StepState::new(0x1234_5678_9abc, 77, 0.0).tensor(device)?;
    for (what, epilogue) in [
        ("conv2d_forward", Epilogue::default()),
        ("conv2d_forward with ReLU and dropout", Epilogue { relu: true, dropout: Some((dropout, &state)) }),
    ] {
        let output =
            conv2d::forward_by(plan(Direction::Forward), &g, epilogue, &input, &weight, Some(&bias))?.to_vec()?;
        let mut expected = oracle::conv2d_forward(&g, epilogue.relu, &x, &w, &b);
        if epilogue.dropout.is_some() {
            oracle::dropout(0.4, [0x5678_9abc, 0x1234 + 2], 77, &mut expected);
        }
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
    for gate in [None, Some(Gate { output: &input, factor: 1.25 })] {
        let plan = plan(Direction::BackwardInput);
        let d_input = conv2d::backward_input_by(plan, &g, &d_output, &weight, gate)?.to_vec()?;
        if gate.is_some() {
            expected.iter_mut().zip(&x).for_each(|(sum, &x)| *sum = sum.scaled(if x > 0.0 { 1.25 } else { 0.0 }));
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

pub fn fully_connected(device: &Device, dtype: DType, batch: usize, inputs: usize, outputs: usize) -> Outcome {
    let (x, input) = random_as(device, dtype, &[batch, inputs], 1)?;
    let (w, weight) = random_as(device, dtype, &[inputs, outputs], 2)?;
    let (b, bias) = random(device, &[outputs], 3)?;
    let output = linear::forward(&Plans::default(), Epilogue::RELU, &input, &weight, Some(&bias))?;
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

pub fn pooling(device: &Device, dtype: DType, input: &[usize], kernel: [usize; 2], stride: usize) -> Outcome {
    let g = Pool2dGeometry::new("max_pool2d", input, kernel, stride, Padding::Valid)?;
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

pub fn averaging(device: &Device, dtype: DType, shape: [usize; 4]) -> Outcome {
    let [n, h, w, c] = shape;
    let (x, input) = random_as(device, dtype, &shape, 1)?;
    let (d, d_output) = random_as(device, dtype, &[n, c], 2)?;
    let exactness = Exactness::of(dtype);
    let output = global_avg_pool::forward(&input)?.to_vec()?;
    compare_within(exactness, "global_avg_pool_forward", &output, &oracle::global_avg_pool_forward(h * w, c, &x))?;
    let d_input = global_avg_pool::backward(shape, &d_output)?.to_vec()?;
    compare_within(exactness, "global_avg_pool_backward", &d_input, &oracle::global_avg_pool_backward(h * w, c, &d))
}

pub fn normalizing(device: &Device, dtype: DType, shape: [usize; 4]) -> Outcome {
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
        let running = Running {
            mean: device.tensor(&[channels], &start_mean)?,
            variance: device.tensor(&[channels], &start_variance)?,
        };
        let (mean, scale): (Vec<f64>, Vec<f64>) = (0..channels)
            .map(|c| {
                let (mean, variance) = match kind {
                    Statistics::Batch => (means[c], squares[c] / n),
                    Statistics::Running => (f64::from(start_mean[c]), f64::from(start_variance[c])),
                };
                (mean, 1.0 / (variance + 1e-3).sqrt())
            })
            .unzip();
        let normal = |i: usize| (f64::from(x[i]) - mean[i % channels]) * scale[i % channels];
        for relu in [false, true] {
            let (output, statistics) = batch_norm::forward(
                kind,
                Settings { epsilon: 1e-3, momentum: 0.3, relu },
                &tensor,
                &weight,
                &bias,
                &running,
            )?;
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
            Statistics::Batch => to + 0.49 * (f64::from(start) - to),
            Statistics::Running => f64::from(start),
        };
        let expected: Vec<_> =
            (0..channels).map(|c| Conditioned { value: moved(start_mean[c], means[c]), magnitude: 31.0 }).collect();
        compare("running mean", &running.mean.to_vec()?, &expected)?;
        let expected: Vec<_> = (0..channels)
            .map(|c| Conditioned { value: moved(start_variance[c], squares[c] / (n - 1.0)), magnitude: 31.0 })
            .collect();
        compare("running variance", &running.variance.to_vec()?, &expected)?;
    }
    Ok(())
}

pub fn cross_entropy(device: &Device, batch: usize, classes: usize, largest: f32, smoothing: f32) -> Outcome {
    let mut logits: Vec<f32> = numbers(batch * classes, 1).iter().map(|v| v * largest).collect();
    let mut random = RandomStream::new(5, 0);
    let labels: Vec<u32> = (0..batch).map(|_| random.random_range(..classes as u32)).collect();
    // Two equal largest logits: the first counts.
    logits[0] = largest * 2.0;
    logits[1] = largest * 2.0;
    let criterion = SoftmaxCrossEntropy::new(&device.tensor_u32(&[batch], &labels)?)?.smoothing(smoothing);
    let (tape, correct) = (Tape::recording(None), criterion.correct().clone());
    let leaf = tape.variable(&device.tensor(&[batch, classes], &logits)?);
    let loss = leaf.apply(criterion)?;
    let d_logits = loss.backward()?.get(&leaf).ok_or("no gradient")?.to_vec()?;
    let expected = oracle::softmax_cross_entropy(f64::from(smoothing), classes, &logits, &labels);
    compare("loss", &loss.tensor().to_vec()?, &[expected.loss])?;
    compare_exact("correct", &correct.to_vec()?, &[expected.correct])?;
    compare("d_logits", &d_logits, &expected.d_logits)
}

pub fn assembling(
    device: &Device,
    dtype: DType,
    [height, width, channels]: [usize; 3],
    augmentation: Option<Augmentation>,
) -> Outcome {
    let (images, pixels) = (5, height * width);
    let bytes: Vec<u8> = numbers(images * channels * pixels, 1).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
    let labels: Vec<u32> = vec![9, 8, 7, 6, 5];
    let chunks = [(0, 2), (2, 5)].map(|(start, end): (usize, usize)| {
        let bytes = &bytes[start * channels * pixels..end * channels * pixels];
        device.tensor_u8(&[end - start, channels, pixels], bytes).map(|images| ImageChunk { start, images })
    });
    let [a, b] = chunks;
    let indices = [4, 1, 2, 0, 4, 3, 1];
    let output = device.allocate(&[indices.len(), height, width, channels], dtype)?;
    let labels_out = device.allocate(&[indices.len()], DType::U32)?;
    let normalization = Normalization::new(&[0.5, 0.1, 0.0][..channels], &[0.5, 0.25, 1.0][..channels]);
    let state = StepState { epoch: 3, ..StepState::new(0x1234_5678_9abc, 77, 0.0) };
    let state_tensor = state.tensor(device)?;
    batch_assembly(
        &normalization,
        augmentation.as_ref().map(|augmentation| (augmentation, &state_tensor)),
        &[a?, b?],
        &device.tensor_u32(&[images], &labels)?,
        &device.tensor_u32(&[indices.len()], &indices)?,
        &output,
        &labels_out,
    )?;
    let expected = oracle::batch_assembly(&normalization, augmentation, &state, [height, width], &bytes, &indices);
    compare_within(Exactness::of(dtype), "batch_assembly", &output.to_vec()?, &expected)?;
    let expected: Vec<u32> = indices.iter().map(|&i| labels[i as usize]).collect();
    compare_exact("batch_assembly, labels", &labels_out.to_vec_u32()?, &expected)
}
