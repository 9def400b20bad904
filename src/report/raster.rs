//! Drawings as pixels.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};
use tiny_skia::{FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};
use ttf_parser::OutlineBuilder;

use super::canvas::{Anchor, Canvas, Color, Shape, Text};
use super::fonts::{advance, glyph};
use crate::error::{Error, Result};

/// Pixels per unit of a drawing, for high-resolution screens.
const SCALE: f32 = 2.0;

/// Collects the outlines of a line of glyphs, in the font's units, from an origin on the baseline.
#[derive(Default)]
struct Outlines {
    path: PathBuilder,
    /// Where the next glyph begins.
    along: f32,
}

impl OutlineBuilder for Outlines {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.along + x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.along + x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.path.quad_to(self.along + x1, y1, self.along + x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.path.cubic_to(self.along + x1, y1, self.along + x2, y2, self.along + x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

impl Canvas {
    /// Rasterizes the drawing, unless it is empty or too large.
    fn pixels(&self) -> Option<RgbImage> {
        let mut pixmap = Pixmap::new((self.width * SCALE) as u32, (self.height * SCALE) as u32)?;
        let scaled = Transform::from_scale(SCALE, SCALE);
        for shape in &self.shapes {
            match shape {
                Shape::Box { corner: (x, y), size: (w, h), color } => {
                    // Rectangles that need not be transformed are filled faster.
                    if let Some(rect) = Rect::from_xywh(x * SCALE, y * SCALE, w * SCALE, h * SCALE) {
                        pixmap.fill_rect(rect, &paint(*color), Transform::identity(), None);
                    }
                }
                Shape::Line { points, width, color } => {
                    let mut path = PathBuilder::new();
                    for (index, &(x, y)) in points.iter().enumerate() {
                        if index == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
                    }
                    let (line_cap, line_join) = (LineCap::Round, LineJoin::Round);
                    let stroke = Stroke { width: *width, line_cap, line_join, ..Stroke::default() };
                    if let Some(path) = path.finish() {
                        pixmap.stroke_path(&path, &paint(*color), &stroke, scaled, None);
                    }
                }
                Shape::Disc { center: (x, y), radius, color } => {
                    if let Some(circle) = PathBuilder::from_circle(*x, *y, *radius) {
                        pixmap.fill_path(&circle, &paint(*color), FillRule::Winding, scaled, None);
                    }
                }
                Shape::Text(text) => self.draw_text(&mut pixmap, text),
            }
        }
        // The background covers everything, so that all pixels are opaque.
        let (pixels, _) = pixmap.data().as_chunks::<4>();
        RgbImage::from_raw(pixmap.width(), pixmap.height(), pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect())
    }

    /// As a PNG; `path` is the file that it is for.
    pub fn png(&self, path: &Path) -> Result<Vec<u8>> {
        let unfit = || format!("a drawing of {}×{} has no pixels, or too many", self.width, self.height);
        self.pixels()
            .ok_or_else(unfit)
            .and_then(|pixels| png(&pixels))
            .map_err(|message| Error::Report { path: path.to_owned(), message })
    }

    fn draw_text(&self, pixmap: &mut Pixmap, text: &Text) {
        let font = self.fonts.of(text.bold);
        let unit = SCALE * text.size / f32::from(font.units_per_em());
        let width = self.fonts.width(&text.text, SCALE * text.size, text.bold) / unit;
        let along = match text.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let mut outlines = Outlines { along, ..Outlines::default() };
        for character in text.text.chars() {
            let glyph = glyph(font, character);
            font.outline_glyph(glyph, &mut outlines);
            outlines.along += advance(font, glyph);
        }
        // A font's second axis points upwards.
        let (x, y) = (text.at.0 * SCALE, text.at.1 * SCALE);
        let place = match text.upwards {
            false => Transform::from_row(unit, 0.0, 0.0, -unit, x, y),
            true => Transform::from_row(0.0, -unit, -unit, 0.0, x, y),
        };
        if let Some(path) = outlines.path.finish() {
            pixmap.fill_path(&path, &paint(text.color), FillRule::Winding, place, None);
        }
    }
}

fn paint(color: Color) -> Paint<'static> {
    let [r, g, b] = color.rgb();
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, 255);
    paint
}

/// Pixels as a PNG.
pub(super) fn png(pixels: &RgbImage) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, ImageFormat::Png).map_err(|e| e.to_string())?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
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
        let pixels = canvas.pixels().unwrap();
        let is_red = |x: u32, y: u32| pixels.get_pixel(x, y).0 == [200, 0, 0];
        assert!(is_red(9, 9) && !is_red(10, 10));
        assert!(is_red(60, 39) && is_red(60, 40) && !is_red(60, 43) && !is_red(110, 40));
        let count = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
            x.flat_map(|x| y.clone().map(move |y| (x, y))).filter(|&(x, y)| is_red(x, y)).count()
        };
        // The letter stands on its baseline, and the rotated one to the left of it.
        let (upright, rotated) = (count(20..36, 14..30), count(92..110, 34..50));
        assert!(upright > 30 && rotated > 30, "{upright} {rotated}");
        assert_eq!(count(20..36, 31..38) + count(111..120, 0..60), 0);
    }
}
