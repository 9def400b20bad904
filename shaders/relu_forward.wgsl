// relu_forward: output[i] = max(input[i], 0). One invocation per element, or per four if WIDE;
// ⌈count / 256⌉ workgroups for `count` invocations.
{% include "shared/real.wgsl" %}
{% include "shared/wide.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<values>;
@group(0) @binding(2) var<storage, read_write> output: array<values>;

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
    // Not `max`, which would hide a NaN.
    let value = sums(input[i]);
    output[i] = values(select(value, sums(), value < sums()));
}
