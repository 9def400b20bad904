//! Weights files that PyTorch, safetensors, NumPy and Keras wrote (`fixtures/formats.py` makes them), read into the network that
//! they are of; and files made to harm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/fixtures.rs"]
mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};

use cifar_gpu::nn::{Architecture, DescriptionReader, Network};
use cifar_gpu::weights::{self, Format, Naming, OnnxInput, WeightsFile, Width};
use cifar_gpu::{Classifier, Device};
use fixtures::fixture;
use serde_json::Value;

const SMALL: &str = r#"
name = "small"
input = [8, 6, 3]
layers = [
    { type = "conv2d", name = "conv1", channels = 4, kernel = 3, padding = "same" },
    { type = "batch_norm", name = "bn1" },
    { type = "relu" },
    { type = "conv2d", name = "conv2", channels = 5, kernel = 3, bias = false },
    { type = "relu" },
    { type = "flatten" },
    { type = "linear", name = "fc1", features = 7 },
    { type = "relu" },
    { type = "linear", name = "fc2", features = "classes" },
]

[normalization]
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"#;

fn small() -> Network {
    let architecture = DescriptionReader::default().read("small", SMALL, Some(3)).unwrap();
    Network::new(architecture, &Device::cpu(), 0).unwrap()
}

/// A file of `tests/fixtures/formats`, by its own name.
fn copied(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, fixture(&format!("formats/{name}"))).unwrap();
    path
}

fn expected() -> Value {
    serde_json::from_slice(&fixture("formats/expected.json")).unwrap()
}

/// The logits of a network for the fixture's pixels.
fn logits(network: Network) -> Vec<f32> {
    let expected = expected();
    let images: Vec<Vec<u8>> = expected["pixels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| {
            let at = |p: usize, c: usize| image[p / 6][p % 6][c].as_u64().unwrap() as u8;
            (0..3).flat_map(|c| (0..48).map(move |p| at(p, c))).collect()
        })
        .collect();
    let classifier = Classifier::new(network, ["a", "b", "c"].map(String::from).to_vec()).unwrap();
    classifier.predict(&images).unwrap().into_iter().flat_map(|prediction| prediction.logits).collect()
}

#[test]
fn files_of_other_programs_give_their_logits() {
    let folder = tempfile::tempdir().unwrap();
    for (name, format, naming, of) in [
        ("state.pth", Format::Torch, Naming::Same, "pytorch"),
        ("nested.pth", Format::Torch, Naming::Prefix("state_dict.module.".into()), "pytorch"),
        ("legacy.pt", Format::Torch, Naming::Same, "pytorch"),
        ("arrays.npz", Format::Npz, Naming::Same, "pytorch"),
        ("float16.pth", Format::Torch, Naming::Prefix("model.".into()), "pytorch"),
        ("bfloat16.pth", Format::Torch, Naming::Prefix("model.".into()), "pytorch"),
        ("float64.pth", Format::Torch, Naming::Prefix("model.".into()), "pytorch"),
        ("compressed.npz", Format::Npz, Naming::Same, "pytorch"),
        ("float16.npz", Format::Npz, Naming::Same, "pytorch"),
        ("float16.safetensors", Format::Safetensors, Naming::Prefix("model.".into()), "pytorch"),
        ("bfloat16.safetensors", Format::Safetensors, Naming::Prefix("model.".into()), "pytorch"),
        ("float64.safetensors", Format::Safetensors, Naming::Prefix("model.".into()), "pytorch"),
        ("keras2-weights.h5", Format::Keras, Naming::Order, "keras"),
        ("keras2-model.h5", Format::Keras, Naming::Order, "keras"),
        ("keras3.weights.h5", Format::Keras, Naming::Order, "keras"),
        ("model.keras", Format::Keras, Naming::Order, "keras"),
    ] {
        let file = WeightsFile::read(&copied(folder.path(), name)).unwrap();
        let network = small();
        let mapping = file.mapping(network.architecture()).unwrap();
        assert_eq!((file.format(), &mapping.naming), (format, &naming), "{name}");
        assert!(mapping.unused.is_empty() && file.metadata().is_none(), "{name}");
        assert!(!file.layers_differ(network.architecture()), "{name}");
        file.load_into(&network).unwrap();
        let ours = logits(network);
        let expected = expected();
        let theirs = expected[of].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap().clone());
        let theirs: Vec<f64> = theirs.map(|logit| logit.as_f64().unwrap()).collect();
        let largest = theirs.iter().fold(0.0_f64, |most, logit| most.max(logit.abs()));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((f64::from(*ours) - theirs).abs() < 1e-5 * largest, "{name}: {ours}, not {theirs}");
        }
    }
}

#[test]
fn what_is_exported_is_imported_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = ["é", "b, c", "\"quoted\""].map(String::from).to_vec();
    let first = folder.path().join("first.safetensors");
    weights::save(&first, &small(), &names).unwrap();
    for (ending, format) in [("pth", Format::Torch), ("npz", Format::Npz)] {
        let (exported, again) =
            (folder.path().join("w").with_extension(ending), folder.path().join("again.safetensors"));
        weights::export(&exported, &small(), &names, format, Width::F32, OnnxInput::Pixels).unwrap();
        let file = WeightsFile::read(&exported).unwrap();
        assert_eq!((file.format(), file.known_class_names()), (format, Some(names.as_slice())));
        let network = Network::new(file.architecture(None).unwrap(), &Device::cpu(), 9).unwrap();
        file.load_into(&network).unwrap();
        weights::save(&again, &network, &names).unwrap();
        assert!(fs::read(&first).unwrap() == fs::read(&again).unwrap(), "{ending}");
        // The same network gives the same file.
        let bytes = fs::read(&exported).unwrap();
        weights::export(&exported, &network, &names, format, Width::F32, OnnxInput::Pixels).unwrap();
        assert!(fs::read(&exported).unwrap() == bytes, "{ending}");
    }
    let halves = folder.path().join("halves.safetensors");
    weights::save_as(&halves, &small(), &names, Width::F16).unwrap();
    assert!(fs::metadata(&halves).unwrap().len() < fs::metadata(&first).unwrap().len() * 6 / 10 + 1000);
    for (half, whole) in
        WeightsFile::read(&halves).unwrap().tensors().iter().zip(WeightsFile::read(&first).unwrap().tensors())
    {
        let is_close = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 2048.0 + 1e-7;
        assert!(half.name == whole.name && half.values.iter().zip(&whole.values).all(is_close));
    }
}

/// The published YGNet ends in a ReLU, and a model's configuration says so.
#[test]
fn a_built_in_network_is_recognized() {
    let folder = tempfile::tempdir().unwrap();
    let guessed = |arch: &str| {
        let network = Network::new(Architecture::by_name(arch, 7).unwrap(), &Device::cpu(), 1).unwrap();
        let path = folder.path().join("w.npz");
        let names: Vec<String> = (0..7).map(|class| class.to_string()).collect();
        weights::export(&path, &network, &names, Format::Npz, Width::F32, OnnxInput::Pixels).unwrap();
        // Without the comment of the archive, which holds the metadata.
        let bytes = fs::read(&path).unwrap();
        let end = bytes.windows(4).rposition(|window| window == b"PK\x05\x06").unwrap();
        let mut bare = bytes[..end + 22].to_vec();
        bare[end + 20..].fill(0);
        fs::write(&path, bare).unwrap();
        WeightsFile::read(&path).unwrap().architecture(None)
    };
    let lenet5 = guessed("lenet5").unwrap();
    assert_eq!((lenet5.name.as_str(), lenet5.num_classes().unwrap()), ("lenet5", 7));
    assert_eq!(guessed("resnet20").unwrap().name, "resnet20");
    let message = guessed("ygnet").unwrap_err().to_string();
    assert!(message.contains("they fit ygnet, ygnet-final-relu"), "{message}");
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["state.pth", "legacy.pt", "compressed.npz", "keras2-weights.h5", "keras3.weights.h5", "model.keras"] {
        let path = copied(folder.path(), name);
        let bytes = fs::read(&path).unwrap();
        for length in [bytes.len() / 4, bytes.len() / 2, bytes.len() * 3 / 4] {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = WeightsFile::read(&path).unwrap_err();
            assert!(error.hint().is_some() && error.to_string().contains(name), "{name}: {error}");
        }
    }
}

#[test]
fn arrays_in_fortran_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = WeightsFile::read(&copied(folder.path(), "fortran.npz")).unwrap_err();
    assert!(error.to_string().contains("`conv1.weight` is in Fortran order"), "{error}");
    assert!(error.hint().unwrap().contains("ascontiguousarray"));
}

#[test]
fn shapes_beyond_any_network_are_refused_before_memory_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let error = WeightsFile::read(&copied(folder.path(), "large.weights.h5")).unwrap_err();
    assert!(error.to_string().contains("variable `0`: shape [32768, 32768] makes it larger than"), "{error}");
}

/// A pickle that would run a command if it were executed, as Python does.
#[test]
fn nothing_in_a_pickle_is_executed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mark) = (folder.path().join("evil.pth"), folder.path().join("executed"));
    let command = format!("touch {}", mark.display());
    let mut pickle = b"\x80\x02cposix\nsystem\n(X".to_vec();
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.bytes());
    pickle.extend(b"tR.");
    fs::write(&path, &pickle).unwrap();
    let error = WeightsFile::read(&path).unwrap_err();
    assert!(error.hint().is_some() && !mark.exists(), "{error}");
    // The same in place of the dictionary of a true file.
    let bytes = fixture("formats/state.pth");
    let at = bytes.windows(19).position(|window| window == b"torch._utils\n_rebui").unwrap();
    let mut changed = bytes.clone();
    changed[at..at + 19].copy_from_slice(b"posix\nsystem\nxxxxxx");
    fs::write(&path, &changed).unwrap();
    assert!(WeightsFile::read(&path).is_err() && !mark.exists());
}
