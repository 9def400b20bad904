//! Reads the image files of a folder.

use crate::data::DataError;
use crate::data::collect::{Collector, Content};
use crate::data::walk::walk;
use std::path::Path;

/// `top/split/class/file`: nothing below that can be an image of the set.
const MAX_DEPTH: usize = 4;

/// Hands every image file below `folder` to `collector`.
pub(super) fn read(folder: &Path, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let mut met = Vec::new();
    for found in walk(folder, Some(MAX_DEPTH)) {
        let found = found?;
        if !found.is_entered {
            met.push((relative(folder, &found.path), found));
        }
    }
    met.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut images = Vec::new();
    for (relative, found) in met {
        // Reading from other kinds of files, such as a pipe, could block forever.
        if !found.is_file {
            collector.skip(&relative);
        } else if let Some(place) = collector.meet(&relative)? {
            images.push((place, found.path));
        }
    }
    collector.total = Some(images.len() as u64);
    for (place, path) in images {
        collector.push(path.display().to_string(), place, Content::File(path))?;
    }
    Ok(())
}

/// `path` as seen from `folder`, with `/` between its parts.
fn relative(folder: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(folder).unwrap_or(path).iter();
    parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}
