// winograd_transform_input: Bᵀ · d · B of every tile d of a convolution's input, for Winograd's F(OUTPUTS², KERNEL²).
//
// pixels [N, height, width, channels], transformed [(OUTPUTS + KERNEL − 1)², tiles, channels]; tiles overlap by KERNEL − 1 pixels,
// and pixels outside the image are zero.
{% from "shared/winograd.wgsl" import input_tile_4, input_tile_6, tile_transform %}
{% set matrix = input_tile_4 if OUTPUTS + KERNEL == 5 else input_tile_6 %}
{% include "shared/winograd_squares.wgsl" %}
