//! Downloads an official archive of CIFAR. An interrupted download is resumed, what arrives is checked, and the folder gets its name
//! last.

mod error;
mod fetch;

pub use error::DownloadError;

use super::archive::{Opened, Stop, Visitor, visit};
use super::cifar::{PartialFolder, check_destination, in_folder, is_file_name, write_file};
use super::published::md5_of;
use super::{CIFAR10_CLASSES, DataError, LabelSet, Splits};
use crate::files::FileLock;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
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

    /// Whether these can be the names of its classes.
    fn has_classes(self, names: &[String]) -> bool {
        match self {
            OfficialSet::Cifar10 => names == CIFAR10_CLASSES,
            OfficialSet::Cifar100 => names.len() == 100,
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

/// How long a server is waited for, and how often it is tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Longest time without an answer or without a byte.
    pub timeout: Duration,
    /// Failed attempts after the first; the count begins again when a mebibyte of new data has arrived.
    pub retries: u32,
    /// Time before the first retry, which doubles with each further one.
    pub pause: Duration,
}

/// An event of a download.
#[derive(Debug)]
#[non_exhaustive]
pub enum DownloadEvent<'a> {
    /// The set is not there yet, and its download begins.
    Started,
    /// Bytes have arrived.
    Received {
        /// Bytes of the archive so far.
        bytes: u64,
        /// All its bytes, if known.
        total: Option<u64>,
    },
    /// The download is resumed at this byte.
    Resumed(u64),
    /// The download starts over: the server does not resume it, or what had arrived is of something else.
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
    pub already_present: bool,
}

/// Downloads an official set to the new folder `dst`.
///
/// Until it is complete, the archive is `dst` with the ending `.download`, which a later call resumes. Proxies are those of the
/// environment: `HTTPS_PROXY` or `HTTP_PROXY` by the scheme of the address, else `ALL_PROXY`, except for the hosts of `NO_PROXY`.
///
/// # Errors
///
/// A [`DownloadError`] that names the address or file. After an error `dst` is as it was before, and what arrived is kept for another
/// call, unless it is wrong.
pub fn download(
    source: &Source,
    dst: impl AsRef<Path>,
    policy: &RetryPolicy,
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
    on_event(DownloadEvent::Started);
    let is_resumed = partial.len()? > 0;
    let mut found = arrived(source, &mut partial, policy, on_event)?;
    if found != source.md5 && is_resumed {
        on_event(DownloadEvent::Restarted);
        partial.clear()?;
        found = arrived(source, &mut partial, policy, on_event)?;
    }
    if found != source.md5 {
        partial.clear()?;
        let (url, expected) = (source.url.clone(), source.md5.clone());
        return Err(DownloadError::WrongSum { url, expected, found });
    }
    let unpacked = unpack(source, &partial.path, dst);
    // Only a fault of the system, such as a full disk, leaves the archive of use.
    if !matches!(unpacked, Err(DownloadError::Data(DataError::Io { .. }))) {
        partial.clear()?;
    }
    unpacked.map(|splits| summary(&splits, false))
}

/// Fetches the rest of the archive; its MD5 sum.
fn arrived(
    source: &Source,
    partial: &mut PartialArchive,
    policy: &RetryPolicy,
    on_event: &mut dyn FnMut(DownloadEvent<'_>),
) -> Result<String, DownloadError> {
    fetch::fetch(source, partial, policy, on_event)?;
    on_event(DownloadEvent::Unpacking);
    Ok(md5_of(&partial.path)?)
}

fn summary(Splits { train, test, .. }: &Splits, already_present: bool) -> DownloadSummary {
    DownloadSummary { train: train.len(), test: test.len(), classes: train.num_classes(), already_present }
}

/// The set, if the folder holds all of it.
fn present(set: OfficialSet, folder: &Path) -> Option<Splits> {
    let splits = in_folder(folder).ok()??.load(LabelSet::Fine).ok()?;
    let is_complete = (splits.train.len(), splits.test.len()) == (50_000, 10_000);
    (is_complete && set.has_classes(splits.train.class_names())).then_some(splits)
}

/// The archive while it arrives, which no other process writes to.
struct PartialArchive {
    path: PathBuf,
    file: File,
    /// Beside the archive, because of the archive itself Windows would lock out readers, too. There until it is dropped.
    lock: Option<FileLock>,
}

impl PartialArchive {
    /// Opens or creates it.
    fn beside(dst: &Path) -> Result<Self, DownloadError> {
        // Gives `.` a name of its own.
        let dst = fs::canonicalize(dst).unwrap_or_else(|_| dst.to_path_buf());
        let Some(name) = dst.file_name() else { return Err(DataError::DestinationTaken { path: dst }.into()) };
        if let Some(parent) = dst.parent() {
            fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
        }
        let named = |ending: &str| {
            let mut name = name.to_owned();
            name.push(ending);
            dst.with_file_name(name)
        };
        let open = |path: &Path| {
            let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            opened.map_err(DataError::io("open", path))
        };
        let (path, lock) = (named(".download"), named(".download.lock"));
        match FileLock::try_take(&lock).map_err(DataError::io("lock", &lock))? {
            None => Err(DownloadError::Busy { path }),
            lock => Ok(PartialArchive { file: open(&path)?, path, lock }),
        }
    }

    /// Bytes that have arrived.
    fn len(&self) -> Result<u64, DownloadError> {
        let metadata = self.file.metadata().map_err(DataError::io("read", &self.path))?;
        Ok(metadata.len())
    }

    fn clear(&mut self) -> Result<(), DownloadError> {
        self.file.set_len(0).map_err(|error| DataError::io("write", &self.path)(error).into())
    }
}

impl Drop for PartialArchive {
    fn drop(&mut self) {
        // A failure must not hide the error that is on its way to the caller.
        if self.len().is_ok_and(|bytes| bytes == 0) {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(lock) = self.lock.take() {
            lock.remove();
        }
    }
}

/// Unpacks the files of the set, and only those, to the folder `dst`.
fn unpack(source: &Source, archive: &Path, dst: &Path) -> Result<Splits, DownloadError> {
    let folder = PartialFolder::beside(dst)?;
    visit(&mut Opened::file(archive)?, MOST_BYTES, &mut Unpacker { folder: &folder.path })?;
    let files = in_folder(&folder.path)?;
    let splits = files.map(|files| files.load(LabelSet::Fine)).transpose()?;
    match splits.filter(|splits| source.set.has_classes(splits.train.class_names())) {
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
