// conv2d_backward_weight: partial sums of the gradients of a convolution's weight and bias (split-K).
//
//     partial[s, (ky, kx, c), o] = Σ_{pixels of split s} input[n, y·STRIDE + ky − PAD_TOP, x·STRIDE + kx − PAD_LEFT, c] · d_output[n, y, x, o]
//     partial[s, K, o]           = Σ_{pixels of split s} d_output[n, y, x, o]        the bias: an input that is always one
//
// A GEMM with M = K + 1 rows where K = KERNEL_H · KERNEL_W · IN_C, N = OUT_C, contracted over pixels. A split is a run of
// `lines_per_split` lines (a line: one output row of one image). `split_k_reduce` adds the splits up in a fixed order. input [N,
// IN_H, IN_W, IN_C], d_output [N, OUT_H, OUT_W, OUT_C], partial [splits, K + 1, OUT_C]. With MATRICES > 1, that many products of
// `lines` lines each are stored consecutively in input and d_output, and partial is [splits, MATRICES, K + 1, OUT_C].
{% include "shared/real.wgsl" %}

struct Params {
    lines: u32,
    lines_per_split: u32,
}

{% set wide_rows = IN_C % 4 == 0 %}
{% set wide_columns = OUT_C % 4 == 0 %}
{% set channels = "vec4<f32>" if wide_rows else "f32" %}
{% include "shared/packed4.wgsl" %}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<{{ "packed4" if wide_rows else "real" }}>;
@group(0) @binding(2) var<storage, read> d_output: array<{{ "packed4" if wide_columns else "real" }}>;
@group(0) @binding(3) var<storage, read_write> partial: array<{{ "vec4<f32>" if wide_columns else "f32" }}>;

{% include "shared/workgroup.wgsl" %}

{% set K = KERNEL_H * KERNEL_W * IN_C %}
const K = {{ K }}u;
const COLUMNS = {{ OUT_C }}u;

{% if wide_columns %}
// Where four columns of a pixel are in d_output. Columns past the last are computed and not stored;
// their loads must stay inside.
fn cotangent_at(pixel: u32, column: u32) -> u32 {
    return pixel * (COLUMNS / 4u) + min(column, COLUMNS - 4u) / 4u;
}

fn load_cotangent(pixel: u32, column: u32) -> vec4<f32> {
    return unpack4(d_output[cotangent_at(pixel, column)]);
}

fn store_partial(share: u32, row: u32, column: u32, value: vec4<f32>) {
    if row <= K && column < COLUMNS {
        partial[((share * (K + 1u) + row) * COLUMNS + column) / 4u] = value;
    }
}
{% else %}
fn load_cotangent(pixel: u32, column: u32) -> vec4<f32> {
    // Columns past the last are computed and not stored; their loads must stay inside.
    let start = pixel * COLUMNS;
    let last = COLUMNS - 1u;
    return vec4<f32>(
        f32(d_output[start + min(column, last)]),
        f32(d_output[start + min(column + 1u, last)]),
        f32(d_output[start + min(column + 2u, last)]),
        f32(d_output[start + min(column + 3u, last)]),
    );
}

fn store_partial(share: u32, row: u32, column: u32, value: vec4<f32>) {
    if row > K {
        return;
    }
    let start = (share * (K + 1u) + row) * COLUMNS + column;
{% for i in range(4) %}
    if column + {{ i }}u < COLUMNS {
        partial[start + {{ i }}u] = value[{{ i }}];
    }
{% endfor %}
}
{% endif %}

// Position of the input of neighboring rows of the product, all of one tap.
struct Tap {
    ky: i32,
    kx: i32,
    channel: i32,
    real: bool,
}

fn tap_of(row: u32) -> Tap {
    let tap = row / {{ IN_C }}u;
    return Tap(i32(tap / {{ KERNEL_W }}u), i32(tap % {{ KERNEL_W }}u), i32(row % {{ IN_C }}u), row < K);
}

{% include ["shared/contraction_direct.wgsl", "shared/contraction_broadcast.wgsl", "shared/contraction_staged.wgsl", "shared/contraction_cooperative.wgsl"][TILING] %}
