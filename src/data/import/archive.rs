//! Reads the image files of a tar archive as a stream.

use crate::data::DataError;
use crate::data::collect::{Collector, Content, Limits};
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use tar::{Archive, EntryType, PaxExtensions};

/// Memory an xz stream may ask for; `xz -9` asks for 65 MiB.
const MAX_XZ_BYTES: u64 = 512 << 20;

/// Longest record that gives an entry its name.
const MAX_NAME_BYTES: u64 = 64 << 10;

/// Offset and text of the mark in a tar file's first header.
const TAR_MARK: (usize, &[u8]) = (257, b"ustar");

/// Hands every image file of the archive at `path` to `collector`.
pub(super) fn read(path: &Path, limits: &Limits, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut file = BufReader::with_capacity(1 << 16, file);
    let unpacked = Cell::new(0);
    let mut stream = Metered { inner: unpacker(path, &mut file)?, count: &unpacked, limit: limits.archive_bytes };
    let damaged = |source: io::Error| match source.kind() {
        ErrorKind::FileTooLarge => DataError::ArchiveTooLarge { path: path.into(), limit: limits.archive_bytes },
        _ => DataError::Archive { path: path.into(), offset: unpacked.get(), source },
    };
    let mut archive = Archive::new(&mut stream);
    // Raw, because the long names would otherwise be read without any limit.
    let entries = archive.entries().map_err(damaged)?.raw(true);
    let mut long_name = None;
    for entry in entries {
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                let mut name = read_name(&mut entry).map_err(damaged)?;
                while name.last() == Some(&0) {
                    name.pop();
                }
                long_name = Some(name);
                continue;
            }
            EntryType::XHeader => {
                let records = read_name(&mut entry).map_err(damaged)?;
                long_name = pax_path(&records).map_err(damaged)?.or(long_name);
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
        if kind != EntryType::Regular && kind != EntryType::Continuous {
            collector.skip(&name);
            continue;
        }
        if let Some(place) = collector.meet(&name)? {
            let file = format!("{}: {name}", path.display());
            collector.check_size(&file, entry.size())?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            if bytes.len() as u64 != entry.size() {
                return Err(damaged(ErrorKind::UnexpectedEof.into()));
            }
            collector.push(file, place, Content::Bytes(bytes))?;
        }
    }
    // To the end, where the checksums of the compression are.
    io::copy(&mut stream, &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// The decoder for the contents of `file`.
fn unpacker<'a>(path: &Path, file: &'a mut BufReader<File>) -> Result<Box<dyn Read + 'a>, DataError> {
    let start = file.fill_buf().map_err(DataError::io("read", path))?;
    let (at, mark) = TAR_MARK;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(MultiGzDecoder::new(file)))
    } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        let stream = Stream::new_stream_decoder(MAX_XZ_BYTES, CONCATENATED)
            .map_err(|error| DataError::io("unpack", path)(error.into()))?;
        Ok(Box::new(XzDecoder::new_stream(file, stream)))
    } else if start.get(at..at + mark.len()) == Some(mark) {
        Ok(Box::new(file))
    } else {
        Err(DataError::UnknownArchive { path: path.into(), start: start.iter().copied().take(8).collect() })
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
