// Tile: a workgroup of {{ LANES }} invocations owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns. Slabs of some pixels of
// both operands go through workgroup memory, the next one on its way while one is multiplied; an invocation keeps
// {{ LANE_ROWS }} rows × {{ LANE_COLUMNS }} columns of sums in registers.
// Dispatch: splits · MATRICES · ⌈(K + 1) / {{ TILE_ROWS }}⌉ · ⌈OUT_C / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
//
{% set LONGEST = 32 if DEEP else 16 %}
{# Two lines of 16 pixels of 32 bits would take too many registers. -#}
{% set MOST = (32 if by_words else 30) if DEEP else 16 %}
{% set STEP = 1 %}
{% set whole_slabs = true %}
{% include "shared/contraction_slabs.wgsl" %}

{% set lane_columns = TILE_COLUMNS // LANE_COLUMNS %}
{% set lane_rows = TILE_ROWS // LANE_ROWS %}
{% set row_parts = LANE_ROWS // 4 %}
{% set column_parts = LANE_COLUMNS // 4 %}
{% set row_quads = TILE_ROWS // 4 %}
{% set column_quads = TILE_COLUMNS // 4 %}
{% set block_columns = 4 if lane_columns % 4 == 0 else 2 %}
{% set block_rows = 8 // block_columns %}
{% set input_slots = DEPTH * row_quads %}
{% set cotangent_slots = DEPTH * column_quads %}
{% set input_loads = (input_slots + LANES - 1) // LANES %}
{% set cotangent_loads = (cotangent_slots + LANES - 1) // LANES %}
{% set loads = input_loads + cotangent_loads %}
{% set cotangents = "packed4" if wide_columns else "vec4<f32>" %}
{% set cotangent_numbers = "unpack4" if wide_columns else "" %}
// Banks: eight neighboring invocations access workgroup memory at a time, 128 bits each, and vectors collide where their numbers are
// equal modulo 8.
//     store           8 neighboring vectors
//     load            {{ block_rows }} groups of rows and {{ block_columns }} of columns, each neighboring vectors
// The slabs have room for what all invocations store: a condition would split the loop.
var<workgroup> input_slab: array<vec4<f32>, {{ input_loads * LANES }}>;
var<workgroup> cotangent_slab: array<vec4<f32>, {{ cotangent_loads * LANES }}>;

{# The pixel that load number `i` of a part of the slab is of. Past the last one it is the last. -#}
{% macro pixel_of(i, slots, quads) %}{% set k = "lane / " ~ quads ~ "u + " ~ (i * LANES // quads) ~ "u" %}{% if (i + 1) * LANES > slots %}min({{ k }}, {{ DEPTH - 1 }}u){% else %}{{ k }}{% endif %}{% endmacro %}
{# Load number `n` of an invocation's share of a slab. What must not be used is left out where it is stored: a selection here would wait
   for it. -#}
{% macro fetch(n) %}
{% if n >= input_loads %}
{% set i = n - input_loads %}
{% if wide_columns %}
            let cotangent_at_{{ i }} = cotangent_at(slab.pixel, 0u) + cotangent_offset_{{ i }};
            let cotangent_{{ i }} = d_output[{% if ragged %}min(cotangent_at_{{ i }}, last_cotangent){% else %}cotangent_at_{{ i }}{% endif %}];
{% else %}
            let pixel_{{ i }} = slab.pixel + cotangent_k_{{ i }};
            let cotangent_{{ i }} = load_cotangent({% if ragged %}min(pixel_{{ i }}, end - 1u){% else %}pixel_{{ i }}{% endif %}, cotangent_column);
{% endif %}
{% elif wide_rows %}
            let place_{{ n }} = place_of(input_element_{{ n }}, slab);
            let input_{{ n }} = input[place_{{ n }}.at];
{% else %}
            let input_{{ n }} = load_rows(input_row, slab, input_k_{{ n }});
{% endif %}
{% endmacro %}
{# Stores what was fetched. -#}
{% macro stage() %}
            workgroupBarrier();
{% for i in range(input_loads) %}
            input_slab[lane + {{ i * LANES }}u] = {% if wide_rows %}unpack4(select(input_blank, input_{{ i }}, place_{{ i }}.is_inside)){% else %}input_{{ i }}{% endif %};
{% endfor %}
{% for i in range(cotangent_loads) %}
            cotangent_slab[lane + {{ i * LANES }}u] = {{ cotangent_numbers }}({% if ragged %}select({{ cotangents }}(), cotangent_{{ i }}, is_pixel(slab, cotangent_k_{{ i }})){% else %}cotangent_{{ i }}{% endif %});
{% endfor %}
            workgroupBarrier();
{% endmacro %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column_tiles = {{ (OUT_C + TILE_COLUMNS - 1) // TILE_COLUMNS }}u;
    let row_tiles = (K + {{ TILE_ROWS }}u) / {{ TILE_ROWS }}u;
    let tile = linear_workgroup(group, grid);
    let share = tile / (column_tiles * row_tiles);
    let before = share % {{ MATRICES }}u * params.lines;
    let first_line = before + share / {{ MATRICES }}u * params.lines_per_split;
    let end_line = min(first_line + params.lines_per_split, before + params.lines);
    if first_line >= end_line {
        return;
    }
    let first_row = tile / column_tiles % row_tiles * {{ TILE_ROWS }}u;
    let first_column = tile % column_tiles * {{ TILE_COLUMNS }}u;
    // Eight neighboring invocations are a block of {{ block_rows }} × {{ block_columns }}.
    let lane_row = lane / 8u / {{ lane_columns // block_columns }}u * {{ block_rows }}u + lane % 8u / {{ block_columns }}u;
    let lane_column = lane / 8u % {{ lane_columns // block_columns }}u * {{ block_columns }}u + lane % {{ block_columns }}u;
{% if ragged %}
    let end = end_line * {{ OUT_W }}u;
{% endif %}
    // The loads of an invocation are of the same four rows and columns, {{ LANES // row_quads }} and {{ LANES // column_quads }} pixels apart.
    let input_row = first_row + lane % {{ row_quads }}u * 4u;
    let cotangent_column = first_column + lane % {{ column_quads }}u * 4u;
{% if wide_rows %}
    let input_blank = blank(input_row);
{% endif %}
{% for i in range(input_loads) %}
    let input_k_{{ i }} = {{ pixel_of(i, input_slots, row_quads) }};
{% if wide_rows %}
    let input_element_{{ i }} = element_of(tap_of(input_row), input_k_{{ i }});
{% endif %}
{% endfor %}
{% for i in range(cotangent_loads) %}
    let cotangent_k_{{ i }} = {{ pixel_of(i, cotangent_slots, column_quads) }};
{% if wide_columns %}
    let cotangent_offset_{{ i }} = cotangent_at(cotangent_k_{{ i }}, cotangent_column);
{% endif %}
{% endfor %}
{% if wide_columns and ragged %}
    let last_cotangent = cotangent_at(end - 1u, COLUMNS);
{% endif %}
{% for r in range(LANE_ROWS) %}
{% for q in range(column_parts) %}
    var sum_{{ r }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}
    let lines = end_line - first_line;
    let slabs = lines / {{ slab_lines }}u * {{ segments }}u;
    // First the whole slabs, then the lines that do not fill one.
    for (var part = 0u; part < {{ 2 if slab_lines > 1 else 1 }}u; part++) {
        let pixels = {% if slab_lines > 1 %}select(min(slabs, 1u) * {{ DEPTH }}u, lines % {{ slab_lines }}u * {{ width }}u, part == 1u){% else %}{{ DEPTH }}u{% endif %};
        let first_slab = slab_at(part * slabs, first_line, end_line);
        workgroupBarrier();
        for (var slot = lane; slot < pixels * {{ row_quads }}u; slot += {{ LANES }}u) {
            let row = first_row + slot % {{ row_quads }}u * 4u;
{% if wide_rows %}
            let place = place_of(element_of(tap_of(row), slot / {{ row_quads }}u), first_slab);
            input_slab[slot] = unpack4(select(blank(row), input[place.at], place.is_inside));
{% else %}
            input_slab[slot] = load_rows(row, first_slab, slot / {{ row_quads }}u);
{% endif %}
        }
        for (var slot = lane; slot < pixels * {{ column_quads }}u; slot += {{ LANES }}u) {
            cotangent_slab[slot] = load_cotangent(first_slab.pixel + slot / {{ column_quads }}u, first_column + slot % {{ column_quads }}u * 4u);
        }
        workgroupBarrier();
        let end_slab = select(slabs, 0u, part == 1u);
        for (var number = 1u; number < end_slab; number++) {
            let slab = slab_at(number, first_line, end_line);
{% for k in range(DEPTH) %}
{% for p in range(row_parts) %}
            let a_{{ k }}_{{ p }} = input_slab[{{ k * row_quads + p * lane_rows }}u + lane_row];
{% endfor %}
{% for q in range(column_parts) %}
            let b_{{ k }}_{{ q }} = cotangent_slab[{{ k * column_quads + q * lane_columns }}u + lane_column];
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(column_parts) %}
            sum_{{ r }}_{{ q }} += a_{{ k }}_{{ r // 4 }}[{{ r % 4 }}] * b_{{ k }}_{{ q }};
{% endfor %}
{% endfor %}
{# The last loads have a quarter of the products to come in. -#}
{% for n in range(loads) if n // together * together * DEPTH * 3 // 4 // loads == k %}
{{ fetch(n) }}
{% endfor %}
{% endfor %}
{{ stage() }}
        }
        // The slab that came last.
        for (var k = 0u; k < pixels; k++) {
{% for p in range(row_parts) %}
            let a_{{ p }} = input_slab[k * {{ row_quads }}u + {{ p * lane_rows }}u + lane_row];
{% endfor %}
{% for q in range(column_parts) %}
            let b_{{ q }} = cotangent_slab[k * {{ column_quads }}u + {{ q * lane_columns }}u + lane_column];
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(column_parts) %}
            sum_{{ r }}_{{ q }} += a_{{ r // 4 }}[{{ r % 4 }}] * b_{{ q }};
{% endfor %}
{% endfor %}
        }
    }
{% for r in range(LANE_ROWS) %}
    let row_{{ r }} = first_row + {{ r // 4 * TILE_ROWS // row_parts + r % 4 }}u + 4u * lane_row;
{% for q in range(column_parts) %}
    store_partial(share, row_{{ r }}, first_column + 4u * lane_column + {{ q * TILE_COLUMNS // column_parts }}u, sum_{{ r }}_{{ q }});
{% endfor %}
{% endfor %}
}
