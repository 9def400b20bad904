// Tile: a workgroup of {{ LANES }} invocations owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns. Slabs of 16 channels of
// one tap of both operands go through workgroup memory, the next one on its way while one is multiplied; an invocation
// keeps 8 rows × 8 columns of sums in registers. A slab of patches lies row by row with a gap of four floats after each,
// so that neighboring rows are in different banks.
// Dispatch: MATRICES · ⌈rows / {{ TILE_ROWS }}⌉ · ⌈COLUMNS / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% set lane_columns = TILE_COLUMNS // 8 %}
{% set lane_rows = TILE_ROWS // 8 %}
{% set column_quads = TILE_COLUMNS // 4 %}
{% set DEPTH = 16 %}
{% set by_taps = CHANNELS % 4 == 0 %}
{% set slabs_per_tap = (CHANNELS + DEPTH - 1) // DEPTH %}
{% set slabs = KERNEL_H * KERNEL_W * slabs_per_tap if by_taps else (KERNEL_H * KERNEL_W * CHANNELS + DEPTH - 1) // DEPTH %}
{% set patch_slots = TILE_ROWS * 4 %}
{% set weight_slots = 16 * column_quads %}
{% set patch_loads = (patch_slots + LANES - 1) // LANES %}
{% set weight_loads = (weight_slots + LANES - 1) // LANES %}
var<workgroup> patch_slab: array<vec4<f32>, {{ TILE_ROWS * 5 }}>;
var<workgroup> weight_slab: array<vec4<f32>, {{ weight_slots }}>;

{% include "shared/product_slabs.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column_tiles = {{ (COLUMNS + TILE_COLUMNS - 1) // TILE_COLUMNS }}u;
    let row_tiles = (params.rows + {{ TILE_ROWS - 1 }}u) / {{ TILE_ROWS }}u;
    let tile = linear_workgroup(group, grid);
    let matrix = tile / (column_tiles * row_tiles);
    if matrix >= {{ MATRICES }}u {
        return;
    }
    let matrix_row = matrix * params.rows;
    let first_row = (tile / column_tiles) % row_tiles * {{ TILE_ROWS }}u;
    let first_column = tile % column_tiles * {{ TILE_COLUMNS }}u;
    let lane_row = lane / {{ lane_columns }}u;
    let lane_column = lane % {{ lane_columns }}u;
{% for i in range(patch_loads) %}
    let patch_row_{{ i }} = (lane + {{ i * LANES }}u) / 4u;
    let patch_origin_{{ i }} = origin(matrix_row + min(first_row + patch_row_{{ i }}, params.rows - 1u));
    var patch_{{ i }} = vec4<f32>();
{% endfor %}
    let patch_quad = lane % 4u;
{% for i in range(weight_loads) %}
    let weight_k_{{ i }} = {% if (i + 1) * LANES > weight_slots %}min((lane + {{ i * LANES }}u) / {{ column_quads }}u, 15u){% else %}(lane + {{ i * LANES }}u) / {{ column_quads }}u{% endif %};
    let weight_column_{{ i }} = first_column + (lane + {{ i * LANES }}u) % {{ column_quads }}u * 4u;
    var weight_{{ i }} = vec4<f32>();
{% endfor %}
{% for r in range(8) %}
    var sum_{{ r }}_0 = first_sum(first_column + 4u * lane_column);
    var sum_{{ r }}_1 = first_sum(first_column + 4u * lane_column + {{ TILE_COLUMNS // 2 }}u);
{% endfor %}
    for (var slab = 0u; slab <= {{ slabs }}u; slab++) {
        if slab > 0u {
            // The slab before has been multiplied; this one's loads have come.
            workgroupBarrier();
{% for i in range(patch_loads) %}
{% set guarded = (i + 1) * LANES > patch_slots %}
            {% if guarded %}if lane < {{ patch_slots - i * LANES }}u {% endif %}{ patch_slab[patch_row_{{ i }} * 5u + patch_quad] = patch_{{ i }}; }
{% endfor %}
{% for i in range(weight_loads) %}
{% set guarded = (i + 1) * LANES > weight_slots %}
            {% if guarded %}if lane < {{ weight_slots - i * LANES }}u {% endif %}{ weight_slab[lane + {{ i * LANES }}u] = weight_{{ i }}; }
{% endfor %}
            workgroupBarrier();
        }
        if slab < {{ slabs }}u {
{% for i in range(patch_loads) %}
            patch_{{ i }} = load_patch(patch_origin_{{ i }}, slab, patch_quad);
{% endfor %}
{% for i in range(weight_loads) %}
            weight_{{ i }} = load_weight_row(matrix, slab, weight_k_{{ i }}, weight_column_{{ i }});
{% endfor %}
        }
        if slab > 0u {
            for (var quad = 0u; quad < 4u; quad++) {
{% for r in range(8) %}
                let a_{{ r }} = patch_slab[(lane_row + {{ r * lane_rows }}u) * 5u + quad];
{% endfor %}
{% for i in range(4) %}
                let b_{{ i }}_0 = weight_slab[(4u * quad + {{ i }}u) * {{ column_quads }}u + lane_column];
                let b_{{ i }}_1 = weight_slab[(4u * quad + {{ i }}u) * {{ column_quads }}u + lane_column + {{ lane_columns }}u];
{% for r in range(8) %}
                sum_{{ r }}_0 += a_{{ r }}[{{ i }}] * b_{{ i }}_0;
                sum_{{ r }}_1 += a_{{ r }}[{{ i }}] * b_{{ i }}_1;
{% endfor %}
{% endfor %}
            }
        }
    }
{% for r in range(8) %}
    if first_row + lane_row + {{ r * lane_rows }}u < params.rows {
        let row = target_row(matrix_row + first_row + lane_row + {{ r * lane_rows }}u);
        let left = first_column + 4u * lane_column;
        let right = left + {{ TILE_COLUMNS // 2 }}u;
        store_target(row, left, finish(row, left, sum_{{ r }}_0));
        store_target(row, right, finish(row, right, sum_{{ r }}_1));
    }
{% endfor %}
}
