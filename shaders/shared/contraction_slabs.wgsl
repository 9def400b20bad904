// The part of a contraction's input that a workgroup stages.
fn load_element(tap: Tap, pixel: u32, blank: {{ scalar }}) -> {{ scalar }} {
    let line = pixel / {{ OUT_W }}u;
    let y = i32(line % {{ OUT_H }}u) * {{ STRIDE }} - {{ PAD_TOP }} + tap.ky;
    let x = i32(pixel % {{ OUT_W }}u) * {{ STRIDE }} - {{ PAD_LEFT }} + tap.kx;
    let here = tap.real && y >= 0 && y < {{ IN_H }} && x >= 0 && x < {{ IN_W }};
    let start = ((i32(line / {{ OUT_H }}u) * {{ IN_H }} + y) * {{ IN_W }} + x) * {{ IN_C }} + tap.channel;
    return select(blank, {{ scalar }}(input[u32(select(0, start, here)){% if wide_rows %} / 4u{% endif %}]), here);
}

// Four neighboring rows of the product at one pixel.
fn load_rows(row: u32, pixel: u32) -> vec4<f32> {
    // Value of a row where there is no pixel: zero, but one in the bias's row.
{% if wide_rows %}
    return load_element(tap_of(row), pixel, vec4<f32>(select(0.0, 1.0, row == K), 0.0, 0.0, 0.0));
{% else %}
    return vec4<f32>(
{% for i in range(4) %}
        load_element(tap_of(row + {{ i }}u), pixel, select(0.0, 1.0, row + {{ i }}u == K)),
{% endfor %}
    );
{% endif %}
}
