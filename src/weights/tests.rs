//! Tests of weights files.

use std::fs;
use std::path::PathBuf;

use byteorder::{ByteOrder, LittleEndian};

use super::*;
use crate::data::CIFAR10_CLASSES;
use crate::error::Error;
use crate::nn::Network;
use crate::tensor::{Device, ImageShape};

fn network(name: &str, seed: u64) -> Network {
    Network::new(Architecture::by_name(name, 10).unwrap(), &Device::cpu(), seed).unwrap()
}

fn classes() -> Vec<String> {
    CIFAR10_CLASSES.map(String::from).to_vec()
}

fn saved(network: &Network) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    save(&path, network, &classes()).unwrap();
    (folder, path)
}

#[test]
fn what_is_saved_is_loaded() {
    let (original, copy) = (network("lenet5", 1), network("lenet5", 2));
    let (_folder, path) = saved(&original);
    let file = WeightsFile::read(&path).unwrap();
    assert_eq!(file.architecture(None).unwrap(), *original.architecture());
    assert_eq!(file.known_class_names(), Some(classes().as_slice()));
    file.load_into(&copy).unwrap();
    for (a, b) in original.parameters().iter().zip(copy.parameters()) {
        assert_eq!(a.tensor.to_vec().unwrap(), b.tensor.to_vec().unwrap(), "{}", a.name);
    }
}

/// A file with one more field of metadata in place of another.
fn with_field(file: &[u8], name: &str, value: Option<&str>) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let fields = header["__metadata__"].as_object_mut().unwrap();
    fields.remove(name);
    fields.extend(value.map(|value| (name.to_owned(), value.into())));
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), &file[8 + length..]].concat()
}

#[test]
fn a_file_says_which_images_its_weights_are_for() {
    let input = ImageShape::new(48, 40, 1).unwrap();
    let architecture = Architecture::by_name("lenet5", 10).unwrap().with_input(input).unwrap();
    let (_folder, path) = saved(&Network::new(architecture.clone(), &Device::cpu(), 1).unwrap());
    let bytes = fs::read(&path).unwrap();
    let file = WeightsFile::read(&path).unwrap();
    assert_eq!(file.architecture(None).unwrap(), architecture);
    file.load_into(&Network::new(architecture, &Device::cpu(), 2).unwrap()).unwrap();
    file.check_channels(ImageShape::CIFAR.with_gray(true)).unwrap();
    assert!(file.check_channels(ImageShape::CIFAR).unwrap_err().to_string().contains("for gray images"));
    let described = file.metadata().unwrap().network.clone().unwrap();
    let read = |input: &str| {
        let network = described.replacen("[48, 40, 1]", input, 1);
        fs::write(&path, with_field(&bytes, "network", Some(&network))).unwrap();
        WeightsFile::read(&path).and_then(|file| file.architecture(None))
    };
    for (value, message) in [
        ("[0, 40, 1]", "0×40×1"),
        ("[48,40]", "invalid length"),
        ("\"48x40\"", "metadata"),
        ("[48, 40, 3]", "must each have a number for every channel"),
        ("[4, 4, 1]", "conv2d `conv1`"),
        ("[4096,4096,1]", "elements are too many"),
        ("[400, 400, 1]", "numbers"),
    ] {
        let error = read(value).unwrap_err();
        assert!(error.to_string().contains(message) && error.hint().is_some(), "{value}: {error}");
    }
    // Files without a shape are of a version that supported only one.
    let (_folder, path) = saved(&network("lenet5", 1));
    fs::write(&path, with_field(&fs::read(&path).unwrap(), "network", None)).unwrap();
    assert_eq!(WeightsFile::read(&path).unwrap().architecture(None).unwrap().input, ImageShape::CIFAR);
}

#[test]
fn weights_of_another_architecture_are_refused() {
    let (_folder, path) = saved(&network("lenet5", 1));
    let file = WeightsFile::read(&path).unwrap();
    assert!(file.architecture(Some("ygnet")).unwrap_err().to_string().contains("lenet5"));
    assert!(file.load_into(&network("ygnet", 1)).unwrap_err().hint().unwrap().contains("ygnet"));
}

#[test]
fn truncated_and_foreign_files_are_refused() {
    let (folder, path) = saved(&network("lenet5", 1));
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(matches!(WeightsFile::read(&path), Err(Error::Weights { .. })), "{length} bytes");
    }
    assert!(matches!(WeightsFile::read(&folder.path().join("absent")), Err(Error::Io { .. })));
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let net = network("lenet5", 1);
    let bias = &net.parameters()[1];
    let (_folder, path) = saved(&net);
    // The last number of the file, which is one of the last bias's or weight's.
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    let end = bytes.len();
    LittleEndian::write_f32(&mut bytes[end - 4..], f32::NAN);
    fs::write(&path, bytes).unwrap();
    assert!(WeightsFile::read(&path).unwrap_err().to_string().contains("NaN"));

    fs::write(&path, &good).unwrap();
    let mut values = bias.tensor.to_vec().unwrap();
    values[5] = f32::NAN;
    bias.tensor.write(&values).unwrap();
    let message = save(&path, &net, &classes()).unwrap_err().to_string();
    assert!(message.contains("conv1.bias") && message.contains("NaN"), "{message}");
    assert!(fs::read(&path).unwrap() == good, "a good file was overwritten by a bad one");
}
