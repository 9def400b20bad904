// split_k_reduce: adds up the partial sums of a split-K product, in order, into the gradients of weight and bias.
//
//     sum[i] = Σ_s partial[s, i]     the first `weights` elements go to d_weight, the rest to d_bias
//
// partial [splits, count]. One invocation per element; ⌈count / 256⌉ workgroups. With MANY splits it loads 16 at a time while there are
// so many, so that it waits for memory a sixteenth as often.
struct Params {
    count: u32,
    weights: u32,
    splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_bias: array<f32>;

{% include "shared/workgroup.wgsl" %}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    if i >= params.count {
        return;
    }
    var sum = 0.0;
    var s = 0u;
{% for at_a_time in ([16, 4, 1] if MANY else [1]) %}
    for (; s + {{ at_a_time }}u <= params.splits; s += {{ at_a_time }}u) {
{% for j in range(at_a_time) %}
        let value_{{ j }} = partial[(s + {{ j }}u) * params.count + i];
{% endfor %}
{% for j in range(at_a_time) %}
        sum += value_{{ j }};
{% endfor %}
    }
{% endfor %}
    if i < params.weights {
        d_weight[i] = sum;
    } else {
        d_bias[i - params.weights] = sum;
    }
}
