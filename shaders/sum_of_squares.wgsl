// sum_of_squares: partial sums of the squares of all elements.
//
//     partial[p] = Σ_{i ≡ p·LANES … p·LANES + LANES − 1 (mod parts · LANES)} input[i]²
//
// input [count], partial [parts]. A workgroup of {{ LANES }} invocations a part: each adds up every (parts · LANES)th
// element, then they add up in a tree, so the order of the sum is fixed.
struct Params {
    count: u32,
    parts: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

{% include "shared/workgroup_sum.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = group.x * {{ LANES }}u + lane; i < params.count; i += params.parts * {{ LANES }}u) {
        sum += input[i] * input[i];
    }
    let total = workgroup_sum(lane, sum);
    if lane == 0u {
        partial[group.x] = total;
    }
}
