{% set quads = COLUMNS_PER_LANE // 4 %}
{% set width = 4 if wide_rows else 1 %}
{% set vectors = IN_C // width %}
{% set groups = KERNEL_H * vectors %}
{% set owned = (ROWS + 3) // 4 %}
{# Few, so that the loop stays in the instruction cache of a CPU. -#}
{% set UNROLL = 4 if OUT_W % 4 == 0 else 3 if OUT_W % 3 == 0 else 2 %}
{# Columns of the window over UNROLL pixels, and how many of them the next such pixels see, too. -#}
{% set columns_seen = (UNROLL - 1) * STRIDE + KERNEL_W %}
{% set columns_kept = KERNEL_W - STRIDE if KERNEL_W > STRIDE else 0 %}
// Tile: a group of rows is one line of the window at {{ "four neighbouring channels" if wide_rows else "one channel" }}: all read the same pixels of
// the input, one after the other as the window slides along a line. An invocation owns {{ owned }} groups × {{ COLUMNS_PER_LANE }} columns,
// a workgroup, which is one subgroup, {{ LANES }} times as many groups. Of {{ UNROLL }} pixels at a time each one's cotangent is
// read by one invocation and goes round by `subgroupBroadcast`. The bias is a group of which the first row counts.
// Dispatch: splits · MATRICES · ⌈({{ groups }} + 1) / ({{ LANES }} · {{ owned }})⌉ · ⌈OUT_C / {{ COLUMNS_PER_LANE }}⌉ workgroups, column tiles innermost.
{# Loads the input of a group under a column of the window. -#}
{% macro load_input(keyword, g, j) %}
            let x_{{ g }}_{{ j }} = first_x + {{ j }};
            let here_{{ g }}_{{ j }} = inside_{{ g }} && x_{{ g }}_{{ j }} >= 0 && x_{{ g }}_{{ j }} < {{ IN_W }};
            let at_{{ g }}_{{ j }} = u32(select(0, line_{{ g }} + x_{{ g }}_{{ j }} * {{ vectors }}, here_{{ g }}_{{ j }}));
            {{ keyword }} a_{{ g }}_{{ j }} = select(blank_{{ g }}, {{ scalar }}(input[at_{{ g }}_{{ j }}]), here_{{ g }}_{{ j }});
{% endmacro %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let column_tiles = {{ (OUT_C + COLUMNS_PER_LANE - 1) // COLUMNS_PER_LANE }}u;
    let group_tiles = {{ (groups + LANES * owned) // (LANES * owned) }}u;
    // `linear_workgroup`, here because naga takes results of functions for different in each invocation.
    let tile = group.x + group.y * grid.x;
    let share = tile / (column_tiles * group_tiles);
    let before = share % {{ MATRICES }}u * params.lines;
    let first_line = before + share / {{ MATRICES }}u * params.lines_per_split;
    let end_line = min(first_line + params.lines_per_split, before + params.lines);
    if first_line >= end_line {
        return;
    }
    let column = tile % column_tiles * {{ COLUMNS_PER_LANE }}u;
{% for g in range(owned) %}
    let group_{{ g }} = tile / column_tiles % group_tiles * {{ LANES * owned }}u + {{ g * LANES }}u + lane;
    let ky_{{ g }} = i32(group_{{ g }} / {{ vectors }}u);
    let vector_{{ g }} = i32(group_{{ g }} % {{ vectors }}u);
    // What the rows see where there is no pixel: nothing, but a one in the bias's row.
    let one_{{ g }} = select(0.0, 1.0, group_{{ g }} == {{ groups }}u);
    let blank_{{ g }} = {{ "vec4<f32>(one_" ~ g ~ ", 0.0, 0.0, 0.0)" if wide_rows else "one_" ~ g }};
{% for kx in range(KERNEL_W) %}
{% for c in range(width) %}
{% for q in range(quads) %}
    var sum_{{ g }}_{{ kx }}_{{ c }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}
{% endfor %}
{% endfor %}
    for (var line = first_line; line < end_line; line++) {
{% for g in range(owned) %}
        let y_{{ g }} = i32(line % {{ OUT_H }}u) * {{ STRIDE }} - {{ PAD_TOP }} + ky_{{ g }};
        let inside_{{ g }} = group_{{ g }} < {{ groups }}u && y_{{ g }} >= 0 && y_{{ g }} < {{ IN_H }};
        let line_{{ g }} = (i32(line / {{ OUT_H }}u) * {{ IN_H }} + y_{{ g }}) * {{ IN_W * vectors }} + vector_{{ g }};
{% endfor %}
        var first_x = -{{ PAD_LEFT }};
{% for g in range(owned) %}
{% for j in range(columns_kept) %}
{{ load_input("var", g, j) }}
{% endfor %}
{% endfor %}
        for (var x = 0u; x < {{ OUT_W }}u; x += {{ UNROLL }}u) {
            let own = x + min(lane, {{ UNROLL - 1 }}u);
{% for q in range(quads) %}
{% if OUT_W % UNROLL == 0 %}
            let b_{{ q }} = load_cotangent(line * {{ OUT_W }}u + own, column + {{ 4 * q }}u);
{% else %}
            let b_{{ q }} = select(
                vec4<f32>(),
                load_cotangent(line * {{ OUT_W }}u + min(own, {{ OUT_W - 1 }}u), column + {{ 4 * q }}u),
                own < {{ OUT_W }}u,
            );
{% endif %}
{% endfor %}
{% for g in range(owned) %}
{% for j in range(columns_kept, columns_seen) if j % STRIDE < KERNEL_W %}
{{ load_input("let", g, j) }}
{% endfor %}
{% endfor %}
{% for q in range(quads) %}
{% for i in range(UNROLL) %}
            let b_{{ q }}_{{ i }} = subgroupBroadcast(b_{{ q }}, {{ i }}u);
{% endfor %}
{% for g in range(owned) %}
{% for kx in range(KERNEL_W) %}
{% for c in range(width) %}
            sum_{{ g }}_{{ kx }}_{{ c }}_{{ q }} += {% for i in range(UNROLL) %}a_{{ g }}_{{ i * STRIDE + kx }}{{ "[" ~ c ~ "]" if wide_rows }} * b_{{ q }}_{{ i }}{{ " + " if not loop.last }}{% endfor %};
{% endfor %}
{% endfor %}
{% endfor %}
{% endfor %}
{% for g in range(owned) %}
{% for j in range(columns_kept) %}
            a_{{ g }}_{{ j }} = a_{{ g }}_{{ j + UNROLL * STRIDE }};
{% endfor %}
{% endfor %}
            first_x += {{ UNROLL * STRIDE }};
        }
    }
{% for g in range(owned) %}
{% for kx in range(KERNEL_W) %}
{% for c in range(width) %}
    if group_{{ g }} < {{ groups }}u{{ " || group_" ~ g ~ " == " ~ groups ~ "u" if kx == 0 and c == 0 }} {
        let row = (u32(ky_{{ g }}) * {{ KERNEL_W }}u + {{ kx }}u) * {{ IN_C }}u + {{ width }}u * u32(vector_{{ g }}) + {{ c }}u;
{% for q in range(quads) %}
        store_partial(share, row, column + {{ 4 * q }}u, sum_{{ g }}_{{ kx }}_{{ c }}_{{ q }});
{% endfor %}
    }
{% endfor %}
{% endfor %}
{% endfor %}
}
