// conv2d_backward_input: cotangent of a convolution's input from that of its output.
//
//     d_input[n, y, x, c] = Σ_{ky, kx, o} d_output[n, (y + pad_top − ky) / STRIDE, (x + pad_left − kx) / STRIDE, o] · weight[ky, kx, c, o]
//
// over the taps for which both divisions leave no remainder. Those are the same for all pixels at one offset within the
// stride, (FIRST_Y, FIRST_X), which are the rows of a launch: pixel (FIRST_Y + i · STRIDE, FIRST_X + j · STRIDE) was read at tap
// (FIRST_KY + s · STRIDE, FIRST_KX + t · STRIDE) by the window at (i + PAD_TOP − s, j + PAD_LEFT − t), for KERNEL_H · KERNEL_W taps
// of a weight WEIGHT_W taps wide. weight comes with its last two axes exchanged (`conv2d_transpose_weight`), so here CHANNELS
// counts the convolution's output channels and COLUMNS its input channels:
// d_output [N, OUT_H, OUT_W, CHANNELS], weight [.., WEIGHT_W, CHANNELS, COLUMNS],
// d_input [N, IN_H, IN_W, COLUMNS]; rows = N · PHASE_H · PHASE_W. If GATE, d_input is then
// multiplied by factor where gate, of its shape, is positive, and zero elsewhere.
{% include "shared/real.wgsl" %}

struct Params {
    rows: u32,
    factor: f32,
}

{% set target = "real4" if COLUMNS % 4 == 0 else "real" %}
{% set source = "packed4" if CHANNELS % 4 == 0 else "real" %}
{# Cooperative tiles have channels innermost in the weight, too. -#}
{% set weights = "packed4" if TILING == 3 or COLUMNS % 4 == 0 else "real" %}
{% include "shared/packed4.wgsl" %}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source_pixels: array<{{ source }}>;
@group(0) @binding(2) var<storage, read> weight: array<{{ weights }}>;
@group(0) @binding(3) var<storage, read_write> target_pixels: array<{{ target }}>;
{% if GATE %}
@group(0) @binding(4) var<storage, read> gate: array<{{ target }}>;
{% endif %}

{% include "shared/workgroup.wgsl" %}

struct Origin {
    image: i32,
    y: i32,
    x: i32,
}

{% set PHASE_H = (IN_H - FIRST_Y + STRIDE - 1) // STRIDE %}
{% set PHASE_W = (IN_W - FIRST_X + STRIDE - 1) // STRIDE %}
fn origin(row: u32) -> Origin {
    let pixel = row % {{ PHASE_H * PHASE_W }}u;
    return Origin(
        i32(row / {{ PHASE_H * PHASE_W }}u) * {{ OUT_H * OUT_W }},
        i32(pixel / {{ PHASE_W }}u) + {{ PAD_TOP }},
        i32(pixel % {{ PHASE_W }}u) + {{ PAD_LEFT }},
    );
}

{% set four_in_line = PHASE_W % 4 == 0 %}
fn beside(o: Origin, rows: i32) -> Origin {
    return Origin(o.image, o.y, o.x + rows);
}

fn tap_start(o: Origin, ky: i32, kx: i32) -> i32 {
    let y = o.y - ky;
    let x = o.x - kx;
    // Negative numbers are large ones without a sign; `&` takes no branch.
    let inside = (u32(y) < {{ OUT_H }}u) & (u32(x) < {{ OUT_W }}u);
    return select(-1, (o.image + y * {{ OUT_W }} + x) * {{ CHANNELS }}, inside);
}

{% set strided = STRIDE > 1 %}
{% if strided %}
fn weight_tap(tap: u32) -> u32 {
    let ky = tap / {{ KERNEL_W }}u * {{ STRIDE }}u + {{ FIRST_KY }}u;
    let kx = tap % {{ KERNEL_W }}u * {{ STRIDE }}u + {{ FIRST_KX }}u;
    return ky * {{ WEIGHT_W }}u + kx;
}

fn target_row(row: u32) -> u32 {
    let image = row / {{ PHASE_H * PHASE_W }}u;
    let pixel = row % {{ PHASE_H * PHASE_W }}u;
    let y = pixel / {{ PHASE_W }}u * {{ STRIDE }}u + {{ FIRST_Y }}u;
    let x = pixel % {{ PHASE_W }}u * {{ STRIDE }}u + {{ FIRST_X }}u;
    return (image * {{ IN_H }}u + y) * {{ IN_W }}u + x;
}

{% endif %}
fn first_sum(column: u32) -> vec4<f32> {
    return vec4<f32>();
}

{% if not GATE %}
fn finish(row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    return sum;
}
{% elif COLUMNS % 4 == 0 %}
fn finish(row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    // Columns past the last are computed and not stored; their loads must stay inside.
    return select(vec4<f32>(), sum * params.factor, gate[(row * COLUMNS + min(column, COLUMNS - 4u)) / 4u] > real4());
}
{% else %}
fn finish(row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    let start = row * COLUMNS;
    let last = COLUMNS - 1u;
    return vec4<f32>(
{% for i in range(4) %}
        select(0.0, sum[{{ i }}] * params.factor, gate[start + min(column + {{ i }}u, last)] > real()),
{% endfor %}
    );
}
{% endif %}

{% set blocked = false %}
{% set MATRICES = 1 %}
{% include "shared/product.wgsl" %}
