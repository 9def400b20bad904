// sum_of_squares: partial sums of the squares of all elements.
//
//     partial[p] = Σ_{i ≡ p·LANES … p·LANES + LANES − 1 (mod parts · LANES)} |input[i]|²
//
// input [count] of numbers or, if WIDE, of vectors of four; partial [parts]. A workgroup of {{ LANES }} invocations a part: each adds up every
// (parts · LANES)th element, then they add up in a tree, so the order of the sum is fixed.
struct Params {
    count: u32,
    parts: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<{{ "vec4<f32>" if WIDE else "f32" }}>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

{% include "shared/workgroup_sum.wgsl" %}

fn square(i: u32) -> f32 {
{% if WIDE %}
    return dot(input[i], input[i]);
{% else %}
    return input[i] * input[i];
{% endif %}
}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let apart = params.parts * {{ LANES }}u;
    var sum = 0.0;
    var i = group.x * {{ LANES }}u + lane;
    // Four at a time, so that loads do not wait for each other.
    for (; i + 3u * apart < params.count; i += 4u * apart) {
        sum += square(i) + square(i + apart) + square(i + 2u * apart) + square(i + 3u * apart);
    }
    for (; i < params.count; i += apart) {
        sum += square(i);
    }
    let total = workgroup_sum(lane, sum);
    if lane == 0u {
        partial[group.x] = total;
    }
}
