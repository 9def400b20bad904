//! Cases of gradient clipping.

use super::gradient_clipping;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Exactness, Purpose, exact};
use crate::ops::loss_scaling::sum_of_squares;
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in
        [(Purpose::Test, 1), (Purpose::Check, 257), (Purpose::Test, 100_003), (Purpose::Bench, 1_369_738)]
            .into_iter()
            .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        // Far too long, just right, not worth clipping, and called off.
        let calls = [(1.0, 0.01), (0.25, 0.5), (1.0, 1.5), (-1.0, 0.1)];
        let case = Case::new(format!("gradient_clipping/{count}"), move |trial| {
            let (values, gradients) = trial.random(DType::F32, &[count], 1)?;
            let norm = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            for (factor, share) in calls.into_iter().take(if purpose == Purpose::Bench { 1 } else { 4 }) {
                // A rehearsal draws no numbers.
                let max_norm = (share * norm).max(1e-9) as f32;
                let state = StepState { gradient_factor: factor, ..StepState::new(7, 8, 0.5) };
                let tensor = state.tensor(trial.device())?;
                gradient_clipping(max_norm, &sum_of_squares(&gradients)?, &tensor)?;
                let wide = f64::from(factor);
                let expected = if factor < 0.0 { wide } else { wide.min(f64::from(max_norm) / (norm + 1e-6 / wide)) };
                let after = trial.read_state(&tensor)?;
                trial
                    .close_values(Exactness::WIDE, "gradient_factor", &[after.gradient_factor], || exact([expected]))?;
                let others = StepState { gradient_factor: factor, ..after };
                trial.equal_values("the rest of the state", others.words(), || state.words().to_vec())?;
            }
            Ok(())
        });
        cases.push(case.for_purpose(purpose));
    }
    cases
}
