// dropout: zeroes elements at random and scales up the rest; on a cotangent it is its own backward.
//
//     output[i] = input[i] · scale   if random(i) ≥ threshold, else 0
//
// See shared/dropout.wgsl for the random numbers. One invocation per two elements; ⌈count / 512⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
    stream: u32,
    threshold: u32,
    scale: f32,
    image_elements: u32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read> input: array<real>;
@group(0) @binding(3) var<storage, read_write> output: array<real>;

{% include "shared/workgroup.wgsl" %}
{% include "shared/dropout.wgsl" %}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = linear_workgroup(group, grid) * 256u + lane;
    let i = 2u * pair;
    if i >= params.count {
        return;
    }
    let random = random_pair(pair);
    output[i] = real(select(0.0, f32(input[i]) * params.scale, random.x >= params.threshold));
    if i + 1u < params.count {
        output[i + 1u] = real(select(0.0, f32(input[i + 1u]) * params.scale, random.y >= params.threshold));
    }
}
