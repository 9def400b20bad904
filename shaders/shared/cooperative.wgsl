{# Names of cooperative matrices of SIDE × SIDE elements: operands of 16 bits, sums of 32. -#}
{% macro left(side) %}coop_mat{{ side }}x{{ side }}<f16, A>{% endmacro %}
{% macro right(side) %}coop_mat{{ side }}x{{ side }}<f16, B>{% endmacro %}
{% macro sums(side) %}coop_mat{{ side }}x{{ side }}<f32, C>{% endmacro %}
