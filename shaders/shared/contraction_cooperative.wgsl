// Tile: a workgroup of {{ SUBGROUPS }} subgroups owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns, each subgroup
// {{ TILE_ROWS // SUBGROUP_ROWS }} × {{ TILE_COLUMNS // SUBGROUP_COLUMNS }} of them as cooperative matrices of {{ SIDE }} × {{ SIDE }}
// sums. Slabs of some pixels of both operands go through workgroup memory, 16 bits wide, the next one on its way while one is multiplied.
// An invocation transposes four channels of four pixels when it stores them: so both slabs hold neighboring pixels of a row or column,
// as matrix units take them.
// Dispatch: splits · MATRICES · ⌈(K + 1) / {{ TILE_ROWS }}⌉ · ⌈OUT_C / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% from "shared/cooperative.wgsl" import multiply, sums %}
{# Lines fill slabs of 32 pixels or, if three quarters of those or less, of 48. -#}
{% set segments_of_32 = (OUT_W + 31) // 32 %}
{% set of_32 = 32 // OUT_W * OUT_W if OUT_W <= 32 else (OUT_W + segments_of_32 - 1) // segments_of_32 %}
{% set MOST = 32 if of_32 > 24 else 48 %}
{% set LONGEST = MOST %}
{% set STEP = SIDE %}
{% set whole_slabs = false %}
{% include "shared/contraction_slabs.wgsl" %}

{% set pixel_quads = DEPTH // 4 %}
{% set groups = LANES // pixel_quads %}
{% set input_blocks = (TILE_ROWS // 4 + groups - 1) // groups %}
{% set cotangent_blocks = (TILE_COLUMNS // 4 + groups - 1) // groups %}
{% set matrix_rows = TILE_ROWS // SUBGROUP_ROWS // SIDE %}
{% set matrix_columns = TILE_COLUMNS // SUBGROUP_COLUMNS // SIDE %}
{% set quads = SIDE // 4 %}
{% set line = pixel_quads + 2 %}
// A slab's lines have 32 pixels and 16 bytes more, {{ line * 8 }} bytes. Banks: eight neighboring invocations store one line, 16 banks of 32
// bits, and the next eight the fourth line after it, {{ line * 8 }} banks further. A matrix's load takes 128 bits of eight lines, which are
// {{ line * 2 }} banks apart. Both take all 32 banks once.
var<workgroup> input_slab: array<real4, {{ TILE_ROWS * line }}>;
var<workgroup> cotangent_slab: array<real4, {{ TILE_COLUMNS * line }}>;
var<workgroup> finished: array<vec4<f32>, {{ SUBGROUPS * SIDE * quads }}>;

{# An invocation's share of a slab: blocks of four pixels of four rows or columns. -#}
{% macro load_slab() %}
{% for p in range(4) %}
{% for i in range(input_blocks) %}
        let place_{{ i }}_{{ p }} = place_of(element_{{ i }}_{{ p }}, slab);
        input_{{ i }}_{{ p }} = select(blank_{{ i }}, input[place_{{ i }}_{{ p }}.at], place_{{ i }}_{{ p }}.is_inside);
{% endfor %}
{% for i in range(cotangent_blocks) %}
        cotangent_{{ i }}_{{ p }} = {% if exact %}d_output[cotangent_at(slab.pixel + 4u * pixel_quad + {{ p }}u, first_column + 4u * (group + {{ i * groups }}u))]{% else %}select(
            packed4(),
            d_output[cotangent_at(min(slab.pixel + 4u * pixel_quad + {{ p }}u, end - 1u), first_column + 4u * (group + {{ i * groups }}u))],
            is_pixel(slab, 4u * pixel_quad + {{ p }}u),
        ){% endif %};
{% endfor %}
{% endfor %}
{% endmacro %}
{# Stores block `i` of those that were loaded, where there is one. -#}
{% macro store_block(slab, name, i, lines) %}
        {% if (i + 1) * groups * 4 > lines %}if lane < {{ (lines // 4 - i * groups) * pixel_quads }}u {% endif %}{
{% for p in range(4) %}
            let pixel_{{ p }} = real4(unpack4({{ name }}_{{ i }}_{{ p }}));
{% endfor %}
{% for r in range(4) %}
            {{ slab }}[place + {{ (4 * i * groups + r) * line }}u] = real4(pixel_0[{{ r }}], pixel_1[{{ r }}], pixel_2[{{ r }}], pixel_3[{{ r }}]);
{% endfor %}
        }
{% endmacro %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let column_tiles = {{ (OUT_C + TILE_COLUMNS - 1) // TILE_COLUMNS }}u;
    let row_tiles = (K + {{ TILE_ROWS }}u) / {{ TILE_ROWS }}u;
    // `linear_workgroup`, inlined because naga treats results of functions as non-uniform.
    let tile = workgroup.x + workgroup.y * grid.x;
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
    let group = lane / {{ pixel_quads }}u;
    let pixel_quad = lane % {{ pixel_quads }}u;
    let place = group * {{ 4 * line }}u + pixel_quad;
{% for i in range(input_blocks) %}
    let blank_{{ i }} = blank(first_row + 4u * (group + {{ i * groups }}u));
{% for p in range(4) %}
    let element_{{ i }}_{{ p }} = element_of(tap_of(first_row + 4u * (group + {{ i * groups }}u)), 4u * pixel_quad + {{ p }}u);
{% endfor %}
{% endfor %}
{% for p in range(4) %}
{% for i in range(input_blocks) %}
    var input_{{ i }}_{{ p }} = packed4();
{% endfor %}
{% for i in range(cotangent_blocks) %}
    var cotangent_{{ i }}_{{ p }} = packed4();
{% endfor %}
{% endfor %}
{% for r in range(matrix_rows) %}
{% for c in range(matrix_columns) %}
    var sum_{{ r }}_{{ c }} = {{ sums(SIDE) }}();
{% endfor %}
{% endfor %}
    let band = subgroup / {{ SUBGROUP_COLUMNS }}u * {{ TILE_ROWS // SUBGROUP_ROWS }}u;
    let column_band = subgroup % {{ SUBGROUP_COLUMNS }}u * {{ TILE_COLUMNS // SUBGROUP_COLUMNS }}u;
    let input_band = band * {{ line }}u;
    let cotangent_band = column_band * {{ line }}u;
    let slabs = (end_line - first_line + {{ slab_lines - 1 }}u) / {{ slab_lines }}u * {{ segments }}u;
    {
        let slab = slab_at(0u, first_line, end_line);
{{ load_slab() }}
    }
    for (var number = 0u; number < slabs; number++) {
        // The slab before has been multiplied. This one's loads have come; the next one's are on their way while it is multiplied.
        workgroupBarrier();
{% for i in range(input_blocks) %}
{{ store_block("input_slab", "input", i, TILE_ROWS) }}
{% endfor %}
{% for i in range(cotangent_blocks) %}
{{ store_block("cotangent_slab", "cotangent", i, TILE_COLUMNS) }}
{% endfor %}
        workgroupBarrier();
        if number + 1u < slabs {
            let slab = slab_at(number + 1u, first_line, end_line);
{{ load_slab() }}
        }
{{ multiply("input_slab", "input_band", matrix_rows, "cotangent_slab", "cotangent_band", matrix_columns, DEPTH, SIDE, line) }}
    }
{% set store = "store_partial(share, row, column, sums);" %}
{% include "shared/cooperative_store.wgsl" %}
}
