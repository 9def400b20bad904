// Stores a tile's sums. One matrix at a time goes through workgroup memory, from which its subgroup reads four neighboring columns
// at a time. The including shader sets `store`, a statement that stores `sums` at `row` and `column` of the product.
{% for r in range(matrix_rows) %}
{% for c in range(matrix_columns) %}
    workgroupBarrier();
    coopStoreT(sum_{{ r }}_{{ c }}, &finished[subgroup * {{ SIDE * quads }}u], {{ quads }}u);
    workgroupBarrier();
    for (var i = subgroup_lane; i < {{ SIDE * quads }}u; i += {{ LANES // SUBGROUPS }}u) {
        let row = first_row + band + {{ r * SIDE }}u + i / {{ quads }}u;
        let column = first_column + column_band + {{ c * SIDE }}u + 4u * (i % {{ quads }}u);
        let sums = finished[subgroup * {{ SIDE * quads }}u + i];
        {{ store }}
    }
{% endfor %}
{% endfor %}
