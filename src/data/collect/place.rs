//! Classifies files by their paths.

use crate::data::Split;
use crate::data::picture::has_image_ending;
use crate::data::walk::is_hidden;

/// The place of an image in the set.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::data) struct Place {
    pub(in crate::data) split: Split,
    pub(in crate::data) class: String,
    pub(in crate::data) name: String,
}

/// Kind of a path inside a source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// An image, below the folder `top`, or at the top if that is empty.
    Image { top: String, place: Place },
    /// A hidden file, which is ignored.
    Hidden,
    /// Anything else, which is reported to the user.
    Other,
}

/// The split of an image at `[top/]split/class/file`.
pub(in crate::data) fn split_of(path: &str) -> Option<Split> {
    match sort_out(path) {
        Met::Image { place, .. } => Some(place.split),
        _ => None,
    }
}

/// Reads `[top/]split/class/file`.
pub(super) fn sort_out(path: &str) -> Met {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Met::Other;
    }
    if parts.iter().any(|part| is_hidden(part)) {
        return Met::Hidden;
    }
    let (top, split, class, name) = match parts[..] {
        [split, class, name] => ("", split, class, name),
        [top, split, class, name] => (top, split, class, name),
        _ => return Met::Other,
    };
    let split = Split::of_folder(split).filter(|&(_, rank)| rank == 0).map(|(split, _)| split);
    match split {
        Some(split) if has_image_ending(name) => {
            Met::Image { top: top.to_owned(), place: Place { split, class: class.to_owned(), name: name.to_owned() } }
        }
        _ => Met::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_paths_out() {
        let image = |top: &str, split| Met::Image {
            top: top.into(),
            place: Place { split, class: "cat".into(), name: "1.JPG".into() },
        };
        assert_eq!(sort_out("train/cat/1.JPG"), image("", Split::Train));
        assert_eq!(sort_out("./test/cat/1.JPG"), image("", Split::Test));
        assert_eq!(sort_out("set/test//cat/1.JPG"), image("set", Split::Test));
        for hidden in ["train/cat/._1.jpg", ".git/train/cat/1.jpg", "__MACOSX/train/cat/1.jpg"] {
            assert_eq!(sort_out(hidden), Met::Hidden, "{hidden}");
        }
        for other in [
            "README.md",
            "train/1.jpg",
            "train/cat/1.tif",
            "train/cat/jpg",
            "valid/cat/1.jpg",
            "a/b/train/cat/1.jpg",
            "../train/cat/1.jpg",
            "train/cat/deep/1.jpg",
        ] {
            assert_eq!(sort_out(other), Met::Other, "{other}");
        }
    }
}
