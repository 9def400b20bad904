{# Sums of 32 bits as a cooperative matrix of SIDE × SIDE elements. -#}
{% macro sums(side) %}coop_mat{{ side }}x{{ side }}<f32, C>{% endmacro %}
{# Multiplies two slabs in workgroup memory whose lines hold `depth` halves, and are `line` vectors of four apart: `sum_r_c` += rows
   `rows[band]`, `side` of them for each r, times columns `columns[band]`. -#}
{% macro multiply(rows, row_band, matrix_rows, columns, column_band, matrix_columns, depth, side, line) %}
{% for k in range(depth // side) %}
{% for r in range(matrix_rows) %}
        let a_{{ k }}_{{ r }} = coopLoadT<coop_mat{{ side }}x{{ side }}<f16, A>>(&{{ rows }}[{{ row_band }} + {{ r * side * line + k * side // 4 }}u], {{ line }}u);
{% endfor %}
{% for c in range(matrix_columns) %}
        let b_{{ k }}_{{ c }} = coopLoad<coop_mat{{ side }}x{{ side }}<f16, B>>(&{{ columns }}[{{ column_band }} + {{ c * side * line + k * side // 4 }}u], {{ line }}u);
{% for r in range(matrix_rows) %}
        sum_{{ r }}_{{ c }} = coopMultiplyAdd(a_{{ k }}_{{ r }}, b_{{ k }}_{{ c }}, sum_{{ r }}_{{ c }});
{% endfor %}
{% endfor %}
{% endfor %}
{% endmacro %}
