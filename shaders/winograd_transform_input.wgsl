// winograd_transform_input: Bᵀ · d · B of every tile d of a convolution's input, for Winograd's F(OUTPUTS², 3×3).
//
// pixels [N, height, width, channels], transformed [(OUTPUTS + 2)², tiles, channels]; tiles overlap by two pixels, and
// pixels outside the image are zero.
{% from "shared/winograd.wgsl" import input_2, input_4, tile_transform %}
{% set matrix = input_2 if OUTPUTS == 2 else input_4 %}
{% include "shared/winograd_squares.wgsl" %}
