// batch_norm_statistics: what batch normalisation subtracts from each channel and multiplies it by.
//
//     statistics[0, c] = mean;   statistics[1, c] = 1 / √(variance + ε)
//
// TRAINING: of the batch, put together in order from the parts that `batch_norm_partial` made (Chan et al., 1983); the running
// mean goes the share MOMENTUM towards it, and the running variance towards the variance with n − 1 (as in PyTorch).
// Else: the running ones. statistics [2, CHANNELS], running_* [CHANNELS]. One invocation a channel; ⌈CHANNELS / 256⌉ workgroups.
struct Params {
    rows: u32,
    rows_per_part: u32,
    parts: u32,
    epsilon: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(2) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> running_variance: array<f32>;
{% if TRAINING %}
@group(0) @binding(4) var<storage, read> partial: array<f32>;
{% endif %}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = group.x * 256u + lane;
    if c >= {{ CHANNELS }}u {
        return;
    }
{% if TRAINING %}
    var mean = 0.0;
    var squares = 0.0;
    var count = 0.0;
    for (var part = 0u; part < params.parts; part++) {
        let rows = f32(min(params.rows_per_part, params.rows - part * params.rows_per_part));
        let difference = partial[2u * part * {{ CHANNELS }}u + c] - mean;
        let total = count + rows;
        mean += difference * (rows / total);
        squares += partial[(2u * part + 1u) * {{ CHANNELS }}u + c] + difference * difference * (count * rows / total);
        count = total;
    }
    squares = max(squares, 0.0);
    let variance = squares / count;
    running_mean[c] += params.momentum * (mean - running_mean[c]);
    running_variance[c] += params.momentum * (squares / max(count - 1.0, 1.0) - running_variance[c]);
{% else %}
    let mean = running_mean[c];
    let variance = running_variance[c];
{% endif %}
    statistics[c] = mean;
    statistics[{{ CHANNELS }}u + c] = 1.0 / sqrt(variance + params.epsilon);
}
