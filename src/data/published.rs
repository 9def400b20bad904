//! The MD5 sums that are published of the files of CIFAR.

use super::DataError;
use super::cifar::{ExpectedFile, expected_files};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Files and their sums: those of the versions for Python as torchvision checks them, those of the binary versions as public build
/// scripts do, and those of the archives as on <https://www.cs.toronto.edu/~kriz/cifar.html>.
const SUMS: [(&str, &str); 22] = [
    ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
    ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
    ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
    ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
    ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
    ("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
    ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
    ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
    ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
    ("data_batch_4", "634d18415352ddfa80567beed471001a"),
    ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ("test_batch", "40351d587109b95175f43aff81a1287e"),
    ("train", "16019d7e3df5f24257cddd939b257f8d"),
    ("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ("meta", "7973b15100ade9c7d40fb424638fde48"),
    ("train.bin", "6172c7755cfe09b2fe270c85cebc1b15"),
    ("test.bin", "4499cfba6c016c1be1438163640a0898"),
    ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    ("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
];

/// How a file compares with the published one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It is the published file.
    Published,
    /// It is another one.
    Different,
    /// No sum is known of it.
    NoSumKnown,
    /// It is missing.
    Missing,
    /// The published set has no such file.
    Additional,
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileState::Published => "as published",
            FileState::Different => "not the published file",
            FileState::NoSumKnown => "no published sum is known",
            FileState::Missing => "missing",
            FileState::Additional => "no file of the published set",
        })
    }
}

/// A file of an official version of CIFAR.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileSum {
    /// The file's name.
    pub file: String,
    /// Its MD5 sum in lower-case hexadecimal digits, unless it is missing.
    pub md5: Option<String>,
    /// How it compares with the published file.
    pub state: FileState,
}

/// The files of an official version of CIFAR in a folder, or an archive, compared with the published ones by their MD5 sums; none
/// for other data.
///
/// # Errors
///
/// If a file cannot be read.
pub fn file_sums(path: impl AsRef<Path>) -> Result<Vec<FileSum>, DataError> {
    let path = path.as_ref();
    if path.is_file() {
        let md5 = md5_of(path)?;
        // It may have been renamed.
        let is_known = SUMS.iter().any(|(name, sum)| name.ends_with(".tar.gz") && *sum == md5);
        let state = if is_known { FileState::Published } else { FileState::NoSumKnown };
        return Ok(vec![FileSum { file: name_of(path), md5: Some(md5), state }]);
    }
    let sums = expected_files(path)?.into_iter().map(|ExpectedFile { path, belongs }| {
        let file = name_of(&path);
        if !path.is_file() {
            return Ok(FileSum { file, md5: None, state: FileState::Missing });
        }
        let md5 = md5_of(&path)?;
        let published = SUMS.iter().find(|(name, _)| *name == file);
        let state = match published {
            _ if !belongs => FileState::Additional,
            Some((_, sum)) if *sum == md5 => FileState::Published,
            Some(_) => FileState::Different,
            None => FileState::NoSumKnown,
        };
        Ok(FileSum { file, md5: Some(md5), state })
    });
    sums.collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The MD5 sum of a file.
pub(super) fn md5_of(path: &Path) -> Result<String, DataError> {
    let failed = DataError::io("read", path);
    let sum = || {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut context = md5::Context::new();
        loop {
            let bytes = file.fill_buf()?;
            if bytes.is_empty() {
                return Ok(format!("{:x}", context.finalize()));
            }
            context.consume(bytes);
            let count = bytes.len();
            file.consume(count);
        }
    };
    sum().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compared_under_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        // A folder that holds no official version.
        assert!(file_sums(folder.path()).unwrap().is_empty());
        write("data_batch_1.bin", b"abc");
        write("test_batch.bin", b"");
        write("data_batch_6.bin", b"");
        write("batches.meta.txt", b"airplane");
        let sums = file_sums(folder.path()).unwrap();
        let states: Vec<_> = sums.iter().map(|sum| (sum.file.as_str(), sum.state)).collect();
        use FileState::*;
        assert_eq!(
            states,
            [
                ("data_batch_1.bin", Different),
                ("data_batch_2.bin", Missing),
                ("data_batch_3.bin", Missing),
                ("data_batch_4.bin", Missing),
                ("data_batch_5.bin", Missing),
                ("test_batch.bin", Different),
                ("batches.meta.txt", NoSumKnown),
                ("data_batch_6.bin", Additional)
            ]
        );
        // As RFC 1321 says.
        assert_eq!(sums[0].md5.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        let archive = file_sums(folder.path().join("data_batch_1.bin")).unwrap().remove(0);
        assert_eq!(archive.state, NoSumKnown);
    }

    #[test]
    fn every_published_sum_is_of_one_file() {
        for (at, (name, sum)) in SUMS.iter().enumerate() {
            assert!(SUMS[..at].iter().all(|(other, others)| other != name && others != sum), "{name}");
            assert!(sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
        }
    }
}
