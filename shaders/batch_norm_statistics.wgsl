// batch_norm_statistics: the mean and the inverse standard deviation that normalize each channel.
//
//     statistics[0, c] = mean;   statistics[1, c] = 1 / √(variance + ε)
//
// TRAINING: of the batch, combined from the parts of `batch_norm_partial` (Chan et al., 1983) in a tree; updates the running mean
// and, with the variance with n − 1, the running variance with weight `momentum` (as in PyTorch), unless the batch's are not finite.
// Else: the running ones.
// statistics [2, CHANNELS], running_* [CHANNELS]. A workgroup of {{ LANES }} invocations a channel.
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

{% include "shared/workgroup.wgsl" %}
{% if TRAINING %}

// Number of combined rows, their mean, and the sum of squares of their differences from it.
struct Summary {
    count: f32,
    mean: f32,
    squares: f32,
}

{% include "shared/is_finite.wgsl" %}

var<workgroup> summaries: array<Summary, {{ LANES }}>;

fn merged(a: Summary, b: Summary) -> Summary {
    if b.count == 0.0 {
        return a;
    }
    let total = a.count + b.count;
    let difference = b.mean - a.mean;
    let squares = a.squares + b.squares + difference * difference * (a.count * b.count / total);
    return Summary(total, a.mean + difference * (b.count / total), squares);
}
{% endif %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = linear_workgroup(group, grid);
{% if TRAINING %}
    var own = Summary(0.0, 0.0, 0.0);
    if c < {{ CHANNELS }}u {
        for (var part = lane; part < params.parts; part += {{ LANES }}u) {
            let rows = f32(min(params.rows_per_part, params.rows - part * params.rows_per_part));
            let at = 2u * part * {{ CHANNELS }}u + c;
            own = merged(own, Summary(rows, partial[at], partial[at + {{ CHANNELS }}u]));
        }
    }
    summaries[lane] = own;
    for (var half = {{ LANES // 2 }}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            summaries[lane] = merged(summaries[lane], summaries[lane + half]);
        }
    }
{% endif %}
    if lane > 0u || c >= {{ CHANNELS }}u {
        return;
    }
{% if TRAINING %}
    let batch = summaries[0];
    let mean = batch.mean;
    // Not `max`, which may return zero for a NaN.
    let squares = select(batch.squares, 0.0, batch.squares < 0.0);
    let variance = squares / batch.count;
    if is_finite(mean) && is_finite(squares) {
        running_mean[c] += params.momentum * (mean - running_mean[c]);
        running_variance[c] += params.momentum * (squares / max(batch.count - 1.0, 1.0) - running_variance[c]);
    }
{% else %}
    let mean = running_mean[c];
    let variance = running_variance[c];
{% endif %}
    statistics[c] = mean;
    statistics[{{ CHANNELS }}u + c] = 1.0 / sqrt(variance + params.epsilon);
}
