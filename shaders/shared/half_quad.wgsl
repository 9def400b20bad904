// Four halves of two words: compilers take loads of 16 bits apart, so cooperative tiles load words.
fn half_quad(words: vec2<u32>) -> real4 {
    return real4(vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)));
}
