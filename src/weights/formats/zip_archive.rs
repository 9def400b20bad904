//! Zip archives of weights: `.pth`, `.npz` and `.keras`.

use std::io::{Cursor, Read, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Maximum size of an entry after decompression.
const MOST_ENTRY_BYTES: u64 = 1 << 30;
/// Alignment of entries, for programs that map the file into memory.
const ALIGNMENT: u16 = 64;

/// The names of all entries.
pub(super) fn names(archive: &[u8]) -> Result<Vec<String>, String> {
    let archive = ZipArchive::new(Cursor::new(archive)).map_err(|e| e.to_string())?;
    archive.file_names().map(|name| name.map(std::borrow::Cow::into_owned).map_err(|e| e.to_string())).collect()
}

/// The archive's comment, where this program puts metadata.
pub(super) fn comment(archive: &[u8]) -> Option<String> {
    let archive = ZipArchive::new(Cursor::new(archive)).ok()?;
    String::from_utf8(archive.comment().to_vec()).ok()
}

/// The contents of an entry.
pub(super) fn entry(archive: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(|e| e.to_string())?;
    let entry = archive.by_name(name).map_err(|e| format!("{name}: {e}"))?;
    let mut bytes = Vec::new();
    entry.take(MOST_ENTRY_BYTES + 1).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
    if bytes.len() as u64 > MOST_ENTRY_BYTES {
        return Err(format!("{name} unpacks to more than {MOST_ENTRY_BYTES} bytes"));
    }
    Ok(bytes)
}

/// An archive of these entries, without compression, that is the same for the same entries.
pub(super) fn write(entries: &[(String, Vec<u8>)], comment: &str) -> Result<Vec<u8>, ZipError> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .with_alignment(ALIGNMENT);
    for (name, bytes) in entries {
        archive.start_file(name.as_str(), options)?;
        archive.write_all(bytes)?;
    }
    archive.set_comment(comment)?;
    Ok(archive.finish()?.into_inner())
}
