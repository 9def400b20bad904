//! Cases of recording metrics.

use super::record_metrics;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Purpose};
use crate::tensor::DType;

/// All cases.
pub fn cases(_: &mut Draw) -> Vec<Case> {
    [(Purpose::Check, "slot"), (Purpose::Bench, "slot_of_a_step")]
        .map(|(purpose, what)| {
            let case = Case::new(format!("record_metrics/{what}"), |trial| {
                let (_, history) = trial.tensor(DType::F32, &[3, 4], vec![-1.0; 12])?;
                let state = StepState { slot: 1, ..StepState::new(0, 0, 0.0) }.tensor(trial.device())?;
                let [loss, correct] = [0.5, 7.0].map(|value| trial.tensor(DType::F32, &[1], vec![value]));
                let (loss, correct) = (loss?, correct?);
                record_metrics(&state, &loss.1, &correct.1, &history)?;
                let slots = |loss, correct| {
                    let mut slots = vec![-1.0_f32; 12];
                    slots[4..6].copy_from_slice(&[loss, correct]);
                    slots
                };
                trial.equal("history", &history, || slots(0.5, 7.0))?;
                for (first_image, share) in [(0, 0.75), (6, 0.25)] {
                    let part = StepState { slot: 1, first_image, share, ..StepState::new(0, 0, 0.0) };
                    let state = part.tensor(trial.device())?;
                    record_metrics(&state, &loss.1, &correct.1, &history)?;
                }
                trial.equal("history of two parts", &history, || slots(0.5, 14.0))
            });
            case.for_purpose(purpose)
        })
        .into()
}
