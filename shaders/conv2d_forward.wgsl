// conv2d_forward: convolution of channels-last images, with bias if BIAS, max(·, 0) if RELU, and then dropout if DROPOUT.
//
//     output[n, y, x, o] = bias[o] + Σ_{ky, kx, c} input[n, y·STRIDE + ky − PAD_TOP, x·STRIDE + kx − PAD_LEFT, c] · weight[ky, kx, c, o]
//
// input [N, IN_H, IN_W, CHANNELS], weight [KERNEL_H, KERNEL_W, CHANNELS, COLUMNS], bias [COLUMNS],
// output [N, OUT_H, OUT_W, COLUMNS]; rows = N · OUT_H · OUT_W. Pixels outside the image are zero.
{% include "shared/real.wgsl" %}

struct Params {
    rows: u32,
{% if DROPOUT %}
    stream: u32,
    threshold: u32,
    scale: f32,
    image_elements: u32,
{% endif %}
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
{% if BIAS %}
@group(0) @binding(4) var<storage, read> bias: array<f32>;
{% endif %}
{% if DROPOUT %}
{% include "shared/step_state.wgsl" %}
@group(0) @binding({{ 4 + BIAS }}) var<storage, read> state: StepState;

{% include "shared/dropout.wgsl" %}
{% endif %}

{% include "shared/workgroup.wgsl" %}

struct Origin {
    image: i32,
    y: i32,
    x: i32,
}

fn origin(row: u32) -> Origin {
    let pixel = row % {{ OUT_H * OUT_W }}u;
    return Origin(
        i32(row / {{ OUT_H * OUT_W }}u) * {{ IN_H * IN_W }},
        i32(pixel / {{ OUT_W }}u) * {{ STRIDE }} - {{ PAD_TOP }},
        i32(pixel % {{ OUT_W }}u) * {{ STRIDE }} - {{ PAD_LEFT }},
    );
}

{% set four_in_line = OUT_W % 4 == 0 %}
fn beside(o: Origin, rows: i32) -> Origin {
    return Origin(o.image, o.y, o.x + rows * {{ STRIDE }});
}

fn tap_start(o: Origin, ky: i32, kx: i32) -> i32 {
    let y = o.y + ky;
    let x = o.x + kx;
    // Negative numbers are large ones without a sign; `&` takes no branch.
    let inside = (u32(y) < {{ IN_H }}u) & (u32(x) < {{ IN_W }}u);
    return select(-1, (o.image + y * {{ IN_W }} + x) * {{ CHANNELS }}, inside);
}

fn first_sum(column: u32) -> vec4<f32> {
{% if BIAS %}
    let last = {{ COLUMNS - 1 }}u;
    return vec4<f32>(
        bias[min(column, last)],
        bias[min(column + 1u, last)],
        bias[min(column + 2u, last)],
        bias[min(column + 3u, last)],
    );
{% else %}
    return vec4<f32>();
{% endif %}
}

fn finish(row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    let value = {% if RELU %}select(sum, vec4<f32>(), sum < vec4<f32>()){% else %}sum{% endif %};
{% if not DROPOUT %}
    return value;
{% elif COLUMNS % 2 == 0 %}
    return drop_out_4(row * COLUMNS + column, value);
{% else %}
    let first = row * COLUMNS + column;
    return vec4<f32>(drop_out(first, value.x), drop_out(first + 1u, value.y), drop_out(first + 2u, value.z), drop_out(first + 3u, value.w));
{% endif %}
}

// Activations near zero decide about ReLU and its gradient: long sums should round little.
{% set blocked = KERNEL_H * KERNEL_W * CHANNELS > 256 %}
{% set MATRICES = 1 %}
{% set strided = false %}
{% include "shared/product.wgsl" %}
