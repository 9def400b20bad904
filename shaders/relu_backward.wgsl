// relu_backward: d_input[i] = d_output[i] · factor where output[i] > 0, else 0: the derivative at 0 is 0, as in PyTorch. The factor
// is the scale of dropout after the ReLU, else 1. One invocation per element; ⌈count / 256⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output: array<real>;
@group(0) @binding(2) var<storage, read> d_output: array<real>;
@group(0) @binding(3) var<storage, read_write> d_input: array<real>;

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
    d_input[i] = select(real(), real(f32(d_output[i]) * params.factor), output[i] > real());
}
