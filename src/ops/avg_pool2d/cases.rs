//! Cases of average pooling.

use super::{AvgPool2d, Pool2dGeometry, backward, forward};
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
        (Purpose::Check, [2, 7, 5, 3], [2, 2], 2, valid),
        (Purpose::Check, [1, 13, 11, 8], [3, 3], 2, Padding::Explicit(1)),
        (Purpose::Test, [3, 9, 8, 4], [3, 2], 2, sides),
        (Purpose::Test, [2, 10, 7, 6], [1, 1], 3, valid),
        (Purpose::Test, [2, 32, 32, 7], [5, 3], 1, Padding::Same),
        (Purpose::Bench, [64, 32, 32, 96], [2, 2], 2, valid),
    ]
    .into_iter()
    .chain(drawn("avg_pool2d", draw))
    {
        let ([n, h, w, c], [kh, kw]) = (input, kernel);
        let name = format!("avg_pool2d/{n}x{h}x{w}x{c}_kernel_{kh}x{kw}_stride_{stride}_{padding:?}");
        let both = Case::both_widths(&name, move |trial, dtype| {
            let g = Pool2dGeometry::new("avg_pool2d", &input, kernel, stride, padding)?;
            let (x, tensor) = trial.random(dtype, &input, 1)?;
            let (d, d_output) = trial.random(dtype, &g.output_shape(), 2)?;
            let exactness = Exactness::of(dtype);
            trial.close(exactness, "avg_pool2d_forward", &forward(&g, &tensor)?, || means(&g, &x))?;
            trial.close(exactness, "avg_pool2d_backward", &backward(&g, &d_output)?, || shares(&g, &d))
        });
        cases.extend(both.map(|case| case.for_purpose(purpose)));
    }
    cases.push(Case::gradient("avg_pool2d", &[&[2, 6, 5, 4]], move |_| {
        Ok(AvgPool2d { kernel: [2, 3], stride: 2, padding: sides })
    }));
    cases
}

/// The elements of the input under each tap of every window: output element, and input element if there is one.
fn taps(g: &Pool2dGeometry) -> impl Iterator<Item = (usize, Option<usize>)> + '_ {
    (0..g.output_shape().iter().product()).flat_map(move |o| {
        let (c, pixel) = (o % g.channels, o / g.channels);
        let (x, y, n) = (pixel % g.out_w, pixel / g.out_w % g.out_h, pixel / g.out_w / g.out_h);
        (0..g.kernel_h * g.kernel_w).map(move |tap| {
            let in_y = (y * g.stride + tap / g.kernel_w).checked_sub(g.pad_top).filter(|&y| y < g.in_h);
            let in_x = (x * g.stride + tap % g.kernel_w).checked_sub(g.pad_left).filter(|&x| x < g.in_w);
            (o, in_y.zip(in_x).map(|(y, x)| ((n * g.in_h + y) * g.in_w + x) * g.channels + c))
        })
    })
}

fn means(g: &Pool2dGeometry, input: &[f32]) -> Vec<Conditioned> {
    let mut means = vec![Conditioned::default(); g.output_shape().iter().product()];
    let area = (g.kernel_h * g.kernel_w) as f64;
    taps(g).for_each(|(o, i)| means[o].add(i.map_or(0.0, |i| f64::from(input[i]) / area)));
    means
}

fn shares(g: &Pool2dGeometry, d_output: &[f32]) -> Vec<Conditioned> {
    let mut d_input = vec![Conditioned::default(); g.input_shape().iter().product()];
    let area = (g.kernel_h * g.kernel_w) as f64;
    for (o, i) in taps(g) {
        if let Some(i) = i {
            d_input[i].add(f64::from(d_output[o]) / area);
        }
    }
    d_input
}
