// Multiply-adds in registers, eight vectors of them independent: what can be computed at most.
// An invocation does ROUNDS · 2 · 8 · 4 of them.
@group(0) @binding(0) var<storage, read_write> sums: array<vec4<f32>>;

const ROUNDS = 256u;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = sums[id.x];
    let factor = vec4<f32>(0.5) + first;
    var sum_0 = first + 0.0;
    var sum_1 = first + 1.0;
    var sum_2 = first + 2.0;
    var sum_3 = first + 3.0;
    var sum_4 = first + 4.0;
    var sum_5 = first + 5.0;
    var sum_6 = first + 6.0;
    var sum_7 = first + 7.0;
    for (var round = 0u; round < ROUNDS; round++) {
        sum_0 = fma(sum_0, factor, first);
        sum_1 = fma(sum_1, factor, first);
        sum_2 = fma(sum_2, factor, first);
        sum_3 = fma(sum_3, factor, first);
        sum_4 = fma(sum_4, factor, first);
        sum_5 = fma(sum_5, factor, first);
        sum_6 = fma(sum_6, factor, first);
        sum_7 = fma(sum_7, factor, first);
        sum_0 = fma(sum_0, factor, first);
        sum_1 = fma(sum_1, factor, first);
        sum_2 = fma(sum_2, factor, first);
        sum_3 = fma(sum_3, factor, first);
        sum_4 = fma(sum_4, factor, first);
        sum_5 = fma(sum_5, factor, first);
        sum_6 = fma(sum_6, factor, first);
        sum_7 = fma(sum_7, factor, first);
    }
    sums[id.x] = sum_0 + sum_1 + sum_2 + sum_3 + sum_4 + sum_5 + sum_6 + sum_7;
}
