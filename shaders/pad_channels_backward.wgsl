// pad_channels_backward: the cotangents of the original channels, without those of the padding.
//
//     d_input[p, c] = d_output[p, c + BEFORE]
//
// d_output [pixels, OUT_C], d_input [pixels, IN_C]. One invocation per element of d_input; ⌈count / 256⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_output: array<real>;
@group(0) @binding(2) var<storage, read_write> d_input: array<real>;

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
    d_input[i] = d_output[i / {{ IN_C }}u * {{ OUT_C }}u + i % {{ IN_C }}u + {{ BEFORE }}u];
}
