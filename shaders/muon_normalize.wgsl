// muon_normalize: scales a tensor in place to a Euclidean norm.
//
//     values[i] *= norm / (√(Σ partial) + 10⁻⁷)     unless gradient_factor is negative: then nothing
//
// partial [parts] is `sum_of_squares` of the values [count]. One invocation per element; ⌈count / {{ LANES }}⌉ workgroups, each of
// which adds up the parts in a tree.
struct Params {
    parts: u32,
    count: u32,
    norm: f32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read> partial: array<f32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;

{% include "shared/workgroup.wgsl" %}
{% include "shared/partial_sum.wgsl" %}

var<workgroup> factor: f32;

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sum = partial_sum(lane);
    if lane == 0u {
        factor = params.norm / (sqrt(sum) + 1e-7);
    }
    workgroupBarrier();
    let i = linear_workgroup(group, grid) * {{ LANES }}u + lane;
    if i >= params.count || state.gradient_factor < 0.0 {
        return;
    }
    values[i] *= factor;
}
