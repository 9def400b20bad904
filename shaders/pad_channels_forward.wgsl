// pad_channels_forward: pads every pixel's channels with zeros before and after them.
//
//     output[p, c] = input[p, c − BEFORE] where there is such a channel, else 0
//
// input [pixels, IN_C], output [pixels, OUT_C]. One invocation per element of the output; ⌈count / 256⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<real>;
@group(0) @binding(2) var<storage, read_write> output: array<real>;

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
    // Channels before the input's wrap around and are too large, too.
    let c = i % {{ OUT_C }}u - {{ BEFORE }}u;
    let inside = c < {{ IN_C }}u;
    output[i] = select(real(), input[select(0u, i / {{ OUT_C }}u * {{ IN_C }}u + c, inside)], inside);
}
