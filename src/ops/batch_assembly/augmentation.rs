//! Random augmentation of training images.

use crate::error::{Error, Result};
use crate::ops::StepState;
use crate::ops::random::threefry;

/// Separates the augmentation's random numbers from those of dropout, which adds small numbers to the key's high word, and of the
/// host, which flips its highest bit.
pub(super) const STREAM: u32 = 0x4000_0000;
/// Calls of the generator for an image.
pub(super) const DRAWS: u32 = 4;

/// When images are mirrored left to right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flip {
    /// Never.
    #[default]
    Never,
    /// At random for each image and step.
    Random,
    /// At random for each image in the first epoch, then in every other epoch: in two epochs a network sees both versions of each
    /// image (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024).
    Alternating,
    /// Always: for test-time augmentation.
    Always,
}

impl Flip {
    /// The shader's number for it.
    pub(super) fn code(self) -> u32 {
        match self {
            Flip::Never => 0,
            Flip::Random => 1,
            Flip::Alternating => 2,
            Flip::Always => 3,
        }
    }
}

/// What lies beyond the edges of an image that is cropped or translated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// Black pixels.
    #[default]
    Black,
    /// The image mirrored about its outermost pixels, which are not repeated (PyTorch's padding mode `reflect`).
    Reflect,
}

impl Border {
    /// The shader's number for it.
    pub(super) fn code(self) -> u32 {
        match self {
            Border::Black => 0,
            Border::Reflect => 1,
        }
    }

    /// The pixel in 0..`side` that is seen at `place`, less than `side` pixels beyond the edge; `None` for black.
    pub(super) fn pixel(self, place: i32, side: i32) -> Option<i32> {
        match self {
            _ if (0..side).contains(&place) => Some(place),
            Border::Black => None,
            Border::Reflect => Some(if place < 0 { -place } else { 2 * (side - 1) - place }),
        }
    }
}

/// Random changes to training images, in order of application: rotation and shift about the center, random crop, mirroring, cutout.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// When images are mirrored.
    pub flip: Flip,
    /// Width in pixels of the border that is added before an image of the original size is cropped at a random position.
    pub crop_padding: u32,
    /// That border.
    pub crop_border: Border,
    /// Maximum shift along each axis, as a fraction of that side, with bilinear interpolation; pixels beyond the edge repeat the
    /// nearest one (as in Keras).
    pub shift: f32,
    /// Maximum rotation in either direction in degrees, interpolated in the same way.
    pub rotation_degrees: f32,
    /// Cutout: size in pixels of a square at a random position that is set to the mean color (DeVries and Taylor, 2017).
    pub cutout: u32,
    /// Fixed translation of the crop in pixels, along x and y: for test-time augmentation.
    #[serde(skip)]
    pub translation: [i32; 2],
}

/// A description, such as "mirrored by chance, cropped by 4".
impl std::fmt::Display for Augmentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Augmentation { flip, crop_padding, crop_border, shift, rotation_degrees, cutout, translation } = *self;
        let mut parts = Vec::new();
        match flip {
            Flip::Never => {}
            Flip::Random => parts.push("mirrored by chance".to_owned()),
            Flip::Alternating => parts.push("mirrored in turns".to_owned()),
            Flip::Always => parts.push("mirrored".to_owned()),
        }
        if crop_padding > 0 {
            let border = if crop_border == Border::Reflect { " with reflection" } else { "" };
            parts.push(format!("cropped by {crop_padding}{border}"));
        }
        if translation != [0, 0] {
            parts.push(format!("translated by {translation:?}"));
        }
        if shift > 0.0 {
            parts.push(format!("shifted by {:.0} %", 100.0 * shift));
        }
        if rotation_degrees > 0.0 {
            parts.push(format!("rotated by {rotation_degrees}°"));
        }
        if cutout > 0 {
            parts.push(format!("cutout {cutout}"));
        }
        f.write_str(&if parts.is_empty() { "no augmentation".to_owned() } else { parts.join(", ") })
    }
}

impl Augmentation {
    /// Nothing is changed.
    pub const NONE: Augmentation = Augmentation {
        flip: Flip::Never,
        crop_padding: 0,
        crop_border: Border::Black,
        shift: 0.0,
        rotation_degrees: 0.0,
        cutout: 0,
        translation: [0, 0],
    };
    /// Each image mirrored.
    pub const MIRROR: Augmentation = Augmentation { flip: Flip::Always, ..Augmentation::NONE };
    /// Mirrored at random, and cropped with a border of 4 pixels.
    pub const FLIP_CROP: Augmentation = Augmentation { flip: Flip::Random, crop_padding: 4, ..Augmentation::NONE };
    /// ygnet's published augmentation with Keras: rotations of up to 10°, shifts of up to a tenth, random mirroring.
    pub const KERAS: Augmentation =
        Augmentation { flip: Flip::Random, shift: 0.1, rotation_degrees: 10.0, ..Augmentation::NONE };
    /// All of it, for long runs.
    pub const STRONG: Augmentation = Augmentation {
        flip: Flip::Alternating,
        crop_padding: 4,
        rotation_degrees: 10.0,
        cutout: 8,
        ..Augmentation::NONE
    };

    /// The presets by their names in flags and settings files.
    pub const PRESETS: [(&'static str, Augmentation); 4] = [
        ("none", Augmentation::NONE),
        ("flip-crop", Augmentation::FLIP_CROP),
        ("keras", Augmentation::KERAS),
        ("strong", Augmentation::STRONG),
    ];

    /// The preset of this name.
    ///
    /// # Errors
    /// [`Error::Setting`] with the known names.
    pub fn named(name: &str) -> Result<Self> {
        match Self::PRESETS.iter().find(|(preset, _)| *preset == name) {
            Some((_, augmentation)) => Ok(*augmentation),
            None => {
                let names = Self::PRESETS.map(|(preset, _)| preset).join(", ");
                Err(Error::Setting(format!("there is no augmentation \"{name}\": choose one of {names}")))
            }
        }
    }

    /// Checks the values for images of this size.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn validate(&self, height: usize, width: usize) -> Result<()> {
        let side = height.min(width) as u32;
        let fail = |field, message| Err(Error::field(field, message));
        if self.crop_padding >= side {
            return fail("crop_padding", format!("{} must be less than {side}", self.crop_padding));
        }
        // A reflection shows each pixel of the other side once.
        let farthest = self.translation.map(|distance| distance.unsigned_abs().saturating_add(self.crop_padding));
        if farthest.iter().any(|&distance| distance >= side) {
            return fail("translation", format!("{:?} must be less than {side} pixels", self.translation));
        }
        if self.cutout > 2 * side {
            return fail("cutout", format!("{} must be at most {}", self.cutout, 2 * side));
        }
        if !(0.0..=1.0).contains(&self.shift) {
            return fail("shift", format!("{} must be between 0 and 1", self.shift));
        }
        if !(0.0..=180.0).contains(&self.rotation_degrees) {
            return fail("rotation_degrees", format!("{} must be between 0 and 180 degrees", self.rotation_degrees));
        }
        Ok(())
    }

    /// Whether interpolation is needed.
    pub(super) fn interpolates(&self) -> bool {
        self.shift > 0.0 || self.rotation_degrees > 0.0
    }

    /// The random changes to image number `image` of the data set, number `place` of this part of
    /// the batch.
    pub(super) fn draw(&self, state: &StepState, place: u32, image: u32, [height, width]: [usize; 2]) -> Draw {
        let key = [state.seed[0], state.seed[1].wrapping_add(STREAM)];
        let first = DRAWS.wrapping_mul(state.first_image.wrapping_add(place));
        let draw = |number: u32| threefry(key, [first.wrapping_add(number), state.step]);
        let below = |bits: u32, bound: u32| ((bits >> 16) * bound) >> 16;
        // From −1 to 1, in steps that a float holds exactly.
        let uniform = |bits: u32| (bits >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let ([coin, crop], [shift_x, shift_y], [angle, cut]) = (draw(0), draw(1), draw(2));
        let padding = self.crop_padding as i32;
        let offset = |bits: u32, fixed: i32| below(bits, 2 * self.crop_padding + 1) as i32 - padding + fixed;
        let (sine, cosine) = (uniform(angle) * self.rotation_degrees.to_radians()).sin_cos();
        let corner = |bits: u32, side: usize| below(bits, side as u32) as i32 - (self.cutout / 2) as i32;
        Draw {
            flipped: match self.flip {
                Flip::Never => false,
                Flip::Random => coin & 1 == 1,
                Flip::Alternating => {
                    // A separate stream, since this random choice must not change from step to step.
                    let [coin, _] = threefry([key[0], key[1].wrapping_add(1)], [image, 0]);
                    (coin ^ state.epoch) & 1 == 1
                }
                Flip::Always => true,
            },
            crop: [offset(crop, self.translation[0]), offset(crop << 16, self.translation[1])],
            shift: [self.shift * width as f32 * uniform(shift_x), self.shift * height as f32 * uniform(shift_y)],
            sine,
            cosine,
            cutout: [corner(cut, width), corner(cut << 16, height)],
        }
    }
}

/// The random changes to one image; pairs are x, y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Draw {
    pub flipped: bool,
    pub crop: [i32; 2],
    pub shift: [f32; 2],
    pub sine: f32,
    pub cosine: f32,
    /// Upper left corner of the square.
    pub cutout: [i32; 2],
}
