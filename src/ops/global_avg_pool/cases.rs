//! Cases of the global average pool.

use super::{GlobalAvgPool, backward, forward};
use crate::ops::Draw;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, exact};

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, shape) in [
        (Purpose::Test, [1, 1, 1, 1]),
        (Purpose::Check, [3, 5, 7, 11]),
        (Purpose::Test, [2, 6, 6, 10]),
        (Purpose::Bench, [64, 6, 6, 10]),
        (Purpose::Bench, [64, 8, 8, 64]),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, draw.images(12, 70))))
    {
        let [n, h, w, c] = shape;
        let both = Case::both_widths(&format!("global_avg_pool/{n}x{h}x{w}x{c}"), move |trial, dtype| {
            let (x, input) = trial.random(dtype, &shape, 1)?;
            let (d, d_output) = trial.random(dtype, &[n, c], 2)?;
            let pixels = h * w;
            trial.close(Exactness::of(dtype), "global_avg_pool_forward", &forward(&input)?, || {
                let mut means = vec![Conditioned::default(); n * c];
                let place = |i: usize| i / (pixels * c) * c + i % c;
                x.iter().enumerate().for_each(|(i, &x)| means[place(i)].add(f64::from(x) / pixels as f64));
                means
            })?;
            trial.close(Exactness::of(dtype), "global_avg_pool_backward", &backward(shape, &d_output)?, || {
                exact((0..n * pixels * c).map(|i| f64::from(d[i / (pixels * c) * c + i % c]) / pixels as f64))
            })
        });
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    cases.push(Case::gradient("global_avg_pool", &[&[2, 6, 6, 4]], |_| Ok(GlobalAvgPool)));
    cases
}
