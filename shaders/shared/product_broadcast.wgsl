// Tile: an invocation owns {{ ROWS }} rows × {{ COLUMNS_PER_LANE }} columns, a workgroup, which is one subgroup, {{ LANES }} times
// as many rows. Slabs of {{ LANES }} channels: each invocation reads its own rows' patches and one row of the weight, which is
// shared by `subgroupBroadcast`. Software renderers load for one invocation after the other, even from the same address, so a
// weight is loaded once per subgroup, not once per invocation. Dispatch: MATRICES · ⌈rows / ({{ LANES }} · {{ ROWS }})⌉ · ⌈COLUMNS
// / {{ COLUMNS_PER_LANE }}⌉ workgroups, column tiles innermost.
{% set quads = COLUMNS_PER_LANE // 4 %}
{% set DEPTH = LANES %}
{% set by_taps = CHANNELS % 4 == 0 %}
{% set slabs_per_tap = (CHANNELS + DEPTH - 1) // DEPTH %}
{% set slabs = KERNEL_H * KERNEL_W * slabs_per_tap if by_taps else (KERNEL_H * KERNEL_W * CHANNELS + DEPTH - 1) // DEPTH %}
{% include "shared/product_slabs.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let column_tiles = {{ (COLUMNS + COLUMNS_PER_LANE - 1) // COLUMNS_PER_LANE }}u;
    let row_tiles = (params.rows + {{ LANES * ROWS - 1 }}u) / {{ LANES * ROWS }}u;
    // `linear_workgroup`, inlined because naga treats results of functions as non-uniform.
    let tile = group.x + group.y * grid.x;
    let matrix = tile / (column_tiles * row_tiles);
    if matrix >= {{ MATRICES }}u {
        return;
    }
    let column = tile % column_tiles * {{ COLUMNS_PER_LANE }}u;
    let first_row = tile / column_tiles % row_tiles * {{ LANES * ROWS }}u + lane;
    let matrix_row = matrix * params.rows;
{% for r in range(ROWS) %}
    let origin_{{ r }} = origin(matrix_row + min(first_row + {{ r * LANES }}u, params.rows - 1u));
{% for q in range(quads) %}
    var sum_{{ r }}_{{ q }} = first_sum(column + {{ 4 * q }}u);
{% endfor %}
{% endfor %}
    for (var slab = 0u; slab < {{ slabs }}u; slab++) {
{% for q in range(quads) %}
        let b_{{ q }} = weight_numbers(load_weight_row(matrix, slab, lane, column + {{ 4 * q }}u));
{% endfor %}
{% for r in range(ROWS) %}
{% for h in range(DEPTH // 4) %}
        let a_{{ r }}_{{ h }} = load_patch(origin_{{ r }}, slab, {{ h }}u);
{% endfor %}
{% for q in range(quads) %}
        // What the loop carries costs such drivers a selection by the invocations that still run: once a slab.
        var part_{{ r }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}
{% for i in range(DEPTH) %}
{% for q in range(quads) %}
        let b_{{ q }}_{{ i }} = subgroupBroadcast(b_{{ q }}, {{ i }}u);
{% for r in range(ROWS) %}
        part_{{ r }}_{{ q }} += a_{{ r }}_{{ i // 4 }}[{{ i % 4 }}] * b_{{ q }}_{{ i }};
{% endfor %}
{% endfor %}
{% endfor %}
{% for r in range(ROWS) %}
{% for q in range(quads) %}
        sum_{{ r }}_{{ q }} += part_{{ r }}_{{ q }};
{% endfor %}
{% endfor %}
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
