// max_pool2d_forward: the largest element of each window, and its position in the window.
//
//     output[n, y, x, c] = max over (ky, kx) inside of input[n, y·STRIDE + ky − PAD_TOP, x·STRIDE + kx − PAD_LEFT, c]
//
// Ties go to the first element; padding is never chosen. input [N, IN_H, IN_W, CHANNELS], output and choice [N, OUT_H, OUT_W,
// CHANNELS]; choice = ky · KERNEL_W + kx. PADDED: whether a window extends beyond an edge. One invocation per element of the
// output, or per four channels if their number is a multiple of four; ⌈count / 256⌉ workgroups for `count` invocations. The window
// is unrolled, without branches. A NaN after the first element is ignored, unlike in the twin: GPU compilers assume that there are
// no NaNs.
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
{% if PADDED %}
    let top = i32(y * {{ STRIDE }}u) - {{ PAD_TOP }};
    let left = i32(x * {{ STRIDE }}u) - {{ PAD_LEFT }};
    let image = n * {{ IN_H * IN_W }}u;
    // The first element of the window that is inside the image.
    let first_y = u32(max(-top, 0));
    let first_x = u32(max(-left, 0));
    let first = (image + u32(max(top, 0)) * {{ IN_W }}u + u32(max(left, 0))) * {{ vectors }}u + c;
    var best = input[first];
    var best_at = {{ choices }}(first_y * {{ KERNEL_W }}u + first_x);
{% for at in range(KERNEL_H * KERNEL_W) %}
    {
        let in_y = top + {{ at // KERNEL_W }};
        let in_x = left + {{ at % KERNEL_W }};
        let inside = in_y >= 0 && in_y < {{ IN_H }} && in_x >= 0 && in_x < {{ IN_W }};
        let value = input[select(first, (image + u32(in_y) * {{ IN_W }}u + u32(in_x)) * {{ vectors }}u + c, inside)];
        let larger = value > best;
        best_at = select(best_at, {{ choices }}({{ at }}u), larger);
        best = select(best, value, larger);
    }
{% endfor %}
{% else %}
    let corner = ((n * {{ IN_H }}u + y * {{ STRIDE }}u) * {{ IN_W }}u + x * {{ STRIDE }}u) * {{ vectors }}u + c;
    var best = input[corner];
    var best_at = {{ choices }}();
{% for at in range(1, KERNEL_H * KERNEL_W) %}
    let value_{{ at }} = input[corner + {{ (at // KERNEL_W * IN_W + at % KERNEL_W) * vectors }}u];
    best_at = select(best_at, {{ choices }}({{ at }}u), value_{{ at }} > best);
    best = select(best, value_{{ at }}, value_{{ at }} > best);
{% endfor %}
{% endif %}
    output[i] = best;
    choice[i] = best_at;
}
