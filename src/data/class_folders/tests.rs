use super::*;
use crate::data::TEST_FOLDERS;
use crate::data::walk::walk;
use image::{Rgb, RgbImage};
use tempfile::{TempDir, tempdir};

/// A folder of PNGs whose red tells the number in their name, made in the order given.
fn folder(files: &[(&str, u8)]) -> TempDir {
    let folder = tempdir().unwrap();
    for &(name, red) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(40, 20, Rgb([red, 0, 0])).save(path).unwrap();
    }
    folder
}

fn reds(set: &crate::data::Dataset) -> Vec<u8> {
    let mut reds: Vec<_> = (0..set.len()).map(|index| set.image(index).unwrap()[0]).collect();
    reds.sort_unstable();
    reds
}

fn error(folder: &TempDir) -> DataError {
    let error = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error
}

#[test]
fn the_split_follows_from_the_names() {
    let names: Vec<_> =
        (0..45).map(|number| (format!("{}/{number}.png", ["cat", "dog"][number % 2]), number)).collect();
    let mut files: Vec<_> = names.iter().map(|(name, number)| (name.as_str(), *number as u8)).collect();
    files.push(("elk/0.png", 200));
    let one = load(folder(&files).path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
    files.reverse();
    let other = load(folder(&files).path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
    assert_eq!((&one.splits.train, &one.splits.test), (&other.splits.train, &other.splits.test));
    // Of 23 and 22 images two each, and none of the only elk.
    assert_eq!(one.notes, [Note::HeldOut { test: 4, of: 46 }]);
    assert_eq!(one.splits.test.labels().iter().filter(|&&label| label == 0).count(), 2);
    assert_eq!(one.splits.test.class_names(), ["cat", "dog", "elk"]);
    // Runs are gone on with and weights are measured by this rule: it must never change.
    assert_eq!(reds(&one.splits.test), PINNED);
}

/// The numbers of the images that are kept for testing.
const PINNED: [u8; 4] = [10, 37, 40, 41];

#[test]
fn small_classes_give_one_image_each() {
    let folder = folder(&[("a/1.png", 1), ("a/2.png", 2), ("b/3.png", 3), ("b/4.png", 4)]);
    let splits = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap().splits;
    let mut labels = splits.test.labels().to_vec();
    labels.sort_unstable();
    assert_eq!((labels, splits.train.len()), (vec![0, 1], 2));
}

#[test]
fn train_and_test_folders_are_taken_as_they_are() {
    for test in TEST_FOLDERS {
        let name = format!("{test}/b/9.png");
        let folder = folder(&[("train/a/1.png", 1), ("train/b/2.png", 2), (&name, 9)]);
        fs::write(folder.path().join("train/a/notes.txt"), "no image").unwrap();
        fs::write(folder.path().join("train/a/.hidden.png"), "no image").unwrap();
        let Loaded { splits, notes } = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
        assert_eq!((reds(&splits.train), reds(&splits.test)), (vec![1, 2], vec![9]));
        assert_eq!(splits.test.labels(), [1]);
        assert!(matches!(&notes[..], [Note::LeftOut { files: 1, example }] if example.ends_with("notes.txt")));
    }
    let folder = folder(&[("train/a/1.png", 1), ("train/b/2.png", 2), ("val/b/8.png", 8), ("test/b/9.png", 9)]);
    let Loaded { splits, notes } = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
    assert_eq!(reds(&splits.test), [9]);
    assert_eq!(notes, [Note::TestFolder { taken: "test".into(), others: vec!["val".into()] }]);
}

#[test]
fn a_class_may_be_called_train() {
    let folder = folder(&[("bus/1.png", 1), ("bus/2.png", 2), ("train/3.png", 3), ("train/4.png", 4)]);
    assert_eq!(
        load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap().splits.train.class_names(),
        ["bus", "train"]
    );
}

#[test]
fn what_is_no_set_is_refused() {
    let only = |files: &[(&str, u8)]| error(&folder(files));
    assert!(matches!(only(&[]), DataError::UnknownLayout { .. }));
    assert!(matches!(only(&[("1.png", 1)]), DataError::UnknownLayout { .. }));
    assert!(matches!(only(&[("a/1.png", 1), ("a/2.png", 2)]), DataError::OneClass { class, .. } if class == "a"));
    assert!(matches!(only(&[("a/1.png", 1), ("b/2.png", 2)]), DataError::NothingToTest { .. }));
    assert!(matches!(only(&[("train/a/1.png", 1), ("train/b/1.png", 2)]), DataError::NoTestFolder { .. }));
    assert!(matches!(only(&[("a/1.png", 1), (" b/2.png", 2)]), DataError::ClassFolderName { .. }));
    assert!(matches!(only(&[("a/1.png", 1), ("b/c/2.png", 2)]), DataError::EmptyClass { path } if path.ends_with("b")));
    let odd = [("train/a/1.png", 1), ("train/b/1.png", 2), ("test/c/1.png", 3)];
    assert!(matches!(only(&odd), DataError::TestOnlyClass { class, .. } if class == "c"));
    let broken = folder(&[("a/1.png", 1), ("a/2.png", 2), ("b/1.png", 3), ("b/2.png", 4)]);
    fs::write(broken.path().join("a/2.png"), "no image").unwrap();
    assert!(matches!(error(&broken), DataError::Undecodable { file, .. } if file.ends_with("2.png")));
}

#[test]
fn images_of_either_layout_come_in_the_shape_asked_for() {
    let files = folder(&[("a/1.png", 30), ("a/2.png", 200), ("b/3.png", 30), ("b/4.png", 200)]);
    let binary = tempdir().unwrap();
    let binary = binary.path().join("set");
    crate::data::write_folder(&binary, &load(files.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap().splits)
        .unwrap();
    for (height, width, channels) in [(20, 40, 3), (48, 40, 1), (1, 1, 1)] {
        let shape = ImageShape::new(height, width, channels).unwrap();
        let [from_files, from_binary] =
            [files.path(), &binary].map(|folder| load(folder, shape, LabelSet::Fine, &|_| {}).unwrap().splits);
        assert_eq!(from_files.train.shape(), shape);
        // A tone is that tone at any size.
        let tone = |red: u8| if channels == 1 { (2126 * u32::from(red) / 10_000) as u8 } else { red };
        let mut seen = [reds(&from_files.train), reds(&from_files.test)].concat();
        seen.sort_unstable();
        assert_eq!(seen, [30, 30, 200, 200].map(tone));
        assert_eq!((&from_files.train, &from_files.test), (&from_binary.train, &from_binary.test));
    }
}

#[test]
fn images_that_do_not_fit_into_memory_are_refused_before_any_is_read() {
    let shape = ImageShape::new(4096, 4096, 3).unwrap();
    let most = crate::tensor::cpu::available_memory_bytes() / (2 * shape.bytes() as u64);
    let classes = tempdir().unwrap();
    for class in ["a", "b"] {
        fs::create_dir(classes.path().join(class)).unwrap();
        // Empty, so that reading one would be another error.
        (0..=most).for_each(|number| fs::write(classes.path().join(class).join(format!("{number}.png")), "").unwrap());
    }
    let error = load(classes.path(), shape, LabelSet::Fine, &|_| {}).unwrap_err();
    assert!(matches!(error, DataError::Memory { .. }), "{error}");
}

#[test]
fn names_of_splits_are_known_in_any_case() {
    for (train, test) in [("Train", "Test"), ("TRAINING", "Testing"), ("train", "Val"), ("training", "EVAL")] {
        let files = ["a", "b"].map(|class| [format!("{train}/{class}/1.png"), format!("{test}/{class}/2.png")]);
        let files: Vec<_> = files.iter().flatten().map(|name| (name.as_str(), 7)).collect();
        let loaded = load(folder(&files).path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
        assert_eq!((loaded.splits.train.len(), loaded.splits.test.len(), loaded.notes.len()), (2, 2, 0), "{train}");
        assert_eq!(loaded.splits.train.class_names(), ["a", "b"]);
    }
}

#[test]
fn a_table_tells_the_classes_of_training_images() {
    let files: Vec<_> = (1..=20).map(|number| format!("train/{number}.png")).collect();
    let mut files: Vec<_> = (1..).zip(&files).map(|(red, name)| (name.as_str(), red)).collect();
    files.push(("test/1.png", 99));
    let folder = folder(&files);
    // Without one, nothing does.
    let refused = error(&folder);
    assert!(matches!(refused, DataError::NoClasses { .. }), "{refused}");
    assert!(refused.hint().unwrap().contains("trainLabels.csv"));
    let rows: String = (1..=20).map(|number| format!("{number},{}\n", ["cat", "\"big, dog\""][number % 2])).collect();
    fs::write(folder.path().join("trainLabels.csv"), format!("id,label\n{rows}")).unwrap();
    let loaded = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
    let Splits { train, test, .. } = loaded.splits;
    assert_eq!(train.class_names(), ["big, dog", "cat"]);
    assert_eq!((train.len(), test.len()), (18, 2));
    for set in [&train, &test] {
        for index in 0..set.len() {
            assert_eq!(set.labels()[index], u16::from(set.image(index).unwrap()[0] % 2 == 0));
        }
    }
    // Names may have their ending.
    let rows = rows.replace(",", ".png,").replace("big.png,", "big,");
    fs::write(folder.path().join("trainLabels.csv"), format!("id,label\n{rows}")).unwrap();
    let again = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap().splits;
    assert!(again.train == train && again.test == test);
    for (table, message) in [
        ("id,label\n1\n", "found record with 1 fields"),
        ("id,label\n77,cat\n", "none of its names is that of a picture"),
        ("id,label\n1,\n", "is empty"),
    ] {
        fs::write(folder.path().join("trainLabels.csv"), table).unwrap();
        let refused = error(&folder).to_string();
        assert!(refused.contains("trainLabels.csv") && refused.contains(message), "{refused}");
    }
}

#[test]
fn pictures_whose_names_alone_tell_their_class_are_refused() {
    let files = ["train/cat.0.png", "train/dog.0.png", "test1/1.png"].map(|name| (name, 1));
    assert!(matches!(error(&folder(&files)), DataError::NoClasses { .. }));
    // Classes of these names beside others are classes.
    let files = ["train/1.png", "train/2.png", "bus/1.png", "bus/2.png"].map(|name| (name, 1));
    assert_eq!(
        load(folder(&files).path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap().splits.train.class_names(),
        ["bus", "train"]
    );
}

#[test]
fn folders_of_runs_are_no_classes() {
    let files = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"].map(|name| (name, 1));
    let folder = folder(&files);
    for run in ["runs/lenet5-1", "own-run"] {
        let run = folder.path().join(run);
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("config.json"), "{}").unwrap();
        fs::write(run.join("metrics.jsonl"), "").unwrap();
        RgbImage::new(4, 4).save(run.join("curves.png")).unwrap();
    }
    let loaded = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
    assert_eq!(loaded.splits.train.class_names(), ["cat", "dog"]);
    assert_eq!(loaded.notes, [Note::HeldOut { test: 2, of: 4 }]);
}

#[test]
fn all_bad_pictures_are_named() {
    let files = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"].map(|name| (name, 1));
    let folder = folder(&files);
    fs::write(folder.path().join("cat/empty.jpg"), "").unwrap();
    assert!(matches!(error(&folder), DataError::EmptyPicture { .. }));
    for number in 0..12 {
        fs::write(folder.path().join(format!("dog/bad-{number:02}.jpg")), "no picture").unwrap();
    }
    let refused = error(&folder).to_string();
    assert!(refused.starts_with("13 pictures cannot be used: ") && refused.ends_with("; and 3 more"), "{refused}");
    assert!(refused.contains("empty.jpg: the file is empty") && refused.contains("bad-08.jpg"), "{refused}");
    assert!(!refused.contains("bad-09.jpg"), "{refused}");
}

/// The tree as an archive, its folders below one of this name, if it is not empty.
fn archive(folder: &TempDir, top: &str, is_zip: bool) -> Vec<u8> {
    use std::io::Write;
    let files = walk(folder.path(), None).filter_map(Result::ok).filter(|found| found.is_file);
    let names = files.map(|found| {
        let below = found.path.strip_prefix(folder.path()).unwrap().to_str().unwrap().replace('\\', "/");
        (format!("{top}{below}"), fs::read(found.path).unwrap())
    });
    if is_zip {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in names {
            writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(&bytes).unwrap();
        }
        return writer.finish().unwrap().into_inner();
    }
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, bytes) in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn archives_of_a_tree_give_what_the_tree_gives() {
    let classes: Vec<(String, u8)> =
        (0..30).map(|number| (format!("{}/{number}.png", ["cat", "dog"][usize::from(number % 2)]), number)).collect();
    let plain: Vec<_> = classes.iter().map(|(name, red)| (name.as_str(), *red)).collect();
    let splits = [("Train/cat/1.png", 1), ("Train/dog/2.png", 2), ("val/cat/3.png", 3), ("val/dog/4.png", 4)];
    let table = [("train/1.png", 1), ("train/2.png", 2), ("train/3.png", 3), ("train/4.png", 4), ("test/9.png", 9)];
    for (name, files) in [("plain", &plain[..]), ("splits", &splits[..]), ("table", &table[..])] {
        let folder = folder(files);
        fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
        if name == "table" {
            fs::write(folder.path().join("trainLabels.csv"), "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n").unwrap();
        }
        let expected = load(folder.path(), ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
        let beside = tempdir().unwrap();
        for (top, is_zip) in [("", false), ("set/", false), ("", true), ("set/", true)] {
            let path = beside.path().join("archive");
            fs::write(&path, archive(&folder, top, is_zip)).unwrap();
            let read = load(&path, ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap();
            let (one, other) = (&expected.splits, &read.splits);
            assert_eq!((&one.train, &one.test), (&other.train, &other.test), "{name}, {top:?}");
            let held_out = |notes: &[Note]| notes.iter().filter(|n| matches!(n, Note::HeldOut { .. })).count();
            assert_eq!(held_out(&read.notes), held_out(&expected.notes), "{name}, {top:?}: {:?}", read.notes);
        }
    }
}

#[test]
fn archives_that_are_no_set_say_so() {
    let beside = tempdir().unwrap();
    let refused = |files: &[(&str, u8)]| {
        let path = beside.path().join("archive");
        fs::write(&path, archive(&folder(files), "", false)).unwrap();
        let error = load(&path, ImageShape::CIFAR, LabelSet::Fine, &|_| {}).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error
    };
    assert!(matches!(refused(&[("cat/1.png", 1), ("cat/2.png", 2)]), DataError::OneClass { .. }));
    assert!(matches!(refused(&[("1.png", 1), ("2.png", 2)]), DataError::NoImages { .. }));
    assert!(matches!(refused(&[("train/1.png", 1), ("test/2.png", 2)]), DataError::NoClasses { .. }));
}
