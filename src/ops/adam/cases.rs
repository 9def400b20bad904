//! Cases of Adam and AdamW.

use super::{Adam, adam_step};
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
        cases.push(Case::new(format!("adam_step/{count}"), move |trial| verify(trial, count)).for_purpose(purpose));
    }
    // As many as lenet5 and ygnet have.
    for count in [395_006, 1_369_738] {
        let case = Case::new(format!("adam_step/{count}"), move |trial| {
            let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true };
            let state = StepState::new(1, 0, 0.01).tensor(trial.device())?;
            let [gradient, parameter] = [1, 2].map(|stream| trial.random(DType::F32, &[count], stream));
            let [first, second] = [(); 2].map(|()| trial.device().zeros(&[count], DType::F32));
            adam_step(adam, 1.0, &state, &gradient?.1, &parameter?.1, &first?, &second?)
        });
        cases.push(case.for_purpose(Purpose::Bench));
    }
    cases
}

/// Three steps, before each of which one was called off.
fn verify(trial: &mut Trial<'_>, count: usize) -> Result<()> {
    let (rate, decay, epsilon) = (0.01, 0.1, 1e-8);
    for decoupled in [false, true] {
        let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, decoupled };
        let (start, parameter) = trial.random(DType::F32, &[count], 1)?;
        let first = trial.device().zeros(&[count], DType::F32)?;
        let second = trial.device().zeros(&[count], DType::F32)?;
        let mut p: Vec<f64> = start.iter().map(|&p| f64::from(p)).collect();
        let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
        for step in 1..4 {
            let (g, gradient) = trial.random(DType::F32, &[count], 10 + step)?;
            let (c1, c2) = (1.0 - 0.9_f64.powi(step as i32), 1.0 - 0.999_f64.powi(step as i32));
            let state = StepState {
                first_moment_correction: c1 as f32,
                second_moment_correction: c2 as f32,
                gradient_factor: 0.5,
                ..StepState::new(0, step, rate as f32)
            };
            let off = StepState { gradient_factor: -1.0, ..state };
            adam_step(adam, 0.5, &off.tensor(trial.device())?, &gradient, &parameter, &first, &second)?;
            adam_step(adam, 0.5, &state.tensor(trial.device())?, &gradient, &parameter, &first, &second)?;
            for i in 0..count {
                let mut g = 0.5 * f64::from(g[i]);
                if decoupled {
                    p[i] *= 1.0 - rate * decay;
                } else {
                    g += decay * p[i];
                }
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                p[i] -= 0.5 * rate / c1 * m[i] / ((v[i] / c2).sqrt() + epsilon);
            }
        }
        let near_one =
            |values: Vec<f64>| values.into_iter().map(|value| Conditioned { value, magnitude: 1.0 }).collect();
        trial.close(Exactness::WIDE, "parameter", &parameter, || near_one(p))?;
        trial.close(Exactness::WIDE, "first moment", &first, || near_one(m))?;
        trial.close(Exactness::WIDE, "second moment", &second, || near_one(v))?;
    }
    Ok(())
}
