//! Cases of padding channels.

use super::{PadChannels, backward, forward};
use crate::ops::Draw;
use crate::ops::case::{Case, Purpose};

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, shape, channels) in [
        (Purpose::Test, [1, 1, 1, 1], 1),
        (Purpose::Check, [2, 5, 7, 3], 8),
        (Purpose::Test, [3, 4, 4, 4], 8),
        (Purpose::Test, [1, 9, 3, 5], 6),
        (Purpose::Bench, [64, 16, 16, 16], 32),
        (Purpose::Bench, [64, 8, 8, 32], 64),
    ]
    .into_iter()
    .chain(draw.each(|draw| {
        let shape = draw.images(9, 40);
        (Purpose::Random, shape, shape[3] + draw.count(20))
    })) {
        let [n, h, w, c] = shape;
        let name = format!("pad_channels/{n}x{h}x{w}x{c}_to_{channels}");
        let both = Case::both_widths(&name, move |trial, dtype| {
            let (x, input) = trial.random(dtype, &shape, 1)?;
            let (d, d_output) = trial.random(dtype, &[n, h, w, channels], 2)?;
            let before = (channels - c) / 2;
            trial.equal("pad_channels_forward", &forward(channels, &input)?, || {
                let padded = |pixel: &[f32]| (0..channels).map(|i| inside(i, before, pixel)).collect::<Vec<_>>();
                x.chunks(c).flat_map(padded).collect()
            })?;
            trial.equal("pad_channels_backward", &backward(&shape, &d_output)?, || {
                d.chunks(channels).flat_map(|pixel| pixel[before..before + c].to_vec()).collect()
            })
        });
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    cases.push(Case::gradient("pad_channels", &[&[2, 6, 6, 4]], |_| Ok(PadChannels { channels: 9 })));
    cases
}

/// Channel `i` of a pixel whose own channels come behind `before` zeros.
fn inside(i: usize, before: usize, pixel: &[f32]) -> f32 {
    i.checked_sub(before).and_then(|i| pixel.get(i)).copied().unwrap_or_default()
}
