//! Cases of max-pooling.

use super::{MaxPool2d, Pool2dGeometry, backward, forward};
use crate::ops::Draw;
use crate::ops::Padding;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose};
use crate::ops::pool2d::drawn;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let valid = Padding::Valid;
    let sides = Padding::Sides { top: 1, bottom: 2, left: 0, right: 1 };
    let mut cases = Vec::new();
    for (purpose, input, kernel, stride, padding) in [
        (Purpose::Test, [1, 1, 1, 1], [1, 1], 1, valid),
        (Purpose::Test, [2, 7, 5, 3], [2, 2], 2, valid),
        (Purpose::Check, [1, 13, 11, 5], [3, 3], 2, valid),
        (Purpose::Test, [3, 9, 8, 4], [3, 2], 1, valid),
        (Purpose::Test, [2, 10, 7, 6], [2, 2], 3, valid),
        (Purpose::Test, [2, 32, 32, 7], [3, 3], 2, valid),
        (Purpose::Check, [2, 9, 7, 8], [3, 3], 2, Padding::Explicit(1)),
        (Purpose::Test, [3, 9, 8, 3], [3, 2], 2, sides),
        (Purpose::Test, [1, 8, 8, 4], [4, 4], 1, Padding::Same),
        (Purpose::Bench, [64, 32, 32, 96], [3, 3], 2, valid),
        (Purpose::Bench, [64, 13, 13, 192], [3, 3], 2, valid),
        (Purpose::Bench, [64, 28, 28, 32], [2, 2], 2, valid),
    ]
    .into_iter()
    .chain(drawn("max_pool2d", draw))
    {
        let ([n, h, w, c], [kh, kw]) = (input, kernel);
        let name = format!("max_pool2d/{n}x{h}x{w}x{c}_kernel_{kh}x{kw}_stride_{stride}_{padding:?}");
        let both = Case::both_widths(&name, move |trial, dtype| {
            let g = Pool2dGeometry::new("max_pool2d", &input, kernel, stride, padding)?;
            // A few different values only, so that windows have equals.
            let x = trial.numbers(input.iter().product(), 1).iter().map(|v| (v * 3.0).round()).collect();
            let (x, tensor) = trial.tensor(dtype, &input, x)?;
            let (d, d_output) = trial.random(dtype, &g.output_shape(), 2)?;
            let (output, choice) = forward(&g, &tensor)?;
            trial.equal("max_pool2d_forward", &output, || maxima(&g, &x).0)?;
            trial.equal("max_pool2d_forward, choice", &choice, || maxima(&g, &x).1)?;
            let d_input = backward(&g, &choice, &d_output)?;
            trial.close(Exactness::of(dtype), "max_pool2d_backward", &d_input, || routed(&g, &maxima(&g, &x).1, &d))
        });
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    cases.push(Case::gradient("max_pool2d", &[&[2, 6, 5, 4]], |_| Ok(MaxPool2d::new(3, 2))));
    cases.push(Case::gradient("max_pool2d_padded", &[&[2, 6, 5, 4]], move |_| {
        Ok(MaxPool2d { kernel: [3, 2], stride: 2, padding: sides })
    }));
    cases
}

/// The input element under a tap of the window of output element `o`, if there is one.
fn under(g: &Pool2dGeometry, o: usize, tap: usize) -> Option<usize> {
    let (c, pixel) = (o % g.channels, o / g.channels);
    let (x, y, n) = (pixel % g.out_w, pixel / g.out_w % g.out_h, pixel / g.out_w / g.out_h);
    let y = (y * g.stride + tap / g.kernel_w).checked_sub(g.pad_top).filter(|&y| y < g.in_h)?;
    let x = (x * g.stride + tap % g.kernel_w).checked_sub(g.pad_left).filter(|&x| x < g.in_w)?;
    Some(((n * g.in_h + y) * g.in_w + x) * g.channels + c)
}

/// The largest element of each window, and the first tap that has it.
fn maxima(g: &Pool2dGeometry, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let windows = (0..g.output_shape().iter().product()).map(|o| {
        let at = |tap| under(g, o, tap).map_or(f32::NEG_INFINITY, |i| input[i]);
        let taps = g.kernel_h * g.kernel_w;
        let best = (0..taps).map(at).fold(f32::NEG_INFINITY, f32::max);
        (best, (0..taps).position(|tap| at(tap) == best).unwrap_or(taps) as u32)
    });
    windows.unzip()
}

/// Each window's cotangent at the element that it chose.
fn routed(g: &Pool2dGeometry, choice: &[u32], d_output: &[f32]) -> Vec<Conditioned> {
    let mut d_input = vec![Conditioned::default(); g.input_shape().iter().product()];
    for (o, (&choice, &cotangent)) in choice.iter().zip(d_output).enumerate() {
        if let Some(i) = under(g, o, choice as usize) {
            d_input[i].add(f64::from(cotangent));
        }
    }
    d_input
}
