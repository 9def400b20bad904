//! Downloads an official archive of CIFAR. A download that broke off goes on where it ended, what arrives is checked, and the folder
//! gets its name last.

mod error;
mod fetch;

pub use error::DownloadError;

use super::archive::{Stop, Visitor, visit};
use super::cifar::{PartialFolder, check_destination, in_folder, is_file_name, write_file};
use super::published::md5_of;
use super::{DataError, LabelSet, Splits};
use serde::Serialize;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest archive that is downloaded or unpacked.
const MOST_BYTES: u64 = 2 << 30;

/// A file of the archives that is kept beside those that are read.
const README: &str = "readme.html";

/// An official set of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfficialSet {
    /// Ten classes.
    Cifar10,
    /// A hundred classes in twenty superclasses.
    Cifar100,
}

impl OfficialSet {
    /// Its archive of the binary version at its official address. Size and MD5 sum are those of
    /// <https://www.cs.toronto.edu/~kriz/cifar.html>.
    pub fn source(self) -> Source {
        let (name, bytes, md5) = match self {
            OfficialSet::Cifar10 => ("cifar-10-binary", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),
            OfficialSet::Cifar100 => ("cifar-100-binary", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),
        };
        Source {
            set: self,
            url: format!("https://www.cs.toronto.edu/~kriz/{name}.tar.gz"),
            bytes: Some(bytes),
            md5: md5.to_owned(),
        }
    }

    fn classes(self) -> usize {
        match self {
            OfficialSet::Cifar10 => 10,
            OfficialSet::Cifar100 => 100,
        }
    }
}

/// An archive on a server.
#[derive(Debug, Clone)]
pub struct Source {
    /// The set in it.
    pub set: OfficialSet,
    /// Its address.
    pub url: String,
    /// Its size, if known.
    pub bytes: Option<u64>,
    /// Its MD5 sum, in lower-case hexadecimal digits.
    pub md5: String,
}

/// How long a server is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest time without an answer or without a byte.
    pub timeout: Duration,
    /// Attempts after a failed one; those after new data are not counted.
    pub retries: u32,
    /// Time before the first retry, which doubles with each further one.
    pub pause: Duration,
}

/// An event of a download.
#[derive(Debug)]
#[non_exhaustive]
pub enum DownloadEvent<'a> {
    /// Bytes have arrived.
    Received {
        /// Bytes of the archive so far.
        bytes: u64,
        /// All its bytes, if known.
        total: Option<u64>,
    },
    /// The download goes on after an earlier one, of so many bytes.
    Resumed(u64),
    /// The bytes of an earlier download are dropped: the server does not go on after them, or they are of something else.
    Restarted,
    /// An attempt failed, and another follows.
    Retry {
        /// Why.
        error: &'a DownloadError,
        /// Time until then.
        pause: Duration,
    },
    /// The archive is complete and is checked and unpacked.
    Unpacking,
}

/// Result of a [`download`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DownloadSummary {
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Number of classes.
    pub classes: usize,
    /// Whether the folder held the set before, so that nothing was downloaded.
    pub was_there: bool,
}

/// Downloads an official set to the new folder `dst`.
///
/// Until it is complete, the archive is `dst` with the ending `.download`. If that exists from an earlier call, the download goes on
/// after its bytes. Proxies are those of the environment: `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
///
/// # Errors
///
/// A [`DownloadError`] that names the address or file. After an error `dst` is as it was before, and what arrived is kept for another
/// call, unless it is wrong.
pub fn download(
    source: &Source,
    dst: impl AsRef<Path>,
    patience: &Patience,
    on_event: &mut dyn FnMut(DownloadEvent<'_>),
) -> Result<DownloadSummary, DownloadError> {
    let dst = dst.as_ref();
    if let Err(taken) = check_destination(dst) {
        return match present(source.set, dst) {
            Some(splits) => Ok(summary(&splits, true)),
            None => Err(taken.into()),
        };
    }
    let mut partial = PartialArchive::beside(dst)?;
    let earlier = partial.file.metadata().map_err(DataError::io("read", &partial.path))?.len();
    fetch::fetch(source, &mut partial, patience, on_event)?;
    on_event(DownloadEvent::Unpacking);
    let mut found = md5_of(&partial.path)?;
    if found != source.md5 && earlier > 0 {
        on_event(DownloadEvent::Restarted);
        partial.clear()?;
        fetch::fetch(source, &mut partial, patience, on_event)?;
        on_event(DownloadEvent::Unpacking);
        found = md5_of(&partial.path)?;
    }
    if found != source.md5 {
        partial.remove()?;
        let (url, expected) = (source.url.clone(), source.md5.clone());
        return Err(DownloadError::WrongSum { url, expected, found });
    }
    let splits = unpack(source, &partial.path, dst)?;
    partial.remove()?;
    Ok(summary(&splits, false))
}

fn summary(Splits { train, test, .. }: &Splits, was_there: bool) -> DownloadSummary {
    DownloadSummary { train: train.len(), test: test.len(), classes: train.num_classes(), was_there }
}

/// The set, if the folder holds it.
fn present(set: OfficialSet, folder: &Path) -> Option<Splits> {
    let splits = in_folder(folder).ok()??.load(LabelSet::Fine).ok()?;
    (splits.train.num_classes() == set.classes()).then_some(splits)
}

/// The archive while it arrives, which no other process writes to.
struct PartialArchive {
    path: PathBuf,
    file: File,
}

impl PartialArchive {
    /// Opens or creates it.
    fn beside(dst: &Path) -> Result<Self, DownloadError> {
        // Gives `.` a name of its own.
        let mut path = fs::canonicalize(dst).unwrap_or_else(|_| dst.to_path_buf());
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".download");
        path.set_file_name(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
        }
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(DataError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(PartialArchive { path, file }),
            Err(TryLockError::WouldBlock) => Err(DownloadError::Busy { path }),
            Err(TryLockError::Error(error)) => Err(DataError::io("lock", &path)(error).into()),
        }
    }

    fn clear(&mut self) -> Result<(), DownloadError> {
        self.file.set_len(0).map_err(|error| DataError::io("write", &self.path)(error).into())
    }

    fn remove(&self) -> Result<(), DownloadError> {
        fs::remove_file(&self.path).map_err(|error| DataError::io("remove", &self.path)(error).into())
    }
}

impl Drop for PartialArchive {
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|found| found.len() == 0) {
            // Nothing is lost with it. A failure must not hide the error that is on its way to the caller.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Unpacks the files of the set, and only those, to the folder `dst`.
fn unpack(source: &Source, archive: &Path, dst: &Path) -> Result<Splits, DownloadError> {
    let folder = PartialFolder::beside(dst)?;
    visit(archive, MOST_BYTES, &mut Unpacker { folder: &folder.path })?;
    let files = in_folder(&folder.path)?;
    let splits = files.map(|files| files.load(LabelSet::Fine)).transpose()?;
    match splits.filter(|splits| splits.train.num_classes() == source.set.classes()) {
        Some(splits) => {
            folder.finish()?;
            Ok(splits)
        }
        None => Err(DownloadError::OtherContent { url: source.url.clone(), set: source.set }),
    }
}

/// Writes the files of an official version to a folder, by their last names.
struct Unpacker<'a> {
    folder: &'a Path,
}

impl Visitor for Unpacker<'_> {
    fn file(&mut self, name: &str, _size: u64, contents: &mut dyn Read) -> Result<(), Stop> {
        let last = name.rsplit('/').next().unwrap_or(name);
        if is_file_name(last) || last == README {
            write_file(&self.folder.join(last), |file| io::copy(contents, file).map(|_| ()))?;
        }
        Ok(())
    }

    fn other(&mut self, _name: &str) {}
}
