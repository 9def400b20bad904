// max_pool2d_backward: every input element gathers the cotangents of the windows that chose it, without atomics.
//
//     d_input[n, y, x, c] = Σ over windows (oy, ox) that cover (y, x) and chose it of d_output[n, oy, ox, c]
//
// d_output and choice [N, OUT_H, OUT_W, CHANNELS], d_input [N, IN_H, IN_W, CHANNELS]. One invocation per element of d_input, or per
// four channels if their number is a multiple of four; ⌈count / 256⌉ workgroups for `count` invocations. The windows that may cover
// an element are unrolled, without branches.
{% include "shared/real.wgsl" %}
{% set wide = CHANNELS % 4 == 0 %}
{% set values, choices, sums = ("real4", "vec4<u32>", "vec4<f32>") if wide else ("real", "u32", "f32") %}
{% set vectors = CHANNELS // 4 if wide else CHANNELS %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> choice: array<{{ choices }}>;
@group(0) @binding(2) var<storage, read> d_output: array<{{ values }}>;
@group(0) @binding(3) var<storage, read_write> d_input: array<{{ values }}>;

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
    let x = (i / {{ vectors }}u) % {{ IN_W }}u + {{ PAD_LEFT }}u;
    let y = (i / {{ vectors * IN_W }}u) % {{ IN_H }}u + {{ PAD_TOP }}u;
    let n = i / {{ vectors * IN_W * IN_H }}u;
    // In the padded input: the last window that covers the element, and the element's position in it.
    let last_y = y / {{ STRIDE }}u;
    let last_x = x / {{ STRIDE }}u;
    let in_last = y % {{ STRIDE }}u * {{ KERNEL_W }}u + x % {{ STRIDE }}u;
    var sum = {{ sums }}();
{% for a in range((KERNEL_H + STRIDE - 1) // STRIDE) %}
{% for b in range((KERNEL_W + STRIDE - 1) // STRIDE) %}
    {
        let oy = last_y - {{ a }}u;
        let ox = last_x - {{ b }}u;
        // Indices below zero wrap around and are too large, too.
        let covers = oy < {{ OUT_H }}u && ox < {{ OUT_W }}u && y % {{ STRIDE }}u < {{ KERNEL_H - a * STRIDE }}u && x % {{ STRIDE }}u < {{ KERNEL_W - b * STRIDE }}u;
        let o = select(0u, ((n * {{ OUT_H }}u + oy) * {{ OUT_W }}u + ox) * {{ vectors }}u + c, covers);
        let at = select(0xffffffffu, in_last + {{ a * STRIDE * KERNEL_W + b * STRIDE }}u, covers);
        sum += select({{ sums }}(), {{ sums }}(d_output[o]), choice[o] == {{ choices }}(at));
    }
{% endfor %}
{% endfor %}
    d_input[i] = {{ values }}(sum);
}
