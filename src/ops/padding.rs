//! Padding of images for convolution and pooling.

use crate::error::{Error, Result};

/// Upper limit on strides and padding in pixels.
const MOST_PIXELS: usize = 1 << 14;

/// Padding around the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "PaddingKey", into = "PaddingKey")]
pub enum Padding {
    /// None: the window stays inside.
    #[default]
    Valid,
    /// The output has ⌈input / stride⌉ pixels per side; an odd pixel of padding goes below and right, as in TensorFlow.
    Same,
    /// The same number of pixels on all sides.
    Explicit(usize),
    /// Separate numbers of pixels for each side.
    Sides {
        /// Pixels above.
        top: usize,
        /// Pixels below.
        bottom: usize,
        /// Pixels to the left.
        left: usize,
        /// Pixels to the right.
        right: usize,
    },
}

/// How a description file writes padding: `"valid"`, `"same"`, a number, or `[top, bottom, left, right]`.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged, expecting = "padding must be \"valid\", \"same\", a number of pixels, or [top, bottom, left, right]")]
enum PaddingKey {
    Name(String),
    Pixels(usize),
    Sides([usize; 4]),
}

impl TryFrom<PaddingKey> for Padding {
    type Error = String;

    fn try_from(key: PaddingKey) -> std::result::Result<Self, String> {
        match key {
            PaddingKey::Name(name) => match name.as_str() {
                "valid" => Ok(Padding::Valid),
                "same" => Ok(Padding::Same),
                _ => Err(format!(
                    "padding {name:?} is not \"valid\", \"same\", a number of pixels or [top, bottom, left, right]"
                )),
            },
            PaddingKey::Pixels(pixels) => Ok(Padding::Explicit(pixels)),
            PaddingKey::Sides([top, bottom, left, right]) => Ok(Padding::Sides { top, bottom, left, right }),
        }
    }
}

impl From<Padding> for PaddingKey {
    fn from(padding: Padding) -> Self {
        match padding {
            Padding::Valid => PaddingKey::Name("valid".into()),
            Padding::Same => PaddingKey::Name("same".into()),
            Padding::Explicit(pixels) => PaddingKey::Pixels(pixels),
            Padding::Sides { top, bottom, left, right } => PaddingKey::Sides([top, bottom, left, right]),
        }
    }
}

/// Where windows lie along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    /// Pixels before the input.
    pub before: usize,
    /// Number of windows.
    pub count: usize,
}

impl Padding {
    /// The windows of size `kernel` and stride `stride` over `[height, width]` pixels, along height and along width.
    ///
    /// # Errors
    /// If a window is larger than the padded input, or a number is 0 or too large for a kernel.
    pub(super) fn windows(
        self,
        op: &'static str,
        [height, width]: [usize; 2],
        [kernel_h, kernel_w]: [usize; 2],
        stride: usize,
    ) -> Result<[Windows; 2]> {
        let sides = match self {
            Padding::Sides { top, bottom, left, right } => [top, bottom, left, right],
            Padding::Explicit(pixels) => [pixels; 4],
            Padding::Valid | Padding::Same => [0; 4],
        };
        if !(1..=MOST_PIXELS).contains(&stride) || !(1..=MOST_PIXELS).contains(&kernel_h.min(kernel_w)) {
            let message =
                format!("kernel {kernel_h}×{kernel_w} and stride {stride} must be from 1 to {MOST_PIXELS} pixels");
            return Err(Error::shape(op, message));
        }
        if sides.iter().any(|&side| side > MOST_PIXELS) {
            return Err(Error::shape(op, format!("padding {sides:?} must be at most {MOST_PIXELS} pixels")));
        }
        let same = |length: usize, kernel: usize| {
            let total = ((length.div_ceil(stride) - 1) * stride + kernel).saturating_sub(length);
            [total / 2, total - total / 2]
        };
        let (vertical, horizontal) = match self {
            Padding::Valid => ([0; 2], [0; 2]),
            Padding::Explicit(pixels) => ([pixels; 2], [pixels; 2]),
            Padding::Sides { top, bottom, left, right } => ([top, bottom], [left, right]),
            Padding::Same => (same(height, kernel_h), same(width, kernel_w)),
        };
        let along = |length: usize, kernel: usize, [before, after]: [usize; 2]| {
            let padded = length.saturating_add(before).saturating_add(after);
            let rest = padded.checked_sub(kernel).ok_or_else(|| {
                let message =
                    format!("a window of {kernel} pixels does not fit into {padded} ({height}×{width} with padding)");
                Error::shape(op, message)
            })?;
            Ok::<_, Error>(Windows { before, count: rest / stride + 1 })
        };
        Ok([along(height, kernel_h, vertical)?, along(width, kernel_w, horizontal)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(input: usize, kernel: usize, stride: usize, padding: Padding) -> Option<(usize, usize)> {
        let [vertical, horizontal] = padding.windows("test", [input; 2], [kernel; 2], stride).ok()?;
        assert_eq!(vertical, horizontal);
        Some((vertical.count, vertical.before))
    }

    #[test]
    fn output_sides_follow_the_padding() {
        assert_eq!(windows(32, 3, 1, Padding::Same), Some((32, 1)));
        assert_eq!(windows(32, 3, 2, Padding::Same), Some((16, 0)));
        assert_eq!(windows(32, 3, 2, Padding::Explicit(1)), Some((16, 1)));
        assert_eq!(windows(32, 5, 1, Padding::Valid), Some((28, 0)));
        assert_eq!(windows(7, 2, 1, Padding::Same), Some((7, 0)));
        assert_eq!(windows(2, 3, 1, Padding::Valid), None);
        let sides = Padding::Sides { top: 1, bottom: 2, left: 0, right: 3 };
        let [vertical, horizontal] = sides.windows("test", [5, 7], [3, 4], 2).unwrap();
        assert_eq!((vertical, horizontal), (Windows { before: 1, count: 3 }, Windows { before: 0, count: 4 }));
    }

    #[test]
    fn padding_is_read_as_it_is_written() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Keys {
            padding: Padding,
        }
        let sides = Padding::Sides { top: 1, bottom: 2, left: 0, right: 3 };
        for padding in [Padding::Valid, Padding::Same, Padding::Explicit(2), sides] {
            let text = toml::to_string(&Keys { padding }).unwrap();
            assert_eq!(toml::from_str::<Keys>(&text).unwrap().padding, padding, "{text}");
        }
        for text in ["padding = \"full\"", "padding = [1, 2]", "padding = -1"] {
            assert!(toml::from_str::<Keys>(text).is_err(), "{text}");
        }
    }
}
