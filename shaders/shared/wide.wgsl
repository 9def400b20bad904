// What an invocation reads and writes: four neighboring elements if WIDE, which takes fewer instructions for each, else one; and the
// same with 32 bits.
alias values = {{ "vec4<real>" if WIDE else "real" }};
alias sums = {{ "vec4<f32>" if WIDE else "f32" }};
