//! The embedded font, so that none must be installed, and the widths of texts in it.

use std::collections::BTreeSet;

use ttf_parser::{Face, GlyphId};

use crate::error::{Error, Result};

/// DejaVu Sans, regular and bold.
#[derive(Debug, Clone)]
pub(super) struct Fonts {
    regular: Face<'static>,
    bold: Face<'static>,
}

impl Fonts {
    /// The fonts of the program.
    pub fn embedded() -> Result<Self> {
        let font = |bytes| {
            Face::parse(bytes, 0).map_err(|e| Error::Report { path: "DejaVuSans.ttf".into(), message: e.to_string() })
        };
        Ok(Fonts { regular: font(dejavu::sans::regular())?, bold: font(dejavu::sans::bold())? })
    }

    /// The regular or the bold one.
    pub fn of(&self, bold: bool) -> &Face<'static> {
        if bold { &self.bold } else { &self.regular }
    }

    /// Width of a text whose em is `size` high.
    pub fn width(&self, text: &str, size: f32, bold: bool) -> f32 {
        let font = self.of(bold);
        let units: f32 = text.chars().map(|c| advance(font, glyph(font, c))).sum();
        units * size / f32::from(font.units_per_em())
    }

    /// The text if it is no wider than `most`, else its beginning with an ellipsis.
    pub fn fitted(&self, text: &str, size: f32, bold: bool, most: f32) -> String {
        if self.width(text, size, bold) <= most {
            return text.to_owned();
        }
        let mut kept: String = text.into();
        while kept.pop().is_some() {
            let shorter = format!("{}…", kept.trim_end());
            if self.width(&shorter, size, bold) <= most {
                return shorter;
            }
        }
        String::new()
    }
}

/// Characters of texts that pictures cannot show: the font has none of them.
///
/// # Errors
/// If the font cannot be read.
pub fn missing_characters(texts: &[String]) -> Result<BTreeSet<char>> {
    let fonts = Fonts::embedded()?;
    let is_missing = |c: &char| fonts.regular.glyph_index(*c).is_none();
    Ok(texts.iter().flat_map(|text| text.chars()).filter(is_missing).collect())
}

/// The glyph of a character; the first one, a box, if the font has none.
pub(super) fn glyph(font: &Face<'_>, character: char) -> GlyphId {
    font.glyph_index(character).unwrap_or_default()
}

/// How far the next glyph is, in the font's units.
pub(super) fn advance(font: &Face<'_>, glyph: GlyphId) -> f32 {
    font.glyph_hor_advance(glyph).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_to_fit() {
        let fonts = Fonts::embedded().unwrap();
        let text = "a rather long name of a class";
        assert_eq!(fonts.fitted(text, 10.0, false, 1000.0), text);
        let cut = fonts.fitted(text, 10.0, false, 60.0);
        assert!(cut.ends_with('…') && fonts.width(&cut, 10.0, false) <= 60.0, "{cut}");
    }
}
