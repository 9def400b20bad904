//! Cases of softmax.

use super::{Softmax, backward, forward};
use crate::ops::Draw;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, exact};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, [rows, classes], largest) in [
        (Purpose::Test, [1, 2], 1.0),
        (Purpose::Check, [7, 10], 5.0),
        (Purpose::Test, [300, 3], 1.0),
        (Purpose::Test, [5, 1000], 3.0),
        (Purpose::Test, [16, 10], 1e4),
        (Purpose::Bench, [64, 10], 5.0),
        (Purpose::Bench, [64, 1000], 5.0),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, [draw.count(300), 1 + draw.count(300)], 4.0)))
    {
        let name = format!("softmax/{rows}x{classes}_logits_to_{largest}");
        let case = Case::new(name, move |trial| {
            let logits = trial.numbers(rows * classes, 1).iter().map(|v| v * largest).collect();
            let (logits, input) = trial.tensor(DType::F32, &[rows, classes], logits)?;
            let (p, output) = trial.tensor(DType::F32, &[rows, classes], {
                // Positive, and adding up to about one.
                trial.numbers(rows * classes, 2).iter().map(|v| (1.0 + v) / classes as f32).collect()
            })?;
            let (d, d_output) = trial.random(DType::F32, &[rows, classes], 3)?;
            trial.close(Exactness::WIDE, "softmax_forward", &forward(&input)?, || {
                logits.chunks(classes).flat_map(probabilities).collect()
            })?;
            trial.close(Exactness::WIDE, "softmax_backward", &backward(&output, &d_output)?, || {
                p.chunks(classes).zip(d.chunks(classes)).flat_map(|(p, d)| cotangents(p, d)).collect()
            })
        });
        cases.push(case.for_purpose(purpose));
    }
    cases.push(Case::gradient("softmax", &[&[5, 10]], |_| Ok(Softmax)));
    cases
}

fn probabilities(logits: &[f32]) -> Vec<Conditioned> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
    let powers: Vec<f64> = logits.iter().map(|&v| (f64::from(v) - largest).exp()).collect();
    let total: f64 = powers.iter().sum();
    // The difference to the largest logit rounds, which the exponential multiplies.
    let rounded = |(power, &v): (&f64, &f32)| {
        let value = power / total;
        Conditioned { value, magnitude: value * (1.0 + (f64::from(v) - largest).abs()) + 1e-30 }
    };
    powers.iter().zip(logits).map(rounded).collect()
}

fn cotangents(p: &[f32], d: &[f32]) -> Vec<Conditioned> {
    let mut mean = Conditioned::default();
    p.iter().zip(d).for_each(|(&p, &d)| mean.add(f64::from(p) * f64::from(d)));
    let one = |(&p, &d): (&f32, &f32)| {
        let mut sum = exact([f64::from(d)])[0];
        sum.value -= mean.value;
        sum.magnitude += mean.magnitude;
        sum.scaled(f64::from(p))
    };
    p.iter().zip(d).map(one).collect()
}
