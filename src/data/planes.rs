//! Images as planes of bytes.

use crate::tensor::ImageShape;

/// Writes pixels, row by row, as the planes of an image: red, green and blue, or luma, in integer arithmetic, so that results are
/// the same on all platforms.
pub(super) fn write_planes(pixels: impl Iterator<Item = [u8; 3]>, shape: ImageShape, planes: &mut [u8]) {
    if shape.channels() == 1 {
        planes.iter_mut().zip(pixels).for_each(|(gray, pixel)| *gray = luma(pixel));
        return;
    }
    let plane = shape.pixels();
    for (index, pixel) in pixels.take(plane).enumerate() {
        for (channel, value) in pixel.into_iter().enumerate() {
            planes[channel * plane + index] = value;
        }
    }
}

/// Brightness of a color, with the weights of ITU-R BT.709.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let weighted = 2126 * u32::from(red) + 7152 * u32::from(green) + 722 * u32::from(blue);
    (weighted / 10_000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_become_planes_or_luma() {
        let pixels = [[1, 2, 3], [255, 255, 255], [0, 100, 0]];
        let written = |channels| {
            let shape = ImageShape::new(1, 3, channels).unwrap();
            let mut planes = vec![0; shape.bytes()];
            write_planes(pixels.into_iter(), shape, &mut planes);
            planes
        };
        assert_eq!(written(3), [1, 255, 0, 2, 255, 100, 3, 255, 0]);
        assert_eq!(written(1), [1, 255, 71]);
    }
}
