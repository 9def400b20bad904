//! Replays the inputs of the fuzz targets, and those that once did harm.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The files below a folder of this crate, by the names of the folders in it.
fn inputs(folder: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for own in fs::read_dir(folder).unwrap() {
        let own = own.unwrap();
        let name = own.file_name().into_string().unwrap();
        found.extend(fs::read_dir(own.path()).unwrap().map(|file| (name.clone(), file.unwrap().path())));
    }
    found.sort();
    found
}

/// Runs `work` where parallel work stays on the thread, so that its memory is counted.
fn on_this_thread(work: impl FnOnce() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
    pool.install(work);
}

#[test]
fn no_file_does_harm() {
    on_this_thread(|| {
        for folder in ["fuzz/corpus", "tests/fixtures/hostile"] {
            let inputs = inputs(folder);
            assert!(!inputs.is_empty(), "{folder}");
            let does_harm = |(name, path): &(String, PathBuf)| {
                let (reader, input) = (reader(name), fs::read(path).unwrap());
                std::panic::catch_unwind(|| reader.check(&input)).is_err()
            };
            let harmful: Vec<_> = inputs.iter().filter(|input| does_harm(input)).collect();
            assert!(harmful.is_empty(), "{harmful:?}");
        }
    });
}

#[test]
fn every_reader_has_a_target_and_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut targets: Vec<_> = fs::read_dir(folder.join("fuzz_targets"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut names: Vec<_> = readers().iter().map(|reader| reader.name.to_owned()).collect();
    targets.sort();
    names.sort();
    assert_eq!(targets, names);
    for name in names {
        assert!(folder.join("corpus").join(&name).is_dir(), "{name}");
    }
}

#[test]
fn a_reader_that_takes_too_much_is_found() {
    let reader = |read| Reader { name: "greedy", constant: 1000, multiple: 2, read };
    let is_refused = |read: fn(&[u8]), input: &[u8]| std::panic::catch_unwind(|| reader(read).check(input)).is_err();
    let doubled: fn(&[u8]) = |bytes| drop(bytes.repeat(2));
    let squared: fn(&[u8]) = |bytes| drop(bytes.repeat(bytes.len()));
    assert!(!is_refused(doubled, &[1; 2000]) && is_refused(squared, &[1; 2000]) && !is_refused(squared, &[1; 2]));
}
