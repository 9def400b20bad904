//! Cases of Muon.

use super::{COEFFICIENTS, Muon, NEWTON_SCHULZ_STEPS, muon_momentum, muon_normalize, muon_step, muon_update};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial, exact};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [(Purpose::Test, 1), (Purpose::Test, 256), (Purpose::Check, 1009)]
        .into_iter()
        .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        cases.push(Case::new(format!("muon/{count}"), move |trial| verify_parts(trial, count)).for_purpose(purpose));
    }
    // Tall, wide, square, and a vector.
    for (purpose, shape) in [
        (Purpose::Check, vec![3, 3, 8, 12]),
        (Purpose::Test, vec![1, 1, 8, 12]),
        (Purpose::Test, vec![16, 16]),
        (Purpose::Test, vec![20, 1]),
    ]
    .into_iter()
    .chain(draw.each(|draw| {
        let sides = [draw.count(3), draw.count(3), draw.count(24), draw.count(24)];
        (Purpose::Random, sides.to_vec())
    })) {
        let sides: Vec<_> = shape.iter().map(usize::to_string).collect();
        let name = format!("muon/update_{}", sides.join("x"));
        cases.push(Case::new(name, move |trial| verify_update(trial, &shape)).for_purpose(purpose));
    }
    // The widest layer of ygnet.
    let bench = Case::new("muon/update_3x3x192x192", |trial| {
        let shape = [3, 3, 192, 192];
        let state = StepState::new(1, 0, 0.1).tensor(trial.device())?;
        let [gradient, parameter, velocity] = [1, 2, 3].map(|stream| trial.random(DType::F32, &shape, stream));
        muon_update(settings(true), &state, &gradient?.1, &parameter?.1, &velocity?.1)
    });
    cases.push(bench.for_purpose(Purpose::Bench));
    cases
}

fn settings(fixed_norm: bool) -> Muon {
    Muon { momentum: 0.6, nesterov: true, rate_factor: 0.5, weight_decay: 0.1, fixed_norm }
}

fn near(values: impl IntoIterator<Item = f64>, magnitude: f64) -> Vec<Conditioned> {
    values.into_iter().map(|value| Conditioned { value, magnitude }).collect()
}

/// Each kernel alone, after a call that was called off.
fn verify_parts(trial: &mut Trial<'_>, count: usize) -> Result<()> {
    let state = StepState { gradient_factor: 0.5, ..StepState::new(0, 3, 0.25) };
    let (off, on) =
        (StepState { gradient_factor: -1.0, ..state }.tensor(trial.device())?, state.tensor(trial.device())?);
    for nesterov in [false, true] {
        let (g, gradient) = trial.random(DType::F32, &[count], 1)?;
        let (v, velocity) = trial.random(DType::F32, &[count], 2)?;
        let nothing = muon_momentum(0.6, nesterov, &off, &gradient, &velocity)?;
        trial.equal("direction of a skipped step", &nothing, || vec![0.0; count])?;
        trial.equal("velocity of a skipped step", &velocity, || v.clone())?;
        let direction = muon_momentum(0.6, nesterov, &on, &gradient, &velocity)?;
        let half = |g: &f32| 0.5 * f64::from(*g);
        let after = || v.iter().zip(&g).map(|(v, g)| 0.6 * f64::from(*v) + half(g));
        trial.close(Exactness::WIDE, "velocity", &velocity, || near(after(), 2.0))?;
        let ahead = |(v, g): (f64, &f32)| if nesterov { half(g) + 0.6 * v } else { v };
        trial.close(Exactness::WIDE, "direction", &direction, || near(after().zip(&g).map(ahead), 2.0))?;
    }
    let (p, parameter) = trial.random(DType::F32, &[count], 3)?;
    let (d, direction) = trial.random(DType::F32, &[count], 4)?;
    muon_normalize(3.0, &off, &parameter)?;
    muon_step(settings(false), &off, &direction, &parameter)?;
    trial.equal("parameter of a skipped step", &parameter, || p.clone())?;
    muon_normalize(3.0, &on, &parameter)?;
    let norm = p.iter().map(|&p| f64::from(p).powi(2)).sum::<f64>().sqrt();
    let scaled: Vec<f64> = p.iter().map(|&p| 3.0 * f64::from(p) / (norm + 1e-7)).collect();
    trial.close(Exactness::WIDE, "normalized", &parameter, || exact(scaled.clone()))?;
    muon_step(settings(false), &on, &direction, &parameter)?;
    let moved = || scaled.iter().zip(&d).map(|(p, &d)| (1.0 - 0.25 * 0.1) * p - 0.25 * 0.5 * f64::from(d));
    trial.close(Exactness::WIDE, "parameter", &parameter, || near(moved(), 4.0))
}

/// Two whole updates.
fn verify_update(trial: &mut Trial<'_>, shape: &[usize]) -> Result<()> {
    // The iterations enlarge rounding errors of small singular values by as much as the values.
    let exactness = Exactness { tolerance: 1e-4, ..Exactness::WIDE };
    let columns = shape[shape.len() - 1];
    let rows = shape.iter().product::<usize>() / columns;
    for fixed_norm in [true, false] {
        let (start, parameter) = trial.random(DType::F32, shape, 5)?;
        let velocity = trial.device().zeros(shape, DType::F32)?;
        let mut p: Vec<f64> = start.iter().map(|&p| f64::from(p)).collect();
        let mut v = vec![0.0; p.len()];
        for step in 0..2 {
            let (g, gradient) = trial.random(DType::F32, shape, 6 + step)?;
            let state = StepState::new(0, step, 0.25).tensor(trial.device())?;
            muon_update(settings(fixed_norm), &state, &gradient, &parameter, &velocity)?;
            let mut direction = Vec::with_capacity(p.len());
            for (v, &g) in v.iter_mut().zip(&g) {
                *v = 0.6 * *v + f64::from(g);
                direction.push(f64::from(g) + 0.6 * *v);
            }
            let direction = orthogonalized(direction, rows, columns);
            let norm = p.iter().map(|p| p * p).sum::<f64>().sqrt();
            let scale = if fixed_norm { (columns as f64).sqrt() / norm } else { 1.0 };
            for (p, d) in p.iter_mut().zip(direction) {
                *p = (1.0 - 0.25 * 0.1) * scale * *p - 0.25 * 0.5 * d;
            }
        }
        trial.close(exactness, "parameter", &parameter, || near(p, 1.0))?;
    }
    Ok(())
}

/// The iterations by their definition, always from the left.
fn orthogonalized(mut x: Vec<f64>, rows: usize, columns: usize) -> Vec<f64> {
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    x.iter_mut().for_each(|x| *x /= norm + 1e-7);
    let [a, b, c] = COEFFICIENTS.map(f64::from);
    let times = |x: &[f64], y: &[f64], inner: usize, columns: usize| -> Vec<f64> {
        let element = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            (0..inner).map(|k| x[row * inner + k] * y[k * columns + column]).sum()
        };
        (0..x.len() / inner * columns).map(element).collect()
    };
    for _ in 0..NEWTON_SCHULZ_STEPS {
        let transposed: Vec<f64> = (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect();
        let gram = times(&x, &transposed, columns, rows);
        let square = times(&gram, &gram, rows, rows);
        let polynomial: Vec<f64> = gram.iter().zip(&square).map(|(g, s)| b * g + c * s).collect();
        let product = times(&polynomial, &x, rows, columns);
        x = x.iter().zip(&product).map(|(x, p)| a * x + p).collect();
    }
    x
}
