// Tile: a workgroup of {{ LANES }} invocations owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns. Slabs of some channels of one
// tap of both operands go through workgroup memory, the next one on its way while one is multiplied; an invocation keeps
// {{ LANE_ROWS }} rows × {{ LANE_COLUMNS }} columns of sums in registers.
// Dispatch: MATRICES · ⌈rows / {{ TILE_ROWS }}⌉ · ⌈COLUMNS / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
//
{% set lane_columns = TILE_COLUMNS // LANE_COLUMNS %}
{% set lane_rows = TILE_ROWS // LANE_ROWS %}
{% set row_parts = LANE_ROWS // 4 %}
{% set column_parts = LANE_COLUMNS // 4 %}
{% set row_groups = TILE_ROWS // 4 %}
{% set column_quads = TILE_COLUMNS // 4 %}
{% set block_columns = 4 if lane_columns % 4 == 0 else 2 %}
{% set block_rows = 8 // block_columns %}
{% set DEPTH = 24 if DEEP and CHANNELS % 24 == 0 else 16 %}
{% set by_taps = CHANNELS % 4 == 0 %}
{% set ragged = CHANNELS % DEPTH != 0 %}
{% set taps = KERNEL_H * KERNEL_W %}
{% set slabs_per_tap = (CHANNELS + DEPTH - 1) // DEPTH %}
{% set slabs = taps * slabs_per_tap if by_taps else (taps * CHANNELS + DEPTH - 1) // DEPTH %}
{% set patch_slots = TILE_ROWS * DEPTH // 16 %}
{% set weight_slots = DEPTH * column_quads %}
{% set patch_loads = (patch_slots + LANES - 1) // LANES %}
{% set weight_loads = (weight_slots + LANES - 1) // LANES %}
{% set loads = 4 * patch_loads + weight_loads %}
{% set quad_stride = 4 * row_groups + 4 %}
// A slab lies channel by channel, so that one load of 128 bits brings an operand of four rows or columns. For that, an invocation
// transposes four channels of four rows when it stores them. Banks: eight neighboring invocations access workgroup memory at a time,
// 128 bits each, and vectors collide where their numbers are equal modulo 8.
//     store patches   4 neighboring groups of rows, of each 2 quads of channels, 4 vectors further apart than the groups are many
//     store weights   8 neighboring vectors
//     load            {{ 8 // block_columns }} groups of rows and {{ block_columns }} of columns, each neighboring vectors
var<workgroup> patch_slab: array<vec4<f32>, {{ DEPTH // 4 * quad_stride }}>;
var<workgroup> weight_slab: array<vec4<f32>, {{ weight_slots }}>;

{% include "shared/product_slabs.wgsl" %}

{# Where the rows of an invocation's patches begin at a tap. -#}
{% macro begin_tap(tap) %}
{% for i in range(patch_loads) %}
{% for r in range(4) %}
        let start_{{ i }}_{{ r }} = tap_start(origin_{{ i }}_{{ r }}, i32({{ tap }} / {{ KERNEL_W }}u), i32({{ tap }} % {{ KERNEL_W }}u));
        let first_{{ i }}_{{ r }} = u32(max(start_{{ i }}_{{ r }}, 0)) / 4u{% if not ragged %} + patch_quad_{{ i }}{% endif %};
{% endfor %}
{% endfor %}
        let weight_tap_row = matrix * K + weight_tap({{ tap }}) * CHANNELS;
{% endmacro %}
{# Load number `n` of an invocation's share of a slab, which begins at a channel of the tap or is one of all. What must not be used is
   left out where it is stored: a selection here would wait for it. -#}
{% macro fetch(n, slab) %}
{% if n < 4 * patch_loads %}
{% set place = (n // 4) ~ "_" ~ (n % 4) %}
            let patch_{{ place }} = {% if by_taps %}source_pixels[first_{{ place }} + {% if ragged %}min({{ slab }} / 4u + patch_quad_{{ n // 4 }}, {{ CHANNELS // 4 - 1 }}u){% else %}{{ slab }} / 4u{% endif %}]{% else %}load_patch(origin_{{ place }}, {{ slab }}, patch_quad_{{ n // 4 }}){% endif %};
{% else %}
{% set i = n - 4 * patch_loads %}
            let weight_{{ i }} = {% if by_taps %}load_any_weight_of_tap(weight_tap_row, {{ slab }} + weight_k_{{ i }}, weight_column_{{ i }}){% else %}load_weight_row(matrix, {{ slab }}, weight_k_{{ i }}, weight_column_{{ i }}){% endif %};
{% endif %}
{% endmacro %}
{# All of them. -#}
{% macro fetch_all(slab) %}
{% for n in range(loads) %}
{{ fetch(n, slab) }}
{% endfor %}
{% endmacro %}
{# Stores what was fetched. -#}
{% macro stage(slab) %}
            workgroupBarrier();
{% for i in range(patch_loads) %}
{% for r in range(4) %}
            let row_{{ i }}_{{ r }} = {% if by_taps %}unpack4(select(packed4(), patch_{{ i }}_{{ r }}, is_inside(start_{{ i }}_{{ r }}, {{ slab }} + 4u * patch_quad_{{ i }}))){% else %}patch_{{ i }}_{{ r }}{% endif %};
{% endfor %}
            {% if (i + 1) * LANES > patch_slots %}if lane < {{ patch_slots - i * LANES }}u {% endif %}{
{% for k in range(4) %}
                patch_slab[patch_quad_{{ i }} * {{ quad_stride }}u + {{ k * row_groups }}u + patch_group_{{ i }}] = vec4<f32>(row_{{ i }}_0[{{ k }}], row_{{ i }}_1[{{ k }}], row_{{ i }}_2[{{ k }}], row_{{ i }}_3[{{ k }}]);
{% endfor %}
            }
{% endfor %}
{% for i in range(weight_loads) %}
            {% if (i + 1) * LANES > weight_slots %}if lane < {{ weight_slots - i * LANES }}u {% endif %}{ weight_slab[lane + {{ i * LANES }}u] = weight_numbers({% if by_taps and ragged %}select(weight_columns(), weight_{{ i }}, {{ slab }} + weight_k_{{ i }} < CHANNELS){% else %}weight_{{ i }}{% endif %}); }
{% endfor %}
            workgroupBarrier();
{% endmacro %}
{# Multiplies the slab that was stored before, and fetches the next one beside it. -#}
{% macro multiply_and_fetch(slab) %}
{% for k in range(DEPTH) %}
{% for p in range(row_parts) %}
            let a_{{ k }}_{{ p }} = patch_slab[{{ k // 4 * quad_stride + k % 4 * row_groups + p * lane_rows }}u + lane_row];
{% endfor %}
{% for q in range(column_parts) %}
            let b_{{ k }}_{{ q }} = weight_slab[{{ k * column_quads + q * lane_columns }}u + lane_column];
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(column_parts) %}
            sum_{{ r }}_{{ q }} += a_{{ k }}_{{ r // 4 }}[{{ r % 4 }}] * b_{{ k }}_{{ q }};
{% endfor %}
{% endfor %}
{# The last loads have a quarter of the products to come in. -#}
{% for n in range(loads) if n // together * together * DEPTH * 3 // 4 // loads == k %}
{{ fetch(n, slab) }}
{% endfor %}
{% endfor %}
{% endmacro %}

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
    // Eight neighboring invocations are a block of {{ block_rows }} × {{ block_columns }}.
    let lane_row = lane / 8u / {{ lane_columns // block_columns }}u * {{ block_rows }}u + lane % 8u / {{ block_columns }}u;
    let lane_column = lane / 8u % {{ lane_columns // block_columns }}u * {{ block_columns }}u + lane % {{ block_columns }}u;
{% for i in range(patch_loads) %}
    let patch_slot_{{ i }} = {% if (i + 1) * LANES > patch_slots %}min(lane + {{ i * LANES }}u, {{ patch_slots - 1 }}u){% else %}lane + {{ i * LANES }}u{% endif %};
    let patch_quad_{{ i }} = patch_slot_{{ i }} / {{ 2 * row_groups }}u * 2u + patch_slot_{{ i }} % 2u;
    let patch_group_{{ i }} = patch_slot_{{ i }} / 2u % {{ row_groups }}u;
{% if four_in_line %}
    let origin_{{ i }}_0 = origin(min(first_row + 4u * patch_group_{{ i }}, params.rows - 4u));
{% for r in range(1, 4) %}
    let origin_{{ i }}_{{ r }} = beside(origin_{{ i }}_0, {{ r }});
{% endfor %}
{% else %}
{% for r in range(4) %}
    let origin_{{ i }}_{{ r }} = origin(matrix_row + min(first_row + 4u * patch_group_{{ i }} + {{ r }}u, params.rows - 1u));
{% endfor %}
{% endif %}
{% endfor %}
{% for i in range(weight_loads) %}
    let weight_k_{{ i }} = {% if (i + 1) * LANES > weight_slots %}min((lane + {{ i * LANES }}u) / {{ column_quads }}u, {{ DEPTH - 1 }}u){% else %}(lane + {{ i * LANES }}u) / {{ column_quads }}u{% endif %};
    let weight_column_{{ i }} = first_column + (lane + {{ i * LANES }}u) % {{ column_quads }}u * 4u;
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(column_parts) %}
    var sum_{{ r }}_{{ q }} = first_sum(first_column + 4u * lane_column + {{ q * TILE_COLUMNS // column_parts }}u);
{% endfor %}
{% endfor %}
{% if slabs > 0 %}
    // The last round fetches what nobody uses: a branch in the loop would keep its loads from going beside the products.
{% if by_taps %}
    {
{{ begin_tap("0u") }}
{{ fetch_all("0u") }}
{{ stage("0u") }}
    }
    for (var round = 0u; round <= {{ taps }}u; round++) {
        let tap = min(round, {{ taps - 1 }}u);
{{ begin_tap("tap") }}
        let end = select(CHANNELS, 1u, round == {{ taps }}u);
        for (var channel = select(0u, {{ DEPTH }}u, round == 0u); channel < end; channel += {{ DEPTH }}u) {
{{ multiply_and_fetch("channel") }}
{{ stage("channel") }}
        }
    }
{% else %}
    {
{{ fetch_all("0u") }}
{{ stage("0u") }}
    }
    for (var slab = 1u; slab <= {{ slabs }}u; slab++) {
{{ multiply_and_fetch("slab") }}
{{ stage("slab") }}
    }
{% endif %}
{% endif %}
{% for r in range(LANE_ROWS) %}
    let row_{{ r }} = first_row + 4u * lane_row + {{ r // 4 * TILE_ROWS // row_parts + r % 4 }}u;
    if row_{{ r }} < params.rows {
        let row = target_row(matrix_row + row_{{ r }});
{% for q in range(column_parts) %}
        let column_{{ q }} = first_column + 4u * lane_column + {{ q * TILE_COLUMNS // column_parts }}u;
        store_target(row, column_{{ q }}, finish(row, column_{{ q }}, sum_{{ r }}_{{ q }}));
{% endfor %}
    }
{% endfor %}
}
