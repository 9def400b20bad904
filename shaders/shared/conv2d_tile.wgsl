// The product that both `conv2d_forward` and `conv2d_backward_input` are: an implicit GEMM
//
//     target[row, column] = Σ over taps t and channels c of source[pixel(row, t), c] · weight[t, c, column]
//
// with M = rows (pixels of the target), N = COLUMNS (its channels), K = KERNEL_H · KERNEL_W · CHANNELS. The matrix of
// patches is never stored. The including shader defines
//     origin(row) -> Origin                  where a target pixel's window lies
//     tap_start(origin, ky, kx) -> i32       first element of the source pixel under a tap, or -1 outside the image
//     first_sum(column) -> vec4<f32>         the sums' first value for four columns
//     finish(sum) -> vec4<f32>               what happens to the sums at the end
//     blocked (a template's variable)        whether sums are added up in blocks of 96 channels, which rounds less
// Tile: an invocation owns {{ ROWS }} rows × {{ COLUMNS_PER_LANE }} columns in registers, a workgroup {{ LANES }} times as
// many rows; weights are read from addresses that are uniform over the workgroup, so there is no barrier.
// Dispatch: ⌈rows / ({{ LANES }} · {{ ROWS }})⌉ · ⌈COLUMNS / {{ COLUMNS_PER_LANE }}⌉ workgroups, column tiles innermost.
{% set wide_channels = CHANNELS % 4 == 0 %}
{% set wide_columns = COLUMNS % 4 == 0 %}
{% set quads = COLUMNS_PER_LANE // 4 %}
{% set steps = CHANNELS // 4 if wide_channels else CHANNELS %}
{% set block_steps = 24 if wide_channels else 96 %}
{% set part = "part" if blocked else "sum" %}
const CHANNELS = {{ CHANNELS }}u;
const COLUMNS = {{ COLUMNS }}u;

{% if wide_columns %}
fn load_weight(k: u32, column: u32) -> vec4<f32> {
    // Columns past the last are computed and not stored; their loads must stay inside.
    return weight[(k * COLUMNS + min(column, COLUMNS - 4u)) / 4u];
}

fn store_target(row: u32, column: u32, value: vec4<f32>) {
    if row < params.rows && column < COLUMNS {
        target_pixels[(row * COLUMNS + column) / 4u] = value;
    }
}
{% else %}
fn load_weight(k: u32, column: u32) -> vec4<f32> {
    // Columns past the last are computed and not stored; their loads must stay inside.
    let start = k * COLUMNS;
    let last = COLUMNS - 1u;
    return vec4<f32>(
        weight[start + min(column, last)],
        weight[start + min(column + 1u, last)],
        weight[start + min(column + 2u, last)],
        weight[start + min(column + 3u, last)],
    );
}

fn store_target(row: u32, column: u32, value: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    let start = row * COLUMNS + column;
{% for i in range(4) %}
    if column + {{ i }}u < COLUMNS {
        target_pixels[start + {{ i }}u] = value[{{ i }}];
    }
{% endfor %}
}
{% endif %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column_tiles = (COLUMNS + {{ COLUMNS_PER_LANE - 1 }}u) / {{ COLUMNS_PER_LANE }}u;
    let tile = linear_workgroup(group, grid);
    let column = (tile % column_tiles) * {{ COLUMNS_PER_LANE }}u;
    let first_row = (tile / column_tiles) * {{ LANES * ROWS }}u + lane;
    if first_row >= params.rows {
        return;
    }
{% for r in range(ROWS) %}
    let origin_{{ r }} = origin(min(first_row + {{ r * LANES }}u, params.rows - 1u));
{% for q in range(quads) %}
    var sum_{{ r }}_{{ q }} = first_sum(column + {{ 4 * q }}u);
{% endfor %}
{% endfor %}
    for (var ky = 0; ky < KERNEL_H; ky++) {
        for (var kx = 0; kx < KERNEL_W; kx++) {
            let k = u32(ky * KERNEL_W + kx) * CHANNELS;
{% for r in range(ROWS) %}
            let start_{{ r }} = tap_start(origin_{{ r }}, ky, kx);
            let inside_{{ r }} = start_{{ r }} >= 0;
            let source_{{ r }} = u32(max(start_{{ r }}, 0)){% if wide_channels %} / 4u{% endif %};
{% endfor %}
{% if blocked %}
            for (var first = 0u; first < {{ steps }}u; first += {{ block_steps }}u) {
{% for r in range(ROWS) %}
{% for q in range(quads) %}
                var part_{{ r }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}
                let end = min(first + {{ block_steps }}u, {{ steps }}u);
{% else %}
            {
                let first = 0u;
                let end = {{ steps }}u;
{% endif %}
                for (var c = first; c < end; c++) {
{% if wide_channels %}
{% for r in range(ROWS) %}
                    let a_{{ r }} = select(vec4<f32>(), source_pixels[source_{{ r }} + c], inside_{{ r }});
{% endfor %}
{% for i in range(4) %}
{% for q in range(quads) %}
                    let b_{{ i }}_{{ q }} = load_weight(k + 4u * c + {{ i }}u, column + {{ 4 * q }}u);
{% endfor %}
{% for r in range(ROWS) %}
{% for q in range(quads) %}
                    {{ part }}_{{ r }}_{{ q }} += a_{{ r }}[{{ i }}] * b_{{ i }}_{{ q }};
{% endfor %}
{% endfor %}
{% endfor %}
{% else %}
{% for q in range(quads) %}
                    let b_{{ q }} = load_weight(k + c, column + {{ 4 * q }}u);
{% endfor %}
{% for r in range(ROWS) %}
                    let a_{{ r }} = select(0.0, source_pixels[source_{{ r }} + c], inside_{{ r }});
{% for q in range(quads) %}
                    {{ part }}_{{ r }}_{{ q }} += a_{{ r }} * b_{{ q }};
{% endfor %}
{% endfor %}
{% endif %}
                }
{% if blocked %}
{% for r in range(ROWS) %}
{% for q in range(quads) %}
                sum_{{ r }}_{{ q }} += part_{{ r }}_{{ q }};
{% endfor %}
{% endfor %}
{% endif %}
            }
        }
    }
{% for r in range(ROWS) %}
{% for q in range(quads) %}
    store_target(first_row + {{ r * LANES }}u, column + {{ 4 * q }}u, finish(sum_{{ r }}_{{ q }}));
{% endfor %}
{% endfor %}
}
