//! Writes files atomically, so that no existing file is lost, reads untrusted files, and keeps processes apart.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

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

/// A lock between processes: an empty file beside what it protects. A process that ends in any way gives it back.
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    /// The lock is held while it is open.
    _file: File,
}

impl FileLock {
    /// Takes the lock at `path`; `None` if it is held elsewhere. Where the file system has no locks, it is never held.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        // Some network file systems give a file another number each time.
        const MOST_ATTEMPTS: usize = 1000;
        for attempt in 1.. {
            let file = open(path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => break,
                _ if is_at(&file, path) || attempt == MOST_ATTEMPTS => {
                    return Ok(Some(FileLock { path: path.to_owned(), _file: file }));
                }
                // Who held it removed the file before it was locked here: the next process would make another one.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Takes the lock at `path`, and waits while it is held elsewhere.
    pub(crate) fn wait_for(path: &Path) -> io::Result<Self> {
        loop {
            // As above, there may be no locks.
            let _ = open(path)?.lock();
            if let Some(lock) = FileLock::try_take(path)? {
                return Ok(lock);
            }
        }
    }

    /// Removes the file while the lock is held, which ends with this value.
    pub(crate) fn remove(self) {
        // An empty file that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

/// Whether the path leads to this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().ok().map(identity) == fs::metadata(path).ok().map(identity)
}

/// Windows gives a name free only when its file is closed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Each holder removes the file, which is when two may hold it.
    #[test]
    fn one_holds_a_lock_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (holders, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (path, holders, taken) = (&path, &holders, &taken);
                scope.spawn(move || {
                    for round in 0..200 {
                        let lock = match (number + round) % 2 {
                            0 => Some(FileLock::wait_for(path).unwrap()),
                            _ => FileLock::try_take(path).unwrap(),
                        };
                        let Some(lock) = lock else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        holders.fetch_sub(1, Ordering::SeqCst);
                        taken.fetch_add(1, Ordering::SeqCst);
                        lock.remove();
                    }
                });
            }
        });
        assert!(taken.into_inner() >= 400);
    }

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
