// Tile: a workgroup of {{ LANES }} invocations owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns. Slabs of 16 pixels of
// both operands go through workgroup memory, the next one on its way while one is multiplied; an invocation keeps
// 8 rows × 8 columns of sums in registers.
// Dispatch: splits · MATRICES · ⌈(K + 1) / {{ TILE_ROWS }}⌉ · ⌈OUT_C / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% set lane_columns = TILE_COLUMNS // 8 %}
{% set lane_rows = TILE_ROWS // 8 %}
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
{% endfor %}
{% for i in range(cotangent_loads) %}
    let cotangent_column_{{ i }} = first_column + (lane + {{ i * LANES }}u) % {{ column_quads }}u * 4u;
    let cotangent_k_{{ i }} = (lane + {{ i * LANES }}u) / {{ column_quads }}u;
    var cotangent_{{ i }} = vec4<f32>();
{% endfor %}
{% for r in range(8) %}
    var sum_{{ r }}_0 = vec4<f32>();
    var sum_{{ r }}_1 = vec4<f32>();
{% endfor %}
    var loaded = first_line * {{ OUT_W }}u;
    for (var multiplied = loaded; multiplied < end + 16u; multiplied += 16u) {
        let ready = multiplied > first_line * {{ OUT_W }}u;
        if ready {
            // The slab before has been multiplied; this one's loads have come.
            workgroupBarrier();
{% for i in range(input_loads) %}
            {% if (i + 1) * LANES > input_slots %}if lane < {{ input_slots - i * LANES }}u {% endif %}{ input_slab[lane + {{ i * LANES }}u] = input_{{ i }}; }
{% endfor %}
{% for i in range(cotangent_loads) %}
            {% if (i + 1) * LANES > cotangent_slots %}if lane < {{ cotangent_slots - i * LANES }}u {% endif %}{ cotangent_slab[lane + {{ i * LANES }}u] = cotangent_{{ i }}; }
{% endfor %}
            workgroupBarrier();
        }
        if loaded < end {
            // Pixels past the split's end have no effect, for any input.
{% for i in range(input_loads) %}
            input_{{ i }} = load_rows(input_row_{{ i }}, min(loaded + input_k_{{ i }}, end - 1u));
{% endfor %}
{% for i in range(cotangent_loads) %}
            let pixel_{{ i }} = loaded + cotangent_k_{{ i }};
            cotangent_{{ i }} = select(
                vec4<f32>(),
                load_cotangent(min(pixel_{{ i }}, end - 1u), cotangent_column_{{ i }}),
                pixel_{{ i }} < end,
            );
{% endfor %}
            loaded += 16u;
        }
        if ready {
            for (var k = 0u; k < 16u; k += 4u) {
{% for i in range(4) %}
                let a_{{ i }}_0 = input_slab[(k + {{ i }}u) * {{ row_quads }}u + lane_row];
                let a_{{ i }}_1 = input_slab[(k + {{ i }}u) * {{ row_quads }}u + lane_row + {{ lane_rows }}u];
                let b_{{ i }}_0 = cotangent_slab[(k + {{ i }}u) * {{ column_quads }}u + lane_column];
                let b_{{ i }}_1 = cotangent_slab[(k + {{ i }}u) * {{ column_quads }}u + lane_column + {{ lane_columns }}u];
{% for r in range(8) %}
                sum_{{ r }}_0 += a_{{ i }}_{{ r // 4 }}[{{ r % 4 }}] * b_{{ i }}_0;
                sum_{{ r }}_1 += a_{{ i }}_{{ r // 4 }}[{{ r % 4 }}] * b_{{ i }}_1;
{% endfor %}
{% endfor %}
            }
        }
    }
{% for r in range(8) %}
    store_partial(share, first_row + {{ r // 4 * TILE_ROWS // 2 + r % 4 }}u + 4u * lane_row, first_column + 4u * lane_column, sum_{{ r }}_0);
    store_partial(share, first_row + {{ r // 4 * TILE_ROWS // 2 + r % 4 }}u + 4u * lane_row, first_column + 4u * lane_column + {{ TILE_COLUMNS // 2 }}u, sum_{{ r }}_1);
{% endfor %}
}
