//! The data set in an archive: an official version of CIFAR, or a tree of pictures.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::data::archive::{Stop, Visitor, contents, visit};
use crate::data::cifar::{MOST_FILE_BYTES, OfficialFiles, is_complete, is_file_name};
use crate::data::collect::{Collector, Content, Limits};
use crate::data::picture::has_image_ending;
use crate::data::walk::is_hidden;
use crate::data::{DataError, LabelSet, Splits};

/// The official version of CIFAR in the archive at `path`; `None` if it holds something else.
pub(in crate::data) fn official(path: &Path, limits: &Limits, labels: LabelSet) -> Result<Option<Splits>, DataError> {
    let mut found = Official { files: BTreeMap::new() };
    visit(path, limits.archive_bytes, &mut found)?;
    let files = found.files;
    if !is_complete(&|name| files.contains_key(name)) {
        return Ok(None);
    }
    OfficialFiles { source: path.into(), files }.load(labels).map(Some)
}

/// Takes the files of an official version, and gives up at the first picture.
struct Official {
    files: BTreeMap<String, Vec<u8>>,
}

impl Visitor for Official {
    fn file(&mut self, name: &str, size: u64, entry: &mut dyn Read) -> Result<(), Stop> {
        let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let [folders @ .., last] = &parts[..] else { return Ok(()) };
        if has_image_ending(last) {
            return Err(Stop::Enough);
        }
        let is_hidden = parts.iter().any(|part| is_hidden(part));
        if !is_hidden && folders.len() <= 1 && is_file_name(last) && size <= MOST_FILE_BYTES {
            self.files.insert((*last).to_owned(), contents(size, entry)?);
        }
        Ok(())
    }

    fn other(&mut self, _name: &str) {}
}

/// Hands every picture of the archive at `path` to `collector`.
pub(in crate::data) fn read(path: &Path, limits: &Limits, collector: &mut Collector<'_>) -> Result<(), DataError> {
    visit(path, limits.archive_bytes, &mut Pictures { path, collector })
}

struct Pictures<'a, 'b> {
    path: &'a Path,
    collector: &'a mut Collector<'b>,
}

impl Visitor for Pictures<'_, '_> {
    fn file(&mut self, name: &str, size: u64, entry: &mut dyn Read) -> Result<(), Stop> {
        if let Some(place) = self.collector.meet(name)? {
            let file = format!("{}: {name}", self.path.display());
            self.collector.check_size(&file, size)?;
            self.collector.push(file, place, Content::Bytes(contents(size, entry)?))?;
        }
        Ok(())
    }

    fn other(&mut self, name: &str) {
        self.collector.skip(name);
    }
}
