//! Cases of distillation.

use super::Distillation;
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial};
use crate::ops::{Context, Op};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, batch, classes, temperature) in [
        (Purpose::Test, 1, 2, 1.0),
        (Purpose::Check, 7, 10, 4.0),
        (Purpose::Test, 300, 3, 0.5),
        (Purpose::Test, 5, 1000, 2.0),
        (Purpose::Bench, 64, 10, 4.0),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, draw.count(300), 1 + draw.count(300), 2.0)))
    {
        let name = format!("distillation/{batch}x{classes}_temperature_{temperature}");
        let case = Case::new(name, move |trial| verify(trial, [batch, classes], temperature));
        cases.push(case.for_purpose(purpose));
    }
    cases.push(Case::gradient("distillation", &[&[5, 10]], |device| {
        let teacher = device.tensor(&[5, 10], &(0..50).map(|i| (i * 7 % 11) as f32 * 0.5).collect::<Vec<_>>())?;
        Ok(Distillation { teacher, temperature: 2.0 })
    }));
    cases
}

fn verify(trial: &mut Trial<'_>, [batch, classes]: [usize; 2], temperature: f32) -> Result<()> {
    let logits = |stream| trial.numbers(batch * classes, stream).into_iter().map(|v| 6.0 * v).collect();
    let (s, student) = trial.tensor(DType::F32, &[batch, classes], logits(1))?;
    let (t, teacher) = trial.tensor(DType::F32, &[batch, classes], logits(2))?;
    let streams = std::cell::Cell::new(0);
    let context =
        Context { is_recording: true, wanted: &[true], input_gate: None, step_state: None, streams: &streams };
    let output = Distillation { teacher, temperature }.forward(&[&student], &context)?;
    let temperature = f64::from(temperature);
    let softmax = |logits: &[f32]| -> Vec<f64> {
        let powers: Vec<f64> = logits.iter().map(|&v| (f64::from(v) / temperature).exp()).collect();
        let total: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / total).collect()
    };
    let rows = || s.chunks(classes).zip(t.chunks(classes)).map(|(s, t)| (softmax(s), softmax(t)));
    trial.close(Exactness::WIDE, "loss", &output.tensor, || {
        let mut loss = Conditioned::default();
        for (p, q) in rows() {
            for (p, q) in p.into_iter().zip(q) {
                loss.add(temperature * temperature / batch as f64 * q * (q.ln() - p.ln()));
                // The logarithms are differences of logits.
                loss.magnitude += temperature * temperature / batch as f64 * q * 12.0 / temperature;
            }
        }
        vec![loss]
    })?;
    trial.close(Exactness::WIDE, "d_student", &output.saved, || {
        let gradient = |(p, q): (f64, f64)| Conditioned {
            value: temperature * (p - q) / batch as f64,
            magnitude: temperature * 4.0 * (p + q) / batch as f64,
        };
        rows().flat_map(|(p, q)| p.into_iter().zip(q).map(gradient).collect::<Vec<_>>()).collect()
    })
}
