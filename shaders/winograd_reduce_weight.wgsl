// winograd_reduce_weight: adds up the partial sums of the gradient of Winograd's transformed weight, in order, and
// transforms them back: gradients of weight and bias.
//
//     d_weight[:, :, c, o] = Gᵀ · (Σ_s partial[s, :, c, o]) · G        d_bias[o] = Σ_s partial[s, (1, 1), in_c, o]
//
// partial [splits, (OUTPUTS + KERNEL − 1)², in_c + 1, out_c], d_weight [KERNEL, KERNEL, in_c, out_c], d_bias [out_c].
// One invocation per pair of channels or a bias; ⌈(in_c + 1) · out_c / 256⌉ workgroups.
{% from "shared/winograd.wgsl" import tile_transform %}
{% if KERNEL == 5 %}
{% set matrix = [
    [0.25, -1 / 6, -1 / 6, 1 / 24, 1 / 24, 0],
    [0, -1 / 6, 1 / 6, 1 / 12, -1 / 12, 0],
    [0, -1 / 6, -1 / 6, 1 / 6, 1 / 6, 0],
    [0, -1 / 6, 1 / 6, 1 / 3, -1 / 3, 0],
    [0, -1 / 6, -1 / 6, 2 / 3, 2 / 3, 1],
] %}
{% elif OUTPUTS == 2 %}
{% set matrix = [[1, 0.5, 0.5, 0], [0, 0.5, -0.5, 0], [0, 0.5, 0.5, 1]] %}
{% else %}
{% set matrix = [
    [0.25, -1 / 6, -1 / 6, 1 / 24, 1 / 24, 0],
    [0, -1 / 6, 1 / 6, 1 / 12, -1 / 12, 0],
    [0, -1 / 6, -1 / 6, 1 / 6, 1 / 6, 1],
] %}
{% endif %}
struct Params {
    splits: u32,
    in_c: u32,
    out_c: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_bias: array<f32>;

{% include "shared/workgroup.wgsl" %}
{% set side = OUTPUTS + KERNEL - 1 %}

fn total(element: u32, i: u32) -> f32 {
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        sum += partial[(split * {{ side * side }}u + element) * (params.in_c + 1u) * params.out_c + i];
    }
    return sum;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    let pairs = params.in_c * params.out_c;
    if i >= pairs + params.out_c {
        return;
    }
    if i >= pairs {
        d_bias[i - pairs] = total({{ side + 1 }}u, i);
        return;
    }
{% for i in range(side) %}
{% for j in range(side) %}
    let p_{{ i }}_{{ j }} = total({{ i * side + j }}u, i);
{% endfor %}
{% endfor %}
{{ tile_transform(matrix, "p", "w") }}
{% for ky in range(KERNEL) %}
{% for kx in range(KERNEL) %}
    d_weight[{{ ky * KERNEL + kx }}u * pairs + i] = w_{{ ky }}_{{ kx }};
{% endfor %}
{% endfor %}
}
