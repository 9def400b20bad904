//! Small pictures inside a page: images of a data set, and filters.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use image::imageops::FilterType;
use image::{Rgb, RgbImage};

use super::raster::png;
use crate::data::to_picture;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::tape::Layout;
use crate::tensor::ImageShape;

/// Maximum pixels of a picture's longer side: twice the displayed size, for high-resolution screens.
const MOST_SIDE: u32 = 192;

/// An image's planes as a data URI; large images are reduced.
pub(super) fn image_uri(planes: &[u8], shape: ImageShape, page: &Path) -> Result<String> {
    let mut picture = to_picture(planes, shape);
    if picture.width().max(picture.height()) > MOST_SIDE {
        picture = picture.resize(MOST_SIDE, MOST_SIDE, FilterType::Triangle);
    }
    uri(&picture.into_rgb8(), page)
}

/// The filters of the first convolution, if its input is the image, each as a data URI; none if the network has no such layer.
///
/// All have the same scale: gray is zero, and the largest magnitude is black or white.
pub(super) fn filter_uris(network: &Network, page: &Path) -> Result<Vec<String>> {
    let channels = network.architecture().input.channels();
    let first = network.parameters().iter().find_map(|parameter| match parameter.layout {
        Layout::Conv2dWeight { in_c, kernel, .. } if in_c == channels => Some((parameter, kernel)),
        _ => None,
    });
    let Some((parameter, kernel)) = first else { return Ok(Vec::new()) };
    let weights = parameter.layout.to_outer(&parameter.tensor.to_vec()?);
    let largest = weights.iter().map(|weight| weight.abs()).fold(f32::MIN_POSITIVE, f32::max);
    let [height, width] = kernel;
    let taps = height * width;
    weights
        .chunks_exact(channels * taps)
        .map(|filter| {
            let pixels = RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let at = y as usize * width + x as usize;
                let weight = |channel: usize| filter[channel.min(channels - 1) * taps + at];
                Rgb([0, 1, 2].map(|channel| (127.5 * (1.0 + weight(channel) / largest)).round() as u8))
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
        let uri = image_uri(&planes, ImageShape::CIFAR, Path::new("report.html")).unwrap();
        let bytes = BASE64_STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let pixels = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(pixels.dimensions(), (32, 32));
        assert_eq!(pixels.get_pixel(5, 2).0, [0, 1, 2].map(|plane| planes[plane * 1024 + 2 * 32 + 5]));
    }

    #[test]
    fn the_first_layer_has_a_picture_a_filter() {
        let ygnet = Architecture::by_name("ygnet", 10).unwrap();
        let gray = ygnet.clone().with_input(ImageShape::new(20, 24, 1).unwrap()).unwrap();
        for architecture in [ygnet, gray] {
            let network = Network::new(architecture, &Device::cpu(), 1).unwrap();
            let uris = filter_uris(&network, Path::new("report.html")).unwrap();
            assert_eq!(uris.len(), network.parameters()[0].layout.outer_shape()[0]);
            assert!(uris.iter().all(|uri| uri.starts_with("data:image/png;base64,iVBORw0KGgo")));
        }
    }

    #[test]
    fn pictures_keep_their_proportions_and_large_ones_become_smaller() {
        for (axes, [height, width]) in
            [([32, 32, 3], [32, 32]), ([48, 40, 1], [48, 40]), ([1000, 500, 1], [192, 96]), ([100, 400, 3], [48, 192])]
        {
            let shape = ImageShape::try_from(axes).unwrap();
            let planes: Vec<u8> = (0..shape.bytes()).map(|i| (i / shape.pixels() * 90 + 20) as u8).collect();
            let uri = image_uri(&planes, shape, Path::new("report.html")).unwrap();
            let picture = image::load_from_memory(&from_base64(&uri["data:image/png;base64,".len()..])).unwrap();
            let picture = picture.into_rgb8();
            assert_eq!(picture.dimensions(), (width, height), "{axes:?}");
            let expected = if shape.is_gray() { [20, 20, 20] } else { [20, 110, 200] };
            assert!(picture.pixels().all(|pixel| pixel.0 == expected), "{axes:?}");
        }
    }

    fn from_base64(text: &str) -> Vec<u8> {
        let digit = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let padding = text.bytes().filter(|&c| c == b'=').count();
        let mut bytes: Vec<u8> = text
            .as_bytes()
            .chunks_exact(4)
            .flat_map(|four| {
                let bits = four.iter().fold(0_u32, |bits, &c| bits << 6 | u32::from(digit(c) & 63));
                [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]
            })
            .collect();
        bytes.truncate(bytes.len() - padding);
        bytes
    }
}
