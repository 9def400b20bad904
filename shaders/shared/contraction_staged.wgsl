// Tile: a workgroup of {{ LANES }} invocations owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns. Slabs of 16 pixels of
// both operands go through workgroup memory, the next one on its way while one is multiplied; an invocation keeps
// {{ LANE_ROWS }} rows × {{ LANE_COLUMNS }} columns of sums in registers.
// Dispatch: splits · MATRICES · ⌈(K + 1) / {{ TILE_ROWS }}⌉ · ⌈OUT_C / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% set lane_columns = TILE_COLUMNS // LANE_COLUMNS %}
{% set lane_rows = TILE_ROWS // LANE_ROWS %}
{% set row_parts = LANE_ROWS // 4 %}
{% set column_parts = LANE_COLUMNS // 4 %}
{% set row_quads = TILE_ROWS // 4 %}
{% set column_quads = TILE_COLUMNS // 4 %}
{% set input_slots = 16 * row_quads %}
{% set cotangent_slots = 16 * column_quads %}
{% set input_loads = (input_slots + LANES - 1) // LANES %}
{% set cotangent_loads = (cotangent_slots + LANES - 1) // LANES %}
var<workgroup> input_slab: array<vec4<f32>, {{ input_slots }}>;
var<workgroup> cotangent_slab: array<vec4<f32>, {{ cotangent_slots }}>;

{% include "shared/contraction_slabs.wgsl" %}

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
    let lane_row = lane / {{ lane_columns }}u;
    let lane_column = lane % {{ lane_columns }}u;
    let end = end_line * {{ OUT_W }}u;
{% for i in range(input_loads) %}
    let input_row_{{ i }} = first_row + (lane + {{ i * LANES }}u) % {{ row_quads }}u * 4u;
    let input_k_{{ i }} = (lane + {{ i * LANES }}u) / {{ row_quads }}u;
    var input_{{ i }} = vec4<f32>();
{% if wide_rows %}
    // Whether it is of use, which is asked where it has come: a selection before would wait for it.
    var input_here_{{ i }} = false;
{% endif %}
{% endfor %}
{% for i in range(cotangent_loads) %}
    let cotangent_column_{{ i }} = first_column + (lane + {{ i * LANES }}u) % {{ column_quads }}u * 4u;
    let cotangent_k_{{ i }} = (lane + {{ i * LANES }}u) / {{ column_quads }}u;
    var cotangent_{{ i }} = vec4<f32>();
    var cotangent_here_{{ i }} = false;
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(column_parts) %}
    var sum_{{ r }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}
    var loaded = first_line * {{ OUT_W }}u;
    for (var multiplied = loaded; multiplied < end + 16u; multiplied += 16u) {
        let ready = multiplied > first_line * {{ OUT_W }}u;
        if ready {
            // The slab before has been multiplied; this one's loads have come.
            workgroupBarrier();
{% for i in range(input_loads) %}
            {% if (i + 1) * LANES > input_slots %}if lane < {{ input_slots - i * LANES }}u {% endif %}{ input_slab[lane + {{ i * LANES }}u] = {% if wide_rows %}select(blank(input_row_{{ i }}), input_{{ i }}, input_here_{{ i }}){% else %}input_{{ i }}{% endif %}; }
{% endfor %}
{% for i in range(cotangent_loads) %}
            {% if (i + 1) * LANES > cotangent_slots %}if lane < {{ cotangent_slots - i * LANES }}u {% endif %}{ cotangent_slab[lane + {{ i * LANES }}u] = select(vec4<f32>(), cotangent_{{ i }}, cotangent_here_{{ i }}); }
{% endfor %}
            workgroupBarrier();
        }
        if loaded < end {
            // Pixels past the split's end have no effect, for any input.
{% for i in range(input_loads) %}
{% if wide_rows %}
            let input_start_{{ i }} = element_start(tap_of(input_row_{{ i }}), min(loaded + input_k_{{ i }}, end - 1u));
            input_{{ i }} = load_any_element(input_start_{{ i }});
            input_here_{{ i }} = input_start_{{ i }} >= 0;
{% else %}
            input_{{ i }} = load_rows(input_row_{{ i }}, min(loaded + input_k_{{ i }}, end - 1u));
{% endif %}
{% endfor %}
{% for i in range(cotangent_loads) %}
            let pixel_{{ i }} = loaded + cotangent_k_{{ i }};
            cotangent_{{ i }} = load_cotangent(min(pixel_{{ i }}, end - 1u), cotangent_column_{{ i }});
            cotangent_here_{{ i }} = pixel_{{ i }} < end;
{% endfor %}
            loaded += 16u;
        }
        if ready {
            for (var k = 0u; k < 16u; k += 4u) {
{% for i in range(4) %}
{% for p in range(row_parts) %}
                let a_{{ i }}_{{ p }} = input_slab[(k + {{ i }}u) * {{ row_quads }}u + lane_row + {{ p * lane_rows }}u];
{% endfor %}
{% for q in range(column_parts) %}
                let b_{{ i }}_{{ q }} = cotangent_slab[(k + {{ i }}u) * {{ column_quads }}u + lane_column + {{ q * lane_columns }}u];
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(column_parts) %}
                sum_{{ r }}_{{ q }} += a_{{ i }}_{{ r // 4 }}[{{ r % 4 }}] * b_{{ i }}_{{ q }};
{% endfor %}
{% endfor %}
{% endfor %}
            }
        }
    }
{% for r in range(LANE_ROWS) %}
    let row_{{ r }} = first_row + {{ r // 4 * TILE_ROWS // row_parts + r % 4 }}u + 4u * lane_row;
{% for q in range(column_parts) %}
    store_partial(share, row_{{ r }}, first_column + 4u * lane_column + {{ q * TILE_COLUMNS // column_parts }}u, sum_{{ r }}_{{ q }});
{% endfor %}
{% endfor %}
}
