//! Walks folders, with the same rules for hidden files, links and depth everywhere.

use super::DataError;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// A file or folder. A link counts as its target.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The last part of the path.
    pub(super) name: String,
    pub(super) is_file: bool,
    pub(super) is_folder: bool,
    /// Whether it is a folder whose contents are listed, too.
    pub(super) is_entered: bool,
}

/// The files and folders in `folder` and below that are not [hidden](is_hidden), in the system's order; the contents of hidden
/// folders are hidden, too.
///
/// Folders are entered `depth` levels down, where 1 is `folder` itself, and links to folders like these, unless they lead back to a
/// parent folder. Without a limit, links to folders are not entered: they may lead anywhere.
///
/// An error is a [`DataError::Io`] of a folder that cannot be listed or a file that cannot be accessed, which includes a broken
/// link if links are followed. The others are still listed.
pub(super) fn walk(folder: &Path, depth: Option<usize>) -> impl Iterator<Item = Result<Found, DataError>> {
    let (root, limit) = (folder.to_path_buf(), depth.unwrap_or(usize::MAX));
    WalkDir::new(folder)
        .min_depth(1)
        .max_depth(limit)
        .follow_links(depth.is_some())
        .into_iter()
        .filter_entry(|entry| !is_hidden(&entry.file_name().to_string_lossy()))
        .filter_map(move |entry| match entry {
            Ok(entry) => Some(Ok(Found::new(entry, limit))),
            Err(error) => refused(error, &root),
        })
}

/// Whether a file or folder of this name is ignored: its name begins with a dot, or it is `__MACOSX`, which holds the `._*`
/// companions that some archivers add.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

impl Found {
    fn new(entry: DirEntry, limit: usize) -> Self {
        let kind = entry.file_type();
        // Only links that are not followed are links here.
        let target =
            if kind.is_symlink() { fs::metadata(entry.path()).ok().map(|found| found.file_type()) } else { None };
        let shown = target.unwrap_or(kind);
        Self {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_file: shown.is_file(),
            is_folder: shown.is_dir(),
            is_entered: kind.is_dir() && entry.depth() < limit,
            path: entry.into_path(),
        }
    }
}

/// Handles entries below `root` that `walkdir` cannot access.
fn refused(error: walkdir::Error, root: &Path) -> Option<Result<Found, DataError>> {
    let path = error.path().unwrap_or(root).to_path_buf();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A broken link is reported before its name is checked.
    if error.depth() > 0 && error.path().is_some() && is_hidden(&name) {
        return None;
    }
    match error.into_io_error() {
        Some(source) => {
            let action = if path.is_dir() { "list" } else { "read" };
            Some(Err(DataError::io(action, path)(source)))
        }
        // A link that leads back to a parent folder.
        None => Some(Ok(Found { path, name, is_file: false, is_folder: true, is_entered: false })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::{TempDir, tempdir};

    fn folder(files: &[&str]) -> TempDir {
        let folder = tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    /// What is found by its path in `folder`, sorted, each marked: `/` for a folder that is entered, `|` for one that is not.
    fn found(folder: &Path, depth: Option<usize>) -> Vec<String> {
        let mut found: Vec<_> = walk(folder, depth)
            .map(|found| {
                let found = found.unwrap();
                let mark = match (found.is_folder, found.is_entered) {
                    (false, _) => "",
                    (true, true) => "/",
                    (true, false) => "|",
                };
                format!("{}{mark}", found.path.strip_prefix(folder).unwrap().display().to_string().replace('\\', "/"))
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn folders_are_entered_to_the_limit() {
        let folder = folder(&["a.png", "one/b.png", "one/two/c.png"]);
        assert_eq!(found(folder.path(), Some(1)), ["a.png", "one|"]);
        assert_eq!(found(folder.path(), Some(2)), ["a.png", "one/", "one/b.png", "one/two|"]);
        assert_eq!(found(folder.path(), None), ["a.png", "one/", "one/b.png", "one/two/", "one/two/c.png"]);
    }

    #[test]
    fn what_is_hidden_is_left_out_with_all_that_is_in_it() {
        let folder = folder(&[".a.png", "one/._b.png", ".two/c.png", "__MACOSX/d.png", "e.png"]);
        for depth in [Some(4), None] {
            assert_eq!(found(folder.path(), depth), ["e.png", "one/"]);
        }
        // What is asked for is not hidden, however it is called.
        assert_eq!(found(&folder.path().join(".two"), None), ["c.png"]);
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_an_error() {
        let folder = folder(&["a.png"]);
        let errors: Vec<_> = walk(&folder.path().join("absent"), None).collect();
        assert!(matches!(&errors[..], [Err(DataError::Io { path, .. })] if path.ends_with("absent")), "{errors:?}");
    }

    #[cfg(unix)]
    #[test]
    fn links_count_as_what_they_lead_to_and_circles_end() {
        use std::os::unix::fs::symlink;
        let folder = folder(&["set/one/a.png", "elsewhere/b.png"]);
        let set = folder.path().join("set");
        symlink("../elsewhere", set.join("linked")).unwrap();
        symlink("one/a.png", set.join("c.png")).unwrap();
        symlink("..", set.join("one/back")).unwrap();
        symlink("nowhere", set.join(".d.png")).unwrap();
        let followed = ["c.png", "linked/", "linked/b.png", "one/", "one/a.png", "one/back|"];
        assert_eq!(found(&set, Some(9)), followed);
        assert_eq!(found(&set, None), ["c.png", "linked|", "one/", "one/a.png", "one/back|"]);
        // One that leads nowhere may stand for an image that should be there.
        symlink("nowhere", set.join("e.png")).unwrap();
        let errors: Vec<_> = walk(&set, Some(1)).filter_map(Result::err).collect();
        assert!(
            matches!(&errors[..], [DataError::Io { action: "read", path, .. }] if path.ends_with("e.png")),
            "{errors:?}"
        );
        assert_eq!(walk(&set, None).filter(|found| found.as_ref().unwrap().is_file).count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_listed_hides_nothing_else() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder(&["closed/a.png", "open/b.png"]);
        let closed = folder.path().join("closed");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        // Root may read everything.
        if fs::read_dir(&closed).is_err() {
            let (found, errors): (Vec<_>, Vec<_>) = walk(folder.path(), None).partition(Result::is_ok);
            assert_eq!(found.len(), 3);
            assert!(matches!(&errors[..], [Err(DataError::Io { action: "list", path, .. })] if *path == closed));
        }
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
