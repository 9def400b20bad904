// batch_assembly: gathers a batch from images stored as bytes, augments and normalizes it, and converts planes to channels-last.
//
//     output[b, p, c] = (image[indices[b], c, s(p)] − mean[c]) / deviation[c]        labels_out[b] = labels[indices[b]]
//
// s(p) is p without AUGMENT. With it: 0 is written inside a square of `cutout` pixels; else x is mirrored, x and y are moved by
// `translation` and up to `crop_padding` random pixels (beyond the edge bytes are 0, or with `crop_border` 1 those of the image
// reflected about its outermost pixels), and with INTERPOLATE rotated about the center and shifted by
// fractions of pixels, with bilinear interpolation; pixels beyond the edge repeat the nearest one. Random numbers: Threefry at key
// (seed, seed + STREAM) and counter (DRAWS · (first_image + b) + number, step).
//
// images: bytes [chunk_images, CHANNELS, HEIGHT · WIDTH], four to a word, the images from number chunk_start on of a data set too
// large for one binding; images of other chunks are not written. indices and labels_out [batch], labels [all images], output
// [batch, HEIGHT, WIDTH, CHANNELS] of 1 or 3 channels. One invocation per pixel; ⌈count / 256⌉ workgroups where count = batch ·
// HEIGHT · WIDTH.
{% set PIXELS = HEIGHT * WIDTH %}
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
    chunk_start: u32,
    chunk_images: u32,
    // 0 never, 1 at random, 2 every other epoch, 3 always.
    flip: u32,
    mean: vec4<f32>,
    deviation: vec4<f32>,
    shift: vec2<f32>,
    rotation_radians: f32,
    crop_padding: u32,
    translation: vec2<i32>,
    cutout: u32,
    // 0 black, 1 reflected.
    crop_border: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<u32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> indices: array<u32>;
@group(0) @binding(4) var<storage, read_write> output: array<real>;
@group(0) @binding(5) var<storage, read_write> labels_out: array<u32>;

{% include "shared/workgroup.wgsl" %}

// The channels of a pixel: gray, or red, green and blue.
{% if CHANNELS == 1 %}
alias Pixel = f32;
{% else %}
alias Pixel = vec3<f32>;
{% endif %}

// The bytes of a pixel.
fn pixel(image: u32, p: u32) -> Pixel {
{% for c in range(CHANNELS) %}
    let byte_{{ c }} = (image * {{ CHANNELS }}u + {{ c }}u) * {{ PIXELS }}u + p;
    let value_{{ c }} = f32((images[byte_{{ c }} / 4u] >> (8u * (byte_{{ c }} % 4u))) & 255u);
{% endfor %}
{% if CHANNELS == 1 %}
    return value_0;
{% else %}
    return Pixel(value_0, value_1, value_2);
{% endif %}
}

fn store(i: u32, value: Pixel) {
{% if CHANNELS == 1 %}
    output[i] = real(value);
{% else %}
{% for c in range(CHANNELS) %}
    output[i * {{ CHANNELS }}u + {{ c }}u] = real(value[{{ c }}]);
{% endfor %}
{% endif %}
}

fn normalized(bytes: Pixel) -> Pixel {
{% if CHANNELS == 1 %}
    return (bytes - params.mean.x) / params.deviation.x;
{% else %}
    return (bytes - params.mean.xyz) / params.deviation.xyz;
{% endif %}
}

{% if AUGMENT %}
{% include "shared/step_state.wgsl" %}
@group(0) @binding(6) var<storage, read> state: StepState;

{% include "shared/threefry.wgsl" %}

// A number below `bound`, from the 16 high bits.
fn below(bits: u32, bound: u32) -> i32 {
    return i32(((bits >> 16u) * bound) >> 16u);
}

// A number from −1 to 1, in steps that a float holds exactly.
fn uniform_number(bits: u32) -> f32 {
    return f32(bits >> 8u) / 8388608.0 - 1.0;
}

// Sine and cosine: the built-in ones may be off by 2⁻¹¹, a hundredth of a pixel. Taylor's series of a quarter of the angle, which
// is doubled twice.
fn sine_cosine(angle: f32) -> vec2<f32> {
    let t = 0.25 * angle;
    let q = t * t;
    let sine = t * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0))));
    let cosine = 1.0 - q / 2.0 * (1.0 - q / 12.0 * (1.0 - q / 30.0 * (1.0 - q / 56.0)));
    let half = vec2<f32>(2.0 * sine * cosine, 1.0 - 2.0 * sine * sine);
    return vec2<f32>(2.0 * half.x * half.y, 1.0 - 2.0 * half.x * half.x);
}

fn store_augmented(i: u32, b: u32, p: u32, image: u32) {
    let key = vec2<u32>(state.seed.x, state.seed.y + {{ STREAM }}u);
    let draws = {{ DRAWS }}u * (state.first_image + b);
    let first = threefry(key, vec2<u32>(draws, state.step));
    let coin = first.x;
    let crop = first.y;
    let cut = threefry(key, vec2<u32>(draws + 2u, state.step)).y;

    var x = i32(p % {{ WIDTH }}u);
    var y = i32(p / {{ WIDTH }}u);
    let in_square_x = x - (below(cut, {{ WIDTH }}u) - i32(params.cutout / 2u));
    let in_square_y = y - (below(cut << 16u, {{ HEIGHT }}u) - i32(params.cutout / 2u));
    let side = i32(params.cutout);
    if in_square_x >= 0 && in_square_x < side && in_square_y >= 0 && in_square_y < side {
        store(i, Pixel(0.0));
        return;
    }
    var flipped = params.flip == 3u || (params.flip == 1u && (coin & 1u) == 1u);
    if params.flip == 2u {
        // A separate stream, since this random choice must not change from step to step.
        let own = threefry(key + vec2<u32>(0u, 1u), vec2<u32>(indices[b], 0u)).x;
        flipped = ((own ^ state.epoch) & 1u) == 1u;
    }
    let offset = params.translation - i32(params.crop_padding);
    x = select(x, {{ WIDTH - 1 }} - x, flipped) + below(crop, 2u * params.crop_padding + 1u) + offset.x;
    y += below(crop << 16u, 2u * params.crop_padding + 1u) + offset.y;
    if params.crop_border == 1u {
        x = min(abs(x), {{ 2 * (WIDTH - 1) }} - abs(x));
        y = min(abs(y), {{ 2 * (HEIGHT - 1) }} - abs(y));
    }
    if x < 0 || x >= {{ WIDTH }} || y < 0 || y >= {{ HEIGHT }} {
        store(i, normalized(Pixel(0.0)));
        return;
    }
{% if INTERPOLATE %}
    let move_bits = threefry(key, vec2<u32>(draws + 1u, state.step));
    let angle_bits = threefry(key, vec2<u32>(draws + 2u, state.step)).x;
    let rotation = sine_cosine(uniform_number(angle_bits) * params.rotation_radians);
    let center = vec2<f32>({{ (WIDTH - 1) / 2 }}, {{ (HEIGHT - 1) / 2 }});
    let d = vec2<f32>(f32(x), f32(y)) - center;
    let rotated = vec2<f32>(rotation.y * d.x - rotation.x * d.y, rotation.x * d.x + rotation.y * d.y);
    let shift = params.shift * vec2<f32>(uniform_number(move_bits.x), uniform_number(move_bits.y));
    let last = vec2<f32>({{ WIDTH - 1 }}.0, {{ HEIGHT - 1 }}.0);
    let place = clamp(rotated + center + shift, vec2<f32>(0.0), last);
    let before = vec2<u32>(place);
    let after = min(before + vec2<u32>(1u), vec2<u32>(last));
    let part = place - vec2<f32>(before);
    let upper_left = pixel(image, before.y * {{ WIDTH }}u + before.x);
    let upper_right = pixel(image, before.y * {{ WIDTH }}u + after.x);
    let lower_left = pixel(image, after.y * {{ WIDTH }}u + before.x);
    let lower_right = pixel(image, after.y * {{ WIDTH }}u + after.x);
    let upper = upper_left + part.x * (upper_right - upper_left);
    let lower = lower_left + part.x * (lower_right - lower_left);
    store(i, normalized(upper + part.y * (lower - upper)));
{% else %}
    store(i, normalized(pixel(image, u32(y) * {{ WIDTH }}u + u32(x))));
{% endif %}
}
{% endif %}

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
    // Below the chunk the difference wraps around and is large, too.
    if image >= params.chunk_images {
        return;
    }
{% if AUGMENT %}
    store_augmented(i, b, p, image);
{% else %}
    store(i, normalized(pixel(image, p)));
{% endif %}
    if p == 0u {
        labels_out[b] = labels[indices[b]];
    }
}
