//! Zip archives of weights: `.pth`, `.npz` and `.keras`.

use std::io::{Cursor, Read, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Alignment of entries, for programs that map the file into memory.
const ALIGNMENT: u16 = 64;

/// An archive that is read.
pub(super) struct Zip<'a>(ZipArchive<Cursor<&'a [u8]>>);

impl<'a> Zip<'a> {
    pub(super) fn open(archive: &'a [u8]) -> Result<Self, String> {
        ZipArchive::new(Cursor::new(archive)).map(Zip).map_err(|e| e.to_string())
    }

    /// The names of all entries.
    pub(super) fn names(&self) -> Result<Vec<String>, String> {
        self.0.file_names().map(|name| name.map(std::borrow::Cow::into_owned).map_err(|e| e.to_string())).collect()
    }

    /// The archive's comment, where this program puts metadata.
    pub(super) fn comment(&self) -> Option<String> {
        String::from_utf8(self.0.comment().to_vec()).ok()
    }

    /// The contents of an entry, which has at most `most` bytes after decompression.
    pub(super) fn entry(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String> {
        let entry = self.0.by_name(name).map_err(|e| format!("{name}: {e}"))?;
        let mut bytes = Vec::new();
        entry.take(most + 1).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
        if bytes.len() as u64 > most {
            return Err(format!("{name} unpacks to more than the {most} bytes that are left of the most that is read"));
        }
        Ok(bytes)
    }
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
