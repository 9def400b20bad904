//! The shape of one image.

use std::fmt;
use std::str::FromStr;

use crate::error::{Cause, Error};

/// Height, width and channels of an image; no side is zero and there are 1 (gray) or 3 (color) channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "[usize; 3]", into = "[usize; 3]")]
pub struct ImageShape {
    height: usize,
    width: usize,
    channels: usize,
}

/// The reason why numbers are not a valid [`ImageShape`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: an image has a height and a width from 1 to {MOST_SIDE} pixels and 1 (gray) or 3 (color) channels")]
pub struct BadImageShape(String);

impl Cause for BadImageShape {
    fn hint(&self) -> Option<String> {
        Some("64 means 64×64 pixels, 48x40 means 48 rows of 40 pixels".to_owned())
    }
}

impl From<BadImageShape> for Error {
    fn from(error: BadImageShape) -> Self {
        Error::Part(Box::new(error))
    }
}

/// Longest side of an image in pixels.
const MOST_SIDE: usize = 4096;

impl ImageShape {
    /// CIFAR's: 32 × 32 pixels in color.
    pub const CIFAR: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };

    /// The shape of images with this height, width and number of channels.
    ///
    /// # Errors
    /// If a side is 0 or longer than 4096 pixels, or there are neither 1 nor 3 channels.
    pub fn new(height: usize, width: usize, channels: usize) -> Result<Self, BadImageShape> {
        let is_side = |side: usize| (1..=MOST_SIDE).contains(&side);
        if is_side(height) && is_side(width) && matches!(channels, 1 | 3) {
            return Ok(ImageShape { height, width, channels });
        }
        Err(BadImageShape(format!("{height}×{width}×{channels}")))
    }

    /// Height in pixels.
    pub fn height(self) -> usize {
        self.height
    }

    /// Width in pixels.
    pub fn width(self) -> usize {
        self.width
    }

    /// 1 (gray) or 3 (red, green, blue).
    pub fn channels(self) -> usize {
        self.channels
    }

    /// Pixels of an image.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Bytes of an image, one for each channel of each pixel.
    pub fn bytes(self) -> usize {
        self.pixels() * self.channels
    }

    /// The same number of channels at another size.
    ///
    /// # Errors
    /// As [`ImageShape::new`].
    pub fn with_size(self, size: ImageSize) -> Result<Self, BadImageShape> {
        ImageShape::new(size.height, size.width, self.channels)
    }

    /// The same size in gray, or in color.
    pub fn with_gray(self, gray: bool) -> Self {
        ImageShape { channels: if gray { 1 } else { 3 }, ..self }
    }

    /// This shape with the requested changes: another size, and gray or color.
    ///
    /// # Errors
    /// As [`ImageShape::new`].
    pub fn changed(self, size: Option<ImageSize>, gray: Option<bool>) -> Result<Self, BadImageShape> {
        let shape = size.map_or(Ok(self), |size| self.with_size(size))?;
        Ok(gray.map_or(shape, |gray| shape.with_gray(gray)))
    }

    /// Height and width without the channels.
    pub fn size(self) -> ImageSize {
        ImageSize { height: self.height, width: self.width }
    }

    /// Whether there is one channel.
    pub fn is_gray(self) -> bool {
        self.channels == 1
    }

    /// `[height, width, channels]`, as one image of a batch.
    pub fn axes(self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// Shape of a batch of `images`: `[images, height, width, channels]`.
    pub fn batch(self, images: usize) -> [usize; 4] {
        [images, self.height, self.width, self.channels]
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.height, self.width, self.channels)
    }
}

impl TryFrom<[usize; 3]> for ImageShape {
    type Error = BadImageShape;

    fn try_from([height, width, channels]: [usize; 3]) -> Result<Self, BadImageShape> {
        ImageShape::new(height, width, channels)
    }
}

impl From<ImageShape> for [usize; 3] {
    fn from(shape: ImageShape) -> Self {
        shape.axes()
    }
}

/// Height and width in pixels that pictures are scaled to: `64`, or `48x40` for 48 rows of 40 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageSize {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl FromStr for ImageSize {
    type Err = BadImageShape;

    fn from_str(text: &str) -> Result<Self, BadImageShape> {
        let (height, width) = text.split_once(['x', '×']).unwrap_or((text, text));
        let size = height.parse().ok().zip(width.parse().ok());
        let size = size.and_then(|(height, width)| ImageShape::new(height, width, 1).ok());
        let shape = size.ok_or_else(|| BadImageShape(text.to_owned()))?;
        Ok(ImageSize { height: shape.height, width: shape.width })
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl TryFrom<String> for ImageSize {
    type Error = BadImageShape;

    fn try_from(text: String) -> Result<Self, BadImageShape> {
        text.parse()
    }
}

impl From<ImageSize> for String {
    fn from(size: ImageSize) -> String {
        size.to_string()
    }
}

/// The shape's element count agrees with that of tensors.
const _: () = assert!(MOST_SIDE * MOST_SIDE * 3 < i32::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::elements;

    #[test]
    fn sizes_are_read_as_they_are_shown() {
        for (text, height, width) in [("64", 64, 64), ("48x40", 48, 40), ("1×4096", 1, 4096)] {
            let size: ImageSize = text.parse().unwrap();
            assert_eq!((size.height, size.width), (height, width), "{text}");
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for text in ["", "0", "4097", "x", "3x", "3x4x5", "-3", "3.5"] {
            assert!(text.parse::<ImageSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn shapes_have_one_or_three_channels() {
        assert!(ImageShape::new(4, 5, 1).is_ok() && ImageShape::new(4, 5, 3).is_ok());
        assert!(ImageShape::new(4, 5, 2).is_err() && ImageShape::new(0, 5, 3).is_err());
        assert_eq!(ImageShape::CIFAR.bytes(), 3072);
        let gray = ImageShape::CIFAR.with_size("48x40".parse().unwrap()).unwrap().with_gray(true);
        assert_eq!((gray.axes(), gray.is_gray(), gray.with_gray(false).axes()), ([48, 40, 1], true, [48, 40, 3]));
        assert_eq!(gray.size().to_string(), "48x40");
        assert_eq!(ImageShape::CIFAR.changed(Some(gray.size()), Some(true)), Ok(gray));
        assert_eq!(gray.changed(None, None), Ok(gray));
        assert!(gray.changed(Some(ImageSize { height: 0, width: 1 }), None).is_err());
        assert_eq!(elements(&ImageShape::CIFAR.batch(2)), Some(6144));
    }
}
