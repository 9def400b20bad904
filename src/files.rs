//! Writing files so that nothing the user had is lost.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

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
