//! Small pictures inside a page: images of a data set, and filters.

use std::path::Path;

use image::{Rgb, RgbImage};

use super::raster::png;
use crate::data::IMAGE_SIDE;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::tape::Layout;

/// Planes of red, green and blue as a data URI.
pub(super) fn image_uri(planes: &[u8], page: &Path) -> Result<String> {
    let side = IMAGE_SIDE as u32;
    let plane = IMAGE_SIDE * IMAGE_SIDE;
    let pixels = RgbImage::from_fn(side, side, |x, y| {
        let at = y as usize * IMAGE_SIDE + x as usize;
        Rgb([0, 1, 2].map(|channel| planes.get(channel * plane + at).copied().unwrap_or_default()))
    });
    uri(&pixels, page)
}

/// The filters of the first convolution that sees colors, each as a data URI; none if the network has no such layer.
///
/// All are scaled alike: gray is zero, and the largest weight is as far from it as a byte goes.
pub(super) fn filter_uris(network: &Network, page: &Path) -> Result<Vec<String>> {
    let first = network.parameters().iter().find_map(|parameter| match parameter.layout {
        Layout::Conv2dWeight { in_c: 3, kernel, .. } => Some((parameter, kernel)),
        _ => None,
    });
    let Some((parameter, kernel)) = first else { return Ok(Vec::new()) };
    let weights = parameter.layout.to_outer(&parameter.tensor.to_vec()?);
    let largest = weights.iter().map(|weight| weight.abs()).fold(f32::MIN_POSITIVE, f32::max);
    let [height, width] = kernel;
    let taps = height * width;
    weights
        .chunks_exact(3 * taps)
        .map(|filter| {
            let pixels = RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let at = y as usize * width + x as usize;
                Rgb([0, 1, 2].map(|channel| (127.5 * (1.0 + filter[channel * taps + at] / largest)).round() as u8))
            });
            uri(&pixels, page)
        })
        .collect()
}

fn uri(pixels: &RgbImage, page: &Path) -> Result<String> {
    let bytes = png(pixels).map_err(|message| Error::Report { path: page.to_owned(), message })?;
    Ok(format!("data:image/png;base64,{}", base64(&bytes)))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Architecture;
    use crate::tensor::Device;

    #[test]
    fn base64_of_rfc_4648() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (text, expected) in pairs {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn the_first_layer_has_a_picture_a_filter() {
        let network = Network::new(Architecture::by_name("ygnet", 10).unwrap(), &Device::cpu(), 1).unwrap();
        let uris = filter_uris(&network, Path::new("report.html")).unwrap();
        assert_eq!(uris.len(), network.parameters()[0].layout.outer_shape()[0]);
        assert!(uris.iter().all(|uri| uri.starts_with("data:image/png;base64,iVBORw0KGgo")));
    }
}
