//! Output to the user: progress, warnings and errors on standard error; results on standard output.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use cifar_gpu::{Error, Result};

/// Whether to print only warnings and errors.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Sets whether to print only warnings and errors on standard error.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether only warnings and errors are printed on standard error.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a message on standard error, unless `--quiet` was given.
pub fn say(text: impl std::fmt::Display) {
    if !is_quiet() {
        complain(text);
    }
}

/// Warns the user on standard error.
pub fn warn(text: impl std::fmt::Display) {
    complain(format_args!("warning: {text}"));
}

/// Prints an error on standard error; a closed pipe is ignored.
pub fn complain(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", for_terminal(&text.to_string()));
}

/// A text without terminal control characters, which file names may contain.
pub fn for_terminal(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_harmless(c) {
            shown.push(c)
        } else {
            shown.extend(c.escape_default())
        }
        shown
    })
}

/// Columns of a terminal that a text takes: characters of Chinese or Japanese take two.
pub fn columns_of(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// A text with blanks behind it, so that it takes this many columns.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(columns_of(text))))
}

/// Lines of fields, each column as wide as its widest field; columns from `numbers_from` on are aligned to the right.
pub fn aligned<T: AsRef<[String]>>(lines: &[T], numbers_from: usize) -> String {
    let columns = lines.first().map_or(0, |line| line.as_ref().len());
    let width = |column: usize| lines.iter().map(|line| columns_of(&line.as_ref()[column])).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |fields: &T| {
        let fields = fields.as_ref().iter().zip(&widths).enumerate();
        let fields = fields.map(|(column, (field, &width))| match column < numbers_from {
            true => padded(field, width),
            false => format!("{}{field}", " ".repeat(width.saturating_sub(columns_of(field)))),
        });
        fields.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints a result on standard output; a closed pipe is not an error.
pub fn print(text: impl std::fmt::Display) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("writing", "standard output")(e)),
        _ => Ok(()),
    }
}

/// Prints a result as JSON on standard output.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(serde_json::to_string(value).map_err(|e| Error::Setting(e.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(for_terminal("a\u{1b}[31m.png\n"), "a\\u{1b}[31m.png\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_field() {
        let lines = [["layer", "size"], ["normalization", "1,369"]].map(|line| line.map(String::from));
        assert_eq!(aligned(&lines, 1), "layer           size\nnormalization  1,369");
        assert_eq!(aligned(&lines, 2), "layer          size\nnormalization  1,369");
    }
}
