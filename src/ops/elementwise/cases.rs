//! Cases of filling, adding, scaling and linear combinations.

use super::{Add, Combine, add, add_relu, combine, fill, scale};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [
        (Purpose::Test, 1),
        (Purpose::Test, 255),
        (Purpose::Test, 256),
        (Purpose::Check, 1009),
        (Purpose::Bench, 64 * 32 * 32 * 16),
        (Purpose::Bench, 64 * 32 * 32 * 96),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        let both = Case::both_widths(&format!("elementwise/{count}"), move |trial, dtype| verify(trial, dtype, count));
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    // More workgroups than one dimension of the grid holds.
    cases.push(Case::new("elementwise/17000003_folded_grid", |trial| {
        let output = trial.device().empty(&[17_000_003])?;
        fill(1.5, &output)?;
        trial.equal("fill", &output, || vec![1.5; 17_000_003])
    }));
    let shape: &[usize] = &[2, 6, 6, 4];
    cases.push(Case::gradient("add", &[shape, shape], |_| Ok(Add::default())));
    cases.push(Case::gradient("combine", &[shape, shape], |_| Ok(Combine { x_factor: -2.5, y_factor: 0.75 })));
    cases.push(Case::gradient("add_relu", &[shape, shape], |_| Ok(Add { relu: true })));
    cases
}

fn verify(trial: &mut Trial<'_>, dtype: DType, count: usize) -> Result<()> {
    let (x, a) = trial.random(dtype, &[count], 1)?;
    let (y, b) = trial.random(dtype, &[count], 2)?;
    let sum = |(&x, &y): (&f32, &f32)| Conditioned::exact(f64::from(x) + f64::from(y));
    trial.close(Exactness::of(dtype), "add", &add(&a, &b)?, || x.iter().zip(&y).map(sum).collect())?;
    let rectified = |terms| {
        let Conditioned { value, magnitude } = sum(terms);
        Conditioned { value: value.max(0.0), magnitude }
    };
    trial.close(Exactness::of(dtype), "add_relu", &add_relu(&a, &b)?, || x.iter().zip(&y).map(rectified).collect())?;
    if dtype == DType::F32 {
        let filled = trial.device().empty(&[count])?;
        fill(-2.5, &filled)?;
        trial.equal("fill", &filled, || vec![-2.5; count])?;
        let combined = |(&x, &y): (&f32, &f32)| {
            let mut sum = Conditioned::exact(-2.5 * f64::from(x));
            sum.add(0.75 * f64::from(y));
            sum
        };
        let result = combine(-2.5, &a, 0.75, &b)?;
        trial.close(Exactness::WIDE, "combine", &result, || x.iter().zip(&y).map(combined).collect())?;
        let (_, factor) = trial.tensor(DType::F32, &[1], vec![3.25])?;
        trial.equal("scale", &scale(&a, &factor)?, || x.iter().map(|x| 3.25 * x).collect())?;
    }
    trial.equal("zeros", &trial.device().zeros(&[count], dtype)?, || vec![0.0; count])
}
