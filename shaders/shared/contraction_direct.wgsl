// Tile: an invocation owns {{ ROWS }} rows × {{ COLUMNS_PER_LANE }} columns in registers; d_output's address is uniform over
// the workgroup, so there is no barrier.
// Dispatch: splits · MATRICES · ⌈(K + 1) / ({{ LANES }} · {{ ROWS }})⌉ · ⌈OUT_C / {{ COLUMNS_PER_LANE }}⌉ workgroups, column
// tiles innermost.
{% set quads = COLUMNS_PER_LANE // 4 %}
{% set group_rows = 4 if wide_rows else 1 %}
{% set groups = ROWS // group_rows %}
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
    let share = tile / (column_tiles * row_tiles);
    let before = share % {{ MATRICES }}u * params.lines;
    let first_line = before + share / {{ MATRICES }}u * params.lines_per_split;
    let end_line = min(first_line + params.lines_per_split, before + params.lines);
    if first_row > K || first_line >= end_line {
        return;
    }
{% for g in range(groups) %}
    let tap_{{ g }} = tap_of(first_row + {{ g * group_rows }}u);
    // Values of the rows where there is no pixel: zero, but one in the bias's row.
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
            let a_{{ g }} = select(blank_{{ g }}, {{ channels }}(input[at_{{ g }}]), here_{{ g }});
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
    store_partial(share, first_row + {{ r }}u, column + {{ 4 * q }}u, sum_{{ r }}_{{ q }});
{% endfor %}
{% endfor %}
}
