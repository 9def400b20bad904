// winograd_product: the matrix products between Winograd's transforms.
//
//     products[m, t, o] = Σ_c patches[m, t, c] · weight[m, c, o]
//
// patches [MATRICES, tiles, CHANNELS], weight [MATRICES, CHANNELS, COLUMNS], products [MATRICES, tiles, COLUMNS];
// rows = tiles.
{% set HALF = false %}
{% include "shared/real.wgsl" %}

struct Params {
    rows: u32,
}

{% set source = "packed4" if CHANNELS % 4 == 0 else "real" %}
{% set weights = "packed4" if COLUMNS % 4 == 0 else "real" %}
{% set target = "real4" if COLUMNS % 4 == 0 else "real" %}
{% include "shared/packed4.wgsl" %}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source_pixels: array<{{ source }}>;
@group(0) @binding(2) var<storage, read> weight: array<{{ weights }}>;
@group(0) @binding(3) var<storage, read_write> target_pixels: array<{{ target }}>;

{% include "shared/workgroup.wgsl" %}

struct Origin {
    start: i32,
}

fn origin(row: u32) -> Origin {
    return Origin(i32(row * {{ CHANNELS }}u));
}

{% set four_in_line = false %}
fn tap_start(o: Origin, ky: i32, kx: i32) -> i32 {
    return o.start;
}

fn first_sum(column: u32) -> vec4<f32> {
    return vec4<f32>();
}

fn finish(row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    return sum;
}

{% set KERNEL_H = 1 %}
{% set KERNEL_W = 1 %}
{% set blocked = CHANNELS > 256 %}
{% set strided = false %}
{% include "shared/product.wgsl" %}
