// max_pool2d_forward: the largest element of each window, and which one it was.
//
//     output[n, y, x, c] = max over (ky, kx) of input[n, y·STRIDE + ky, x·STRIDE + kx, c];  of equals the first is chosen
//
// input [N, IN_H, IN_W, CHANNELS], output and choice [N, OUT_H, OUT_W, CHANNELS]; choice = ky · KERNEL_W + kx.
// One invocation an element of the output; ⌈count / 256⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<real>;
@group(0) @binding(2) var<storage, read_write> output: array<real>;
@group(0) @binding(3) var<storage, read_write> choice: array<u32>;

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
    let c = i % {{ CHANNELS }}u;
    let x = (i / {{ CHANNELS }}u) % {{ OUT_W }}u;
    let y = (i / {{ CHANNELS * OUT_W }}u) % {{ OUT_H }}u;
    let n = i / {{ CHANNELS * OUT_W * OUT_H }}u;
    let corner = ((n * {{ IN_H }}u + y * {{ STRIDE }}u) * {{ IN_W }}u + x * {{ STRIDE }}u) * {{ CHANNELS }}u + c;
    var best = input[corner];
    var best_at = 0u;
    for (var ky = 0u; ky < {{ KERNEL_H }}u; ky++) {
        for (var kx = 0u; kx < {{ KERNEL_W }}u; kx++) {
            let value = input[corner + (ky * {{ IN_W }}u + kx) * {{ CHANNELS }}u];
            if value > best {
                best = value;
                best_at = ky * {{ KERNEL_W }}u + kx;
            }
        }
    }
    output[i] = best;
    choice[i] = best_at;
}
