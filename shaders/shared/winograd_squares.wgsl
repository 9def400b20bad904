// Squares of pixels, each transformed, channel by channel: element (i, j) of tile t is row t of matrix i · side + j.
// Neighboring invocations have neighboring channels. One invocation a tile and channel; ⌈tiles · channels / 256⌉
// workgroups. Sizes are uniforms, so that layers share a pipeline. The including shader sets `matrix`.
struct Params {
    // Tiles of all images, those in a row of an image, and the rows of an image.
    tiles: u32,
    tiles_w: u32,
    tiles_h: u32,
    channels: u32,
    height: i32,
    width: i32,
    // Pixels outside the image before the first tile.
    first_y: i32,
    first_x: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>;
@group(0) @binding(2) var<storage, read_write> transformed: array<f32>;

{% include "shared/workgroup.wgsl" %}
{% include "shared/winograd_place.wgsl" %}

fn load(image: u32, y: i32, x: i32, channel: u32) -> f32 {
    let inside = y >= 0 && y < params.height && x >= 0 && x < params.width;
    let at = ((image * u32(params.height) + u32(y)) * u32(params.width) + u32(x)) * params.channels + channel;
    return select(0.0, pixels[select(0u, at, inside)], inside);
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
    let at = place(tile);
    let y = i32(at.y) - params.first_y;
    let x = i32(at.x) - params.first_x;
{% set side = matrix[0] | length %}
{% for i in range(side) %}
{% for j in range(side) %}
    let d_{{ i }}_{{ j }} = load(at.image, y + {{ i }}, x + {{ j }}, channel);
{% endfor %}
{% endfor %}
{{ tile_transform(matrix, "d", "v") }}
{% set rows = matrix | length %}
{% for i in range(rows) %}
{% for j in range(rows) %}
    transformed[({{ i * rows + j }}u * params.tiles + tile) * params.channels + channel] = v_{{ i }}_{{ j }};
{% endfor %}
{% endfor %}
}
