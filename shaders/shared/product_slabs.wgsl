// What a workgroup stages of a product: slabs of DEPTH channels of the patches, and as many rows of the weight. The including
// shader sets DEPTH, and
//     by_taps          whether a slab belongs to one tap, because four channels always do
//     slabs_per_tap    how many slabs a tap then has
{% if by_taps %}
// Whether a patch's pixel at a tap, which starts at `start`, has four channels from this one on.
fn is_inside(start: i32, channel: u32) -> bool {
    return {% if CHANNELS % DEPTH != 0 %}(start >= 0) & (channel < CHANNELS){% else %}start >= 0{% endif %};
}

// Those channels, or others if there are none.
fn load_any_patch(start: i32, channel: u32) -> vec4<f32> {
    return unpack4(source_pixels[select(0u, (u32(start) + channel) / 4u, is_inside(start, channel))]);
}

// The weight's row of a channel of the tap whose rows begin at `start`, or another one if there is none.
fn load_any_weight_of_tap(start: u32, channel: u32, column: u32) -> weight_columns {
    return load_weight(start + {% if CHANNELS % DEPTH != 0 %}min(channel, CHANNELS - 1u){% else %}channel{% endif %}, column);
}

// Channels DEPTH · slab + 4 · quad and the next three of the row's patch; a slab belongs to one tap.
fn load_patch(o: Origin, slab: u32, quad: u32) -> vec4<f32> {
    let tap = slab / {{ slabs_per_tap }}u;
    let channel = slab % {{ slabs_per_tap }}u * {{ DEPTH }}u + 4u * quad;
    let start = tap_start(o, i32(tap / {{ KERNEL_W }}u), i32(tap % {{ KERNEL_W }}u));
    return select(vec4<f32>(), load_any_patch(start, channel), is_inside(start, channel));
}

fn load_weight_row(matrix: u32, slab: u32, k: u32, column: u32) -> weight_columns {
    let tap = slab / {{ slabs_per_tap }}u;
    let channel = slab % {{ slabs_per_tap }}u * {{ DEPTH }}u + k;
{% if CHANNELS % DEPTH != 0 %}
    if channel >= CHANNELS {
        return weight_columns();
    }
{% endif %}
    return load_any_weight_of_tap(matrix * K + weight_tap(tap) * CHANNELS, channel, column);
}
{% else %}
// Products DEPTH · slab + 4 · quad and the next three of the row's patch, which may belong to different taps.
fn load_product(o: Origin, k: u32) -> f32 {
    let tap = k / CHANNELS;
    let start = tap_start(o, i32(tap / {{ KERNEL_W }}u), i32(tap % {{ KERNEL_W }}u));
    let inside = start >= 0 && k < K;
    return select(0.0, f32(source_pixels[select(0u, u32(start) + k % CHANNELS, inside)]), inside);
}

fn load_patch(o: Origin, slab: u32, quad: u32) -> vec4<f32> {
    let k = slab * {{ DEPTH }}u + 4u * quad;
    return vec4<f32>(load_product(o, k), load_product(o, k + 1u), load_product(o, k + 2u), load_product(o, k + 3u));
}

fn load_weight_row(matrix: u32, slab: u32, k: u32, column: u32) -> weight_columns {
    let row = slab * {{ DEPTH }}u + k;
    if row >= K {
        return weight_columns();
    }
{% if strided %}
    return load_weight(matrix * K + weight_tap(row / CHANNELS) * CHANNELS + row % CHANNELS, column);
{% else %}
    return load_weight(matrix * K + row, column);
{% endif %}
}
{% endif %}
