// weight_average: a running average of the weights over the steps.
//
//     average[i] += average_share · (parameter[i] − average[i])     unless gradient_factor is negative: then nothing
//
// parameter and average [count]. One invocation per element; ⌈count / 256⌉ workgroups.
struct Params {
    count: u32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read> parameter: array<f32>;
@group(0) @binding(3) var<storage, read_write> average: array<f32>;

{% include "shared/workgroup.wgsl" %}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    if i >= params.count || state.gradient_factor < 0.0 {
        return;
    }
    average[i] += state.average_share * (parameter[i] - average[i]);
}
