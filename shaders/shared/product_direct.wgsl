// Tile: an invocation owns {{ ROWS }} rows × {{ COLUMNS_PER_LANE }} columns in registers, a workgroup {{ LANES }} times as
// many rows; weights are read from addresses that are uniform over the workgroup, so there is no barrier.
// Dispatch: MATRICES · ⌈rows / ({{ LANES }} · {{ ROWS }})⌉ · ⌈COLUMNS / {{ COLUMNS_PER_LANE }}⌉ workgroups, column tiles innermost.
{% set wide_channels = CHANNELS % 4 == 0 %}
{% set quads = COLUMNS_PER_LANE // 4 %}
{% set steps = CHANNELS // 4 if wide_channels else CHANNELS %}
{% set block_steps = 24 if wide_channels else 96 %}
{% set part = "part" if blocked else "sum" %}
@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column_tiles = (COLUMNS + {{ COLUMNS_PER_LANE - 1 }}u) / {{ COLUMNS_PER_LANE }}u;
    let row_tiles = (params.rows + {{ LANES * ROWS - 1 }}u) / {{ LANES * ROWS }}u;
    let tile = linear_workgroup(group, grid);
    let matrix = tile / (column_tiles * row_tiles);
    let column = (tile % column_tiles) * {{ COLUMNS_PER_LANE }}u;
    let first_row = (tile / column_tiles) % row_tiles * {{ LANES * ROWS }}u + lane;
    if matrix >= {{ MATRICES }}u || first_row >= params.rows {
        return;
    }
    let matrix_row = matrix * params.rows;
{% for r in range(ROWS) %}
    let origin_{{ r }} = origin(matrix_row + min(first_row + {{ r * LANES }}u, params.rows - 1u));
{% for q in range(quads) %}
    var sum_{{ r }}_{{ q }} = first_sum(column + {{ 4 * q }}u);
{% endfor %}
{% endfor %}
    for (var ky = 0; ky < {{ KERNEL_H }}; ky++) {
        for (var kx = 0; kx < {{ KERNEL_W }}; kx++) {
            let k = matrix * K + weight_tap(u32(ky * {{ KERNEL_W }} + kx)) * CHANNELS;
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
                    let a_{{ r }} = select(vec4<f32>(), unpack4(source_pixels[source_{{ r }} + c]), inside_{{ r }});
{% endfor %}
{% for i in range(4) %}
{% for q in range(quads) %}
                    let b_{{ i }}_{{ q }} = weight_numbers(load_weight(k + 4u * c + {{ i }}u, column + {{ 4 * q }}u));
{% endfor %}
{% for r in range(ROWS) %}
{% for q in range(quads) %}
                    {{ part }}_{{ r }}_{{ q }} += a_{{ r }}[{{ i }}] * b_{{ i }}_{{ q }};
{% endfor %}
{% endfor %}
{% endfor %}
{% else %}
{% for q in range(quads) %}
                    let b_{{ q }} = weight_numbers(load_weight(k + c, column + {{ 4 * q }}u));
{% endfor %}
{% for r in range(ROWS) %}
                    let a_{{ r }} = select(0.0, f32(source_pixels[source_{{ r }} + c]), inside_{{ r }});
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
    if first_row + {{ r * LANES }}u < params.rows {
        let row = target_row(matrix_row + first_row + {{ r * LANES }}u);
{% for q in range(quads) %}
        store_target(row, column + {{ 4 * q }}u, finish(row, column + {{ 4 * q }}u, sum_{{ r }}_{{ q }}));
{% endfor %}
    }
{% endfor %}
}
