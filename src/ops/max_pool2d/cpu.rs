//! CPU twins of the max-pooling kernels.

use crate::parallel::*;

use crate::ops::pool2d::Pool2dGeometry;
use crate::profile;
use crate::tensor::cpu::vectorized;

pub(super) fn max_pool2d_forward(g: &Pool2dGeometry, input: &[f32], output: &mut [f32], choice: &mut [u32]) {
    let _timed = profile::twin("max_pool2d_forward", 0, size_of_val(input) + size_of_val(output) + size_of_val(choice));
    let line = g.out_w * g.channels;
    output.par_chunks_exact_mut(line).zip(choice.par_chunks_exact_mut(line)).enumerate().for_each(
        |(row, (output, choice))| {
            vectorized(
                #[inline(always)]
                || forward_line(g, row, input, output, choice),
            );
        },
    );
}

#[inline(always)]
fn forward_line(g: &Pool2dGeometry, row: usize, input: &[f32], output: &mut [f32], choice: &mut [u32]) {
    let (n, y) = (row / g.out_h, row % g.out_h);
    for (x, (best, best_at)) in output.chunks_exact_mut(g.channels).zip(choice.chunks_exact_mut(g.channels)).enumerate()
    {
        let (rows, columns) = (g.window_rows(y), g.window_columns(x));
        let mut is_first = true;
        for ky in rows {
            for kx in columns.clone() {
                let [in_y, in_x] = g.pixel(y, x, ky, kx);
                let start = ((n * g.in_h + in_y) * g.in_w + in_x) * g.channels;
                let pixel = &input[start..start + g.channels];
                let tap = (ky * g.kernel_w + kx) as u32;
                if std::mem::take(&mut is_first) {
                    best.copy_from_slice(pixel);
                    best_at.fill(tap);
                    continue;
                }
                for ((best, best_at), &value) in best.iter_mut().zip(best_at.iter_mut()).zip(pixel) {
                    let larger = value > *best || value.is_nan();
                    *best = if larger { value } else { *best };
                    *best_at = if larger { tap } else { *best_at };
                }
            }
        }
    }
}

pub(super) fn max_pool2d_backward(g: &Pool2dGeometry, choice: &[u32], d_output: &[f32], d_input: &mut [f32]) {
    let _timed =
        profile::twin("max_pool2d_backward", 0, size_of_val(choice) + size_of_val(d_output) + size_of_val(d_input));
    let image_in = g.in_h * g.in_w * g.channels;
    let image_out = g.out_h * g.out_w * g.channels;
    d_input
        .par_chunks_exact_mut(image_in)
        .zip(choice.par_chunks_exact(image_out))
        .zip(d_output.par_chunks_exact(image_out))
        .for_each(|((d_input, choice), d_output)| {
            vectorized(
                #[inline(always)]
                || backward_image(g, choice, d_output, d_input),
            );
        });
}

#[inline(always)]
fn backward_image(g: &Pool2dGeometry, choice: &[u32], d_output: &[f32], d_input: &mut [f32]) {
    d_input.fill(0.0);
    let pixels = choice.chunks_exact(g.channels).zip(d_output.chunks_exact(g.channels));
    for (pixel, (choice, d_output)) in pixels.enumerate() {
        let (y, x) = (pixel / g.out_w, pixel % g.out_w);
        for ky in g.window_rows(y) {
            for kx in g.window_columns(x) {
                let [in_y, in_x] = g.pixel(y, x, ky, kx);
                let start = (in_y * g.in_w + in_x) * g.channels;
                let target = &mut d_input[start..start + g.channels];
                let tap = (ky * g.kernel_w + kx) as u32;
                // Every channel at every tap: vector instructions do that faster than looking for the chosen ones.
                for ((sum, &chosen), &cotangent) in target.iter_mut().zip(choice).zip(d_output) {
                    *sum += if chosen == tap { cotangent } else { 0.0 };
                }
            }
        }
    }
}
