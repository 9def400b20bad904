//! Cases of the weights' running average.

use super::weight_average;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [
        (Purpose::Test, 1),
        (Purpose::Check, 257),
        (Purpose::Test, 100_003),
        (Purpose::Bench, 395_006),
        (Purpose::Bench, 1_369_738),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        let shares = [1.0, 0.001, 0.25];
        let case = Case::new(format!("weight_average/{count}"), move |trial| {
            let (p, parameter) = trial.random(DType::F32, &[count], 1)?;
            for share in shares.into_iter().take(if purpose == Purpose::Bench { 1 } else { 3 }) {
                let (a, average) = trial.random(DType::F32, &[count], 2)?;
                let state = StepState { average_share: share, ..StepState::new(7, 8, 0.5) };
                let off = StepState { gradient_factor: -1.0, average_share: 1.0, ..state };
                if purpose != Purpose::Bench {
                    weight_average(&off.tensor(trial.device())?, &parameter, &average)?;
                }
                weight_average(&state.tensor(trial.device())?, &parameter, &average)?;
                trial.close(Exactness::WIDE, "weight_average", &average, || {
                    let moved = |(&a, &p): (&f32, &f32)| Conditioned {
                        value: f64::from(a) + f64::from(share) * (f64::from(p) - f64::from(a)),
                        magnitude: f64::from(a.abs() + p.abs()),
                    };
                    a.iter().zip(&p).map(moved).collect()
                })?;
            }
            trial.equal("parameter", &parameter, || p)
        });
        cases.push(case.for_purpose(purpose));
    }
    cases
}
