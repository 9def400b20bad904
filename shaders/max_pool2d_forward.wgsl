// max_pool2d_forward: the largest element of each window, and which one it was.
//
//     output[n, y, x, c] = max over (ky, kx) of input[n, y·STRIDE + ky, x·STRIDE + kx, c];  of equals the first is chosen
//
// input [N, IN_H, IN_W, CHANNELS], output and choice [N, OUT_H, OUT_W, CHANNELS]; choice = ky · KERNEL_W + kx.
// One invocation an element of the output, or four neighboring channels where they are always there; ⌈count / 256⌉
// workgroups for so many invocations. The window is unrolled, without branches. A NaN behind the first element is passed over,
// which the twin does not: compilers for GPUs take it that there is none.
{% include "shared/real.wgsl" %}
{% set wide = CHANNELS % 4 == 0 %}
{% set values, choices = ("real4", "vec4<u32>") if wide else ("real", "u32") %}
{% set vectors = CHANNELS // 4 if wide else CHANNELS %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<{{ values }}>;
@group(0) @binding(2) var<storage, read_write> output: array<{{ values }}>;
@group(0) @binding(3) var<storage, read_write> choice: array<{{ choices }}>;

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
    let x = (i / {{ vectors }}u) % {{ OUT_W }}u;
    let y = (i / {{ vectors * OUT_W }}u) % {{ OUT_H }}u;
    let n = i / {{ vectors * OUT_W * OUT_H }}u;
    let corner = ((n * {{ IN_H }}u + y * {{ STRIDE }}u) * {{ IN_W }}u + x * {{ STRIDE }}u) * {{ vectors }}u + c;
    var best = input[corner];
    var best_at = {{ choices }}();
{% for at in range(1, KERNEL_H * KERNEL_W) %}
    let value_{{ at }} = input[corner + {{ (at // KERNEL_W * IN_W + at % KERNEL_W) * vectors }}u];
    best_at = select(best_at, {{ choices }}({{ at }}u), value_{{ at }} > best);
    best = select(best, value_{{ at }}, value_{{ at }} > best);
{% endfor %}
    output[i] = best;
    choice[i] = best_at;
}
