// max_pool2d_backward: every input element gathers the cotangents of the windows that chose it: no atomics.
//
//     d_input[n, y, x, c] = Σ over windows (oy, ox) that cover (y, x) and chose it of d_output[n, oy, ox, c]
//
// d_output and choice [N, OUT_H, OUT_W, CHANNELS], d_input [N, IN_H, IN_W, CHANNELS].
// One invocation an element of d_input; ⌈count / 256⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> choice: array<u32>;
@group(0) @binding(2) var<storage, read> d_output: array<real>;
@group(0) @binding(3) var<storage, read_write> d_input: array<real>;

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
    let x = (i / {{ CHANNELS }}u) % {{ IN_W }}u;
    let y = (i / {{ CHANNELS * IN_W }}u) % {{ IN_H }}u;
    let n = i / {{ CHANNELS * IN_W * IN_H }}u;
    var sum = 0.0;
    for (var ky = y % {{ STRIDE }}u; ky < {{ KERNEL_H }}u && ky <= y; ky += {{ STRIDE }}u) {
        let oy = (y - ky) / {{ STRIDE }}u;
        if oy >= {{ OUT_H }}u {
            continue;
        }
        for (var kx = x % {{ STRIDE }}u; kx < {{ KERNEL_W }}u && kx <= x; kx += {{ STRIDE }}u) {
            let ox = (x - kx) / {{ STRIDE }}u;
            if ox >= {{ OUT_W }}u {
                continue;
            }
            let o = ((n * {{ OUT_H }}u + oy) * {{ OUT_W }}u + ox) * {{ CHANNELS }}u + c;
            if choice[o] == ky * {{ KERNEL_W }}u + kx {
                sum += f32(d_output[o]);
            }
        }
    }
    d_input[i] = real(sum);
}
