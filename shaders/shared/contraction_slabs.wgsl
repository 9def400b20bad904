// The part of a contraction's input that a workgroup stages.

// First element of a row of the product at one pixel, or -1 where there is none.
fn element_start(tap: Tap, pixel: u32) -> i32 {
    let line = pixel / {{ OUT_W }}u;
    let y = i32(line % {{ OUT_H }}u) * {{ STRIDE }} - {{ PAD_TOP }} + tap.ky;
    let x = i32(pixel % {{ OUT_W }}u) * {{ STRIDE }} - {{ PAD_LEFT }} + tap.kx;
    // Negative numbers are large ones without a sign; `&` takes no branch.
    let here = tap.real & (u32(y) < {{ IN_H }}u) & (u32(x) < {{ IN_W }}u);
    let start = ((i32(line / {{ OUT_H }}u) * {{ IN_H }} + y) * {{ IN_W }} + x) * {{ IN_C }} + tap.channel;
    return select(-1, start, here);
}

// The element there, or another one if there is none.
fn load_any_element(start: i32) -> {{ scalar }} {
    return {{ scalar }}(input[u32(max(start, 0)){% if wide_rows %} / 4u{% endif %}]);
}

fn load_element(tap: Tap, pixel: u32, blank: {{ scalar }}) -> {{ scalar }} {
    let start = element_start(tap, pixel);
    return select(blank, load_any_element(start), start >= 0);
}

{% if wide_rows %}
// What a row has where there is no pixel: zero, but one in the bias's row.
fn blank(row: u32) -> vec4<f32> {
    return vec4<f32>(select(0.0, 1.0, row == K), 0.0, 0.0, 0.0);
}

{% endif %}
// Four neighboring rows of the product at one pixel.
fn load_rows(row: u32, pixel: u32) -> vec4<f32> {
{% if wide_rows %}
    return load_element(tap_of(row), pixel, blank(row));
{% else %}
    // Where there is no pixel: zero, but one in the bias's row.
    return vec4<f32>(
{% for i in range(4) %}
        load_element(tap_of(row + {{ i }}u), pixel, select(0.0, 1.0, row + {{ i }}u == K)),
{% endfor %}
    );
{% endif %}
}
