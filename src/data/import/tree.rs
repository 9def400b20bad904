//! Reads the image files of a folder.

use super::collect::{Collector, Content};
use crate::data::DataError;
use std::fs;
use std::path::{Path, PathBuf};

/// `top/split/class/file`: nothing below that can be an image of the set.
const MAX_DEPTH: usize = 4;

/// Hands every image file below `folder` to `collector`.
pub(super) fn read(folder: &Path, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let mut images = Vec::new();
    for (relative, path) in list(folder)? {
        if let Some(place) = collector.meet(&relative)? {
            images.push((place, path));
        }
    }
    collector.total = Some(images.len() as u64);
    for (place, path) in images {
        collector.push(path.display().to_string(), place, Content::File(path))?;
    }
    Ok(())
}

/// The files below `folder`, with their paths relative to it, sorted by these.
/// A folder at the depth limit is listed as if it were a file.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut files = Vec::new();
    let mut folders = vec![(String::new(), folder.to_path_buf(), 1)];
    while let Some((prefix, folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(DataError::io("list", &folder))? {
            let entry = entry.map_err(DataError::io("list", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let (relative, path) = (format!("{prefix}{name}"), entry.path());
            // Follows links, so that a tree may be put together from them; the
            // depth limit ends any circle.
            let found = fs::metadata(&path).map_err(DataError::io("read", &path))?;
            if found.is_dir() && depth < MAX_DEPTH {
                folders.push((format!("{relative}/"), path, depth + 1));
            } else {
                files.push((relative, path));
            }
        }
    }
    files.sort();
    Ok(files)
}
