//! Draws one synthetic image with integer arithmetic only.

use super::shape::{Shape, UNIT};
use crate::data::{IMAGE_BYTES, IMAGE_SIDE};
use crate::ops::random::RandomStream;
use rand::{Rng, RngExt};

const PLANE: usize = IMAGE_SIDE * IMAGE_SIDE;

/// Positions are counted in 1/64 of a pixel.
const SUB: i64 = 64;

/// Rotations are fixed-point with this many fraction bits.
const ROTATION_BITS: u32 = 16;

/// Samples per pixel side; their mean gives the soft edges.
const SAMPLES: i64 = 4;

type Rgb = [i64; 3];

/// Draws `shape` on a random ground into `image` (planes R, G, B).
///
/// Color, polarity, place, size, turn, ground, clutter and noise all come
/// from `rng`; the ink's color is typical of the class in half of the images.
pub(super) fn draw(shape: Shape, rng: &mut RandomStream, image: &mut [u8; IMAGE_BYTES]) {
    let (ground, ink) = colors(shape, rng);
    let mut canvas = gradient(ground, rng);
    clutter(&mut canvas, rng);
    let placed = Placed::random(shape, rng);
    for (index, pixel) in canvas.iter_mut().enumerate() {
        let (x, y) = ((index % IMAGE_SIDE) as i64, (index / IMAGE_SIDE) as i64);
        blend(pixel, ink, placed.coverage(x, y), SAMPLES * SAMPLES);
    }
    let amplitude = rng.random_range(8..=28);
    for (index, pixel) in canvas.iter().enumerate() {
        let mut bits = [0; 6];
        rng.fill_bytes(&mut bits);
        for (channel, &value) in pixel.iter().enumerate() {
            // The sum of two bytes: a triangular distribution around zero.
            let noise = i64::from(bits[2 * channel]) + i64::from(bits[2 * channel + 1]) - 255;
            let value = value + noise * amplitude / 255;
            image[channel * PLANE + index] = value.clamp(0, 255) as u8;
        }
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
/// Half of the inks are near the class's typical color. That is too little to tell the class by, but enough for a deep
/// network without normalization to find its first foothold.
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

/// `base` with a linear ramp across the image in a random direction.
fn gradient(base: Rgb, rng: &mut RandomStream) -> [Rgb; PLANE] {
    let slope: [(i64, i64); 3] = std::array::from_fn(|_| (rng.random_range(-24..=24), rng.random_range(-24..=24)));
    std::array::from_fn(|index| {
        let side = IMAGE_SIDE as i64;
        let (x, y) = ((index % IMAGE_SIDE) as i64, (index / IMAGE_SIDE) as i64);
        std::array::from_fn(|channel| {
            let (across, down) = slope[channel];
            base[channel] + (across * (2 * x - side) + down * (2 * y - side)) / side
        })
    })
}

/// Up to three small blots and up to one thin line, all fainter than the ink may be.
fn clutter(canvas: &mut [Rgb; PLANE], rng: &mut RandomStream) {
    let side = IMAGE_SIDE as i64;
    for _ in 0..rng.random_range(0..=3) {
        let color = std::array::from_fn(|_| rng.random_range(20..=235));
        let (cx, cy) = (rng.random_range(0..=side * SUB), rng.random_range(0..=side * SUB));
        let radius = rng.random_range(SUB..=2 * SUB);
        each_pixel(canvas, |x, y, pixel| {
            let (dx, dy) = (x - cx, y - cy);
            blend(pixel, color, i64::from(dx * dx + dy * dy <= radius * radius), 1);
        });
    }
    if rng.random() {
        let color = std::array::from_fn(|_| rng.random_range(20..=235));
        let upright: bool = rng.random();
        let place = rng.random_range(0..=side * SUB);
        let lean = rng.random_range(-16..=16);
        each_pixel(canvas, |x, y, pixel| {
            let (along, across) = if upright { (y, x) } else { (x, y) };
            let off = (across - place - lean * along / 64).abs();
            blend(pixel, color, i64::from(off <= SUB / 2), 2);
        });
    }
}

/// Calls `paint` with each pixel's center, in 1/64 of a pixel.
fn each_pixel(canvas: &mut [Rgb; PLANE], mut paint: impl FnMut(i64, i64, &mut Rgb)) {
    for (index, pixel) in canvas.iter_mut().enumerate() {
        let (x, y) = ((index % IMAGE_SIDE) as i64, (index / IMAGE_SIDE) as i64);
        paint(x * SUB + SUB / 2, y * SUB + SUB / 2, pixel);
    }
}

/// Moves `pixel` towards `color` by `part / whole`.
fn blend(pixel: &mut Rgb, color: Rgb, part: i64, whole: i64) {
    for (value, towards) in pixel.iter_mut().zip(color) {
        *value += (towards - *value) * part / whole;
    }
}

/// A shape with its place, size and turn in the image.
struct Placed {
    shape: Shape,
    center: (i64, i64),
    radius: i64,
    cos: i64,
    sin: i64,
}

impl Placed {
    fn random(shape: Shape, rng: &mut RandomStream) -> Self {
        let radius = rng.random_range(7 * SUB..=12 * SUB);
        // The whole shape stays inside, apart from corners it turns outwards.
        let slack = IMAGE_SIDE as i64 * SUB - 2 * radius;
        let center = (radius + rng.random_range(0..=slack), radius + rng.random_range(0..=slack));
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
