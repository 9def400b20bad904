// `packed4`: four neighboring elements as tiles load them. Compilers take loads of 16 bits apart, so tiles that go through workgroup
// memory load two halves as a word.
{% set by_words = HALF and TILING >= 2 %}
{# How many of them a tile's loop loads at a place: compilers of NVIDIA's GPUs, which wait for six loads at most, schedule four words best. -#}
{% set together = 2 if by_words else 1 %}
alias packed4 = {{ "vec2<u32>" if by_words else "real4" }};

fn unpack4(elements: packed4) -> vec4<f32> {
    return vec4<f32>({{ "unpack2x16float(elements.x), unpack2x16float(elements.y)" if by_words else "elements" }});
}
