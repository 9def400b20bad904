// Tile: a workgroup of {{ SUBGROUPS }} subgroups owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns, each subgroup a
// band of {{ TILE_ROWS // SUBGROUPS }} rows, as cooperative matrices of {{ SIDE }} × {{ SIDE }} sums. Slabs of 32 pixels of
// both operands go through workgroup memory, 16 bits wide, the next one on its way while one is multiplied. Lines of a slab
// are 16 bytes longer than what they hold, so that neighbors are in different banks and stay aligned.
// Dispatch: splits · MATRICES · ⌈(K + 1) / {{ TILE_ROWS }}⌉ · ⌈OUT_C / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% from "shared/cooperative.wgsl" import left, right, sums %}
{% set DEPTH = 32 %}
{% set row_quads = TILE_ROWS // 4 %}
{% set column_quads = TILE_COLUMNS // 4 %}
{% set input_line = row_quads + 2 %}
{% set cotangent_line = column_quads + 2 %}
{% set input_slots = DEPTH * row_quads %}
{% set cotangent_slots = DEPTH * column_quads %}
{% set input_loads = (input_slots + LANES - 1) // LANES %}
{% set cotangent_loads = (cotangent_slots + LANES - 1) // LANES %}
{% set band = TILE_ROWS // SUBGROUPS %}
{% set matrix_rows = band // SIDE %}
{% set matrix_columns = TILE_COLUMNS // SIDE %}
{% set quads = SIDE // 4 %}
var<workgroup> input_slab: array<real4, {{ DEPTH * input_line }}>;
var<workgroup> cotangent_slab: array<real4, {{ DEPTH * cotangent_line }}>;
var<workgroup> finished: array<vec4<f32>, {{ SUBGROUPS * SIDE * quads }}>;

{% include "shared/contraction_slabs.wgsl" %}

{# Loads that bring a slab's share of an invocation into its registers. -#}
{% macro load_slab() %}
{% for i in range(input_loads) %}
        input_{{ i }} = real4(load_rows(first_row + 4u * input_quad_{{ i }}, slab, input_k_{{ i }}));
{% endfor %}
{% for i in range(cotangent_loads) %}
        cotangent_{{ i }} = real4({% if in_lines %}load_cotangent(pixel_in(slab, cotangent_k_{{ i }}), first_column + 4u * cotangent_quad_{{ i }}){% else %}select(
            vec4<f32>(),
            load_cotangent(pixel_in(slab, cotangent_k_{{ i }}), first_column + 4u * cotangent_quad_{{ i }}),
            cotangent_k_{{ i }} <= slab.last,
        ){% endif %});
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
    let column_tiles = {{ (OUT_C + TILE_COLUMNS - 1) // TILE_COLUMNS }}u;
    let row_tiles = (K + {{ TILE_ROWS }}u) / {{ TILE_ROWS }}u;
    // `linear_workgroup`, inlined because naga treats results of functions as non-uniform.
    let tile = group.x + group.y * grid.x;
    let share = tile / (column_tiles * row_tiles);
    let before = share % {{ MATRICES }}u * params.lines;
    let first_line = before + share / {{ MATRICES }}u * params.lines_per_split;
    let end_line = min(first_line + params.lines_per_split, before + params.lines);
    if first_line >= end_line {
        return;
    }
    let first_row = tile / column_tiles % row_tiles * {{ TILE_ROWS }}u;
    let first_column = tile % column_tiles * {{ TILE_COLUMNS }}u;
    let end = end_line * {{ OUT_W }}u;
{% for i in range(input_loads) %}
    let input_k_{{ i }} = {% if (i + 1) * LANES > input_slots %}min((lane + {{ i * LANES }}u) / {{ row_quads }}u, {{ DEPTH - 1 }}u){% else %}(lane + {{ i * LANES }}u) / {{ row_quads }}u{% endif %};
    let input_quad_{{ i }} = (lane + {{ i * LANES }}u) % {{ row_quads }}u;
    var input_{{ i }} = real4();
{% endfor %}
{% for i in range(cotangent_loads) %}
    let cotangent_k_{{ i }} = {% if (i + 1) * LANES > cotangent_slots %}min((lane + {{ i * LANES }}u) / {{ column_quads }}u, {{ DEPTH - 1 }}u){% else %}(lane + {{ i * LANES }}u) / {{ column_quads }}u{% endif %};
    let cotangent_quad_{{ i }} = (lane + {{ i * LANES }}u) % {{ column_quads }}u;
    var cotangent_{{ i }} = real4();
{% endfor %}
{% for r in range(matrix_rows) %}
{% for c in range(matrix_columns) %}
    var sum_{{ r }}_{{ c }} = {{ sums(SIDE) }}();
{% endfor %}
{% endfor %}
    let band = subgroup * {{ band }}u;
    let first = first_line * {{ OUT_W }}u;
    {
        let slab = slab_at(first, end);
{{ load_slab() }}
    }
    for (var multiplied = first; multiplied < end; multiplied += {{ DEPTH }}u) {
        // The slab before has been multiplied. This one's loads have come; the next one's are on their way while it is multiplied.
        workgroupBarrier();
{% for i in range(input_loads) %}
        {% if (i + 1) * LANES > input_slots %}if lane < {{ input_slots - i * LANES }}u {% endif %}{ input_slab[input_k_{{ i }} * {{ input_line }}u + input_quad_{{ i }}] = input_{{ i }}; }
{% endfor %}
{% for i in range(cotangent_loads) %}
        {% if (i + 1) * LANES > cotangent_slots %}if lane < {{ cotangent_slots - i * LANES }}u {% endif %}{ cotangent_slab[cotangent_k_{{ i }} * {{ cotangent_line }}u + cotangent_quad_{{ i }}] = cotangent_{{ i }}; }
{% endfor %}
        workgroupBarrier();
        if multiplied + {{ DEPTH }}u < end {
            let slab = slab_at(multiplied + {{ DEPTH }}u, end);
{{ load_slab() }}
        }
{% for k in range(DEPTH // SIDE) %}
{% for r in range(matrix_rows) %}
        let a_{{ k }}_{{ r }} = coopLoad<{{ left(SIDE) }}>(&input_slab[{{ k * SIDE * input_line }}u + (band + {{ r * SIDE }}u) / 4u], {{ input_line }}u);
{% endfor %}
{% for c in range(matrix_columns) %}
        let b_{{ k }}_{{ c }} = coopLoadT<{{ right(SIDE) }}>(&cotangent_slab[{{ k * SIDE * cotangent_line + c * quads }}u], {{ cotangent_line }}u);
{% for r in range(matrix_rows) %}
        sum_{{ r }}_{{ c }} = coopMultiplyAdd(a_{{ k }}_{{ r }}, b_{{ k }}_{{ c }}, sum_{{ r }}_{{ c }});
{% endfor %}
{% endfor %}
{% endfor %}
    }
{% set store = "store_partial(share, row, column, sums);" %}
{% include "shared/cooperative_store.wgsl" %}
}
