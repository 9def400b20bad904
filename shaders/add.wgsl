// add: sum[i] = a[i] + b[i], and max(·, 0) of it if RELU. One invocation per element, or per four if WIDE;
// ⌈count / 256⌉ workgroups for `count` invocations.
{% include "shared/real.wgsl" %}
{% include "shared/wide.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<values>;
@group(0) @binding(2) var<storage, read> b: array<values>;
@group(0) @binding(3) var<storage, read_write> sum: array<values>;

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
    let value = sums(a[i]) + sums(b[i]);
    sum[i] = values({% if RELU %}select(value, sums(), value < sums()){% else %}value{% endif %});
}
