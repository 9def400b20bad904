// batch_norm_forward: normalizes each channel, applies its scale and shift, then ReLU.
//
//     output[r, c] = max((input[r, c] − statistics[0, c]) · statistics[1, c] · weight[c] + bias[c], 0 with RELU)
//
// input and output [rows, CHANNELS], statistics [2, CHANNELS], weight and bias [CHANNELS]. One invocation per element, or
// per four channels if WIDE; ⌈count / 256⌉ workgroups for `count` invocations.
{% include "shared/real.wgsl" %}
{% include "shared/wide.wgsl" %}
{% set vectors = CHANNELS // 4 if WIDE else CHANNELS %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<values>;
@group(0) @binding(2) var<storage, read> statistics: array<sums>;
@group(0) @binding(3) var<storage, read> weight: array<sums>;
@group(0) @binding(4) var<storage, read> bias: array<sums>;
@group(0) @binding(5) var<storage, read_write> output: array<values>;

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
    let c = i % {{ vectors }}u;
    let value = (sums(input[i]) - statistics[c]) * (statistics[{{ vectors }}u + c] * weight[c]) + bias[c];
    output[i] = values({% if RELU %}select(value, sums(), value < sums()){% else %}value{% endif %});
}
