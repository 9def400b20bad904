//! CPU twins of the kernels that pad channels.

use crate::parallel::*;

use super::ChannelPadding;
use crate::profile;

/// Pixels that one task handles.
const PIXELS: usize = 1 << 10;

pub(super) fn pad_channels_forward(g: &ChannelPadding, input: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("pad_channels_forward", 0, size_of_val(input) + size_of_val(output));
    let tasks = output.par_chunks_mut(PIXELS * g.out_c).zip(input.par_chunks(PIXELS * g.in_c));
    tasks.for_each(|(output, input)| {
        for (output, input) in output.chunks_exact_mut(g.out_c).zip(input.chunks_exact(g.in_c)) {
            output.fill(0.0);
            output[g.before..g.before + g.in_c].copy_from_slice(input);
        }
    });
}

pub(super) fn pad_channels_backward(g: &ChannelPadding, d_output: &[f32], d_input: &mut [f32]) {
    let _timed = profile::twin("pad_channels_backward", 0, size_of_val(d_output) + size_of_val(d_input));
    let tasks = d_input.par_chunks_mut(PIXELS * g.in_c).zip(d_output.par_chunks(PIXELS * g.out_c));
    tasks.for_each(|(d_input, d_output)| {
        for (d_input, d_output) in d_input.chunks_exact_mut(g.in_c).zip(d_output.chunks_exact(g.out_c)) {
            d_input.copy_from_slice(&d_output[g.before..g.before + g.in_c]);
        }
    });
}
