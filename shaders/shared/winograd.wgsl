{# The matrices of Winograd's F(2×2, 3×3) and F(4×4, 3×3), points 0, ±1, (±2) and infinity, and what is made of them. -#}
{% set input_2 = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]] %}
{% set output_2 = [[1, 1, 1, 0], [0, 1, -1, -1]] %}
{% set weight_2 = [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]] %}
{% set input_4 = [
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
] %}
{% set output_4 = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]] %}
{% set weight_4 = [
    [0.25, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
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
