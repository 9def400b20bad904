// The product that computes a convolution or the cotangent of its input: an implicit GEMM
//
//     target[row, column] = Σ over taps t and channels c of source[pixel(row, t), c] · weight[t, c, column]
//
// with M = rows (pixels of the target), N = COLUMNS (its channels), K = KERNEL_H · KERNEL_W · CHANNELS. The matrix of patches is
// never stored. With MATRICES > 1, that many products are stored consecutively in all three operands. The including shader defines
//     Origin, origin(row) -> Origin          position of a target pixel's window
//     four_in_line (a template's variable)   whether four rows, from a multiple of four on, are neighbors in a line; then also
//     beside(origin, rows) -> Origin         position of the row that many after this one in its line
//     tap_start(origin, ky, kx) -> i32       first element of the source pixel under a tap, or -1 outside the image
//     first_sum(column) -> vec4<f32>         the sums' first value for four columns
//     finish(row, column, sum) -> vec4<f32>  finishes four neighboring sums
//     strided (a template's variable)        whether rows and taps are some of many; then also
//     weight_tap(tap) -> u32                 the weight's tap for a tap of the window
//     target_row(row) -> u32                 the target's pixel of a row
//     blocked (a template's variable)        whether direct tiles add sums up in blocks of 96 channels, which rounds less
const CHANNELS = {{ CHANNELS }}u;
const COLUMNS = {{ COLUMNS }}u;
const K = {{ KERNEL_H * KERNEL_W * CHANNELS }}u;

{% if not strided %}
fn weight_tap(tap: u32) -> u32 {
    return tap;
}

fn target_row(row: u32) -> u32 {
    return row;
}

{% endif %}
{% include "shared/product_memory.wgsl" %}

{% include ["shared/product_direct.wgsl", "shared/product_broadcast.wgsl", "shared/product_staged.wgsl", "shared/product_cooperative.wgsl"][TILING] %}
