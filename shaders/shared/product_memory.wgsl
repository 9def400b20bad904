// How the tiles of a product read its weight and write its target; columns past the last are computed and not stored,
// and their loads must stay inside.
{% if COLUMNS % 4 == 0 %}
{% if TILING != 3 %}
// Four columns of a row of the weight, as they are loaded.
alias weight_columns = packed4;

fn load_weight(k: u32, column: u32) -> weight_columns {
    return weight[(k * COLUMNS + min(column, COLUMNS - 4u)) / 4u];
}

fn weight_numbers(columns: weight_columns) -> vec4<f32> {
    return unpack4(columns);
}

{% endif %}
fn store_target(row: u32, column: u32, value: vec4<f32>) {
    if column < COLUMNS {
        target_pixels[(row * COLUMNS + column) / 4u] = real4(value);
    }
}
{% else %}
alias weight_columns = vec4<f32>;

fn load_weight(k: u32, column: u32) -> weight_columns {
    let start = k * COLUMNS;
    let last = COLUMNS - 1u;
    return weight_columns(
        f32(weight[start + min(column, last)]),
        f32(weight[start + min(column + 1u, last)]),
        f32(weight[start + min(column + 2u, last)]),
        f32(weight[start + min(column + 3u, last)]),
    );
}

fn weight_numbers(columns: weight_columns) -> vec4<f32> {
    return columns;
}

fn store_target(row: u32, column: u32, value: vec4<f32>) {
    let start = row * COLUMNS + column;
{% for i in range(4) %}
    if column + {{ i }}u < COLUMNS {
        target_pixels[start + {{ i }}u] = real(value[{{ i }}]);
    }
{% endfor %}
}
{% endif %}
