// Tile: a workgroup of {{ LANES }} invocations owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns. Slabs of 16 channels of
// one tap of both operands go through workgroup memory, the next one on its way while one is multiplied; an invocation
// keeps {{ LANE_ROWS }} rows × {{ LANE_COLUMNS }} columns of sums in registers. A slab of patches lies row by row with a gap of four floats after each,
// so that neighboring rows are in different banks.
// Dispatch: MATRICES · ⌈rows / {{ TILE_ROWS }}⌉ · ⌈COLUMNS / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% set lane_columns = TILE_COLUMNS // LANE_COLUMNS %}
{% set lane_rows = TILE_ROWS // LANE_ROWS %}
{% set quads = LANE_COLUMNS // 4 %}
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
{% if by_taps %}
    // The tap and the first channel of the slab to load next, which are those of all invocations; and of each load what changes
    // with the tap alone.
    var tap = 0u;
    var channel = 0u;
    // The first channel of the slab whose loads are under way. What they must not use is left out where they have come: a
    // selection here would wait for them.
    var loaded_channel = 0u;
    var weight_tap_row = 0u;
{% for i in range(patch_loads) %}
    var patch_start_{{ i }} = -1;
{% endfor %}
{% endif %}
{% for i in range(weight_loads) %}
    let weight_k_{{ i }} = {% if (i + 1) * LANES > weight_slots %}min((lane + {{ i * LANES }}u) / {{ column_quads }}u, 15u){% else %}(lane + {{ i * LANES }}u) / {{ column_quads }}u{% endif %};
    let weight_column_{{ i }} = first_column + (lane + {{ i * LANES }}u) % {{ column_quads }}u * 4u;
    var weight_{{ i }} = vec4<f32>();
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(quads) %}
    var sum_{{ r }}_{{ q }} = first_sum(first_column + 4u * lane_column + {{ q * TILE_COLUMNS // quads }}u);
{% endfor %}
{% endfor %}
    for (var slab = 0u; slab <= {{ slabs }}u; slab++) {
        if slab > 0u {
            // The slab before has been multiplied; this one's loads have come.
            workgroupBarrier();
{% for i in range(patch_loads) %}
{% set guarded = (i + 1) * LANES > patch_slots %}
            {% if guarded %}if lane < {{ patch_slots - i * LANES }}u {% endif %}{ patch_slab[patch_row_{{ i }} * 5u + patch_quad] = {% if by_taps %}select(vec4<f32>(), patch_{{ i }}, is_inside(patch_start_{{ i }}, loaded_channel + 4u * patch_quad)){% else %}patch_{{ i }}{% endif %}; }
{% endfor %}
{% for i in range(weight_loads) %}
{% set guarded = (i + 1) * LANES > weight_slots %}
            {% if guarded %}if lane < {{ weight_slots - i * LANES }}u {% endif %}{ weight_slab[lane + {{ i * LANES }}u] = weight_{{ i }}; }
{% endfor %}
            workgroupBarrier();
        }
        if slab < {{ slabs }}u {
{% if by_taps %}
            if channel == 0u {
                weight_tap_row = matrix * K + weight_tap(tap) * CHANNELS;
{% for i in range(patch_loads) %}
                patch_start_{{ i }} = tap_start(patch_origin_{{ i }}, i32(tap / {{ KERNEL_W }}u), i32(tap % {{ KERNEL_W }}u));
{% endfor %}
            }
{% for i in range(patch_loads) %}
            patch_{{ i }} = load_any_patch(patch_start_{{ i }}, channel + 4u * patch_quad);
{% endfor %}
{% for i in range(weight_loads) %}
            weight_{{ i }} = load_weight_of_tap(weight_tap_row, channel + weight_k_{{ i }}, weight_column_{{ i }});
{% endfor %}
            loaded_channel = channel;
            channel += {{ DEPTH }}u;
            if channel >= CHANNELS {
                channel = 0u;
                tap++;
            }
{% else %}
{% for i in range(patch_loads) %}
            patch_{{ i }} = load_patch(patch_origin_{{ i }}, slab, patch_quad);
{% endfor %}
{% for i in range(weight_loads) %}
            weight_{{ i }} = load_weight_row(matrix, slab, weight_k_{{ i }}, weight_column_{{ i }});
{% endfor %}
{% endif %}
        }
        if slab > 0u {
            for (var quad = 0u; quad < 4u; quad++) {
{% for r in range(LANE_ROWS) %}
                let a_{{ r }} = patch_slab[(lane_row + {{ r * lane_rows }}u) * 5u + quad];
{% endfor %}
{% for i in range(4) %}
{% for q in range(quads) %}
                let b_{{ i }}_{{ q }} = weight_slab[(4u * quad + {{ i }}u) * {{ column_quads }}u + lane_column + {{ q * lane_columns }}u];
{% endfor %}
{% for r in range(LANE_ROWS) %}
{% for q in range(quads) %}
                sum_{{ r }}_{{ q }} += a_{{ r }}[{{ i }}] * b_{{ i }}_{{ q }};
{% endfor %}
{% endfor %}
{% endfor %}
            }
        }
    }
{% for r in range(LANE_ROWS) %}
    if first_row + lane_row + {{ r * lane_rows }}u < params.rows {
        let row = target_row(matrix_row + first_row + lane_row + {{ r * lane_rows }}u);
{% for q in range(quads) %}
        let column_{{ q }} = first_column + 4u * lane_column + {{ q * TILE_COLUMNS // quads }}u;
        store_target(row, column_{{ q }}, finish(row, column_{{ q }}, sum_{{ r }}_{{ q }}));
{% endfor %}
    }
{% endfor %}
}
