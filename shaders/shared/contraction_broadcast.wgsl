{% set quads = COLUMNS_PER_LANE // 4 %}
{% set vector_width = 4 if wide_rows else 1 %}
{% set vectors = IN_C // vector_width %}
{% set groups = KERNEL_H * vectors %}
{% set owned = (ROWS + 3) // 4 %}
{# If every pixel is a separate window, all lines of a split form one line. -#}
{% set flat = KERNEL_H == 1 and KERNEL_W == 1 and STRIDE == 1 and IN_H == OUT_H and IN_W == OUT_W %}
{# Few, so that the loop stays in the instruction cache of a CPU. -#}
{% set UNROLL = 4 if flat or OUT_W % 4 == 0 else 3 if OUT_W % 3 == 0 else 2 %}
{# Columns of the window over UNROLL pixels, and how many of them the next such pixels see, too. -#}
{% set columns_seen = (UNROLL - 1) * STRIDE + KERNEL_W %}
{% set columns_kept = KERNEL_W - STRIDE if KERNEL_W > STRIDE else 0 %}
// Tile: a group of rows is one line of the window at {{ "four neighboring channels" if wide_rows else "one channel" }}: all read
// the same pixels of the input, one after the other as the window slides along a line. An invocation owns {{ owned }} groups ×
// {{ COLUMNS_PER_LANE }} columns, a workgroup, which is one subgroup, {{ LANES }} times as many groups. Of {{ UNROLL }} pixels at a
// time each one's cotangent is read by one invocation and shared by `subgroupBroadcast`; these invocations also add up the bias.
// Dispatch: splits · MATRICES · ⌈{{ groups }} / ({{ LANES }} · {{ owned }})⌉ · ⌈OUT_C / {{ COLUMNS_PER_LANE }}⌉ workgroups, column
// tiles innermost.
{# Loads the input of a group under a column of the window. -#}
{% macro load_input(keyword, g, j) %}
            let x_{{ g }}_{{ j }} = first_x + {{ j }};
            let here_{{ g }}_{{ j }} = inside_{{ g }} && x_{{ g }}_{{ j }} >= 0 && x_{{ g }}_{{ j }} < in_width;
            let at_{{ g }}_{{ j }} = u32(select(0, line_{{ g }} + x_{{ g }}_{{ j }} * {{ vectors }}, here_{{ g }}_{{ j }}));
            {{ keyword }} a_{{ g }}_{{ j }} = select({{ channels }}(), {{ channels }}(input[at_{{ g }}_{{ j }}]), here_{{ g }}_{{ j }});
{% endmacro %}

@compute @workgroup_size({{ LANES }})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let column_tiles = {{ (OUT_C + COLUMNS_PER_LANE - 1) // COLUMNS_PER_LANE }}u;
    let group_tiles = {{ (groups + LANES * owned - 1) // (LANES * owned) }}u;
    // `linear_workgroup`, inlined because naga treats results of functions as non-uniform.
    let tile = group.x + group.y * grid.x;
    let share = tile / (column_tiles * group_tiles);
    let before = share % {{ MATRICES }}u * params.lines;
    let first_line = before + share / {{ MATRICES }}u * params.lines_per_split;
    let end_line = min(first_line + params.lines_per_split, before + params.lines);
    if first_line >= end_line {
        return;
    }
    let column = tile % column_tiles * {{ COLUMNS_PER_LANE }}u;
    let group_tile = tile / column_tiles % group_tiles;
{% for q in range(quads) %}
    var bias_{{ q }} = vec4<f32>();
{% endfor %}
{% for g in range(owned) %}
    let group_{{ g }} = group_tile * {{ LANES * owned }}u + {{ g * LANES }}u + lane;
    let ky_{{ g }} = i32(group_{{ g }} / {{ vectors }}u);
    let vector_{{ g }} = i32(group_{{ g }} % {{ vectors }}u);
{% for kx in range(KERNEL_W) %}
{% for c in range(vector_width) %}
{% for q in range(quads) %}
    var sum_{{ g }}_{{ kx }}_{{ c }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}
{% endfor %}
{% endfor %}
{% if flat %}
    {
        let first_pixel = first_line * {{ OUT_W }}u;
        let width = (end_line - first_line) * {{ OUT_W }}u;
        let in_width = i32(width);
{% for g in range(owned) %}
        let inside_{{ g }} = group_{{ g }} < {{ groups }}u;
        let line_{{ g }} = i32(first_pixel) * {{ vectors }} + vector_{{ g }};
{% endfor %}
{% else %}
    for (var line = first_line; line < end_line; line++) {
        let first_pixel = line * {{ OUT_W }}u;
        let width = {{ OUT_W }}u;
        let in_width = {{ IN_W }};
{% for g in range(owned) %}
        let y_{{ g }} = i32(line % {{ OUT_H }}u) * {{ STRIDE }} - {{ PAD_TOP }} + ky_{{ g }};
        let inside_{{ g }} = group_{{ g }} < {{ groups }}u && y_{{ g }} >= 0 && y_{{ g }} < {{ IN_H }};
        let line_{{ g }} = (i32(line / {{ OUT_H }}u) * {{ IN_H }} + y_{{ g }}) * {{ IN_W * vectors }} + vector_{{ g }};
{% endfor %}
{% endif %}
        var first_x = -{{ PAD_LEFT }};
{% for g in range(owned) %}
{% for j in range(columns_kept) %}
{{ load_input("var", g, j) }}
{% endfor %}
{% endfor %}
        for (var x = 0u; x < width; x += {{ UNROLL }}u) {
            let own = x + min(lane, {{ UNROLL - 1 }}u);
{% for q in range(quads) %}
{% if OUT_W % UNROLL == 0 %}
            let b_{{ q }} = load_cotangent(first_pixel + own, column + {{ 4 * q }}u);
{% else %}
            let b_{{ q }} = select(
                vec4<f32>(),
                load_cotangent(first_pixel + min(own, width - 1u), column + {{ 4 * q }}u),
                own < width,
            );
{% endif %}
{% endfor %}
{% for q in range(quads) %}
            bias_{{ q }} += select(vec4<f32>(), b_{{ q }}, lane < {{ UNROLL }}u);
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
{% for c in range(vector_width) %}
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
{% for q in range(quads) %}
    let bias_sum_{{ q }} = subgroupAdd(bias_{{ q }});
    if group_tile == 0u && lane == 0u {
        store_partial(share, K, column + {{ 4 * q }}u, bias_sum_{{ q }});
    }
{% endfor %}
{% for g in range(owned) %}
{% for kx in range(KERNEL_W) %}
{% for c in range(vector_width) %}
    if group_{{ g }} < {{ groups }}u {
        let row = (u32(ky_{{ g }}) * {{ KERNEL_W }}u + {{ kx }}u) * {{ IN_C }}u + {{ vector_width }}u * u32(vector_{{ g }}) + {{ c }}u;
{% for q in range(quads) %}
        store_partial(share, row, column + {{ 4 * q }}u, sum_{{ g }}_{{ kx }}_{{ c }}_{{ q }});
{% endfor %}
    }
{% endfor %}
{% endfor %}
{% endfor %}
}
