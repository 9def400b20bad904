//! The confusion matrix as a picture and as a table.

use std::path::Path;

use super::canvas::{Anchor, Canvas, Color, Text};
use super::fonts::Fonts;
use crate::error::Result;

/// Size of a cell, unless the number of classes would make the picture too large.
const LARGEST_CELL: f32 = 62.0;
/// Maximum size of all cells together.
const MOST_SIDE: f32 = 2000.0;
/// Maximum width for class names.
const MOST_NAME: f32 = 150.0;
const MARGIN: f32 = 26.0;

/// Writes a confusion matrix as a PNG: a row for each true class, a column for each predicted class, colors by the fraction of the
/// row, and the counts where they fit.
///
/// # Errors
/// If the file cannot be written; an existing file is then unchanged.
pub fn write_confusion_png(path: &Path, confusion: &[Vec<usize>], names: &[String]) -> Result<()> {
    crate::files::replace(path, &drawing(confusion, names)?.png(path)?)
}

/// Writes a confusion matrix as comma-separated values: the first row names the predicted classes, the first field of every other
/// row the true class.
///
/// # Errors
/// If the file cannot be written; an existing file is then unchanged.
pub fn write_confusion_csv(path: &Path, confusion: &[Vec<usize>], names: &[String]) -> Result<()> {
    let mut csv = String::from("true class");
    for name in names {
        csv += &format!(",{}", quoted(name));
    }
    csv.push('\n');
    for (name, row) in names.iter().zip(confusion) {
        csv += &quoted(name);
        for count in row {
            csv += &format!(",{count}");
        }
        csv.push('\n');
    }
    crate::files::replace(path, csv.as_bytes())
}

/// A field of comma-separated values (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// The background of a cell that holds this share of its row, and whether text on it must be light.
pub(super) fn shade(share: f64) -> ([u8; 3], bool) {
    let (light, dark) = ([243.0, 247.0, 253.0], [18.0, 70.0, 150.0]);
    // Few errors must be distinguishable from none.
    let depth = share.clamp(0.0, 1.0).sqrt();
    let mixed = [0, 1, 2].map(|i| (light[i] + depth * (dark[i] - light[i])) as u8);
    (mixed, depth > 0.5)
}

/// Share of each cell in its row.
pub(super) fn share(count: usize, row: &[usize]) -> f64 {
    count as f64 / row.iter().sum::<usize>().max(1) as f64
}

fn drawing(confusion: &[Vec<usize>], names: &[String]) -> Result<Canvas> {
    let fonts = Fonts::embedded()?;
    let cell = (MOST_SIDE / names.len().max(1) as f32).min(LARGEST_CELL);
    let side = cell * names.len() as f32;
    let size = (cell * 0.8).min(13.0);
    let widest = names.iter().map(|name| fonts.width(name, size, false)).fold(0.0, f32::max).min(MOST_NAME);
    let (left, top) = (MARGIN + 22.0 + widest + 10.0, MARGIN + 22.0 + widest + 10.0);
    let mut canvas = Canvas::new(left + side + MARGIN, top + side + MARGIN, fonts);
    let middle = (left + side / 2.0, top + side / 2.0);
    let title = |at, text| Text::new(at, 13.0, text).anchor(Anchor::Middle).color(Color::Muted);
    canvas.text(title((middle.0, MARGIN + 6.0), "predicted class"));
    canvas.text(title((MARGIN + 6.0, middle.1), "true class").upwards());
    for (class, (name, row)) in names.iter().zip(confusion).enumerate() {
        let name = canvas.fonts.fitted(name, size, false, widest + 1.0);
        let at = (class as f32 + 0.5) * cell;
        canvas.text(Text::new((left - 10.0, top + at + size * 0.36), size, name.clone()).anchor(Anchor::End));
        canvas.text(Text::new((left + at + size * 0.36, top - 10.0), size, name).upwards());
        for (guess, &count) in row.iter().enumerate() {
            let (x, y) = (left + guess as f32 * cell, top + class as f32 * cell);
            let (color, is_dark) = shade(share(count, row));
            let gap = if cell > 12.0 { 1.0 } else { 0.0 };
            canvas.filled_box((x, y), (cell - gap, cell - gap), Color::Rgb(color));
            let text = count.to_string();
            let (size, bold) = (15.0, guess == class);
            if count > 0 && canvas.fonts.width(&text, size, bold) < cell - 4.0 {
                let ink = if is_dark { Color::Surface } else { Color::Ink };
                let text = Text::new((x + (cell - gap) / 2.0, y + cell / 2.0 + 5.0), size, text);
                let text = text.anchor(Anchor::Middle).color(ink);
                canvas.text(if bold { text.bold() } else { text });
            }
        }
    }
    Ok(canvas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_stay_one_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.csv");
        let names = ["cat, gray", "the \"dog\""].map(String::from);
        write_confusion_csv(&path, &[vec![3, 1], vec![0, 2]], &names).unwrap();
        let csv = std::fs::read_to_string(path).unwrap();
        assert_eq!(csv, "true class,\"cat, gray\",\"the \"\"dog\"\"\"\n\"cat, gray\",3,1\n\"the \"\"dog\"\"\",0,2\n");
    }

    #[test]
    fn a_picture_has_a_size_however_many_classes_there_are() {
        for classes in [2, 10, 1000] {
            let names: Vec<_> = (0..classes).map(|n| format!("class {n}")).collect();
            let confusion = vec![vec![1; classes]; classes];
            let canvas = drawing(&confusion, &names).unwrap();
            assert!(canvas.width < 2300.0 && canvas.width > 150.0, "{}", canvas.width);
        }
    }
}
