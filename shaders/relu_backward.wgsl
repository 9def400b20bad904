// relu_backward: d_input[i] = d_output[i] · factor where output[i] > 0, else 0: the derivative at 0 is 0, as in PyTorch. The factor
// is the scale of dropout after the ReLU, else 1. One invocation per element, or per four if WIDE;
// ⌈count / 256⌉ workgroups for `count` invocations.
{% include "shared/real.wgsl" %}
{% include "shared/wide.wgsl" %}

struct Params {
    count: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output: array<values>;
@group(0) @binding(2) var<storage, read> d_output: array<values>;
@group(0) @binding(3) var<storage, read_write> d_input: array<values>;

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
    d_input[i] = select(values(), values(sums(d_output[i]) * params.factor), output[i] > values());
}
