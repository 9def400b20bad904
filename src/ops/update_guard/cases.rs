//! Cases of the guard.

use super::{Guarded, update_guard};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Exactness, Purpose, Trial, exact};
use crate::ops::loss_scaling::sum_of_squares;
use crate::tensor::{DType, Tensor};

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;

/// A step: whether it would halt, the factor that loss scaling left, loss, and what is put into gradients and parameters; then whether
/// the update is made, and whether training is halted.
type Step = (bool, f32, f32, Option<f32>, Option<f32>, bool, u32);

/// Steps one after the other: once halted, it stays so.
const STEPS: [&[Step]; 4] = [
    &[
        (true, 1.0, 0.5, None, None, true, 0),
        (true, 1.0, NAN, None, None, false, 1),
        (true, 1.0, 0.5, None, None, false, 1),
        (false, 0.25, 0.5, None, None, false, 1),
    ],
    &[(true, 1.0, 0.5, Some(-INFINITY), None, false, 1)],
    &[
        (false, 1.0, INFINITY, None, None, false, 0),
        (false, 1.0, 0.5, Some(NAN), None, false, 0),
        (false, 0.25, 0.5, None, None, true, 0),
        (false, 1.0, 0.5, None, Some(NAN), false, 1),
    ],
    // A scaled loss.
    &[
        (true, -1.0, 0.5, Some(INFINITY), None, false, 0),
        (true, 0.125, 0.5, None, None, true, 0),
        (true, -1.0, NAN, Some(NAN), None, false, 1),
    ],
];

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [(Purpose::Test, 1), (Purpose::Check, 257), (Purpose::Test, 100_003)]
        .into_iter()
        .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        cases.push(Case::new(format!("update_guard/{count}"), move |trial| verify(trial, count)).for_purpose(purpose));
    }
    let bench = Case::new("update_guard/1369738", |trial| {
        let (_, values) = trial.random(DType::F32, &[1_369_738], 1)?;
        let (history, halted) = (trial.device().zeros(&[1, 4], DType::F32)?, trial.device().zeros(&[1], DType::U32)?);
        guard(trial, true, 1.0, 0, [&values, &values], &history, &halted).map(drop)
    });
    cases.push(bench.for_purpose(Purpose::Bench));
    cases
}

/// The factor after the guard.
fn guard(
    trial: &mut Trial<'_>,
    halts: bool,
    factor: f32,
    slot: u32,
    [gradients, parameters]: [&Tensor; 2],
    history: &Tensor,
    halted: &Tensor,
) -> Result<f32> {
    let before = StepState { slot, gradient_factor: factor, ..StepState::new(7, 8, 0.5) };
    let state = before.tensor(trial.device())?;
    let (gradients, parameters) = (&sum_of_squares(gradients)?, &sum_of_squares(parameters)?);
    update_guard(halts, Guarded { gradients, parameters, history, halted }, &state)?;
    let after = trial.read_state(&state)?;
    let others = StepState { gradient_factor: factor, ..after };
    trial.equal_values("the rest of the state", others.words(), || before.words().to_vec())?;
    Ok(after.gradient_factor)
}

fn verify(trial: &mut Trial<'_>, count: usize) -> Result<()> {
    let (gradients, _) = trial.random(DType::F32, &[count], 1)?;
    let (parameters, _) = trial.random(DType::F32, &[count], 2)?;
    let norm = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let with = |values: &[f32], broken: Option<f32>| {
        let mut values = values.to_vec();
        values[count / 2] = broken.unwrap_or(values[count / 2]);
        values
    };
    for steps in STEPS {
        let halted = trial.device().zeros(&[1], DType::U32)?;
        for &(halts, factor, loss, in_gradients, in_parameters, updates, halted_after) in steps {
            let [old, correct] = [-1.0, 3.0];
            let (_, history) = trial.tensor(DType::F32, &[2, 4], vec![old, old, old, old, loss, correct, old, old])?;
            let (_, g) = trial.tensor(DType::F32, &[count], with(&gradients, in_gradients))?;
            let (_, p) = trial.tensor(DType::F32, &[count], with(&parameters, in_parameters))?;
            let after = guard(trial, halts, factor, 1, [&g, &p], &history, &halted)?;
            trial.equal_values("gradient_factor", [after], || vec![if updates { factor } else { -1.0 }])?;
            trial.equal("halted", &halted, || vec![halted_after])?;
            let history = trial.read(&history)?;
            trial.equal_values("other slots", history[..4].iter().copied(), || vec![old; 4])?;
            trial.equal_values("correct predictions", history[5..6].iter().copied(), || vec![correct])?;
            if in_gradients.is_none() {
                let norm = f64::from(factor) * norm(&gradients);
                trial.close_values(Exactness::WIDE, "the gradients' norm", &history[6..7], || exact([norm]))?;
            } else {
                trial.equal_values("whether it is finite", [u32::from(history[6].is_finite())], || vec![0])?;
            }
            if in_parameters.is_none() {
                trial.close_values(Exactness::WIDE, "the parameters' norm", &history[7..], || {
                    exact([norm(&parameters)])
                })?;
            } else {
                trial.equal_values("whether it is finite", [u32::from(history[7].is_finite())], || vec![0])?;
            }
        }
    }
    Ok(())
}
