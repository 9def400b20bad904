//! Writing files so that nothing the user had is lost, and reading files that need not be trusted.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Reads a file of at most `most` bytes; `None` if there are more, however many it claims to have.
pub(crate) fn read_at_most(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(Error::io("reading", path))?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Writes a file as a whole: beside it first, then renamed over it. A failure leaves the old file as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&partial, path)).map_err(|source| {
        // What is left of the attempt is of no use; that it cannot be removed changes nothing about the error.
        let _ = fs::remove_file(&partial);
        Error::io("writing", path)(source)
    })
}
