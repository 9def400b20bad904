//! Cases of loss scaling.

use super::{ELEMENTS, loss_scaling, sum_of_squares};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial, exact};
use crate::tensor::{DType, Tensor};

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [(Purpose::Test, 1), (Purpose::Check, 257), (Purpose::Test, 100_003)]
        .into_iter()
        .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        cases.push(Case::new(format!("loss_scaling/{count}"), move |trial| verify(trial, count)).for_purpose(purpose));
    }
    // As many as lenet5 and ygnet have.
    for count in [395_006, 1_369_738] {
        let case = Case::new(format!("loss_scaling/{count}"), move |trial| {
            let (_, gradients) = trial.random(DType::F32, &[count], 1)?;
            step(trial, &gradients, &trial.tensor(DType::F32, &[ELEMENTS], vec![1024.0, 0.0, 0.0, 0.0])?.1)?;
            Ok(())
        });
        cases.push(case.for_purpose(Purpose::Bench));
    }
    cases
}

/// The scale's part in a step, and the gradients' factor after it.
fn step(trial: &mut Trial<'_>, gradients: &Tensor, scaling: &Tensor) -> Result<f32> {
    let before = StepState::new(7, 8, 0.5);
    let state = before.tensor(trial.device())?;
    loss_scaling(&sum_of_squares(gradients)?, scaling, &state)?;
    let after = trial.read_state(&state)?;
    let others = StepState { gradient_factor: before.gradient_factor, ..after };
    trial.equal_values("the rest of the state", others.words(), || before.words().to_vec())?;
    Ok(after.gradient_factor)
}

fn verify(trial: &mut Trial<'_>, count: usize) -> Result<()> {
    let (values, gradients) = trial.random(DType::F32, &[count], 1)?;
    let mut sum = Conditioned::default();
    values.iter().for_each(|&v| sum.add(f64::from(v) * f64::from(v)));
    let total: f32 = trial.read(&sum_of_squares(&gradients)?)?.iter().sum();
    trial.close_values(Exactness::WIDE, "sum_of_squares", &[total], || vec![sum])?;

    let (_, scaling) = trial.tensor(DType::F32, &[ELEMENTS], vec![1024.0, 1998.0, 0.0, 0.0])?;
    // Finite: the factor undoes the scale; the 2000th such step in a row doubles it.
    for (what, expected) in [
        ("loss_scaling, finite", [1.0 / 1024.0, 1024.0, 1999.0, 0.0]),
        ("loss_scaling, growth", [1.0 / 1024.0, 2048.0, 0.0, 0.0]),
    ] {
        let factor = step(trial, &gradients, &scaling)?;
        let after = trial.read(&scaling)?;
        trial.equal_values(what, [factor], || vec![expected[0]])?;
        trial.equal_values(what, after[..1].iter().copied(), || vec![expected[1]])?;
        trial.equal_values(what, after[1..3].iter().copied(), || expected[2..].to_vec())?;
        trial.close_values(Exactness::WIDE, "norm", &after[3..], || exact([sum.value.sqrt() / 1024.0]))?;
    }
    // Not finite, wherever: the update is called off and the scale halved.
    for (at, value) in [(0, f32::INFINITY), (count / 2, f32::NAN), (count - 1, f32::NEG_INFINITY)] {
        let mut broken = values.clone();
        broken[at] = value;
        let (_, broken) = trial.tensor(DType::F32, &[count], broken)?;
        let factor = step(trial, &broken, &scaling)?;
        trial.equal_values("loss_scaling, not finite", [factor], || vec![-1.0_f32])?;
    }
    let after = trial.read(&scaling)?;
    trial.equal_values("loss_scaling, halved", after[..1].iter().copied(), || vec![256.0_f32])?;
    trial.equal_values("loss_scaling, skipped", after[1..3].iter().copied(), || vec![0.0_f32, 3.0])
}
