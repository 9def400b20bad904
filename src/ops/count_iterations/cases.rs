//! Cases of the loop that counts itself.

use super::count_iterations;
use crate::ops::Draw;
use crate::ops::case::{Case, Purpose};

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let purposes = [
        (Purpose::Test, 0),
        (Purpose::Test, 1),
        (Purpose::Check, 1000),
        (Purpose::Test, 65_535),
        (Purpose::Bench, 60_000),
    ];
    let case = |(purpose, iterations): (Purpose, u32)| {
        let case = Case::new(format!("count_iterations/{iterations}"), move |trial| {
            let counted = count_iterations(trial.device(), iterations)?;
            trial.equal("count_iterations", &counted, || {
                let generated = (0..iterations).fold(0_u64, |x, _| (1_664_525 * x + 1_013_904_223) % (1 << 32));
                vec![iterations, generated as u32]
            })
        });
        case.for_purpose(purpose)
    };
    let drawn = draw.each(|draw| (Purpose::Random, draw.elements() as u32));
    purposes.into_iter().chain(drawn).map(case).collect()
}
