// conv2d_transpose_weight: exchanges input and output channels of every tap.
//
//     transposed[t, o, c] = weight[t, c, o]
//
// weight [taps, IN_C, OUT_C], transposed [taps, OUT_C, IN_C]. One invocation per element; ⌈count / 256⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<real>;
@group(0) @binding(2) var<storage, read_write> transposed: array<real>;

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
    let c = i % {{ IN_C }}u;
    let o = (i / {{ IN_C }}u) % {{ OUT_C }}u;
    let tap = i / {{ IN_C * OUT_C }}u;
    transposed[i] = weight[(tap * {{ IN_C }}u + c) * {{ OUT_C }}u + o];
}
