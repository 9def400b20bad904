// winograd_transform_weight: G · g · Gᵀ of the KERNEL² taps g between every two channels, for Winograd's F(OUTPUTS², KERNEL²).
//
// transformed [(OUTPUTS + KERNEL − 1)², rows, columns]; weight [KERNEL, KERNEL, rows, columns], or if FLIP [KERNEL, KERNEL,
// columns, rows], whose taps are then flipped: the weight of the convolution that computes the cotangent of an input. One
// invocation a pair of channels; ⌈rows · columns / 256⌉ workgroups.
{% from "shared/winograd.wgsl" import weight_2_3, weight_2_5, weight_4_3, tile_transform %}
{% set matrix = weight_2_5 if KERNEL == 5 else weight_2_3 if OUTPUTS == 2 else weight_4_3 %}
struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> transformed: array<f32>;

{% include "shared/workgroup.wgsl" %}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    let pairs = params.rows * params.columns;
    if i >= pairs {
        return;
    }
{% if FLIP %}
    let at = i % params.columns * params.rows + i / params.columns;
{% else %}
    let at = i;
{% endif %}
{% for ky in range(KERNEL) %}
{% for kx in range(KERNEL) %}
    let g_{{ ky }}_{{ kx }} = weight[{{ KERNEL * KERNEL - 1 - ky * KERNEL - kx if FLIP else ky * KERNEL + kx }}u * pairs + at];
{% endfor %}
{% endfor %}
{{ tile_transform(matrix, "g", "u") }}
{% set side = matrix | length %}
{% for i in range(side) %}
{% for j in range(side) %}
    transformed[{{ i * side + j }}u * pairs + i] = u_{{ i }}_{{ j }};
{% endfor %}
{% endfor %}
}
