// batch_norm_backward_weight: gradients of scale and shift, the sums of the parts of `batch_norm_backward_partial`.
//
//     d_weight[c] = Σ_p partial[p, 0, c];   d_bias[c] = Σ_p partial[p, 1, c]
//
// partial [parts, 2, CHANNELS], d_weight and d_bias [CHANNELS]. A workgroup of {{ LANES }} invocations a
// channel, which add up in a tree.
struct Params {
    parts: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_bias: array<f32>;

{% include "shared/workgroup.wgsl" %}
{% include "shared/workgroup_sum.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = linear_workgroup(group, grid);
    var products = 0.0;
    var sum = 0.0;
    if c < {{ CHANNELS }}u {
        for (var part = lane; part < params.parts; part += {{ LANES }}u) {
            products += partial[2u * part * {{ CHANNELS }}u + c];
            sum += partial[(2u * part + 1u) * {{ CHANNELS }}u + c];
        }
    }
    let all_products = workgroup_sum(lane, products);
    let all = workgroup_sum(lane, sum);
    if lane == 0u && c < {{ CHANNELS }}u {
        d_weight[c] = all_products;
        d_bias[c] = all;
    }
}
