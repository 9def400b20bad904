//! Reads the files of an archive as a stream: tar, alone or compressed with gzip or xz, and zip. Files that are in memory already count
//! as one, too.

use super::DataError;
use flate2::bufread::GzDecoder;
#[cfg(not(target_family = "wasm"))]
use liblzma::bufread::XzDecoder;
#[cfg(not(target_family = "wasm"))]
use liblzma::stream::{CONCATENATED, Stream};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use tar::{Archive, EntryType, PaxExtensions};
use zip::ZipArchive;

/// Memory an xz stream may ask for; `xz -9` asks for 65 MiB.
#[cfg(not(target_family = "wasm"))]
const MAX_XZ_BYTES: u64 = 512 << 20;

/// Longest record that gives an entry its name.
const MAX_NAME_BYTES: u64 = 64 << 10;

/// Bytes of a tar file's header, and the place of its checksum.
const TAR_HEADER: usize = 512;
const TAR_CHECKSUM: std::ops::Range<usize> = 148..156;

/// Receives the entries of an archive.
pub(super) trait Visitor {
    /// A file, whose contents may be read.
    ///
    /// # Errors
    /// Any, which ends the reading.
    fn file(&mut self, name: &str, size: u64, contents: &mut dyn Read) -> Result<(), Stop>;

    /// An entry that is neither a file nor a folder.
    fn other(&mut self, name: &str);
}

/// Why the reading of an archive ends early.
pub(super) enum Stop {
    /// The archive cannot be read.
    Damaged(io::Error),
    /// Its contents cannot be used.
    Refused(DataError),
    /// Nothing more is needed.
    Enough,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Damaged(error)
    }
}

impl From<DataError> for Stop {
    fn from(error: DataError) -> Self {
        Stop::Refused(error)
    }
}

/// All bytes of an entry.
///
/// # Errors
/// If there are fewer or more than the archive says: the size of a compressed entry is only a claim.
pub(super) fn contents(size: u64, entry: &mut dyn Read) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    entry.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
    }
}

/// What an archive is read from.
trait Source: BufRead + Seek {}

impl<R: BufRead + Seek> Source for R {}

/// An archive that can be read several times.
pub(super) struct Opened<'a> {
    /// Its name in errors.
    path: PathBuf,
    entries: Entries<'a>,
}

enum Entries<'a> {
    /// To be unpacked.
    Packed(Box<dyn Source + 'a>),
    /// Names and contents.
    Files(&'a [(String, Vec<u8>)]),
}

impl<'a> Opened<'a> {
    /// The archive in a file.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub(super) fn file(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        Ok(Opened { path: path.into(), entries: Entries::Packed(Box::new(BufReader::with_capacity(1 << 16, file))) })
    }

    /// An archive in memory.
    pub(super) fn bytes(path: &Path, bytes: &'a [u8]) -> Self {
        Opened { path: path.into(), entries: Entries::Packed(Box::new(io::Cursor::new(bytes))) }
    }

    /// These files.
    pub(super) fn files(path: &Path, files: &'a [(String, Vec<u8>)]) -> Self {
        Opened { path: path.into(), entries: Entries::Files(files) }
    }

    /// Its name in errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Shows every entry of an archive to `visitor`, in its order. Nothing is unpacked to the disk.
///
/// # Errors
/// If it is no archive, is damaged or unpacks to more than `limit` bytes, and those of the visitor.
pub(super) fn visit(archive: &mut Opened<'_>, limit: u64, visitor: &mut dyn Visitor) -> Result<(), DataError> {
    let Opened { path, entries } = archive;
    let source = match entries {
        Entries::Packed(source) => source,
        Entries::Files(files) => return ended(path, 0, limit, visit_files(files, visitor)),
    };
    source.rewind().map_err(DataError::io("read", &*path))?;
    let start = source.fill_buf().map_err(DataError::io("read", &*path))?;
    let start = start[..start.len().min(TAR_HEADER)].to_vec();
    let unpacked = Cell::new(0);
    let visited = if start.starts_with(b"PK\x03\x04") {
        visit_zip(source, &unpacked, limit, visitor)
    } else {
        let stream = Metered { inner: unpacker(path, &start, source)?, count: &unpacked, limit };
        visit_tar(stream, visitor)
    };
    ended(path, unpacked.get(), limit, visited)
}

/// What it means that the reading ended so after this many bytes.
fn ended(path: &Path, offset: u64, limit: u64, visited: Result<(), Stop>) -> Result<(), DataError> {
    match visited {
        Ok(()) | Err(Stop::Enough) => Ok(()),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::Damaged(source)) if source.kind() == ErrorKind::FileTooLarge => {
            Err(DataError::ArchiveTooLarge { path: path.into(), limit })
        }
        Err(Stop::Damaged(source)) => Err(DataError::Archive { path: path.into(), offset, source }),
    }
}

fn visit_files(files: &[(String, Vec<u8>)], visitor: &mut dyn Visitor) -> Result<(), Stop> {
    files.iter().try_for_each(|(name, bytes)| visitor.file(name, bytes.len() as u64, &mut bytes.as_slice()))
}

fn visit_zip(source: &mut dyn Source, unpacked: &Cell<u64>, limit: u64, visitor: &mut dyn Visitor) -> Result<(), Stop> {
    let damaged = |error: zip::result::ZipError| Stop::Damaged(io::Error::other(error));
    let mut archive = ZipArchive::new(source).map_err(damaged)?;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        if entry.is_dir() {
            continue;
        }
        if !entry.is_file() {
            visitor.other(&name);
            continue;
        }
        let size = entry.size();
        visitor.file(&name, size, &mut Metered { inner: entry, count: unpacked, limit })?;
    }
    Ok(())
}

fn visit_tar(mut stream: impl Read, visitor: &mut dyn Visitor) -> Result<(), Stop> {
    let mut archive = Archive::new(&mut stream);
    // Raw, because the long names would otherwise be read without any limit.
    let entries = archive.entries()?.raw(true);
    let mut long_name = None;
    for entry in entries {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                let mut name = read_name(&mut entry)?;
                while name.last() == Some(&0) {
                    name.pop();
                }
                long_name = Some(name);
                continue;
            }
            EntryType::XHeader => {
                let records = read_name(&mut entry)?;
                long_name = pax_path(&records)?.or(long_name);
                continue;
            }
            EntryType::XGlobalHeader | EntryType::GNULongLink => continue,
            _ => {}
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name).into_owned();
        // Old archives mark a folder by its name alone.
        if kind == EntryType::Directory || name.ends_with('/') {
            continue;
        }
        if kind == EntryType::Regular || kind == EntryType::Continuous {
            let size = entry.size();
            visitor.file(&name, size, &mut entry)?;
        } else {
            visitor.other(&name);
        }
    }
    // To the end, where the checksums of the compression are.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// The decoder for the contents of `source`, which begins with `start`.
fn unpacker<'a>(path: &Path, start: &[u8], source: &'a mut dyn Source) -> Result<Box<dyn Read + 'a>, DataError> {
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(GzipMembers { current: Some(GzDecoder::new(source)) }))
    } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        unpack_xz(path, source)
    } else if is_tar(start) {
        Ok(Box::new(source))
    } else {
        Err(DataError::UnknownArchive { path: path.into(), start: start.iter().copied().take(8).collect() })
    }
}

#[cfg(not(target_family = "wasm"))]
fn unpack_xz<'a>(path: &Path, source: &'a mut dyn Source) -> Result<Box<dyn Read + 'a>, DataError> {
    let stream = Stream::new_stream_decoder(MAX_XZ_BYTES, CONCATENATED)
        .map_err(|error| DataError::io("unpack", path)(error.into()))?;
    Ok(Box::new(XzDecoder::new_stream(source, stream)))
}

/// The decoder is a C library.
#[cfg(target_family = "wasm")]
fn unpack_xz<'a>(path: &Path, _source: &'a mut dyn Source) -> Result<Box<dyn Read + 'a>, DataError> {
    let message = "xz cannot be unpacked in a browser: unpack it, or pack it with gzip or zip";
    Err(DataError::io("unpack", path)(io::Error::new(ErrorKind::Unsupported, message)))
}

/// Whether this is a tar file's first header, of any variant: its checksum tells.
fn is_tar(start: &[u8]) -> bool {
    let Some(header) = start.get(..TAR_HEADER) else { return false };
    let digits: String = header[TAR_CHECKSUM].iter().map(|&byte| char::from(byte)).collect();
    let digits = digits.trim_matches(|c: char| c == '\0' || c == ' ');
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, &byte)| u32::from(if TAR_CHECKSUM.contains(&at) { b' ' } else { byte }))
        .sum();
    u32::from_str_radix(digits, 8) == Ok(sum)
}

/// The members of a gzip file, one after the other. Like gzip, ignores what follows the last one, such as the zeros of a tape's block.
struct GzipMembers<R> {
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.current {
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let mut rest = match self.current.take() {
                Some(decoder) => decoder.into_inner(),
                None => break,
            };
            if rest.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
                self.current = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

fn read_name(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    if entry.size() > MAX_NAME_BYTES {
        let message = format!("an entry's name record has {} bytes", entry.size());
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The `path` of a PAX record, if it has one.
fn pax_path(records: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut path = None;
    for record in PaxExtensions::new(records) {
        let record = record?;
        if record.key_bytes() == b"path" {
            path = Some(record.value_bytes().to_vec());
        }
    }
    Ok(path)
}

/// Counts what is read, and fails past a limit with [`ErrorKind::FileTooLarge`].
struct Metered<'a, R> {
    inner: R,
    count: &'a Cell<u64>,
    limit: u64,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        if self.count.get() > self.limit {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_size_that_it_claims() {
        assert!(contents(4, &mut &b"four"[..]).is_ok_and(|bytes| bytes == b"four"));
        for claimed in [3, 5, u64::MAX] {
            assert!(matches!(contents(claimed, &mut &b"four"[..]), Err(Stop::Damaged(_))), "{claimed}");
        }
    }
}
