//! The MD5 sums that are published of the files of CIFAR.

use super::DataError;
use super::cifar::official_place;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Files and their sums: those of the versions for Python as torchvision checks them, those of the binary version of CIFAR-10 as several
/// public build scripts do, and those of the archives as on <https://www.cs.toronto.edu/~kriz/cifar.html>.
const SUMS: [(&str, &str); 19] = [
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
    ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    ("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
];

/// The MD5 sum of a file, beside that which is published of the file of this name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileSum {
    /// The file's name.
    pub file: String,
    /// Its sum, in lower-case hexadecimal digits.
    pub md5: String,
    /// The published sum, if one is known.
    pub published: Option<&'static str>,
}

impl FileSum {
    /// Whether it is the published file; `None` if no sum is known.
    pub fn is_published(&self) -> Option<bool> {
        self.published.map(|sum| sum == self.md5)
    }
}

/// The sums of the files of an official version of CIFAR in a folder, or of an archive; none for other data.
///
/// # Errors
///
/// If a file cannot be read.
pub fn file_sums(path: impl AsRef<Path>) -> Result<Vec<FileSum>, DataError> {
    let path = path.as_ref();
    let sum = |path: &Path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let md5 = md5_of(path)?;
        let same_name = SUMS.iter().find(|(name, _)| *name == file);
        // An archive may have been renamed.
        let known = SUMS.iter().find(|(_, sum)| *sum == md5).or(same_name);
        Ok(FileSum { file, published: known.map(|(_, sum)| *sum), md5 })
    };
    if path.is_file() {
        return Ok(vec![sum(path)?]);
    }
    let Some(folder) = official_place(path) else { return Ok(Vec::new()) };
    let files = SUMS.iter().map(|(name, _)| folder.join(name)).filter(|file| file.is_file());
    files.map(|file| sum(&file)).collect()
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
    fn sums_are_those_of_rfc_1321() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data_batch_1.bin");
        std::fs::write(&path, "abc").unwrap();
        let sum = file_sums(&path).unwrap().remove(0);
        assert_eq!((sum.md5.as_str(), sum.is_published()), ("900150983cd24fb0d6963f7d28e17f72", Some(false)));
        // A folder that holds no official version.
        assert!(file_sums(folder.path()).unwrap().is_empty());
        std::fs::write(folder.path().join("test_batch.bin"), "").unwrap();
        let sums = file_sums(folder.path()).unwrap();
        assert_eq!(
            sums.iter().map(|sum| sum.file.as_str()).collect::<Vec<_>>(),
            ["data_batch_1.bin", "test_batch.bin"]
        );
    }

    #[test]
    fn every_published_sum_is_of_one_file() {
        for (at, (name, sum)) in SUMS.iter().enumerate() {
            assert!(SUMS[..at].iter().all(|(other, others)| other != name && others != sum), "{name}");
            assert!(sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
        }
    }
}
