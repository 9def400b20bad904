// `real` is the type of activations, their cotangents and the weights that products read: half as wide if HALF. It is for
// memory only; everything is added up with 32 bits.
{% if HALF %}
enable f16;
{% endif %}
{% if TILING is defined and TILING == 3 %}
enable wgpu_cooperative_matrix;
{% endif %}
alias real = {{ "f16" if HALF else "f32" }};
alias real4 = vec4<real>;
