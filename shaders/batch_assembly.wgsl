// batch_assembly: gathers a batch from images kept as bytes, normalises it and turns planes into channels-last.
//
//     output[b, p, c] = (image[indices[b], c, p] − mean[c]) / deviation[c]        labels_out[b] = labels[indices[b]]
//
// images: bytes [chunk_images, CHANNELS, PIXELS], four to a word, the images from number chunk_start on of a data set too
// large for one binding; what belongs to other chunks is left alone. indices and labels_out [batch], labels [all images],
// output [batch, PIXELS, CHANNELS]. One invocation a pixel; ⌈count / 256⌉ workgroups where count = batch · PIXELS.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
    chunk_start: u32,
    chunk_images: u32,
    reserved: u32,
    mean: vec4<f32>,
    deviation: vec4<f32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<u32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> indices: array<u32>;
@group(0) @binding(4) var<storage, read_write> output: array<real>;
@group(0) @binding(5) var<storage, read_write> labels_out: array<u32>;

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
    let b = i / {{ PIXELS }}u;
    let p = i % {{ PIXELS }}u;
    let image = indices[b] - params.chunk_start;
    // Below the chunk the difference wraps round and is large, too.
    if image >= params.chunk_images {
        return;
    }
{% for c in range(CHANNELS) %}
    let byte_{{ c }} = (image * {{ CHANNELS }}u + {{ c }}u) * {{ PIXELS }}u + p;
    let value_{{ c }} = f32((images[byte_{{ c }} / 4u] >> (8u * (byte_{{ c }} % 4u))) & 255u);
    output[i * {{ CHANNELS }}u + {{ c }}u] = real((value_{{ c }} - params.mean[{{ c }}]) / params.deviation[{{ c }}]);
{% endfor %}
    if p == 0u {
        labels_out[b] = labels[indices[b]];
    }
}
