// Sums over a workgroup of {{ LANES }} invocations, a power of two, in a tree: the order is fixed, and short.
var<workgroup> sums: array<f32, {{ LANES }}>;

// The sum of the invocations' values, for invocation 0 alone to use. All must come here.
fn workgroup_sum(lane: u32, value: f32) -> f32 {
    // An earlier sum may still be read.
    workgroupBarrier();
    sums[lane] = value;
    for (var half = {{ LANES // 2 }}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    return sums[0];
}
