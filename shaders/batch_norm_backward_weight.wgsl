// batch_norm_backward_weight: gradients of scale and shift, adding up in order what `batch_norm_backward_partial` made.
//
//     d_weight[c] = Σ_p partial[p, 0, c];   d_bias[c] = Σ_p partial[p, 1, c]
//
// partial [parts, 2, CHANNELS], d_weight and d_bias [CHANNELS]. One invocation a channel; ⌈CHANNELS / 256⌉ workgroups.
struct Params {
    parts: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_bias: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = group.x * 256u + lane;
    if c >= {{ CHANNELS }}u {
        return;
    }
    var products = 0.0;
    var sum = 0.0;
    for (var part = 0u; part < params.parts; part++) {
        products += partial[2u * part * {{ CHANNELS }}u + c];
        sum += partial[(2u * part + 1u) * {{ CHANNELS }}u + c];
    }
    d_weight[c] = products;
    d_bias[c] = sum;
}
