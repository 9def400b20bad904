//! Drawings as pixels.

use std::io::Cursor;
use std::path::Path;

use ab_glyph::{Font, ScaleFont, point};
use image::{ImageFormat, Rgb, RgbImage};

use super::canvas::{Anchor, Canvas, Shape, Text};
use super::fonts::pixel_height;
use crate::error::{Error, Result};

/// Pixels of a unit of a drawing, so that it is sharp on dense screens.
const SCALE: f32 = 2.0;

impl Canvas {
    /// As pixels.
    fn pixels(&self) -> RgbImage {
        let mut image = RgbImage::new((self.width * SCALE) as u32, (self.height * SCALE) as u32);
        for shape in &self.shapes {
            match shape {
                Shape::Box { corner: (x, y), size: (w, h), color } => {
                    let inside = |low: f32, size: f32, pixel: f32| {
                        ((low + size) * SCALE - pixel).clamp(0.0, 1.0) - (low * SCALE - pixel).clamp(0.0, 1.0)
                    };
                    paint(&mut image, (*x, *y), (x + w, y + h), color.rgb(), |px, py| {
                        inside(*x, *w, px) * inside(*y, *h, py)
                    });
                }
                Shape::Line { points, width, color } => line(&mut image, points, *width, color.rgb()),
                Shape::Disc { center: (x, y), radius, color } => {
                    let (low, high) = ((x - radius, y - radius), (x + radius, y + radius));
                    paint(&mut image, low, high, color.rgb(), |px, py| {
                        let distance = (px + 0.5 - x * SCALE).hypot(py + 0.5 - y * SCALE);
                        (radius * SCALE - distance + 0.5).clamp(0.0, 1.0)
                    });
                }
                Shape::Text(text) => self.draw_text(&mut image, text),
            }
        }
        image
    }

    /// As a PNG; `path` is the file that it is for.
    pub fn png(&self, path: &Path) -> Result<Vec<u8>> {
        png(&self.pixels()).map_err(|message| Error::Report { path: path.to_owned(), message })
    }

    fn draw_text(&self, image: &mut RgbImage, text: &Text) {
        let font = self.fonts.of(text.bold);
        let height = pixel_height(font, text.size * SCALE);
        let scaled = font.as_scaled(height);
        let width = SCALE * self.fonts.width(&text.text, text.size, text.bold);
        let mut along = match text.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let (x, y) = (text.at.0 * SCALE, text.at.1 * SCALE);
        for character in text.text.chars() {
            let id = font.glyph_id(character);
            // Turned text is drawn about the origin, whose pixels are then turned.
            let start = if text.upwards { point(along, 0.0) } else { point(x + along, y) };
            along += scaled.h_advance(id);
            let Some(glyph) = font.outline_glyph(id.with_scale_and_position(height, start)) else { continue };
            let corner = glyph.px_bounds().min;
            glyph.draw(|gx, gy, coverage| {
                let (px, py) = (corner.x + gx as f32, corner.y + gy as f32);
                let (px, py) = if text.upwards { (x + py, y - px - 1.0) } else { (px, py) };
                blend(image, px as i64, py as i64, text.color.rgb(), coverage);
            });
        }
    }
}

/// A line with round joints: what is nearer to it than half its width.
fn line(image: &mut RgbImage, points: &[(f32, f32)], width: f32, color: [u8; 3]) {
    let half = width / 2.0;
    let low = points.iter().fold((f32::MAX, f32::MAX), |low, p| (low.0.min(p.0), low.1.min(p.1)));
    let high = points.iter().fold((f32::MIN, f32::MIN), |high, p| (high.0.max(p.0), high.1.max(p.1)));
    if points.is_empty() {
        return;
    }
    let (low, high) = ((low.0 - half, low.1 - half), (high.0 + half, high.1 + half));
    // A column of pixels sees only the segments that come near it.
    let mut near: Vec<[(f32, f32); 2]> = Vec::new();
    let mut column = f32::NAN;
    paint(image, low, high, color, |px, py| {
        let (x, y) = ((px + 0.5) / SCALE, (py + 0.5) / SCALE);
        if column != px {
            column = px;
            near.clear();
            let reaches = |a: f32, b: f32| a.min(b) - half - 1.0 <= x && x <= a.max(b) + half + 1.0;
            near.extend(points.windows(2).map(|ends| [ends[0], ends[1]]).filter(|[a, b]| reaches(a.0, b.0)));
        }
        let nearest = near.iter().map(|[a, b]| distance((x, y), *a, *b)).fold(f32::MAX, f32::min);
        ((half - nearest) * SCALE + 0.5).clamp(0.0, 1.0)
    });
}

/// From a point to the segment from `a` to `b`.
fn distance((x, y): (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { (((x - a.0) * dx + (y - a.1) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (x - a.0 - along * dx).hypot(y - a.1 - along * dy)
}

/// Paints the pixels between two corners, column by column, as much as `coverage` says of each by its upper left corner.
fn paint(
    image: &mut RgbImage,
    low: (f32, f32),
    high: (f32, f32),
    color: [u8; 3],
    mut coverage: impl FnMut(f32, f32) -> f32,
) {
    let range = |low: f32, high: f32, most: u32| {
        let bound = |value: f32| (value.max(0.0) as u32).min(most);
        bound((low * SCALE).floor() - 1.0)..bound((high * SCALE).ceil() + 1.0)
    };
    for px in range(low.0, high.0, image.width()) {
        for py in range(low.1, high.1, image.height()) {
            blend(image, px.into(), py.into(), color, coverage(px as f32, py as f32));
        }
    }
}

/// Mixes a color into a pixel, if there is one.
fn blend(image: &mut RgbImage, x: i64, y: i64, color: [u8; 3], coverage: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if coverage > 0.0
        && let Some(Rgb(pixel)) = image.get_pixel_mut_checked(x, y)
    {
        for (old, new) in pixel.iter_mut().zip(color) {
            let mixed = f32::from(*old) + coverage.min(1.0) * (f32::from(new) - f32::from(*old));
            *old = mixed.round() as u8;
        }
    }
}

/// Pixels as a PNG.
pub(super) fn png(pixels: &RgbImage) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, ImageFormat::Png).map_err(|e| e.to_string())?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::super::canvas::Color;
    use super::super::fonts::Fonts;
    use super::*;

    #[test]
    fn lines_boxes_and_text_are_where_they_should_be() {
        let mut canvas = Canvas::new(60.0, 30.0, Fonts::embedded().unwrap());
        let red = Color::Rgb([200, 0, 0]);
        canvas.filled_box((0.0, 0.0), (5.0, 5.0), red);
        canvas.line(vec![(10.0, 20.0), (50.0, 20.0)], 2.0, red);
        canvas.text(Text::new((10.0, 15.0), 10.0, "H").color(red));
        canvas.text(Text::new((55.0, 25.0), 10.0, "H").color(red).upwards());
        let pixels = canvas.pixels();
        let is_red = |x: u32, y: u32| pixels.get_pixel(x, y).0 == [200, 0, 0];
        assert!(is_red(9, 9) && !is_red(10, 10));
        assert!(is_red(60, 39) && is_red(60, 40) && !is_red(60, 43) && !is_red(110, 40));
        let count = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
            x.flat_map(|x| y.clone().map(move |y| (x, y))).filter(|&(x, y)| is_red(x, y)).count()
        };
        // The letter stands on its baseline, and the turned one to the left of it.
        let (upright, turned) = (count(20..36, 14..30), count(92..110, 34..50));
        assert!(upright > 30 && turned > 30, "{upright} {turned}");
        assert_eq!(count(20..36, 31..38) + count(111..120, 0..60), 0);
    }
}
