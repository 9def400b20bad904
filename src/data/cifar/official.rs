//! The official versions of CIFAR-10 and CIFAR-100, binary and for Python, as files in memory.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "download")]
use std::fs;
use std::path::{Path, PathBuf};

use super::pickle::Value;
use super::{IMAGE_BYTES, SHAPE, lines_of_names};
use crate::data::{CIFAR10_CLASSES, DataError, Dataset, LabelSet, Splits, check_class_names};

/// The folders that the official archives unpack to.
const FOLDERS: [&str; 4] = ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python"];

/// The files of one version that hold images or names of classes.
struct Version {
    train: &'static [&'static str],
    test: &'static str,
    fine: Labels,
    coarse: Option<Labels>,
}

/// Where a version has its labels and their names.
#[derive(Clone, Copy)]
struct Labels {
    /// The file of names.
    names: &'static str,
    /// Number of classes.
    classes: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Records of as many label bytes, of which one counts, and an image; the names are lines of a text.
    Binary { label: usize, of: usize },
    /// Pickled dictionaries with these keys for labels and names.
    Python { labels: &'static str, names: &'static str },
}

const BATCHES: [&str; 5] = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"];
const BINARY_BATCHES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

const VERSIONS: [Version; 4] = [
    Version {
        train: &BINARY_BATCHES,
        test: "test_batch.bin",
        fine: Labels { names: "batches.meta.txt", classes: 10, kind: Kind::Binary { label: 0, of: 1 } },
        coarse: None,
    },
    Version {
        train: &BATCHES,
        test: "test_batch",
        fine: Labels {
            names: "batches.meta",
            classes: 10,
            kind: Kind::Python { labels: "labels", names: "label_names" },
        },
        coarse: None,
    },
    Version {
        train: &["train.bin"],
        test: "test.bin",
        fine: Labels { names: "fine_label_names.txt", classes: 100, kind: Kind::Binary { label: 1, of: 2 } },
        coarse: Some(Labels { names: "coarse_label_names.txt", classes: 20, kind: Kind::Binary { label: 0, of: 2 } }),
    },
    Version {
        train: &["train"],
        test: "test",
        fine: Labels {
            names: "meta",
            classes: 100,
            kind: Kind::Python { labels: "fine_labels", names: "fine_label_names" },
        },
        coarse: Some(Labels {
            names: "meta",
            classes: 20,
            kind: Kind::Python { labels: "coarse_labels", names: "coarse_label_names" },
        }),
    },
];

impl Version {
    /// The names of its files.
    fn files(&self) -> impl Iterator<Item = &'static str> {
        let names = [Some(self.fine), self.coarse].into_iter().flatten().map(|labels| labels.names);
        self.train.iter().copied().chain([self.test]).chain(names)
    }

    fn labels(&self, labels: LabelSet) -> Option<Labels> {
        match labels {
            LabelSet::Fine => Some(self.fine),
            LabelSet::Coarse => self.coarse,
        }
    }
}

/// Whether a file of this name may be one of an official version.
pub(in crate::data) fn is_file_name(name: &str) -> bool {
    VERSIONS.iter().flat_map(Version::files).any(|file| file == name)
}

/// The version of which these names are a training and a test file.
fn version(names: &dyn Fn(&str) -> bool) -> Option<&'static Version> {
    VERSIONS.iter().find(|version| version.train.iter().any(|name| names(name)) && names(version.test))
}

/// Whether these names are a training and a test file of one version.
pub(in crate::data) fn is_complete(names: &dyn Fn(&str) -> bool) -> bool {
    version(names).is_some()
}

/// The files of an official version by their names, found in `source`.
pub(in crate::data) struct OfficialFiles {
    pub(in crate::data) source: PathBuf,
    pub(in crate::data) files: BTreeMap<String, Vec<u8>>,
}

impl OfficialFiles {
    /// The images with their labels of this kind.
    ///
    /// # Errors
    /// A [`DataError`] that names the file.
    pub(in crate::data) fn load(self, labels: LabelSet) -> Result<Splits, DataError> {
        let version = version(&|name| self.files.contains_key(name))
            .ok_or_else(|| DataError::NoTrainBatches { folder: self.source.clone() })?;
        let labels = version.labels(labels).ok_or_else(|| DataError::NoCoarseLabels { path: self.source.clone() })?;
        let (names, kind) = (self.class_names(labels)?, labels.kind);
        let read = |files: &[&str]| {
            let (mut images, mut labels) = (Vec::new(), Vec::new());
            for name in files {
                if let Some(bytes) = self.files.get(*name) {
                    self.read_file(name, bytes, kind, names.len(), &mut images, &mut labels)?;
                }
            }
            Dataset::new(SHAPE, images, labels, names.clone())
        };
        let (train, test) = (read(version.train)?, read(&[version.test])?);
        Ok(Splits { train, test, source: self.source.display().to_string() })
    }

    fn bad(&self, name: &str, message: String) -> DataError {
        DataError::OfficialFile { file: self.source.join(name), message }
    }

    fn class_names(&self, Labels { names: file, classes, kind }: Labels) -> Result<Vec<String>, DataError> {
        let bad = |message: String| self.bad(file, message);
        let names: Vec<String> = match (self.files.get(file), kind) {
            (None, _) if classes == CIFAR10_CLASSES.len() => CIFAR10_CLASSES.map(str::to_owned).to_vec(),
            (None, _) => (0..classes).map(|class| format!("class {class}")).collect(),
            (Some(text), Kind::Binary { .. }) => {
                let text = std::str::from_utf8(text).map_err(|e| bad(e.to_string()))?;
                lines_of_names(text)
            }
            (Some(pickle), Kind::Python { names, .. }) => {
                let value = Value::parse(pickle).map_err(bad)?;
                let Some(Value::List(values)) = value.get(names) else {
                    return Err(bad(format!("it has no list {names}")));
                };
                let text = |value: &Value| match value {
                    Value::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
                    _ => Err(bad(format!("{names} holds something else than texts"))),
                };
                values.iter().map(text).collect::<Result<_, _>>()?
            }
        };
        check_class_names(&names).map_err(bad)?;
        Ok(names)
    }

    fn read_file(
        &self,
        name: &str,
        bytes: &[u8],
        kind: Kind,
        classes: usize,
        images: &mut Vec<u8>,
        labels: &mut Vec<u16>,
    ) -> Result<(), DataError> {
        let bad = |message: String| self.bad(name, message);
        let before = labels.len();
        match kind {
            Kind::Binary { label, of } => {
                let record = of + IMAGE_BYTES;
                if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
                    return Err(bad(format!("{} bytes are no whole number of records of {record}", bytes.len())));
                }
                for record in bytes.chunks_exact(record) {
                    labels.push(record[label].into());
                    images.extend_from_slice(&record[of..]);
                }
            }
            Kind::Python { labels: key, .. } => {
                let value = Value::parse(bytes).map_err(bad)?;
                let (Some(Value::Array { shape, bytes }), Some(Value::List(own))) = (value.get("data"), value.get(key))
                else {
                    return Err(bad(format!("it has no array `data` of bytes with a list `{key}`")));
                };
                if shape[..] != [own.len(), IMAGE_BYTES] {
                    return Err(bad(format!("`data` has shape {shape:?} and `{key}` {} numbers", own.len())));
                }
                let label = |value: &Value| match value {
                    Value::Integer(label) => u16::try_from(*label).map_err(|e| bad(format!("a label: {e}"))),
                    _ => Err(bad(format!("`{key}` holds something else than numbers"))),
                };
                labels.extend(own.iter().map(label).collect::<Result<Vec<_>, _>>()?);
                images.extend_from_slice(bytes);
            }
        }
        match labels[before..].iter().position(|&label| usize::from(label) >= classes) {
            Some(at) => {
                let label = labels[before + at];
                Err(bad(format!("image {at} has label {label}, but labels go from 0 to {}", classes - 1)))
            }
            None => Ok(()),
        }
    }
}

/// The images of one batch of CIFAR-10's binary version, of which the last tenth is kept for testing.
///
/// # Errors
/// A [`DataError`] that names the file.
pub(in crate::data) fn single_batch(path: &Path) -> Result<Splits, DataError> {
    let fail = |message: String| DataError::OfficialFile { file: path.into(), message };
    let bytes = crate::files::read_at_most(path, MOST_FILE_BYTES).map_err(|e| fail(e.to_string()))?;
    let bytes = bytes.ok_or_else(|| fail("it is too large".into()))?;
    let files = OfficialFiles { source: path.parent().unwrap_or(path).into(), files: BTreeMap::new() };
    let names = CIFAR10_CLASSES.map(str::to_owned).to_vec();
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    files.read_file(&name, &bytes, VERSIONS[0].fine.kind, names.len(), &mut images, &mut labels)?;
    if labels.len() < 2 {
        return Err(fail("it holds one image, so none can be kept for testing".into()));
    }
    let mut train = Dataset::new(SHAPE, images, labels, names)?;
    let test = train.split_off((train.len() / 10).max(1));
    Ok(Splits { train, test, source: path.display().to_string() })
}

/// The files of an official version in a folder of this name or in one of the official folders in it; `None` if there are none.
///
/// # Errors
/// If a file cannot be read.
pub(in crate::data) fn in_folder(folder: &Path) -> Result<Option<OfficialFiles>, DataError> {
    let Some(place) = official_place(folder) else { return Ok(None) };
    let names: BTreeSet<_> = VERSIONS.iter().flat_map(Version::files).collect();
    let mut files = BTreeMap::new();
    for name in names.into_iter().filter(|name| place.join(name).is_file()) {
        let path = place.join(name);
        let bytes = crate::files::read_at_most(&path, MOST_FILE_BYTES)
            .map_err(|e| DataError::OfficialFile { file: path.clone(), message: e.to_string() })?;
        let too_large = || DataError::OfficialFile { file: path.clone(), message: "it is too large".into() };
        files.insert(name.to_owned(), bytes.ok_or_else(too_large)?);
    }
    Ok(Some(OfficialFiles { source: place, files }))
}

/// The folder of an official version: the one of this name, or one of the official folders in it.
fn official_place(folder: &Path) -> Option<PathBuf> {
    let below = FOLDERS.iter().map(|name| folder.join(name));
    let mut places = std::iter::once(folder.to_path_buf()).chain(below);
    places.find(|place| is_complete(&|name| place.join(name).is_file()))
}

/// A file of an official version, or beside its files.
#[cfg(feature = "download")]
pub(in crate::data) struct ExpectedFile {
    /// Where it is, or should be.
    pub(in crate::data) path: PathBuf,
    /// Whether the version has such a file.
    pub(in crate::data) belongs: bool,
}

/// The files of an official version, whether they are there or not, and other batches beside them; none if there is no version.
///
/// # Errors
/// If the folder cannot be listed.
#[cfg(feature = "download")]
pub(in crate::data) fn expected_files(folder: &Path) -> Result<Vec<ExpectedFile>, DataError> {
    let Some(place) = official_place(folder) else { return Ok(Vec::new()) };
    let Some(version) = version(&|name| place.join(name).is_file()) else { return Ok(Vec::new()) };
    let mut files: Vec<_> =
        version.files().map(|name| ExpectedFile { path: place.join(name), belongs: true }).collect();
    files.dedup_by(|a, b| a.path == b.path);
    let mut others = Vec::new();
    for entry in fs::read_dir(&place).map_err(DataError::io("list", &place))? {
        let entry = entry.map_err(DataError::io("list", &place))?;
        let is_batch = entry.file_name().to_string_lossy().starts_with(BATCHES[0].trim_end_matches('1'));
        if is_batch && files.iter().all(|file| file.path != entry.path()) {
            others.push(entry.path());
        }
    }
    others.sort();
    files.extend(others.into_iter().map(|path| ExpectedFile { path, belongs: false }));
    Ok(files)
}

/// Largest file of such a set that is read.
pub(in crate::data) const MOST_FILE_BYTES: u64 = 1 << 30;
