//! Cases of batch normalization.

use super::{BatchNorm, Running, Settings, Statistics, backward, forward};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial};
use crate::tensor::{DType, Device, Tensor};

/// Where the inputs' mean lies: far from zero, because squares must not cancel.
const MEAN: f32 = 30.0;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let usual = Settings { epsilon: 1e-3, momentum: 0.3, relu: false };
    let mut cases = Vec::new();
    for (purpose, shape, settings) in [
        (Purpose::Test, [1, 1, 2, 1], usual),
        (Purpose::Check, [3, 5, 7, 11], usual),
        (Purpose::Test, [2, 6, 6, 10], usual),
        (Purpose::Test, [5, 60, 60, 3], usual),
        (Purpose::Test, [2, 5, 4, 8], Settings { epsilon: 0.25, momentum: 1.0, relu: false }),
        (Purpose::Test, [2, 5, 4, 6], Settings { momentum: 0.0, ..Settings::default() }),
    ]
    .into_iter()
    .chain(draw.times(2, |draw| {
        // The variance of one row is not one.
        let [n, h, w, c] = draw.images(20, 70);
        (Purpose::Random, [n + usize::from(n * h * w == 1), h, w, c], usual)
    })) {
        let [n, h, w, c] = shape;
        let Settings { epsilon, momentum, .. } = settings;
        let name = format!("batch_norm/{n}x{h}x{w}x{c}_epsilon_{epsilon}_momentum_{momentum}");
        let both = Case::both_widths(&name, move |trial, dtype| verify(trial, dtype, shape, settings));
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    for shape in [[64, 32, 32, 96], [64, 15, 15, 192], [64, 6, 6, 192], [64, 32, 32, 16]] {
        let [n, h, w, c] = shape;
        let both =
            Case::both_widths(&format!("batch_norm/{n}x{h}x{w}x{c}"), move |trial, dtype| bench(trial, dtype, shape));
        cases.extend(both.map(|case| case.for_purpose(Purpose::Bench)));
    }
    cases.push(Case::new("batch_norm/not_finite", keep_running));
    for (name, relu) in [("batch_norm", false), ("batch_norm_relu", true)] {
        cases.push(Case::gradient(name, &[&[2, 6, 6, 4], &[4], &[4]], move |device| {
            let running = Running { mean: device.tensor(&[4], &[0.0; 4])?, variance: device.tensor(&[4], &[1.0; 4])? };
            Ok(BatchNorm { settings: Settings { epsilon: 1e-3, momentum: 0.3, relu }, running })
        }));
    }
    cases
}

/// Forward as in training with ReLU, and backward, once each.
fn bench(trial: &mut Trial<'_>, dtype: DType, shape: [usize; 4]) -> Result<()> {
    let settings = Settings { relu: true, ..Settings::default() };
    let (_, input) = trial.random(dtype, &shape, 1)?;
    let (_, d_output) = trial.random(dtype, &shape, 2)?;
    let running = running(trial.device(), &vec![0.0; shape[3]], &vec![1.0; shape[3]])?;
    let [weight, bias, d_weight, d_bias] = per_channel(trial, shape[3])?;
    let (output, statistics) = forward(Statistics::Batch, settings, &input, &weight, &bias, &running)?;
    backward(&input, &statistics, &weight, &d_output, Some(&output), &d_weight, &d_bias)?;
    Ok(())
}

fn per_channel(trial: &Trial<'_>, channels: usize) -> Result<[Tensor; 4]> {
    let [a, b] = [2, 3].map(|stream| trial.random(DType::F32, &[channels], stream));
    Ok([a?.1, b?.1, trial.device().empty(&[channels])?, trial.device().empty(&[channels])?])
}

fn running(device: &Device, mean: &[f32], variance: &[f32]) -> Result<Running> {
    let [mean, variance] = [mean, variance].map(|values| device.tensor(&[values.len()], values));
    Ok(Running { mean: mean?, variance: variance? })
}

/// The oracle: inputs and what is known of each channel.
struct Oracle {
    settings: Settings,
    channels: usize,
    x: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    mean: Vec<f64>,
    /// 1 / √(variance + ε).
    scale: Vec<f64>,
}

impl Oracle {
    fn rows(&self) -> f64 {
        (self.x.len() / self.channels) as f64
    }

    fn normal(&self, i: usize) -> f64 {
        (self.x[i] - self.mean[i % self.channels]) * self.scale[i % self.channels]
    }

    fn output(&self, relu: bool) -> Vec<Conditioned> {
        let element = |i: usize| {
            let (c, w) = (i % self.channels, self.weight[i % self.channels]);
            let value = self.normal(i) * w + self.bias[c];
            let magnitude = (self.x[i].abs() + self.mean[c].abs()) * self.scale[c] * w.abs() + 1.0;
            Conditioned { value: if relu { value.max(0.0) } else { value }, magnitude }
        };
        (0..self.x.len()).map(element).collect()
    }

    /// Gradients of weight and bias.
    fn sums(&self, d: &[f64]) -> [Vec<Conditioned>; 2] {
        let [mut products, mut sums] = [(); 2].map(|()| vec![Conditioned::default(); self.channels]);
        for (i, &d) in d.iter().enumerate() {
            let c = i % self.channels;
            products[c].add(d * self.normal(i));
            // The mean that is subtracted has rounded.
            products[c].magnitude += d.abs() * f64::from(MEAN) * self.scale[c];
            sums[c].add(d);
        }
        [products, sums]
    }

    fn d_input(&self, d: &[f64]) -> Vec<Conditioned> {
        let [products, sums] = self.sums(d);
        let element = |i: usize| {
            let c = i % self.channels;
            let factor = self.weight[c] * self.scale[c];
            let mut sum = Conditioned::default();
            sum.add(factor * d[i]);
            sum.add(-factor * sums[c].value / self.rows());
            sum.add(-factor * self.normal(i) * products[c].value / self.rows());
            let far = self.normal(i).abs() + f64::from(MEAN) * self.scale[c];
            let rounded = sums[c].magnitude + far * products[c].magnitude;
            sum.magnitude += factor.abs() * rounded / self.rows();
            sum
        };
        (0..self.x.len()).map(element).collect()
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn verify(trial: &mut Trial<'_>, dtype: DType, shape: [usize; 4], settings: Settings) -> Result<()> {
    let (rows, channels) = (shape[0] * shape[1] * shape[2], shape[3]);
    let (x, input) =
        trial.tensor(dtype, &shape, trial.numbers(rows * channels, 1).iter().map(|v| MEAN + v).collect())?;
    let (w, weight) = trial.random(DType::F32, &[channels], 2)?;
    let (b, bias) = trial.random(DType::F32, &[channels], 3)?;
    let (d, d_output) = trial.random(dtype, &shape, 4)?;
    // What stands for the output of the ReLU behind: near zero an own one would depend on rounding.
    let (gates, gate) = trial.random(dtype, &shape, 7)?;
    let start_mean = trial.numbers(channels, 5);
    let start_variance: Vec<f32> = trial.numbers(channels, 6).iter().map(|v| 1.5 + v).collect();

    let at = |c: usize, i: usize| f64::from(x[i * channels + c]);
    let n = rows as f64;
    let means: Vec<f64> = (0..channels).map(|c| (0..rows).map(|i| at(c, i)).sum::<f64>() / n).collect();
    let squares: Vec<f64> =
        (0..channels).map(|c| (0..rows).map(|i| (at(c, i) - means[c]).powi(2)).sum::<f64>()).collect();
    for kind in [Statistics::Batch, Statistics::Running] {
        let running = running(trial.device(), &start_mean, &start_variance)?;
        let (mean, variance) = match kind {
            Statistics::Batch => (means.clone(), squares.iter().map(|sum| sum / n).collect()),
            Statistics::Running => (wide(&start_mean), wide(&start_variance)),
        };
        let scale = variance.iter().map(|variance| 1.0 / (variance + f64::from(settings.epsilon)).sqrt()).collect();
        let (weights, biases) = (wide(&w), wide(&b));
        let oracle = Oracle { settings, channels, x: wide(&x), weight: weights, bias: biases, mean, scale };
        for relu in [false, true] {
            let (output, statistics) = forward(kind, Settings { relu, ..settings }, &input, &weight, &bias, &running)?;
            trial.close(Exactness::of(dtype), "batch_norm_forward", &output, || oracle.output(relu))?;
            if kind == Statistics::Running {
                continue;
            }
            let (d_weight, d_bias) = (trial.device().empty(&[channels])?, trial.device().empty(&[channels])?);
            let output = relu.then_some(&gate);
            let d_input = backward(&input, &statistics, &weight, &d_output, output, &d_weight, &d_bias)?;
            let gated = |(&d, &gate): (&f32, &f32)| if relu && gate <= 0.0 { 0.0 } else { f64::from(d) };
            let d: Vec<f64> = d.iter().zip(&gates).map(gated).collect();
            let [products, sums] = oracle.sums(&d);
            trial.close(Exactness::WIDE, "batch_norm_backward_weight", &d_weight, || products)?;
            trial.close(Exactness::WIDE, "batch_norm_backward_weight, bias", &d_bias, || sums)?;
            trial.close(Exactness::of(dtype), "batch_norm_backward_input", &d_input, || oracle.d_input(&d))?;
        }
        verify_running(trial, kind, &oracle, &running, [&start_mean, &start_variance], [&means, &squares])?;
    }
    Ok(())
}

/// A batch that is not finite moves no running statistics of its channel.
fn keep_running(trial: &mut Trial<'_>) -> Result<()> {
    let settings = Settings { momentum: 0.5, ..Settings::default() };
    let [weight, bias, ..] = per_channel(trial, 4)?;
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // 1 and 3 in each channel, but the second one's last.
        let mut values = [[1.0; 4], [3.0; 4]].concat();
        values[5] = broken;
        let (_, input) = trial.tensor(DType::F32, &[1, 1, 2, 4], values)?;
        let running = running(trial.device(), &[0.0; 4], &[1.0; 4])?;
        forward(Statistics::Batch, settings, &input, &weight, &bias, &running)?;
        trial.equal("running mean", &running.mean, || vec![1.0, 0.0, 1.0, 1.0_f32])?;
        trial.equal("running variance", &running.variance, || vec![1.5, 1.0, 1.5, 1.5_f32])?;
    }
    Ok(())
}

/// Holds the running statistics against what two steps make of their start.
fn verify_running(
    trial: &mut Trial<'_>,
    kind: Statistics,
    oracle: &Oracle,
    running: &Running,
    [start_mean, start_variance]: [&[f32]; 2],
    [means, squares]: [&[f64]; 2],
) -> Result<()> {
    let kept = (1.0 - f64::from(oracle.settings.momentum)).powi(2);
    let moved = |start: f32, to: f64| match kind {
        Statistics::Batch => to + kept * (f64::from(start) - to),
        Statistics::Running => f64::from(start),
    };
    let near = |values: Vec<f64>| values.into_iter().map(|value| Conditioned { value, magnitude: 31.0 }).collect();
    trial.close(Exactness::WIDE, "running mean", &running.mean, || {
        near(start_mean.iter().zip(means).map(|(&start, &mean)| moved(start, mean)).collect())
    })?;
    let to = |sum: f64| sum / (oracle.rows() - 1.0);
    trial.close(Exactness::WIDE, "running variance", &running.variance, || {
        near(start_variance.iter().zip(squares).map(|(&start, &sum)| moved(start, to(sum))).collect())
    })
}
