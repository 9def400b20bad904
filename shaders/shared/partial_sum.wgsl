{% include "shared/workgroup_sum.wgsl" %}

// Σ partial, for invocation 0 alone to use. All must come here.
fn partial_sum(lane: u32) -> f32 {
    var own = 0.0;
    for (var i = lane; i < params.parts; i += {{ LANES }}u) {
        own += partial[i];
    }
    return workgroup_sum(lane, own);
}
