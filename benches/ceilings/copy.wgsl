// Copies one buffer into another: what memory can move at most.
@group(0) @binding(0) var<storage, read_write> target_words: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> source_words: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    target_words[id.x] = source_words[id.x];
}
