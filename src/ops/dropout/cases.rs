//! Cases of dropout.

use super::{Dropout, DropoutMask, apply};
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, exact};
use crate::ops::random::threefry;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [
        (Purpose::Test, 1),
        (Purpose::Test, 255),
        (Purpose::Test, 256),
        (Purpose::Check, 1009),
        (Purpose::Bench, 64 * 28 * 28 * 32),
        (Purpose::Bench, 64 * 15 * 15 * 96),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        let masks = [(0.25, 0, 0), (0.5, 3, 6)];
        let both = Case::both_widths(&format!("dropout/{count}"), move |trial, dtype| {
            let (x, input) = trial.random(dtype, &[count], 1)?;
            for (probability, stream, first_image) in
                masks.into_iter().take(if purpose == Purpose::Bench { 1 } else { 2 })
            {
                let state = StepState { first_image, ..StepState::new(0x1234_5678_9abc, 77, 0.0) };
                let mask = DropoutMask { probability, stream, image_elements: 17 };
                let output = apply(mask, &state.tensor(trial.device())?, &input)?;
                trial.close(Exactness::of(dtype), "dropout", &output, || {
                    // As if the images before were there.
                    let earlier = 17 * first_image as usize;
                    let mut expected = exact(std::iter::repeat_n(0.0, earlier).chain(x.iter().map(|&x| f64::from(x))));
                    drop_out(f64::from(probability), [0x5678_9abc, 0x1234 + stream], 77, &mut expected);
                    expected.split_off(earlier)
                })?;
            }
            Ok(())
        });
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    cases.push(Case::gradient("dropout", &[&[2, 6, 6, 4]], |_| Ok(Dropout { probability: 0.4 })));
    cases
}

/// Drops values out by the numbers of this key and step, and scales up the rest.
pub(in crate::ops) fn drop_out(probability: f64, key: [u32; 2], step: u32, values: &mut [Conditioned]) {
    for (i, value) in values.iter_mut().enumerate() {
        let random = threefry(key, [i as u32 / 2, step])[i % 2];
        let is_dropped = f64::from(random) / 2_f64.powi(32) < probability;
        *value = value.scaled(if is_dropped { 0.0 } else { 1.0 / (1.0 - probability) });
    }
}
