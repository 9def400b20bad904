// Tile: a workgroup of {{ SUBGROUPS }} subgroups owns {{ TILE_ROWS }} rows × {{ TILE_COLUMNS }} columns, each subgroup
// {{ TILE_ROWS // SUBGROUP_ROWS }} × {{ TILE_COLUMNS // SUBGROUP_COLUMNS }} of them as cooperative matrices of {{ SIDE }} × {{ SIDE }}
// sums. Slabs of 32 channels of one tap of both operands go through workgroup memory, 16 bits wide, the next one on its way while one
// is multiplied. The weight comes with its last two axes exchanged, [taps, COLUMNS, CHANNELS]: so both slabs hold neighboring channels
// of a row or column, as matrix units take them, and nothing is transposed.
// Dispatch: ⌈rows / {{ TILE_ROWS }}⌉ · ⌈COLUMNS / {{ TILE_COLUMNS }}⌉ workgroups, column tiles innermost.
{% from "shared/cooperative.wgsl" import multiply, sums %}
{% set DEPTH = 32 %}
{% set taps = KERNEL_H * KERNEL_W %}
{% set slabs_per_tap = (CHANNELS + DEPTH - 1) // DEPTH %}
{% set slabs = taps * slabs_per_tap %}
{% set ragged = CHANNELS % DEPTH != 0 %}
{% set pairs = LANES // 2 %}
{% set patch_loads = (TILE_ROWS + pairs - 1) // pairs %}
{% set weight_loads = (TILE_COLUMNS + pairs - 1) // pairs %}
{% set matrix_rows = TILE_ROWS // SUBGROUP_ROWS // SIDE %}
{% set matrix_columns = TILE_COLUMNS // SUBGROUP_COLUMNS // SIDE %}
{% set quads = SIDE // 4 %}
{% set line = DEPTH // 4 + 2 %}
// A slab's lines have 32 channels and 16 bytes more, {{ line * 8 }} bytes. Banks: two neighboring invocations store the quads of four
// channels of one line in turn, and eight lines are {{ line * 2 }} banks of 32 bits apart: 0, 20, 8, 28, 16, 4, 24, 12. So 16 stores of 64
// bits, and a matrix's load of eight lines' 128 bits, take all 32 banks once.
var<workgroup> patch_slab: array<real4, {{ TILE_ROWS * line }}>;
var<workgroup> weight_slab: array<real4, {{ TILE_COLUMNS * line }}>;
var<workgroup> finished: array<vec4<f32>, {{ SUBGROUPS * SIDE * quads }}>;

{# The quad of channels that an invocation loads as number `n` of a line. -#}
{% macro quad(n) %}{% if ragged %}min(channel / 4u + parity + {{ 2 * n }}u, {{ CHANNELS // 4 - 1 }}u){% else %}channel / 4u + parity + {{ 2 * n }}u{% endif %}{% endmacro %}
{# Loads an invocation's share of the slab that begins at `channel` of a tap. What must not be used is left out where it is stored. -#}
{% macro load_slab(tap) %}
        let tap_weight = weight_tap({{ tap }}) * {{ COLUMNS * CHANNELS // 4 }}u;
{% for i in range(patch_loads) %}
        start_{{ i }} = tap_start(origin_{{ i }}, i32({{ tap }} / {{ KERNEL_W }}u), i32({{ tap }} % {{ KERNEL_W }}u));
        let first_{{ i }} = u32(max(start_{{ i }}, 0)) / 4u;
{% endfor %}
{% for n in range(DEPTH // 8) %}
{% for i in range(patch_loads) %}
        patch_{{ i }}_{{ n }} = source_pixels[first_{{ i }} + {{ quad(n) }}];
{% endfor %}
{% for i in range(weight_loads) %}
        weight_{{ i }}_{{ n }} = weight[tap_weight + column_weight_{{ i }} + {{ quad(n) }}];
{% endfor %}
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
    // `linear_workgroup`, inlined because naga treats results of functions as non-uniform.
    let tile = group.x + group.y * grid.x;
    let first_row = tile / column_tiles * {{ TILE_ROWS }}u;
    if first_row >= params.rows {
        return;
    }
    let first_column = tile % column_tiles * {{ TILE_COLUMNS }}u;
    // Every other quad of a line is one invocation's, the rest its neighbor's.
    let pair = lane / 2u;
    let parity = lane % 2u;
    let place = pair * {{ line }}u + parity;
{% for i in range(patch_loads) %}
    let origin_{{ i }} = origin(min(first_row + pair + {{ i * pairs }}u, params.rows - 1u));
    var start_{{ i }} = -1;
{% endfor %}
{% for i in range(weight_loads) %}
    // Columns past the last are computed and not stored; their loads must stay inside.
    let column_weight_{{ i }} = min(first_column + pair + {{ i * pairs }}u, COLUMNS - 1u) * {{ CHANNELS // 4 }}u;
{% endfor %}
{% for n in range(DEPTH // 8) %}
{% for i in range(patch_loads) %}
    var patch_{{ i }}_{{ n }} = packed4();
{% endfor %}
{% for i in range(weight_loads) %}
    var weight_{{ i }}_{{ n }} = packed4();
{% endfor %}
{% endfor %}
    let band = subgroup / {{ SUBGROUP_COLUMNS }}u * {{ TILE_ROWS // SUBGROUP_ROWS }}u;
    let column_band = subgroup % {{ SUBGROUP_COLUMNS }}u * {{ TILE_COLUMNS // SUBGROUP_COLUMNS }}u;
    let patch_band = band * {{ line }}u;
    let weight_band = column_band * {{ line }}u;
{% for r in range(matrix_rows) %}
{% for c in range(matrix_columns) %}
    var sum_{{ r }}_{{ c }} = {{ sums(SIDE) }}();
{% endfor %}
{% endfor %}
{% if slabs > 0 %}
    var channel = 0u;
    {
{{ load_slab("0u") }}
    }
    for (var slab = 0u; slab < {{ slabs }}u; slab++) {
        // The slab before has been multiplied. This one's loads have come; the next one's are on their way while it is multiplied.
        workgroupBarrier();
{% for n in range(DEPTH // 8) %}
{% if ragged %}
        let has_quad_{{ n }} = channel + 4u * parity + {{ 8 * n }}u < CHANNELS;
{% endif %}
{% for i in range(patch_loads) %}
        {% if (i + 1) * pairs > TILE_ROWS %}if lane < {{ 2 * (TILE_ROWS - i * pairs) }}u {% endif %}{ patch_slab[place + {{ i * pairs * line + 2 * n }}u] = real4(unpack4(select(packed4(), patch_{{ i }}_{{ n }}, {% if ragged %}has_quad_{{ n }} & {% endif %}(start_{{ i }} >= 0)))); }
{% endfor %}
{% for i in range(weight_loads) %}
        {% if (i + 1) * pairs > TILE_COLUMNS %}if lane < {{ 2 * (TILE_COLUMNS - i * pairs) }}u {% endif %}{ weight_slab[place + {{ i * pairs * line + 2 * n }}u] = real4(unpack4({% if ragged %}select(packed4(), weight_{{ i }}_{{ n }}, has_quad_{{ n }}){% else %}weight_{{ i }}_{{ n }}{% endif %})); }
{% endfor %}
{% endfor %}
        workgroupBarrier();
        if slab + 1u < {{ slabs }}u {
            let tap = (slab + 1u) / {{ slabs_per_tap }}u;
            channel = (slab + 1u) % {{ slabs_per_tap }}u * {{ DEPTH }}u;
{{ load_slab("tap") }}
        }
{{ multiply("patch_slab", "patch_band", matrix_rows, "weight_slab", "weight_band", matrix_columns, DEPTH, SIDE, line) }}
    }
{% endif %}
{% set store = "if row < params.rows { let at = target_row(row); store_target(at, column, finish(at, column, first_sum(column) + sums)); }" %}
{% include "shared/cooperative_store.wgsl" %}
}
