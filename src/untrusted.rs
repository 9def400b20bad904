//! The readers of files of users, each as a function of bytes, with a bound on its memory: for the fuzz targets (`fuzz/`) and the
//! test that replays their inputs.
//!
//! Where a reader has a limit of hundreds of megabytes, it gets the small limit [`MOST`] here, so that inputs are read fast and the
//! limit itself is tested.

mod allocations;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// A reader of files of users.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// Its name, that of its fuzz target and of its folders of inputs.
    pub name: &'static str,
    /// Its memory in bytes beside the multiple of the input.
    pub constant: usize,
    /// Its memory in bytes for each byte of input.
    pub multiple: usize,
    /// Reads the bytes and drops the result.
    pub read: fn(&[u8]),
}

/// The limit of readers that have one, in bytes.
pub(crate) const MOST: u64 = 1 << 20;

/// Longest time for an input, on a slow machine that is busy.
const MOST_TIME: Duration = Duration::from_secs(10);

/// All readers.
pub fn readers() -> Vec<Reader> {
    [crate::data::READERS, crate::weights::READERS, crate::nn::READERS, crate::train::READERS, crate::run::READERS]
        .concat()
}

/// The reader of this name.
///
/// # Panics
/// If there is none.
#[expect(clippy::panic, reason = "a mistake in a fuzz target")]
pub fn reader(name: &str) -> Reader {
    let found = readers().into_iter().find(|reader| reader.name == name);
    found.unwrap_or_else(|| panic!("there is no reader {name}"))
}

impl Reader {
    /// Reads an input.
    ///
    /// # Panics
    /// If the reader does, or takes more memory or time than it may.
    pub fn check(&self, input: &[u8]) {
        let began = Instant::now();
        let ((), most) = allocations::measured(|| (self.read)(input));
        let allowed = self.constant + self.multiple * input.len();
        assert!(
            most <= allowed,
            "{}: {most} bytes of memory for an input of {}, where {allowed} are allowed",
            self.name,
            input.len()
        );
        let time = began.elapsed();
        assert!(time < MOST_TIME, "{}: {time:?} for an input of {} bytes", self.name, input.len());
    }
}
