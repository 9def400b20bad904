//! Writes files atomically, so that no existing file is lost, and reads untrusted files.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Reads a file of at most `most` bytes; `None` if it is longer. Does not rely on the reported file size.
pub(crate) fn read_at_most(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(Error::io("reading", path))?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Writes a file atomically: to a temporary file in the same folder, which is then renamed. A failure leaves the old file
/// unchanged.
///
/// A symbolic link stays, and its target is replaced. Pipes and devices are written directly.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = Error::io("writing", path);
    let path = &fs::read_link(path).and_then(|_| fs::canonicalize(path)).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let written = OpenOptions::new().write(true).open(path).and_then(|mut target| target.write_all(bytes));
        return written.map_err(failed);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&partial, path)).map_err(|source| {
        // The temporary file is useless; a failure to remove it does not change the error.
        let _ = fs::remove_file(&partial);
        failed(source)
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_stay_and_devices_are_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "before").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&link, b"after").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"after");
        let device = folder.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        replace(&device, b"nothing").unwrap();
        assert!(fs::symlink_metadata(&device).unwrap().is_symlink());
    }
}
