//! CPU twins of the average-pooling kernels.

use crate::parallel::*;

use crate::ops::pool2d::Pool2dGeometry;
use crate::profile;
use crate::tensor::cpu::vectorized;

pub(super) fn avg_pool2d_forward(g: &Pool2dGeometry, input: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("avg_pool2d_forward", 0, size_of_val(input) + size_of_val(output));
    output.par_chunks_exact_mut(g.out_w * g.channels).enumerate().for_each(|(row, output)| {
        vectorized(
            #[inline(always)]
            || forward_line(g, row, input, output),
        );
    });
}

#[inline(always)]
fn forward_line(g: &Pool2dGeometry, row: usize, input: &[f32], output: &mut [f32]) {
    let (n, y) = (row / g.out_h, row % g.out_h);
    let area = (g.kernel_h * g.kernel_w) as f32;
    for (x, sums) in output.chunks_exact_mut(g.channels).enumerate() {
        sums.fill(0.0);
        for ky in g.window_rows(y) {
            for kx in g.window_columns(x) {
                let [in_y, in_x] = g.pixel(y, x, ky, kx);
                let start = ((n * g.in_h + in_y) * g.in_w + in_x) * g.channels;
                sums.iter_mut().zip(&input[start..start + g.channels]).for_each(|(sum, value)| *sum += value);
            }
        }
        sums.iter_mut().for_each(|sum| *sum /= area);
    }
}

pub(super) fn avg_pool2d_backward(g: &Pool2dGeometry, d_output: &[f32], d_input: &mut [f32]) {
    let _timed = profile::twin("avg_pool2d_backward", 0, size_of_val(d_output) + size_of_val(d_input));
    let (image_in, image_out) = (g.in_h * g.in_w * g.channels, g.out_h * g.out_w * g.channels);
    d_input.par_chunks_exact_mut(image_in).zip(d_output.par_chunks_exact(image_out)).for_each(|(d_input, d_output)| {
        vectorized(
            #[inline(always)]
            || backward_image(g, d_output, d_input),
        );
    });
}

#[inline(always)]
fn backward_image(g: &Pool2dGeometry, d_output: &[f32], d_input: &mut [f32]) {
    let area = (g.kernel_h * g.kernel_w) as f32;
    d_input.fill(0.0);
    for (pixel, cotangents) in d_output.chunks_exact(g.channels).enumerate() {
        let (y, x) = (pixel / g.out_w, pixel % g.out_w);
        for ky in g.window_rows(y) {
            for kx in g.window_columns(x) {
                let [in_y, in_x] = g.pixel(y, x, ky, kx);
                let start = (in_y * g.in_w + in_x) * g.channels;
                let target = &mut d_input[start..start + g.channels];
                target.iter_mut().zip(cotangents).for_each(|(sum, cotangent)| *sum += cotangent);
            }
        }
    }
    d_input.iter_mut().for_each(|sum| *sum /= area);
}
