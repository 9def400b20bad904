//! Cases of rectified linear units.

use super::{Relu, backward, forward};
use crate::ops::Draw;
use crate::ops::Gate;
use crate::ops::case::{Case, Purpose};

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [
        (Purpose::Test, 1),
        (Purpose::Test, 255),
        (Purpose::Test, 256),
        (Purpose::Check, 1009),
        (Purpose::Bench, 64 * 32 * 32 * 96),
        (Purpose::Bench, 64 * 6 * 6 * 192),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        let both = Case::both_widths(&format!("relu/{count}"), move |trial, dtype| {
            let (x, input) = trial.random(dtype, &[count], 1)?;
            let (d, d_output) = trial.random(dtype, &[count], 2)?;
            let output = forward(&input)?;
            trial.equal("relu_forward", &output, || x.iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect())?;
            let d_input = backward(Gate { output: &output, factor: 2.0 }, &d_output)?;
            let gated = |(&x, &d): (&f32, &f32)| if x > 0.0 { 2.0 * d } else { 0.0 };
            trial.equal("relu_backward", &d_input, || x.iter().zip(&d).map(gated).collect())
        });
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    cases.push(Case::gradient("relu", &[&[2, 6, 6, 4]], |_| Ok(Relu)));
    cases
}
