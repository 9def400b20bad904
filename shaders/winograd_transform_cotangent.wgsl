// winograd_transform_cotangent: A · d · Aᵀ of every tile d of the cotangent of a convolution's output, for the gradient of
// the weight by Winograd's F(OUTPUTS², KERNEL²).
//
// pixels [N, height, width, channels], transformed [(OUTPUTS + KERNEL − 1)², tiles, channels]; tiles do not overlap, and pixels
// outside the image are zero.
{% from "shared/winograd.wgsl" import tile_transform %}
{% if KERNEL == 5 %}
{% set matrix = [[1, 0], [1, 1], [1, -1], [1, 2], [1, -2], [0, 1]] %}
{% elif OUTPUTS == 2 %}
{% set matrix = [[1, 0], [1, 1], [1, -1], [0, -1]] %}
{% else %}
{% set matrix = [[1, 0, 0, 0], [1, 1, 1, 1], [1, -1, 1, -1], [1, 2, 4, 8], [1, -2, 4, -8], [0, 0, 0, 1]] %}
{% endif %}
{% include "shared/winograd_squares.wgsl" %}
