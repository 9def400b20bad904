// The part of a contraction that a workgroup stages: slabs of whole lines of pixels, or of parts of a line. A pixel's number in the slab
// therefore determines its position in the line. The including shader sets
//     LONGEST  pixels of one line in a slab, at most
//     MOST     pixels of several lines, at most
//     STEP     what DEPTH, the products of a slab, must be a multiple of: those past the last pixel are zero
// and `whole_slabs`: whether elements are only asked for in lines that the slab has.
{% set segments = (OUT_W + LONGEST - 1) // LONGEST %}
{% set width = (OUT_W + segments - 1) // segments %}
{% set slab_lines = MOST // width if segments == 1 and width <= MOST else 1 %}
{% set DEPTH = (slab_lines * width + STEP - 1) // STEP * STEP %}
{% set is_padded = DEPTH > slab_lines * width %}
{% set counts_lines = slab_lines > 1 or is_padded %}
{% set ragged = OUT_W % width != 0 %}
{% set exact = not counts_lines and not ragged %}
{% set image_wraps = (OUT_H + slab_lines - 2) // OUT_H %}
{% set by_bits = wide_rows and OUT_H <= 32 %}
{% set unit = 4 if wide_rows else 1 %}
{% set image_step = (IN_H - OUT_H * STRIDE) * IN_W * IN_C // unit %}

// A slab's first pixel: its number, its place in the line, and its line's in the image; how many lines there are from there on, and
// where the window of that pixel begins in the input without padding, in what is loaded at a time.
struct Slab {
    pixel: u32,
    x: u32,
    y: u32,
    lines: u32,
    start: i32,
}

// Slab `number` of the lines from the first one to the end.
fn slab_at(number: u32, first_line: u32, end_line: u32) -> Slab {
    let line = first_line + number / {{ segments }}u * {{ slab_lines }}u;
    let x = number % {{ segments }}u * {{ width }}u;
    let y = line % {{ OUT_H }}u;
    let window = (line / {{ OUT_H }}u * {{ IN_H }}u + y * {{ STRIDE }}u) * {{ IN_W }}u + x * {{ STRIDE }}u;
    return Slab(line * {{ OUT_W }}u + x, x, y, min(end_line - line, {{ slab_lines }}u), i32(window * {{ IN_C // unit }}u));
}

// Whether number `k` of a slab is a pixel of its lines.
fn is_pixel(slab: Slab, k: u32) -> bool {
    return {% if exact %}true{% elif ragged %}{% if is_padded %}(k < {{ width }}u) & {% endif %}(slab.x + k < {{ OUT_W }}u){% else %}k / {{ width }}u < slab.lines{% endif %};
}

// The element of a row of the product at number `k` of any slab: its line there, where the window's pixel is from that of the slab's
// first pixel, and how many elements further, if that is in the same image.
struct Element {
    line: u32,
{% if by_bits %}
    // Bit y: whether it is in the image if the slab begins in line y of one.
    inside: u32,
{% else %}
    y: i32,
{% endif %}
    x: i32,
    offset: i32,
}

fn element_of(tap: Tap, k: u32) -> Element {
    let line = k / {{ width }}u;
    let first_y = tap.ky - {{ PAD_TOP }};
    let y = i32(line) * {{ STRIDE }} + first_y;
    let x = i32(k % {{ width }}u) * {{ STRIDE }} + tap.kx - {{ PAD_LEFT }};
    let offset = (y * {{ IN_W }} + x) * {{ IN_C // unit }} + tap.channel{% if wide_rows %} / 4{% endif %};
    let is_real = tap.real{% if segments == 1 %} & (u32(x) < {{ IN_W }}u){% endif %};
{% if by_bits %}
    // The lines of an image whose windows have this pixel in it. The slab begins `line` lines before such a line.
    let first = min((max(-first_y, 0) + {{ STRIDE - 1 }}) / {{ STRIDE }}, {{ OUT_H }});
    let end = clamp(({{ IN_H + STRIDE - 1 }} - first_y) / {{ STRIDE }}, first, {{ OUT_H }});
    let lines = insertBits(0u, 0xffffffffu, u32(first), select(0u, u32(end - first), is_real));
    let turn = line % {{ OUT_H }}u;
    return Element(line, select((lines >> turn) | (lines << ({{ OUT_H }}u - turn)), lines, turn == 0u), x, offset);
{% else %}
    // No pixel is that far down.
    return Element(line, select(0x20000000, y, is_real), x, offset);
{% endif %}
}

// Where it is, if it is anywhere.
struct ElementPlace {
    at: u32,
    is_inside: bool,
}

fn place_of(element: Element, slab: Slab) -> ElementPlace {
{% set crosses_images = image_wraps > 0 and (image_step != 0 or not by_bits) %}
{% if crosses_images %}
    // How many images further it is. Of two lines only the second is, if the first is an image's last.
{% if slab_lines == 2 %}
    let images = select(0, 1, slab.y == {{ OUT_H - 1 }}u) * i32(element.line);
{% elif image_wraps == 1 %}
    let images = select(0, 1, slab.y + element.line >= {{ OUT_H }}u);
{% else %}
    let images = i32((slab.y + element.line) / {{ OUT_H }}u);
{% endif %}
{% endif %}
    let start = slab.start + element.offset{% if crosses_images and image_step != 0 %} + images * {{ image_step }}{% endif %};
    // Negative numbers are large ones without a sign; `&` takes no branch.
{% if by_bits %}
    var is_inside = (element.inside & (1u << slab.y)) != 0u;
{% else %}
    let in_y = i32(slab.y) * {{ STRIDE }} + element.y{% if crosses_images %} - images * {{ OUT_H * STRIDE }}{% endif %};
    var is_inside = u32(in_y) < {{ IN_H }}u;
{% endif %}
{% if counts_lines and not whole_slabs %}
    is_inside &= element.line < slab.lines;
{% endif %}
{% if segments > 1 %}
    is_inside &= u32(i32(slab.x) * {{ STRIDE }} + element.x) < {{ IN_W }}u;
{% endif %}
    return ElementPlace(select(0u, u32(start), is_inside), is_inside);
}

{% if wide_rows %}
// What a row has where there is no pixel: zero, but one in the bias's row.
fn blank(row: u32) -> packed4 {
{% if by_words %}
    // A one of 16 bits.
    return packed4(select(0u, 0x3c00u, row == K), 0u);
{% else %}
    return packed4(select(0.0, 1.0, row == K), 0.0, 0.0, 0.0);
{% endif %}
}
{% else %}
fn load_element(tap: Tap, slab: Slab, k: u32, blank: f32) -> f32 {
    let place = place_of(element_of(tap, k), slab);
    return select(blank, f32(input[place.at]), place.is_inside);
}

// Four neighboring rows of the product at one pixel. Where there is no pixel: zero, but one in the bias's row.
fn load_rows(row: u32, slab: Slab, k: u32) -> vec4<f32> {
    return vec4<f32>(
{% for i in range(4) %}
        load_element(tap_of(row + {{ i }}u), slab, k, select(0.0, 1.0, row + {{ i }}u == K)),
{% endfor %}
    );
}
{% endif %}
