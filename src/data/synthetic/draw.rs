//! Draws one synthetic image with integer arithmetic only.

use super::shape::{Shape, UNIT};
use crate::data::planes::write_planes;
use crate::ops::random::RandomStream;
use crate::tensor::ImageShape;
use rand::{Rng, RngExt};

/// Side in pixels of the images that lengths are given for; others are drawn in proportion.
const SIDE: i64 = 32;

/// Positions are counted in 1/64 of a pixel.
const SUB: i64 = 64;

/// Rotations are fixed-point with this many fraction bits.
const ROTATION_BITS: u32 = 16;

/// Samples per pixel side; their mean gives the soft edges.
const SAMPLES: i64 = 4;

type Rgb = [i64; 3];

/// Draws `shape` on a random background into the planes of `image`, whose shape is `size`.
///
/// Color, polarity, position, size, rotation, background, clutter and noise all come from `rng`; the foreground's color is typical
/// of the class in half of the images.
pub(super) fn draw(shape: Shape, rng: &mut RandomStream, size: ImageShape, image: &mut [u8]) {
    let (ground, ink) = colors(shape, rng);
    let mut canvas = Canvas::with_gradient(size, ground, rng);
    clutter(&mut canvas, rng);
    let placed = Placed::random(shape, &canvas, rng);
    canvas.each_pixel(|x, y, pixel| blend(pixel, ink, placed.coverage(x, y), SAMPLES * SAMPLES));
    let amplitude = rng.random_range(8..=28);
    let pixels = canvas.pixels.iter().map(|pixel| {
        let mut bits = [0; 6];
        rng.fill_bytes(&mut bits);
        std::array::from_fn(|channel| {
            // The sum of two bytes: a triangular distribution around zero.
            let noise = i64::from(bits[2 * channel]) + i64::from(bits[2 * channel + 1]) - 255;
            (pixel[channel] + noise * amplitude / 255).clamp(0, 255) as u8
        })
    });
    write_planes(pixels, size, image);
}

/// What is drawn on, in color.
struct Canvas {
    width: i64,
    height: i64,
    /// Row by row.
    pixels: Vec<Rgb>,
}

impl Canvas {
    /// `base` with a linear ramp across the image in a random direction.
    fn with_gradient(size: ImageShape, base: Rgb, rng: &mut RandomStream) -> Self {
        let (width, height) = (size.width() as i64, size.height() as i64);
        let mut canvas = Canvas { width, height, pixels: vec![base; size.pixels()] };
        let slope: [(i64, i64); 3] = std::array::from_fn(|_| (rng.random_range(-24..=24), rng.random_range(-24..=24)));
        canvas.each_pixel(|x, y, pixel| {
            for (value, (across, down)) in pixel.iter_mut().zip(slope) {
                let rise = across * (2 * x - width) * height + down * (2 * y - height) * width;
                *value += rise / (width * height);
            }
        });
        canvas
    }

    /// A length given in parts of a pixel of images of [`SIDE`] pixels, as it is here.
    fn scaled(&self, length: i64) -> i64 {
        length * self.width.min(self.height) / SIDE
    }

    /// Calls `paint` with each pixel and its column and row.
    fn each_pixel(&mut self, mut paint: impl FnMut(i64, i64, &mut Rgb)) {
        for (index, pixel) in (0..).zip(&mut self.pixels) {
            paint(index % self.width, index / self.width, pixel);
        }
    }

    /// Calls `paint` with each pixel and its center, in 1/64 of a pixel.
    fn each_center(&mut self, mut paint: impl FnMut(i64, i64, &mut Rgb)) {
        self.each_pixel(|x, y, pixel| paint(x * SUB + SUB / 2, y * SUB + SUB / 2, pixel));
    }
}

/// The ink's typical color, by label.
const TYPICAL_INK: [Rgb; 10] = [
    [210, 50, 50],
    [230, 140, 30],
    [220, 220, 60],
    [120, 200, 50],
    [30, 150, 60],
    [50, 200, 200],
    [50, 90, 210],
    [140, 60, 200],
    [220, 90, 180],
    [120, 80, 50],
];

/// Colors of ground and ink, at least 90 apart in brightness, either of them the brighter.
///
/// Half of the inks are near the class's typical color. That is too little to determine the class, but enough for the loss of a
/// deep network without normalization to start decreasing.
fn colors(shape: Shape, rng: &mut RandomStream) -> (Rgb, Rgb) {
    let typical: bool = rng.random();
    loop {
        let mut color = || std::array::from_fn(|_| rng.random_range(20..=235));
        let (ground, mut ink): (Rgb, Rgb) = (color(), color());
        if typical {
            let base = TYPICAL_INK[shape as usize];
            ink = std::array::from_fn(|channel| (base[channel] + rng.random_range(-25..=25)).clamp(20, 235));
        }
        if (brightness(ground) - brightness(ink)).abs() >= 90 {
            return (ground, ink);
        }
    }
}

fn brightness([r, g, b]: Rgb) -> i64 {
    (2 * r + 5 * g + b) / 8
}

/// Up to three small blots and up to one thin line, all fainter than the ink may be.
fn clutter(canvas: &mut Canvas, rng: &mut RandomStream) {
    let (width, height, unit) = (canvas.width, canvas.height, canvas.scaled(SUB));
    for _ in 0..rng.random_range(0..=3) {
        let color = std::array::from_fn(|_| rng.random_range(20..=235));
        let (cx, cy) = (rng.random_range(0..=width * SUB), rng.random_range(0..=height * SUB));
        let radius = rng.random_range(unit..=2 * unit);
        canvas.each_center(|x, y, pixel| {
            let (dx, dy) = (x - cx, y - cy);
            blend(pixel, color, i64::from(dx * dx + dy * dy <= radius * radius), 1);
        });
    }
    if rng.random() {
        let color = std::array::from_fn(|_| rng.random_range(20..=235));
        let upright: bool = rng.random();
        let side = if upright { width } else { height };
        let place = rng.random_range(0..=side * SUB);
        let lean = rng.random_range(-16..=16);
        canvas.each_center(|x, y, pixel| {
            let (along, across) = if upright { (y, x) } else { (x, y) };
            let off = (across - place - lean * along / 64).abs();
            blend(pixel, color, i64::from(off <= unit / 2), 2);
        });
    }
}

/// Moves `pixel` towards `color` by `part / whole`.
fn blend(pixel: &mut Rgb, color: Rgb, part: i64, whole: i64) {
    for (value, towards) in pixel.iter_mut().zip(color) {
        *value += (towards - *value) * part / whole;
    }
}

/// A shape with its position, size and rotation in the image.
struct Placed {
    shape: Shape,
    center: (i64, i64),
    radius: i64,
    cos: i64,
    sin: i64,
}

impl Placed {
    fn random(shape: Shape, canvas: &Canvas, rng: &mut RandomStream) -> Self {
        let radius = rng.random_range(canvas.scaled(7 * SUB)..=canvas.scaled(12 * SUB));
        // The whole shape stays inside, apart from corners that the rotation moves outwards.
        let slack = |side: i64| side * SUB - 2 * radius;
        let center =
            (radius + rng.random_range(0..=slack(canvas.width)), radius + rng.random_range(0..=slack(canvas.height)));
        // With t = tan(angle / 2) rational, cosine and sine are rational too,
        // so no library sine can make the bytes differ between platforms.
        // 34/256 is an angle of 15 degrees.
        let (t, whole) = (rng.random_range(-34..=34), 256);
        let norm = whole * whole + t * t;
        Self {
            shape,
            center,
            radius,
            cos: ((whole * whole - t * t) << ROTATION_BITS) / norm,
            sin: ((2 * t * whole) << ROTATION_BITS) / norm,
        }
    }

    /// How many of the `SAMPLES²` points of pixel `(x, y)` the shape covers.
    fn coverage(&self, x: i64, y: i64) -> i64 {
        let (dx, dy) = (x * SUB - self.center.0, y * SUB - self.center.1);
        // No shape reaches further than its box's diagonal, plus one pixel.
        let reach = self.radius * 3 / 2 + SUB;
        if dx * dx + dy * dy > reach * reach {
            return 0;
        }
        let step = SUB / SAMPLES;
        let samples = || (0..SAMPLES).map(|i| i * step + step / 2);
        let mut covered = 0;
        for sy in samples() {
            for sx in samples() {
                let (px, py) = (dx + sx, dy + sy);
                let u = ((self.cos * px + self.sin * py) * UNIT / self.radius) >> ROTATION_BITS;
                let v = ((self.cos * py - self.sin * px) * UNIT / self.radius) >> ROTATION_BITS;
                covered += i64::from(self.shape.covers(u, v));
            }
        }
        covered
    }
}
