// conv2d_backward_weight: partial sums of the gradients of a convolution's weight and bias (split-K).
//
//     partial[s, (ky, kx, c), o] = Σ_{pixels of split s} input[n, y·STRIDE + ky − PAD_TOP, x·STRIDE + kx − PAD_LEFT, c] · d_output[n, y, x, o]
//     partial[s, K, o]           = Σ_{pixels of split s} d_output[n, y, x, o]        the bias: an input that is always one
//
// A GEMM with M = K + 1 rows where K = KERNEL_H · KERNEL_W · IN_C, N = OUT_C, contracted over pixels. A split is a run of
// `lines_per_split` lines (a line: one output row of one image). `split_k_reduce` adds the splits up in a fixed order.
// input [N, IN_H, IN_W, IN_C], d_output [N, OUT_H, OUT_W, OUT_C], partial [splits, K + 1, OUT_C].
// Tile: an invocation owns {{ ROWS }} rows × {{ COLUMNS_PER_LANE }} columns; d_output's address is uniform over the workgroup.
// Dispatch: splits · ⌈(K + 1) / ({{ LANES }} · {{ ROWS }})⌉ · ⌈OUT_C / {{ COLUMNS_PER_LANE }}⌉ workgroups, column tiles innermost.
struct Params {
    lines: u32,
    lines_per_split: u32,
}

{% set wide_rows = IN_C % 4 == 0 %}
{% set wide_columns = OUT_C % 4 == 0 %}
{% set quads = COLUMNS_PER_LANE // 4 %}
{% set group_rows = 4 if wide_rows else 1 %}
{% set groups = ROWS // group_rows %}
{% set scalar = "vec4<f32>" if wide_rows else "f32" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<{{ scalar }}>;
@group(0) @binding(2) var<storage, read> d_output: array<{{ "vec4<f32>" if wide_columns else "f32" }}>;
@group(0) @binding(3) var<storage, read_write> partial: array<{{ "vec4<f32>" if wide_columns else "f32" }}>;

{% include "shared/workgroup.wgsl" %}

{% set K = KERNEL_H * KERNEL_W * IN_C %}
const K = {{ K }}u;
const COLUMNS = {{ OUT_C }}u;

{% if wide_columns %}
fn load_cotangent(pixel: u32, column: u32) -> vec4<f32> {
    // Columns past the last are computed and not stored; their loads must stay inside.
    return d_output[(pixel * COLUMNS + min(column, COLUMNS - 4u)) / 4u];
}

fn store_partial(split: u32, row: u32, column: u32, value: vec4<f32>) {
    if row <= K && column < COLUMNS {
        partial[((split * (K + 1u) + row) * COLUMNS + column) / 4u] = value;
    }
}
{% else %}
fn load_cotangent(pixel: u32, column: u32) -> vec4<f32> {
    // Columns past the last are computed and not stored; their loads must stay inside.
    let start = pixel * COLUMNS;
    let last = COLUMNS - 1u;
    return vec4<f32>(
        d_output[start + min(column, last)],
        d_output[start + min(column + 1u, last)],
        d_output[start + min(column + 2u, last)],
        d_output[start + min(column + 3u, last)],
    );
}

fn store_partial(split: u32, row: u32, column: u32, value: vec4<f32>) {
    if row > K {
        return;
    }
    let start = (split * (K + 1u) + row) * COLUMNS + column;
{% for i in range(4) %}
    if column + {{ i }}u < COLUMNS {
        partial[start + {{ i }}u] = value[{{ i }}];
    }
{% endfor %}
}
{% endif %}

// Where the input of some neighbouring rows of the product, all of one tap, lies.
struct Tap {
    ky: i32,
    kx: i32,
    channel: i32,
    real: bool,
}

fn tap_of(row: u32) -> Tap {
    let tap = row / {{ IN_C }}u;
    return Tap(i32(tap / {{ KERNEL_W }}u), i32(tap % {{ KERNEL_W }}u), i32(row % {{ IN_C }}u), row < K);
}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column_tiles = (COLUMNS + {{ COLUMNS_PER_LANE - 1 }}u) / {{ COLUMNS_PER_LANE }}u;
    let row_tiles = (K + {{ LANES * ROWS }}u) / {{ LANES * ROWS }}u;
    let tile = linear_workgroup(group, grid);
    let column = (tile % column_tiles) * {{ COLUMNS_PER_LANE }}u;
    let first_row = ((tile / column_tiles) % row_tiles * {{ LANES }}u + lane) * {{ ROWS }}u;
    let split = tile / (column_tiles * row_tiles);
    let first_line = split * params.lines_per_split;
    if first_row > K || first_line >= params.lines {
        return;
    }
{% for g in range(groups) %}
    let tap_{{ g }} = tap_of(first_row + {{ g * group_rows }}u);
    // What the rows see where there is no pixel: nothing, but a one in the bias's row.
{% if wide_rows %}
    let blank_{{ g }} = vec4<f32>(select(0.0, 1.0, first_row + {{ g * group_rows }}u == K), 0.0, 0.0, 0.0);
{% else %}
    let blank_{{ g }} = select(0.0, 1.0, first_row + {{ g * group_rows }}u == K);
{% endif %}
{% endfor %}
{% for r in range(ROWS) %}
{% for q in range(quads) %}
    var sum_{{ r }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}
    let end_line = min(first_line + params.lines_per_split, params.lines);
    for (var line = first_line; line < end_line; line++) {
        let image = i32(line / {{ OUT_H }}u);
        let y = i32(line % {{ OUT_H }}u) * {{ STRIDE }} - {{ PAD_TOP }};
{% for g in range(groups) %}
        let y_{{ g }} = y + tap_{{ g }}.ky;
        let inside_{{ g }} = tap_{{ g }}.real && y_{{ g }} >= 0 && y_{{ g }} < {{ IN_H }};
        let start_{{ g }} = ((image * {{ IN_H }} + y_{{ g }}) * {{ IN_W }}) * {{ IN_C }} + tap_{{ g }}.channel;
{% endfor %}
        for (var x = 0; x < {{ OUT_W }}; x++) {
            let pixel = line * {{ OUT_W }}u + u32(x);
{% for q in range(quads) %}
            let b_{{ q }} = load_cotangent(pixel, column + {{ 4 * q }}u);
{% endfor %}
{% for g in range(groups) %}
            let x_{{ g }} = x * {{ STRIDE }} - {{ PAD_LEFT }} + tap_{{ g }}.kx;
            let here_{{ g }} = inside_{{ g }} && x_{{ g }} >= 0 && x_{{ g }} < {{ IN_W }};
            let at_{{ g }} = u32(select(0, start_{{ g }} + x_{{ g }} * {{ IN_C }}, here_{{ g }})){% if wide_rows %} / 4u{% endif %};
            let a_{{ g }} = select(blank_{{ g }}, input[at_{{ g }}], here_{{ g }});
{% for i in range(group_rows) %}
{% for q in range(quads) %}
            sum_{{ g * group_rows + i }}_{{ q }} += a_{{ g }}{% if wide_rows %}[{{ i }}]{% endif %} * b_{{ q }};
{% endfor %}
{% endfor %}
{% endfor %}
        }
    }
{% for r in range(ROWS) %}
{% for q in range(quads) %}
    store_partial(split, first_row + {{ r }}u, column + {{ 4 * q }}u, sum_{{ r }}_{{ q }});
{% endfor %}
{% endfor %}
}
