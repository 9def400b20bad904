// winograd_transform_output: outputs Aᵀ · m · A of every tile m of products, for Winograd's F(OUTPUTS², KERNEL²), with bias if
// BIAS, ReLU if RELU and dropout if DROPOUT; or, if GATE, multiplied by factor where gate, of the output's shape, is positive, and
// zero elsewhere.
//
// products [(OUTPUTS + KERNEL − 1)², tiles, channels], bias [channels], output [N, height, width, channels].
// One invocation per tile and channel; ⌈tiles · channels / 256⌉ workgroups. Sizes are uniforms, so that layers share a
// pipeline.
{% from "shared/winograd.wgsl" import output_2_3, output_2_5, output_4_3, tile_transform %}
{% set matrix = output_2_5 if KERNEL == 5 else output_2_3 if OUTPUTS == 2 else output_4_3 %}
struct Params {
    // Tiles of all images, those in a row of an image, and the rows of an image.
    tiles: u32,
    tiles_w: u32,
    tiles_h: u32,
    channels: u32,
    height: u32,
    width: u32,
{% if DROPOUT %}
    stream: u32,
    threshold: u32,
    scale: f32,
    image_elements: u32,
{% elif GATE %}
    factor: f32,
{% endif %}
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> products: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
{% if BIAS %}
@group(0) @binding(3) var<storage, read> bias: array<f32>;
{% elif GATE %}
@group(0) @binding(3) var<storage, read> gate: array<f32>;
{% endif %}
{% if DROPOUT %}
{% include "shared/step_state.wgsl" %}
@group(0) @binding({{ 3 + BIAS }}) var<storage, read> state: StepState;

{% include "shared/dropout.wgsl" %}
{% endif %}

{% include "shared/workgroup.wgsl" %}
{% include "shared/winograd_place.wgsl" %}

fn store(image: u32, y: u32, x: u32, channel: u32, value: f32) {
    if y < params.height && x < params.width {
        let at = ((image * params.height + y) * params.width + x) * params.channels + channel;
        let finished = {% if RELU %}select(value, 0.0, value < 0.0){% elif GATE %}select(0.0, value * params.factor, gate[at] > 0.0){% else %}value{% endif %};
        output[at] = {% if DROPOUT %}drop_out(at, finished){% else %}finished{% endif %};
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    let channel = i % params.channels;
    let tile = i / params.channels;
    if tile >= params.tiles {
        return;
    }
{% set side = OUTPUTS + KERNEL - 1 %}
{% for i in range(side) %}
{% for j in range(side) %}
    let m_{{ i }}_{{ j }} = products[({{ i * side + j }}u * params.tiles + tile) * params.channels + channel];
{% endfor %}
{% endfor %}
{{ tile_transform(matrix, "m", "o") }}
    let at = place(tile);
    let added = {% if BIAS %}bias[channel]{% else %}0.0{% endif %};
{% for i in range(OUTPUTS) %}
{% for j in range(OUTPUTS) %}
    store(at.image, at.y + {{ i }}u, at.x + {{ j }}u, channel, o_{{ i }}_{{ j }} + added);
{% endfor %}
{% endfor %}
}
