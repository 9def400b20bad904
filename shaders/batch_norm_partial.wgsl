// batch_norm_partial: mean and spread of each channel over parts of the rows, in one pass.
//
//     partial[p, 0, c] = mean of input[r, c] over the rows r of part p
//     partial[p, 1, c] = sum over them of (input[r, c] − that mean)²
//
// The sums are over differences from the part's first row, which are as small as the spread, to avoid cancellation (Chan et al.,
// 1983). input [rows, CHANNELS], partial [parts, 2, CHANNELS]. One invocation per part and channel; ⌈parts · CHANNELS / 256⌉
// workgroups. It loads eight rows at a time, so that it waits for memory an eighth as often.
{% include "shared/real.wgsl" %}

struct Params {
    rows: u32,
    rows_per_part: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<real>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

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
    let part = i / {{ CHANNELS }}u;
    let c = i % {{ CHANNELS }}u;
    let first = part * params.rows_per_part;
    let end = min(first + params.rows_per_part, params.rows);
    let origin = f32(input[first * {{ CHANNELS }}u + c]);
    var sum = 0.0;
    var squares = 0.0;
    var row = first;
{% for at_a_time in [8, 1] %}
    for (; row + {{ at_a_time }}u <= end; row += {{ at_a_time }}u) {
{% for j in range(at_a_time) %}
        let difference_{{ j }} = f32(input[(row + {{ j }}u) * {{ CHANNELS }}u + c]) - origin;
{% endfor %}
{% for j in range(at_a_time) %}
        sum += difference_{{ j }};
        squares += difference_{{ j }} * difference_{{ j }};
{% endfor %}
    }
{% endfor %}
    let mean = sum / f32(end - first);
    partial[2u * part * {{ CHANNELS }}u + c] = origin + mean;
    partial[(2u * part + 1u) * {{ CHANNELS }}u + c] = squares - sum * mean;
}
