//! The font that comes with the program, so that none need be installed, and the widths of texts in it.

use ab_glyph::{Font, FontRef, ScaleFont};

use crate::error::{Error, Result};

/// DejaVu Sans, regular and bold.
#[derive(Debug, Clone)]
pub(super) struct Fonts {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

impl Fonts {
    /// The fonts of the program.
    pub fn embedded() -> Result<Self> {
        let font = |bytes| {
            FontRef::try_from_slice(bytes)
                .map_err(|e| Error::Report { path: "DejaVuSans.ttf".into(), message: e.to_string() })
        };
        Ok(Fonts { regular: font(dejavu::sans::regular())?, bold: font(dejavu::sans::bold())? })
    }

    /// The regular or the bold one.
    pub fn of(&self, bold: bool) -> &FontRef<'static> {
        if bold { &self.bold } else { &self.regular }
    }

    /// Width of a text whose em is `size` high.
    pub fn width(&self, text: &str, size: f32, bold: bool) -> f32 {
        let font = self.of(bold);
        let font = font.as_scaled(pixel_height(font, size));
        text.chars().map(|c| font.h_advance(font.glyph_id(c))).sum()
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

/// What `ab_glyph` calls the scale: the height from the lowest descender to the highest ascender.
pub(super) fn pixel_height(font: &FontRef<'_>, em: f32) -> f32 {
    em * font.height_unscaled() / font.units_per_em().unwrap_or(2048.0)
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
