// The part of a contraction that a workgroup stages: slabs of DEPTH pixels, which the including shader sets.
{% set in_lines = OUT_W % DEPTH == 0 %}
{% set line_wraps = (DEPTH - 1) // OUT_W + 1 %}
{% set image_wraps = (line_wraps + OUT_H - 1) // OUT_H %}
{% set unit = 4 if wide_rows else 1 %}
{% set line_step = (IN_W - OUT_W) * STRIDE * IN_C // unit %}
{% set image_step = (IN_H - OUT_H * STRIDE) * IN_W * IN_C // unit %}

// Position of a slab's first pixel, the number of the split's last pixel from there on, and where the window of the first pixel begins
// in the input without padding, in what is loaded at a time.
struct Slab {
    pixel: u32,
    x: u32,
    y: u32,
    last: u32,
    start: i32,
}

// The slab from pixel `first` on, or one whose pixels have no effect if that is past the end.
fn slab_at(first: u32, end: u32) -> Slab {
    let pixel = min(first, end - {% if in_lines %}{{ DEPTH }}u{% else %}1u{% endif %});
    let line = pixel / {{ OUT_W }}u;
    let x = pixel % {{ OUT_W }}u;
    let y = line % {{ OUT_H }}u;
    let window = (line / {{ OUT_H }}u * {{ IN_H }}u + y * {{ STRIDE }}u) * {{ IN_W }}u + x * {{ STRIDE }}u;
    return Slab(pixel, x, y, end - 1u - pixel, i32(window * {{ IN_C // unit }}u));
}

// Where number `k` of a slab's pixels lies in the cotangent, or the split's last one.
fn pixel_in(slab: Slab, k: u32) -> u32 {
    return slab.pixel + {% if in_lines %}k{% else %}min(k, slab.last){% endif %};
}

{# `number` divided by a constant that it contains at most `times` times; a division of any number costs more. -#}
{% macro quotient(number, divisor, times) %}
{%- if times == 1 %}select(0u, 1u, {{ number }} >= {{ divisor }}u){% elif divisor <= 128 %}({{ number }} * {{ 65536 // divisor + 1 }}u) >> 16u{% else %}{{ number }} / {{ divisor }}u{% endif -%}
{% endmacro %}
// How much further than the slab's start a row's element of pixel `k` is, if that is in the same line.
fn element_offset(tap: Tap, k: u32) -> i32 {
    return ((tap.ky - {{ PAD_TOP }}) * {{ IN_W }} + i32(k) * {{ STRIDE }} + tap.kx - {{ PAD_LEFT }}) * {{ IN_C // unit }} + tap.channel{% if wide_rows %} / 4{% endif %};
}

// The element of a row of the product at number `k` of the slab's pixels, or -1 if there is none.
fn element_at(tap: Tap, slab: Slab, k: u32, offset: i32) -> i32 {
{% if in_lines %}
    let x = slab.x + k;
    let y = slab.y;
    let is_real = tap.real;
    let start = slab.start + offset;
{% else %}
    let reached = slab.x + k;
    let lines = {{ quotient("reached", OUT_W, line_wraps) }};
    let x = reached - lines * {{ OUT_W }}u;
    let reached_line = slab.y + lines;
    let images = {{ quotient("reached_line", OUT_H, image_wraps) }};
    let y = reached_line - images * {{ OUT_H }}u;
    let is_real = tap.real & (k <= slab.last);
    let start = slab.start + offset{% if line_step != 0 %} + i32(lines) * {{ line_step }}{% endif %}{% if image_step != 0 %} + i32(images) * {{ image_step }}{% endif %};
{% endif %}
    let in_y = i32(y) * {{ STRIDE }} + (tap.ky - {{ PAD_TOP }});
    let in_x = i32(x) * {{ STRIDE }} + (tap.kx - {{ PAD_LEFT }});
    // Negative numbers are large ones without a sign; `&` takes no branch.
    return select(-1, start, is_real & (u32(in_y) < {{ IN_H }}u) & (u32(in_x) < {{ IN_W }}u));
}

// The element there, or another one if there is none.
fn load_any_element(at: i32) -> {{ scalar }} {
    return {{ scalar }}(input[max(at, 0)]);
}

fn load_element(tap: Tap, slab: Slab, k: u32, blank: {{ scalar }}) -> {{ scalar }} {
    let at = element_at(tap, slab, k, element_offset(tap, k));
    return select(blank, load_any_element(at), at >= 0);
}

{% if wide_rows %}
// What a row has where there is no pixel: zero, but one in the bias's row.
fn blank(row: u32) -> {{ four }} {
{% if TILING == 3 %}
    // A one of 16 bits.
    return vec2<u32>(select(0u, 0x3c00u, row == K), 0u);
{% else %}
    return vec4<f32>(select(0.0, 1.0, row == K), 0.0, 0.0, 0.0);
{% endif %}
}

{% endif %}
// Four neighboring rows of the product at one pixel.
fn load_rows(row: u32, slab: Slab, k: u32) -> {{ four }} {
{% if wide_rows %}
    return load_element(tap_of(row), slab, k, blank(row));
{% else %}
    // Where there is no pixel: zero, but one in the bias's row.
    return vec4<f32>(
{% for i in range(4) %}
        load_element(tap_of(row + {{ i }}u), slab, k, select(0.0, 1.0, row + {{ i }}u == K)),
{% endfor %}
    );
{% endif %}
}
