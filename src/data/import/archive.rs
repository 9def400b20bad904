//! The data set in an archive: an official version of CIFAR, or a tree of pictures.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::data::archive::{Opened, Stop, Visitor, contents, visit};
use crate::data::cifar::{MOST_FILE_BYTES, OfficialFiles, is_complete, is_file_name};
use crate::data::class_folders::{Note, is_table, placed};
use crate::data::collect::{Collector, Content, Limits, Place, split_of};
use crate::data::picture::has_image_ending;
use crate::data::tree::{Listing, MOST_TABLE_BYTES, Tree, path_of};
use crate::data::walk::{Found, is_hidden};
use crate::data::{DataError, LabelSet, Split, Splits};

/// The official version of CIFAR in an archive; `None` if it holds something else.
pub(in crate::data) fn official(
    archive: &mut Opened<'_>,
    limits: &Limits,
    labels: LabelSet,
) -> Result<Option<Splits>, DataError> {
    let mut found = Official { files: BTreeMap::new() };
    visit(archive, limits.archive_bytes, &mut found)?;
    let files = found.files;
    if !is_complete(&|name| files.contains_key(name)) {
        return Ok(None);
    }
    OfficialFiles { source: archive.path().into(), files }.load(labels).map(Some)
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

/// Hands every picture of an archive to `collector`: those of `train/<class>/<file>` and `test/<class>/<file>`, or else of
/// a tree in any layout that is taken on the disk.
pub(in crate::data) fn read(
    archive: &mut Opened<'_>,
    limits: &Limits,
    collector: &mut Collector<'_>,
) -> Result<Vec<Note>, DataError> {
    let path = &archive.path().to_path_buf();
    let mut names = Names::default();
    visit(archive, limits.archive_bytes, &mut names)?;
    let Names { listing, splits } = names;
    let root = listing.root();
    let has_both = splits.len() == 2;
    if has_both || !holds_classes(&listing, &root) {
        visit(archive, limits.archive_bytes, &mut Pictures { path, collector })?;
        return Ok(Vec::new());
    }
    let mut notes = Vec::new();
    let images = placed(&listing, &root, collector, &mut notes)?;
    collector.check_memory(images.len())?;
    collector.total = Some(images.len() as u64);
    let places = images.into_iter().map(|(place, path)| (path, place)).collect();
    visit(archive, limits.archive_bytes, &mut Placed { path, places, collector })?;
    Ok(notes)
}

/// Whether the archive has a picture in a folder, or in a folder of one, so that it may be a tree of classes.
fn holds_classes(listing: &Listing, root: &Path) -> bool {
    let folders = |folder: &Path| listing.list(folder).unwrap_or_default().into_iter().filter(|found| found.is_folder);
    let is_picture = |found: &Found| found.is_file && has_image_ending(&found.name);
    let holds_picture = |folder: &Path| listing.list(folder).unwrap_or_default().iter().any(is_picture);
    folders(root)
        .any(|class| holds_picture(&class.path) || folders(&class.path).any(|below| holds_picture(&below.path)))
}

/// Lists names, and keeps tables of labels.
#[derive(Default)]
struct Names {
    listing: Listing,
    /// The splits that have pictures as `train/<class>/<file>` and `test/<class>/<file>`.
    splits: HashSet<Split>,
}

impl Visitor for Names {
    fn file(&mut self, name: &str, size: u64, entry: &mut dyn Read) -> Result<(), Stop> {
        self.splits.extend(split_of(name));
        let Some(path) = self.listing.add(name) else { return Ok(()) };
        if path.file_name().is_some_and(|name| is_table(&name.to_string_lossy())) && size <= MOST_TABLE_BYTES {
            self.listing.add_table(path, contents(size, entry)?);
        }
        Ok(())
    }

    fn other(&mut self, _name: &str) {}
}

/// Hands pictures whose places are known to a collector.
struct Placed<'a, 'b> {
    path: &'a Path,
    places: HashMap<PathBuf, Place>,
    collector: &'a mut Collector<'b>,
}

impl Visitor for Placed<'_, '_> {
    fn file(&mut self, name: &str, size: u64, entry: &mut dyn Read) -> Result<(), Stop> {
        // Of two entries of one name the first counts.
        if let Some(place) = path_of(name).and_then(|path| self.places.remove(&path)) {
            let file = format!("{}: {name}", self.path.display());
            self.collector.check_size(&file, size)?;
            self.collector.push(file, place, Content::Bytes(contents(size, entry)?))?;
        }
        Ok(())
    }

    fn other(&mut self, _name: &str) {}
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
