//! CPU twins of the global average pool's kernels.

use crate::profile;

pub(super) fn global_avg_pool_forward(pixels: usize, channels: usize, input: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("global_avg_pool_forward", 0, size_of_val(input) + size_of_val(output));
    for (image, means) in input.chunks_exact(pixels * channels).zip(output.chunks_exact_mut(channels)) {
        means.fill(0.0);
        for pixel in image.chunks_exact(channels) {
            means.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
        }
        means.iter_mut().for_each(|sum| *sum /= pixels as f32);
    }
}

pub(super) fn global_avg_pool_backward(pixels: usize, channels: usize, d_output: &[f32], d_input: &mut [f32]) {
    let _timed = profile::twin("global_avg_pool_backward", 0, size_of_val(d_output) + size_of_val(d_input));
    for (image, cotangents) in d_input.chunks_exact_mut(pixels * channels).zip(d_output.chunks_exact(channels)) {
        for pixel in image.chunks_exact_mut(channels) {
            pixel.iter_mut().zip(cotangents).for_each(|(value, cotangent)| *value = cotangent / pixels as f32);
        }
    }
}
