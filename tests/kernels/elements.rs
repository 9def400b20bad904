//! How operations that go over elements, losses and updates are held against their oracles.

use cifar_gpu::ops::adam::{Adam, adam_step};
use cifar_gpu::ops::convert::convert;
use cifar_gpu::ops::dropout::{self, DropoutMask};
use cifar_gpu::ops::gradient_clipping::gradient_clipping;
use cifar_gpu::ops::loss_scaling::{loss_scaling, sum_of_squares};
use cifar_gpu::ops::record_metrics::record_metrics;
use cifar_gpu::ops::sgd::{Sgd, sgd_step};
use cifar_gpu::ops::weight_average::weight_average;
use cifar_gpu::ops::{Gate, StepState, elementwise, relu};
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, Tensor};

use crate::compare::{Conditioned, Exactness, compare, compare_exact, compare_within};
use crate::operands::{exact, numbers, random, random_as};
use crate::{Outcome, oracle};

pub fn elementwise_operations(device: &Device, dtype: DType, count: usize) -> Outcome {
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
    let passed: Vec<f32> = a.iter().zip(&b).map(|(&a, &b)| if a > 0.0 { 2.0 * b } else { 0.0 }).collect();
    let gate = Gate { output: &output, factor: 2.0 };
    compare_exact("relu_backward", &relu::backward(gate, &tb)?.to_vec()?, &passed)
}

pub fn dropping(device: &Device, dtype: DType, count: usize) -> Outcome {
    let (x, input) = random_as(device, dtype, &[count], 1)?;
    let state = StepState::new(0x1234_5678_9abc, 77, 0.0).tensor(device)?;
    for (probability, stream) in [(0.25, 0), (0.5, 3)] {
        let output = dropout::apply(DropoutMask { probability, stream }, &state, &input)?.to_vec()?;
        let mut expected = exact(x.iter().map(|&x| f64::from(x)));
        oracle::dropout(f64::from(probability), [0x5678_9abc, 0x1234 + stream], 77, &mut expected);
        compare_within(Exactness::of(dtype), "dropout", &output, &expected)?;
    }
    Ok(())
}

/// Both ways, with what rounds to zero, to the largest number and to none, and halfway cases.
pub fn converting(device: &Device, count: usize) -> Outcome {
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

pub fn scaling_losses(device: &Device, count: usize) -> Outcome {
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

pub fn clipping(device: &Device, count: usize) -> Outcome {
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

pub fn averaging_weights(device: &Device, count: usize) -> Outcome {
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

pub fn recording_metrics(device: &Device) -> Outcome {
    let history = device.tensor(&[3, 2], &[-1.0; 6])?;
    let state = StepState { slot: 1, ..StepState::new(0, 0, 0.0) }.tensor(device)?;
    record_metrics(&state, &device.tensor(&[1], &[0.5])?, &device.tensor(&[1], &[7.0])?, &history)?;
    compare_exact("history", &history.to_vec()?, &[-1.0, -1.0, 0.5, 7.0, -1.0, -1.0])
}

pub fn sgd_updates(device: &Device, count: usize) -> Outcome {
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

pub fn adam_updates(device: &Device, count: usize) -> Outcome {
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
