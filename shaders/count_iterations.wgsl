// count_iterations: counts the iterations of a loop. Some drivers silently end the loops of an invocation after 65,535 iterations.
//
//     counted[0] = iterations;   counted[1] = x after so many times x = 1664525 · x + 1013904223, from 0
//
// The second prevents compilers from computing the first without the loop. One invocation.
struct Params {
    iterations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> counted: array<u32>;

@compute @workgroup_size(1)
fn main() {
    var i = 0u;
    var x = 0u;
    for (; i < params.iterations; i++) {
        x = 1664525u * x + 1013904223u;
    }
    counted[0] = i;
    counted[1] = x;
}
