{% include "shared/workgroup_sum.wgsl" %}

// Σ partial, valid in invocation 0 only. All invocations must call this.
fn partial_sum(lane: u32) -> f32 {
    var own = 0.0;
    for (var i = lane; i < params.parts; i += {{ LANES }}u) {
        own += partial[i];
    }
    return workgroup_sum(lane, own);
}
