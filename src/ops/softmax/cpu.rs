//! CPU twins of the softmax kernels.

use crate::profile;

pub(super) fn softmax_forward(classes: usize, input: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("softmax_forward", 0, size_of_val(input) + size_of_val(output));
    for (output, input) in output.chunks_exact_mut(classes).zip(input.chunks_exact(classes)) {
        let largest = input.iter().copied().fold(input[0], f32::max);
        output.iter_mut().zip(input).for_each(|(power, value)| *power = (value - largest).exp());
        let total: f32 = output.iter().sum();
        output.iter_mut().for_each(|power| *power /= total);
    }
}

pub(super) fn softmax_backward(classes: usize, output: &[f32], d_output: &[f32], d_input: &mut [f32]) {
    let _timed =
        profile::twin("softmax_backward", 0, size_of_val(output) + size_of_val(d_output) + size_of_val(d_input));
    let rows = d_input.chunks_exact_mut(classes).zip(output.chunks_exact(classes)).zip(d_output.chunks_exact(classes));
    for ((d_input, output), d_output) in rows {
        let mean: f32 = output.iter().zip(d_output).map(|(p, d)| p * d).sum();
        for ((d_input, p), d) in d_input.iter_mut().zip(output).zip(d_output) {
            *d_input = p * (d - mean);
        }
    }
}
