//! A small vector drawing: boxes, lines, discs and text, which become an SVG here and pixels in `raster`.

use std::fmt::Write;

use super::fonts::Fonts;

/// A color by its role, so that a page can choose others for a dark background.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Color {
    /// The background.
    Surface,
    /// Text.
    Ink,
    /// Secondary text.
    Muted,
    /// Grid lines.
    Grid,
    /// The training images' curve.
    Train,
    /// The test images' curve.
    Test,
    /// A fixed color.
    Rgb([u8; 3]),
}

impl Color {
    /// Red, green and blue on a light background.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Color::Surface => [255, 255, 255],
            Color::Ink => [26, 32, 44],
            Color::Muted => [100, 110, 125],
            Color::Grid => [226, 229, 234],
            Color::Train => [37, 113, 214],
            Color::Test => [224, 92, 36],
            Color::Rgb(rgb) => rgb,
        }
    }

    /// Name of the class in SVG.
    fn class(self) -> Option<&'static str> {
        match self {
            Color::Surface => Some("surface"),
            Color::Ink => Some("ink"),
            Color::Muted => Some("muted"),
            Color::Grid => Some("grid"),
            Color::Train => Some("train"),
            Color::Test => Some("test"),
            Color::Rgb(_) => None,
        }
    }

    /// Attributes that paint with it; `kind` is `fill` or `stroke`.
    fn svg(self, kind: &str) -> String {
        let [r, g, b] = self.rgb();
        let class = self.class().map(|name| format!(" class=\"{name}-{kind}\"")).unwrap_or_default();
        format!("{kind}=\"#{r:02x}{g:02x}{b:02x}\"{class}")
    }
}

/// Alignment of a text at its position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of text.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// Position of the anchor on the baseline.
    pub at: (f32, f32),
    pub text: String,
    /// Height of an em.
    pub size: f32,
    pub color: Color,
    pub anchor: Anchor,
    pub bold: bool,
    /// Whether it is rotated to read upwards.
    pub upwards: bool,
}

impl Text {
    /// Plain text from `at` to the right.
    pub fn new(at: (f32, f32), size: f32, text: impl Into<String>) -> Self {
        let text = text.into();
        Text { at, text, size, color: Color::Ink, anchor: Anchor::Start, bold: false, upwards: false }
    }

    pub fn anchor(self, anchor: Anchor) -> Self {
        Text { anchor, ..self }
    }

    pub fn color(self, color: Color) -> Self {
        Text { color, ..self }
    }

    pub fn bold(self) -> Self {
        Text { bold: true, ..self }
    }

    pub fn upwards(self) -> Self {
        Text { upwards: true, ..self }
    }
}

/// A drawn element.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Box { corner: (f32, f32), size: (f32, f32), color: Color },
    Line { points: Vec<(f32, f32)>, width: f32, color: Color },
    Disc { center: (f32, f32), radius: f32, color: Color },
    Text(Text),
}

/// A drawing.
#[derive(Debug)]
pub(super) struct Canvas {
    pub width: f32,
    pub height: f32,
    pub fonts: Fonts,
    pub shapes: Vec<Shape>,
}

impl Canvas {
    /// An empty one.
    pub fn new(width: f32, height: f32, fonts: Fonts) -> Self {
        let background = Shape::Box { corner: (0.0, 0.0), size: (width, height), color: Color::Surface };
        Canvas { width, height, fonts, shapes: vec![background] }
    }

    pub fn line(&mut self, points: Vec<(f32, f32)>, width: f32, color: Color) {
        self.shapes.push(Shape::Line { points, width, color });
    }

    pub fn disc(&mut self, center: (f32, f32), radius: f32, color: Color) {
        self.shapes.push(Shape::Disc { center, radius, color });
    }

    pub fn filled_box(&mut self, corner: (f32, f32), size: (f32, f32), color: Color) {
        self.shapes.push(Shape::Box { corner, size, color });
    }

    pub fn text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }

    /// As an SVG document, which can be embedded in an HTML page.
    pub fn svg(&self) -> String {
        let (w, h) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
             font-family=\"'DejaVu Sans', Verdana, system-ui, sans-serif\">\n"
        );
        for shape in &self.shapes {
            // Writing into a string does not fail.
            let _ = match shape {
                Shape::Box { corner: (x, y), size: (w, h), color } => {
                    let fill = color.svg("fill");
                    writeln!(svg, "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" {fill}/>")
                }
                Shape::Line { points, width, color } => {
                    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
                    writeln!(
                        svg,
                        "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"{width}\" stroke-linejoin=\"round\" \
                         stroke-linecap=\"round\"/>",
                        points.join(" "),
                        color.svg("stroke")
                    )
                }
                Shape::Disc { center: (x, y), radius, color } => {
                    writeln!(svg, "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius}\" {}/>", color.svg("fill"))
                }
                Shape::Text(text) => writeln!(svg, "{}", svg_text(text)),
            };
        }
        svg + "</svg>\n"
    }
}

fn svg_text(text: &Text) -> String {
    let anchor = match text.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let (x, y) = text.at;
    let bold = if text.bold { " font-weight=\"bold\"" } else { "" };
    let rotated = if text.upwards { format!(" transform=\"rotate(-90 {x:.2} {y:.2})\"") } else { String::new() };
    format!(
        "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{}\" text-anchor=\"{anchor}\" {}{bold}{rotated}>{}</text>",
        text.size,
        text.color.svg("fill"),
        escape(&text.text)
    )
}

/// Escapes text for XML and HTML, inside and outside of attributes. Characters that XML cannot represent become the replacement
/// character.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_data_stays_text() {
        let mut canvas = Canvas::new(10.0, 10.0, Fonts::embedded().unwrap());
        canvas.text(Text::new((1.0, 2.0), 3.0, "<script>&\"'\u{7}"));
        let svg = canvas.svg();
        assert!(svg.contains(">&lt;script&gt;&amp;&quot;&#39;\u{fffd}</text>"), "{svg}");
    }
}
