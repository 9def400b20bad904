// Dropout as every kernel applies it: element i becomes value · scale if random(i) ≥ threshold, else 0. random(i) is word i mod 2
// of Threefry at key (seed, stream) and counter (⌊i / 2⌋, step), so no mask is stored. In a later part of a batch, i counts the
// elements of the earlier images, too, an even number. The including shader has the step's `state`, and in its Params stream,
// threshold, scale and image_elements, the number of elements of an image.
{% include "shared/threefry.wgsl" %}

// Random numbers of elements 2 · pair and 2 · pair + 1.
fn random_pair(pair: u32) -> vec2<u32> {
    let earlier = state.first_image / 2u * params.image_elements;
    return threefry(vec2<u32>(state.seed.x, state.seed.y + params.stream), vec2<u32>(earlier + pair, state.step));
}

fn drop_out(i: u32, value: f32) -> f32 {
    let pair = random_pair(i / 2u);
    return select(0.0, value * params.scale, select(pair.x, pair.y, i % 2u == 1u) >= params.threshold);
}

// Of neighboring elements, the first of which has an even number.
fn drop_out_4(first: u32, values: vec4<f32>) -> vec4<f32> {
    let random = vec4<u32>(random_pair(first / 2u), random_pair(first / 2u + 1u));
    return select(vec4<f32>(), values * params.scale, random >= vec4<u32>(params.threshold));
}
