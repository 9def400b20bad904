// convert: output[i] = input[i] in the other width: 16 bits of 32 if TO_HALF, else 32 of 16. One invocation per element;
// ⌈count / 256⌉ workgroups.
enable f16;

struct Params {
    count: u32,
}

{% set source, target = ("f32", "f16") if TO_HALF else ("f16", "f32") %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<{{ source }}>;
@group(0) @binding(2) var<storage, read_write> output: array<{{ target }}>;

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
    output[i] = {{ target }}(input[i]);
}
