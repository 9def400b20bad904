//! Cases of fully connected layers. Their products on real layers are timed with the convolutions'.

use super::{Linear, forward, geometry};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::case::{Case, Exactness, Purpose, Trial};
use crate::ops::conv2d::{self, Epilogue, Plans};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, [batch, inputs, outputs], has_bias) in [
        (Purpose::Test, [1, 1, 1], true),
        (Purpose::Check, [3, 7, 5], true),
        (Purpose::Test, [64, 100, 10], true),
        (Purpose::Test, [17, 1600, 200], true),
        (Purpose::Test, [5, 33, 12], false),
    ]
    .into_iter()
    .chain(draw.times(3, |draw| {
        (Purpose::Random, [draw.count(40), draw.count(200), draw.count(100)], draw.one_of(&[true, false]))
    })) {
        let without = if has_bias { "" } else { "_without_bias" };
        let both = Case::both_widths(&format!("linear/{batch}x{inputs}_to_{outputs}{without}"), move |trial, dtype| {
            verify(trial, dtype, [batch, inputs, outputs], has_bias)
        });
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    let (input, weight): (&[usize], &[usize]) = (&[2, 36], &[36, 7]);
    cases.push(Case::gradient("linear", &[input, weight, &[7]], |_| Ok(Linear::default())));
    cases.push(Case::gradient("linear_without_bias", &[input, weight], |_| Ok(Linear::default())));
    cases
}

fn verify(trial: &mut Trial<'_>, dtype: DType, [batch, inputs, outputs]: [usize; 3], has_bias: bool) -> Result<()> {
    let (x, input) = trial.random(dtype, &[batch, inputs], 1)?;
    let (w, weight) = trial.random(dtype, &[inputs, outputs], 2)?;
    let (b, bias) = trial.random(DType::F32, &[outputs], 3)?;
    let output = forward(&Plans::default(), Epilogue::RELU, &input, &weight, has_bias.then_some(&bias))?;
    let g = geometry(input.shape(), weight.shape())?;
    trial
        .equal_values("shape", output.shape().iter().map(|&side| side as f64), || vec![batch as f64, outputs as f64])?;
    trial.close(Exactness::of(dtype), "linear", &output, || {
        conv2d::cases::forward(&g, true, &x, &w, has_bias.then_some(b.as_slice()))
    })
}
