//! Small pictures inside a page: images of a data set, and filters.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use image::{Rgb, RgbImage};

use super::raster::png;
use crate::data::IMAGE_SIDE;
use crate::error::{Error, Result};
use crate::nn::{Layout, Network};

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
    let taps = kernel * kernel;
    weights
        .chunks_exact(3 * taps)
        .map(|filter| {
            let pixels = RgbImage::from_fn(kernel as u32, kernel as u32, |x, y| {
                let at = y as usize * kernel + x as usize;
                Rgb([0, 1, 2].map(|channel| (127.5 * (1.0 + filter[channel * taps + at] / largest)).round() as u8))
            });
            uri(&pixels, page)
        })
        .collect()
}

fn uri(pixels: &RgbImage, page: &Path) -> Result<String> {
    let bytes = png(pixels).map_err(|message| Error::Report { path: page.to_owned(), message })?;
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Architecture;
    use crate::tensor::Device;

    #[test]
    fn an_image_is_in_its_uri_pixel_for_pixel() {
        let planes: Vec<u8> = (0..3 * 1024_u32).map(|i| (i * 7 % 251) as u8).collect();
        let uri = image_uri(&planes, Path::new("report.html")).unwrap();
        let bytes = BASE64_STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let pixels = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(pixels.dimensions(), (32, 32));
        assert_eq!(pixels.get_pixel(5, 2).0, [0, 1, 2].map(|plane| planes[plane * 1024 + 2 * 32 + 5]));
    }

    #[test]
    fn the_first_layer_has_a_picture_a_filter() {
        let network = Network::new(Architecture::by_name("ygnet", 10).unwrap(), &Device::cpu(), 1).unwrap();
        let uris = filter_uris(&network, Path::new("report.html")).unwrap();
        assert_eq!(uris.len(), network.parameters()[0].layout.outer_shape()[0]);
        assert!(uris.iter().all(|uri| uri.starts_with("data:image/png;base64,iVBORw0KGgo")));
    }
}
