// avg_pool2d_forward: the mean of each window; padding counts as zeros.
//
//     output[n, y, x, c] = Σ_{ky, kx} input[n, y·STRIDE + ky − PAD_TOP, x·STRIDE + kx − PAD_LEFT, c] / (KERNEL_H · KERNEL_W)
//
// input [N, IN_H, IN_W, CHANNELS], output [N, OUT_H, OUT_W, CHANNELS]. PADDED: whether a window extends beyond an edge. One
// invocation per element of the output, or per four channels if their number is a multiple of four; ⌈count / 256⌉ workgroups for
// `count` invocations. The window is unrolled, without branches.
{% include "shared/real.wgsl" %}
{% set wide = CHANNELS % 4 == 0 %}
{% set values, sums = ("real4", "vec4<f32>") if wide else ("real", "f32") %}
{% set vectors = CHANNELS // 4 if wide else CHANNELS %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<{{ values }}>;
@group(0) @binding(2) var<storage, read_write> output: array<{{ values }}>;

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
    var sum = {{ sums }}();
{% if PADDED %}
    let top = i32(y * {{ STRIDE }}u) - {{ PAD_TOP }};
    let left = i32(x * {{ STRIDE }}u) - {{ PAD_LEFT }};
{% for at in range(KERNEL_H * KERNEL_W) %}
    {
        let in_y = top + {{ at // KERNEL_W }};
        let in_x = left + {{ at % KERNEL_W }};
        let inside = in_y >= 0 && in_y < {{ IN_H }} && in_x >= 0 && in_x < {{ IN_W }};
        let at = select(0u, ((n * {{ IN_H }}u + u32(in_y)) * {{ IN_W }}u + u32(in_x)) * {{ vectors }}u + c, inside);
        sum += select({{ sums }}(), {{ sums }}(input[at]), inside);
    }
{% endfor %}
{% else %}
    let corner = ((n * {{ IN_H }}u + y * {{ STRIDE }}u) * {{ IN_W }}u + x * {{ STRIDE }}u) * {{ vectors }}u + c;
{% for at in range(KERNEL_H * KERNEL_W) %}
    sum += {{ sums }}(input[corner + {{ (at // KERNEL_W * IN_W + at % KERNEL_W) * vectors }}u]);
{% endfor %}
{% endif %}
    output[i] = {{ values }}(sum / {{ KERNEL_H * KERNEL_W }}.0);
}
