// Tile: a workgroup of {{ SUBGROUPS }} subgroups owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns, each subgroup a
// band of {{ TILE_ROWS // SUBGROUPS }} rows, as cooperative matrices of {{ SIDE }} × {{ SIDE }} sums. Slabs of 32 channels
// of one tap of both operands go through workgroup memory, 16 bits wide, the next one on its way while one is multiplied.
// Lines of a slab are 16 bytes longer than what they hold, so that neighbors are in different banks and stay aligned.
// Dispatch: MATRICES · ⌈rows / {{ TILE_ROWS }}⌉ · ⌈COLUMNS / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% from "shared/cooperative.wgsl" import left, right, sums %}
{% set DEPTH = 32 %}
{% set by_taps = true %}
{% set slabs_per_tap = (CHANNELS + DEPTH - 1) // DEPTH %}
{% set slabs = KERNEL_H * KERNEL_W * slabs_per_tap %}
{% set depth_quads = DEPTH // 4 %}
{% set column_quads = TILE_COLUMNS // 4 %}
{% set patch_line = depth_quads + 2 %}
{% set weight_line = column_quads + 2 %}
{% set patch_slots = TILE_ROWS * depth_quads %}
{% set weight_slots = DEPTH * column_quads %}
{% set patch_loads = (patch_slots + LANES - 1) // LANES %}
{% set weight_loads = (weight_slots + LANES - 1) // LANES %}
{% set band = TILE_ROWS // SUBGROUPS %}
{% set matrix_rows = band // SIDE %}
{% set matrix_columns = TILE_COLUMNS // SIDE %}
{% set quads = SIDE // 4 %}
var<workgroup> patch_slab: array<real4, {{ TILE_ROWS * patch_line }}>;
var<workgroup> weight_slab: array<real4, {{ DEPTH * weight_line }}>;
var<workgroup> finished: array<vec4<f32>, {{ SUBGROUPS * SIDE * quads }}>;

{% include "shared/product_slabs.wgsl" %}

{# Loads that bring a slab's share of an invocation into its registers. -#}
{% macro load_slab(slab) %}
{% for i in range(patch_loads) %}
        patch_{{ i }} = real4(load_patch(patch_origin_{{ i }}, {{ slab }}, patch_quad_{{ i }}));
{% endfor %}
{% for i in range(weight_loads) %}
        weight_{{ i }} = real4(load_weight_row(matrix, {{ slab }}, {% if (i + 1) * LANES > weight_slots %}min(weight_k_{{ i }}, {{ DEPTH - 1 }}u){% else %}weight_k_{{ i }}{% endif %}, first_column + 4u * weight_quad_{{ i }}));
{% endfor %}
{% endmacro %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let column_tiles = {{ (COLUMNS + TILE_COLUMNS - 1) // TILE_COLUMNS }}u;
    let row_tiles = (params.rows + {{ TILE_ROWS - 1 }}u) / {{ TILE_ROWS }}u;
    // `linear_workgroup`, inlined because naga treats results of functions as non-uniform.
    let tile = group.x + group.y * grid.x;
    let matrix = tile / (column_tiles * row_tiles);
    if matrix >= {{ MATRICES }}u {
        return;
    }
    let matrix_row = matrix * params.rows;
    let first_row = (tile / column_tiles) % row_tiles * {{ TILE_ROWS }}u;
    let first_column = tile % column_tiles * {{ TILE_COLUMNS }}u;
{% for i in range(patch_loads) %}
    let patch_row_{{ i }} = (lane + {{ i * LANES }}u) / {{ depth_quads }}u;
    let patch_quad_{{ i }} = (lane + {{ i * LANES }}u) % {{ depth_quads }}u;
    let patch_origin_{{ i }} = origin(matrix_row + min(first_row + patch_row_{{ i }}, params.rows - 1u));
    var patch_{{ i }} = real4();
{% endfor %}
{% for i in range(weight_loads) %}
    let weight_k_{{ i }} = (lane + {{ i * LANES }}u) / {{ column_quads }}u;
    let weight_quad_{{ i }} = (lane + {{ i * LANES }}u) % {{ column_quads }}u;
    var weight_{{ i }} = real4();
{% endfor %}
{% for r in range(matrix_rows) %}
{% for c in range(matrix_columns) %}
    var sum_{{ r }}_{{ c }} = {{ sums(SIDE) }}();
{% endfor %}
{% endfor %}
    let band = subgroup * {{ band }}u;
{% if slabs > 0 %}
{{ load_slab("0u") }}
{% endif %}
    for (var slab = 0u; slab < {{ slabs }}u; slab++) {
        // The slab before has been multiplied. This one's loads have come; the next one's are on their way while it is multiplied.
        workgroupBarrier();
{% for i in range(patch_loads) %}
        {% if (i + 1) * LANES > patch_slots %}if lane < {{ patch_slots - i * LANES }}u {% endif %}{ patch_slab[patch_row_{{ i }} * {{ patch_line }}u + patch_quad_{{ i }}] = patch_{{ i }}; }
{% endfor %}
{% for i in range(weight_loads) %}
        {% if (i + 1) * LANES > weight_slots %}if lane < {{ weight_slots - i * LANES }}u {% endif %}{ weight_slab[weight_k_{{ i }} * {{ weight_line }}u + weight_quad_{{ i }}] = weight_{{ i }}; }
{% endfor %}
        workgroupBarrier();
        if slab + 1u < {{ slabs }}u {
{{ load_slab("(slab + 1u)") }}
        }
{% for k in range(DEPTH // SIDE) %}
{% for r in range(matrix_rows) %}
        let a_{{ k }}_{{ r }} = coopLoadT<{{ left(SIDE) }}>(&patch_slab[(band + {{ r * SIDE }}u) * {{ patch_line }}u + {{ k * quads }}u], {{ patch_line }}u);
{% endfor %}
{% for c in range(matrix_columns) %}
        let b_{{ k }}_{{ c }} = coopLoadT<{{ right(SIDE) }}>(&weight_slab[{{ k * SIDE * weight_line + c * quads }}u], {{ weight_line }}u);
{% for r in range(matrix_rows) %}
        sum_{{ r }}_{{ c }} = coopMultiplyAdd(a_{{ k }}_{{ r }}, b_{{ k }}_{{ c }}, sum_{{ r }}_{{ c }});
{% endfor %}
{% endfor %}
{% endfor %}
    }
{% set store = "if row < params.rows { let at = target_row(matrix_row + row); store_target(at, column, finish(at, column, first_sum(column) + sums)); }" %}
{% include "shared/cooperative_store.wgsl" %}
}
