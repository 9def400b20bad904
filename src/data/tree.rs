//! Folders and their files, on the disk or in an archive.

use super::DataError;
use super::walk::{Found, is_hidden, walk};
use crate::files::read_at_most;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Largest table of labels that is read, in bytes.
pub(super) const MOST_TABLE_BYTES: u64 = 64 << 20;

/// A tree of folders.
pub(super) trait Tree {
    /// Whether this is a folder.
    fn is_folder(&self, path: &Path) -> bool;

    /// The contents of a folder itself that are not hidden, sorted by name.
    ///
    /// # Errors
    /// If it cannot be listed.
    fn list(&self, folder: &Path) -> Result<Vec<Found>, DataError>;

    /// Whether this is the folder of a run of this program, or a folder of such.
    fn is_of_runs(&self, folder: &Path) -> bool;

    /// The bytes of a table of labels.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn table(&self, path: &Path) -> Result<Vec<u8>, String>;
}

/// The disk.
pub(super) struct Disk;

impl Tree for Disk {
    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn list(&self, folder: &Path) -> Result<Vec<Found>, DataError> {
        let mut found = walk(folder, Some(1)).collect::<Result<Vec<_>, _>>()?;
        found.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
        Ok(found)
    }

    fn is_of_runs(&self, folder: &Path) -> bool {
        let is_run = |path: &Path| path.join("config.json").is_file() && path.join("metrics.jsonl").is_file();
        let holds_runs = || {
            // Its files, perhaps thousands of pictures, need no look at the disk.
            let is_run_below =
                |entry: fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_run(&entry.path());
            fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(is_run_below)))
        };
        is_run(folder) || holds_runs()
    }

    fn table(&self, path: &Path) -> Result<Vec<u8>, String> {
        let bytes = read_at_most(path, MOST_TABLE_BYTES).map_err(|e| e.to_string())?;
        bytes.ok_or_else(|| format!("it has more than {MOST_TABLE_BYTES} bytes"))
    }
}

/// The names of an archive's files, and its tables of labels.
#[derive(Default)]
pub(super) struct Listing {
    files: BTreeSet<PathBuf>,
    folders: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    tables: BTreeMap<PathBuf, Vec<u8>>,
}

impl Listing {
    /// Adds a file by its name in the archive, unless it is hidden or would lie outside; its path.
    pub(super) fn add(&mut self, name: &str) -> Option<PathBuf> {
        let path = path_of(name)?;
        let mut below = path.clone();
        while let Some(folder) = below.parent().map(Path::to_path_buf) {
            if !self.folders.entry(folder.clone()).or_default().insert(below) {
                break;
            }
            below = folder;
            if below.as_os_str().is_empty() {
                break;
            }
        }
        self.files.insert(path.clone());
        Some(path)
    }

    /// Adds the bytes of a table of labels.
    pub(super) fn add_table(&mut self, path: PathBuf, bytes: Vec<u8>) {
        self.tables.insert(path, bytes);
    }

    /// The folder of the set: the top, or the only folder there if it holds folders.
    pub(super) fn root(&self) -> PathBuf {
        let below = |folder: &Path| self.folders.get(folder).map(|below| below.iter().collect::<Vec<_>>());
        match below(Path::new("")).as_deref() {
            Some([only]) if below(only).is_some_and(|inner| inner.iter().any(|path| self.is_folder(path))) => {
                (*only).clone()
            }
            _ => PathBuf::new(),
        }
    }
}

/// The path of a file in an archive; `None` if it is hidden or leads outside.
pub(super) fn path_of(name: &str) -> Option<PathBuf> {
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let is_good = |part: &&str| *part != ".." && !is_hidden(part);
    (!parts.is_empty() && parts.iter().all(is_good)).then(|| parts.iter().collect())
}

impl Tree for Listing {
    fn is_folder(&self, path: &Path) -> bool {
        self.folders.contains_key(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<Found>, DataError> {
        let found = |path: &PathBuf| Found {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_file: self.files.contains(path),
            is_folder: self.folders.contains_key(path),
            is_entered: false,
            path: path.clone(),
        };
        Ok(self.folders.get(folder).into_iter().flatten().map(found).collect())
    }

    fn is_of_runs(&self, _folder: &Path) -> bool {
        false
    }

    fn table(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.tables.get(path).cloned().ok_or_else(|| format!("it has more than {MOST_TABLE_BYTES} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_folders_of_its_files() {
        let mut listing = Listing::default();
        for name in ["./set/cat/2.png", "set/cat/1.png", "set/dog/1.png", "set/notes.txt"] {
            assert!(listing.add(name).is_some(), "{name}");
        }
        for name in ["../set/cat/3.png", "set/.git/1.png", "__MACOSX/set/1.png", "/"] {
            assert!(listing.add(name).is_none(), "{name}");
        }
        assert_eq!(listing.root(), Path::new("set"));
        let names = |folder: &str| {
            let found = listing.list(Path::new(folder)).unwrap();
            found.into_iter().map(|found| (found.name, found.is_folder)).collect::<Vec<_>>()
        };
        let named = |name: &str, is_folder: bool| (name.to_owned(), is_folder);
        assert_eq!(names("set"), [named("cat", true), named("dog", true), named("notes.txt", false)]);
        assert_eq!(names("set/cat"), [named("1.png", false), named("2.png", false)]);
        // One class is no folder of a set.
        let mut one = Listing::default();
        one.add("cat/1.png");
        assert_eq!(one.root(), Path::new(""));
    }
}
