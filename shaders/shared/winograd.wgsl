{# The matrices of Winograd's F(2×2, 3×3), F(4×4, 3×3) and F(2×2, 5×5), points 0, ±1, (±2) and infinity, and what is made of
   them. Names end in outputs and kernel size; the input's in the side of its tile. -#}
{% set input_tile_4 = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]] %}
{% set output_2_3 = [[1, 1, 1, 0], [0, 1, -1, -1]] %}
{% set weight_2_3 = [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]] %}
{% set input_tile_6 = [
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
] %}
{% set output_4_3 = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]] %}
{% set weight_4_3 = [
    [0.25, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
] %}
{% set output_2_5 = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 1]] %}
{% set weight_2_5 = [
    [0.25, 0, 0, 0, 0], [-1 / 6, -1 / 6, -1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3], [1 / 24, -1 / 12, 1 / 6, -1 / 3, 2 / 3], [0, 0, 0, 0, 1],
] %}
{# The sum of `factors` times the values named `before` + index + `after`. -#}
{% macro combination(factors, before, after) -%}
{%- set state = namespace(first=true) -%}
{%- for factor in factors -%}
{%- if factor != 0 -%}
{%- if not state.first %} + {% endif -%}
{%- if factor == -1 %}(-{{ before }}{{ loop.index0 }}{{ after }}){% elif factor == 1 %}{{ before }}{{ loop.index0 }}{{ after }}{% else %}{{ factor }} * {{ before }}{{ loop.index0 }}{{ after }}{% endif -%}
{%- set state.first = false -%}
{%- endif -%}
{%- endfor -%}
{%- endmacro %}
{# Statements that make the values `target`_i_j of `matrix` · `source` · `matrix` transposed. -#}
{% macro tile_transform(matrix, source, target) %}
{% set sides = matrix[0] | length %}
{% for j in range(sides) %}
{% for row in matrix %}
    let half_{{ loop.index0 }}_{{ j }} = {{ combination(row, source ~ "_", "_" ~ j) }};
{% endfor %}
{% endfor %}
{% for row in matrix %}
{% set i = loop.index0 %}
{% for column in matrix %}
    let {{ target }}_{{ i }}_{{ loop.index0 }} = {{ combination(column, "half_" ~ i ~ "_", "") }};
{% endfor %}
{% endfor %}
{% endmacro %}
