//! CPU twins of the max-pooling kernels.

use rayon::prelude::*;

use super::MaxPool2dGeometry;
use crate::profile;
use crate::tensor::cpu::vectorized;

pub(super) fn max_pool2d_forward(g: &MaxPool2dGeometry, input: &[f32], output: &mut [f32], choice: &mut [u32]) {
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
fn forward_line(g: &MaxPool2dGeometry, row: usize, input: &[f32], output: &mut [f32], choice: &mut [u32]) {
    let (n, y) = (row / g.out_h, row % g.out_h);
    for (x, (best, best_at)) in output.chunks_exact_mut(g.channels).zip(choice.chunks_exact_mut(g.channels)).enumerate()
    {
        let corner = (n * g.in_h + y * g.stride) * g.in_w + x * g.stride;
        for ky in 0..g.kernel_h {
            for kx in 0..g.kernel_w {
                let start = (corner + ky * g.in_w + kx) * g.channels;
                let pixel = &input[start..start + g.channels];
                let tap = (ky * g.kernel_w + kx) as u32;
                if tap == 0 {
                    best.copy_from_slice(pixel);
                    best_at.fill(0);
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

pub(super) fn max_pool2d_backward(g: &MaxPool2dGeometry, choice: &[u32], d_output: &[f32], d_input: &mut [f32]) {
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
fn backward_image(g: &MaxPool2dGeometry, choice: &[u32], d_output: &[f32], d_input: &mut [f32]) {
    d_input.fill(0.0);
    let pixels = choice.chunks_exact(g.channels).zip(d_output.chunks_exact(g.channels));
    for (pixel, (choice, d_output)) in pixels.enumerate() {
        let corner = (pixel / g.out_w * g.stride) * g.in_w + pixel % g.out_w * g.stride;
        for tap in 0..g.kernel_h * g.kernel_w {
            let start = (corner + tap / g.kernel_w * g.in_w + tap % g.kernel_w) * g.channels;
            let target = &mut d_input[start..start + g.channels];
            // Every channel at every tap: vector instructions do that faster than looking for the chosen ones.
            for ((sum, &chosen), &cotangent) in target.iter_mut().zip(choice).zip(d_output) {
                *sum += if chosen == tap as u32 { cotangent } else { 0.0 };
            }
        }
    }
}
