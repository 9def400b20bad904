//! Cases of stochastic gradient descent.

use super::{Sgd, sgd_step};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [(Purpose::Test, 1), (Purpose::Test, 255), (Purpose::Test, 256), (Purpose::Check, 1009)]
        .into_iter()
        .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        cases.push(Case::new(format!("sgd_step/{count}"), move |trial| verify(trial, count)).for_purpose(purpose));
    }
    // As many as lenet5 and ygnet have.
    for count in [395_006, 1_369_738] {
        let case = Case::new(format!("sgd_step/{count}"), move |trial| {
            let sgd = Sgd { momentum: 0.9, weight_decay: 0.001, nesterov: true };
            let [gradient, parameter, velocity] =
                [1, 2, 3].map(|stream| trial.random(DType::F32, &[count], stream).map(|(_, tensor)| tensor));
            sgd_step(sgd, 1.0, &StepState::new(1, 0, 0.01).tensor(trial.device())?, &gradient?, &parameter?, &velocity?)
        });
        cases.push(case.for_purpose(Purpose::Bench));
    }
    cases
}

/// Three steps, before each of which one was called off.
fn verify(trial: &mut Trial<'_>, count: usize) -> Result<()> {
    for nesterov in [false, true] {
        let sgd = Sgd { momentum: 0.9, weight_decay: 0.01, nesterov };
        let (start, parameter) = trial.random(DType::F32, &[count], 1)?;
        let velocity = trial.device().zeros(&[count], DType::F32)?;
        let (mut p, mut v): (Vec<f64>, _) = (start.iter().map(|&p| f64::from(p)).collect(), vec![0.0; count]);
        for step in 0..3 {
            let (g, gradient) = trial.random(DType::F32, &[count], 10 + step)?;
            let state = StepState { gradient_factor: 0.5, ..StepState::new(0, step, 0.1) };
            let off = StepState { gradient_factor: -1.0, ..state }.tensor(trial.device())?;
            sgd_step(sgd, 0.5, &off, &gradient, &parameter, &velocity)?;
            sgd_step(sgd, 0.5, &state.tensor(trial.device())?, &gradient, &parameter, &velocity)?;
            for i in 0..count {
                let g = 0.5 * f64::from(g[i]) + 0.01 * p[i];
                v[i] = 0.9 * v[i] + g;
                p[i] -= 0.5 * 0.1 * if nesterov { g + 0.9 * v[i] } else { v[i] };
            }
        }
        let near_one =
            |values: Vec<f64>| values.into_iter().map(|value| Conditioned { value, magnitude: 1.0 }).collect();
        trial.close(Exactness::WIDE, "parameter", &parameter, || near_one(p))?;
        trial.close(Exactness::WIDE, "velocity", &velocity, || near_one(v))?;
    }
    Ok(())
}
