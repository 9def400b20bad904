//! A small vector drawing: boxes, lines, discs and text, which become an SVG here and pixels in `raster`.

use std::fmt::Write;

use super::raster::Fonts;

/// A colour by what it is for, so that a page can choose others for a dark background.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Colour {
    /// Behind everything.
    Surface,
    /// Text.
    Ink,
    /// Text that stands back.
    Muted,
    /// Grid lines.
    Grid,
    /// The training images' curve.
    Train,
    /// The test images' curve.
    Test,
    /// This very colour.
    Rgb([u8; 3]),
}

impl Colour {
    /// Red, green and blue on a light background.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Colour::Surface => [255, 255, 255],
            Colour::Ink => [26, 32, 44],
            Colour::Muted => [100, 110, 125],
            Colour::Grid => [226, 229, 234],
            Colour::Train => [37, 113, 214],
            Colour::Test => [224, 92, 36],
            Colour::Rgb(rgb) => rgb,
        }
    }

    /// Name of the class in SVG.
    fn class(self) -> Option<&'static str> {
        match self {
            Colour::Surface => Some("surface"),
            Colour::Ink => Some("ink"),
            Colour::Muted => Some("muted"),
            Colour::Grid => Some("grid"),
            Colour::Train => Some("train"),
            Colour::Test => Some("test"),
            Colour::Rgb(_) => None,
        }
    }

    /// Attributes that paint with it; `kind` is `fill` or `stroke`.
    fn svg(self, kind: &str) -> String {
        let [r, g, b] = self.rgb();
        let class = self.class().map(|name| format!(" class=\"{name}-{kind}\"")).unwrap_or_default();
        format!("{kind}=\"#{r:02x}{g:02x}{b:02x}\"{class}")
    }
}

/// Which point of a text is placed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of text.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// Where the anchor lies on the baseline.
    pub at: (f32, f32),
    pub text: String,
    /// Height of an em.
    pub size: f32,
    pub colour: Colour,
    pub anchor: Anchor,
    pub bold: bool,
    /// Whether it runs from the bottom to the top.
    pub upwards: bool,
}

impl Text {
    /// Plain text from `at` to the right.
    pub fn new(at: (f32, f32), size: f32, text: impl Into<String>) -> Self {
        let text = text.into();
        Text { at, text, size, colour: Colour::Ink, anchor: Anchor::Start, bold: false, upwards: false }
    }

    pub fn anchor(self, anchor: Anchor) -> Self {
        Text { anchor, ..self }
    }

    pub fn colour(self, colour: Colour) -> Self {
        Text { colour, ..self }
    }

    pub fn bold(self) -> Self {
        Text { bold: true, ..self }
    }

    pub fn upwards(self) -> Self {
        Text { upwards: true, ..self }
    }
}

/// Something drawn.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Box { corner: (f32, f32), size: (f32, f32), colour: Colour },
    Line { points: Vec<(f32, f32)>, width: f32, colour: Colour },
    Disc { centre: (f32, f32), radius: f32, colour: Colour },
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
        let background = Shape::Box { corner: (0.0, 0.0), size: (width, height), colour: Colour::Surface };
        Canvas { width, height, fonts, shapes: vec![background] }
    }

    pub fn line(&mut self, points: Vec<(f32, f32)>, width: f32, colour: Colour) {
        self.shapes.push(Shape::Line { points, width, colour });
    }

    pub fn disc(&mut self, centre: (f32, f32), radius: f32, colour: Colour) {
        self.shapes.push(Shape::Disc { centre, radius, colour });
    }

    pub fn filled_box(&mut self, corner: (f32, f32), size: (f32, f32), colour: Colour) {
        self.shapes.push(Shape::Box { corner, size, colour });
    }

    pub fn text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }

    /// As an SVG document, which an HTML page can contain as it is.
    pub fn svg(&self) -> String {
        let (w, h) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
             font-family=\"'DejaVu Sans', Verdana, system-ui, sans-serif\">\n"
        );
        for shape in &self.shapes {
            // Writing into a string does not fail.
            let _ = match shape {
                Shape::Box { corner: (x, y), size: (w, h), colour } => {
                    let fill = colour.svg("fill");
                    writeln!(svg, "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" {fill}/>")
                }
                Shape::Line { points, width, colour } => {
                    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
                    writeln!(
                        svg,
                        "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"{width}\" stroke-linejoin=\"round\" \
                         stroke-linecap=\"round\"/>",
                        points.join(" "),
                        colour.svg("stroke")
                    )
                }
                Shape::Disc { centre: (x, y), radius, colour } => {
                    writeln!(svg, "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius}\" {}/>", colour.svg("fill"))
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
    let turned = if text.upwards { format!(" transform=\"rotate(-90 {x:.2} {y:.2})\"") } else { String::new() };
    format!(
        "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{}\" text-anchor=\"{anchor}\" {}{bold}{turned}>{}</text>",
        text.size,
        text.colour.svg("fill"),
        escape(&text.text)
    )
}

/// Text for XML and HTML, inside and outside of attributes. What XML cannot hold at all becomes the replacement character.
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
