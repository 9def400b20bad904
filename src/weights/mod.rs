//! Weights files: safetensors with PyTorch's names and shapes, and the network's description in the metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use byteorder::{ByteOrder, LittleEndian};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::data::{CIFAR10_CLASSES, MOST_CLASSES, check_class_names};
use crate::error::{Error, Result};
use crate::nn::{Architecture, DescriptionReader, Network};
use crate::ops::batch_assembly::Normalization;
use crate::tensor::ImageShape;

/// Maximum file size, far above that of any supported network. Larger files are not read.
const MOST_BYTES: u64 = 1 << 30;

/// Extension of weights files.
const ENDING: &str = "safetensors";

/// The architecture that `arch` names: a built-in network, a description in a `.toml` file, or that in a `.safetensors` file of
/// weights, for `classes` classes; `None` takes the number from the description, else ten.
///
/// # Errors
/// As [`Architecture::load`], and [`Error::Weights`].
pub fn architecture(arch: &str, classes: Option<usize>) -> Result<Architecture> {
    let path = Path::new(arch);
    if path.extension().is_none_or(|ending| ending != ENDING) {
        return Architecture::load(arch, classes);
    }
    let file = WeightsFile::read(path)?;
    match &file.metadata {
        Some(Metadata { network: Some(text), .. }) => DescriptionReader::default().read(arch, text, classes),
        Some(metadata) => Architecture::load(&metadata.arch, classes),
        None => file.architecture(None),
    }
}

/// Metadata of a weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// Name of the architecture.
    pub arch: String,
    /// The network's description, unless an early version wrote the file.
    pub network: Option<String>,
    /// The shape of the network's input images.
    pub input: ImageShape,
    /// Normalization of pixels.
    pub normalization: Normalization,
    /// Names of the classes, in the order of the logits.
    pub class_names: Vec<String>,
}

/// Weights as read from a file, not yet in a network.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    metadata: Option<Metadata>,
    /// Shape and elements of each tensor, in PyTorch's order.
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

impl WeightsFile {
    /// Reads a file and validates its contents.
    ///
    /// # Errors
    /// If it cannot be read, is cut short, is no safetensors file, or holds numbers that are not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = crate::files::read_at_most(path, MOST_BYTES)?.ok_or_else(|| {
            error(path, format!("a weights file has at most {MOST_BYTES} bytes"), "is it the right file?")
        })?;
        let damaged = "it is damaged or not a safetensors file: use another copy of it";
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| error(path, e.to_string(), damaged))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| error(path, e.to_string(), damaged))?;
        let mut tensors = HashMap::new();
        for (name, view) in file.tensors() {
            // PyTorch's batch normalization counts its steps, which nothing here depends on.
            if name.ends_with(".num_batches_tracked") {
                continue;
            }
            if view.dtype() != Dtype::F32 {
                let message = format!("tensor `{name}` has elements of type {:?}", view.dtype());
                return Err(error(path, message, "save the weights as 32-bit floats"));
            }
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            check_finite(
                path,
                &name,
                &values,
                "its training diverged: use an earlier file, or train at a lower learning rate",
            )?;
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        let metadata = header.metadata().as_ref().map(|map| parse_metadata(path, map)).transpose()?.flatten();
        Ok(WeightsFile { path: path.to_owned(), metadata, tensors })
    }

    /// The file's metadata, if it was written by this program.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Names of the classes: the file's, else CIFAR-10's for ten classes, else numbers.
    pub fn class_names(&self, classes: usize) -> Vec<String> {
        match &self.metadata {
            Some(metadata) => metadata.class_names.clone(),
            None if classes == CIFAR10_CLASSES.len() => CIFAR10_CLASSES.map(String::from).to_vec(),
            None => (0..classes).map(|class| format!("class {class}")).collect(),
        }
    }

    /// The architecture of the weights: that of the metadata, or else `arch`, a name or a file, with the number of classes of the
    /// last parameter.
    ///
    /// # Errors
    /// If neither gives an architecture, or they contradict each other.
    pub fn architecture(&self, arch: Option<&str>) -> Result<Architecture> {
        self.architecture_by(&DescriptionReader::default(), arch)
    }

    /// Like [`WeightsFile::architecture`], with the layer kinds of `reader`.
    ///
    /// # Errors
    /// As [`WeightsFile::architecture`].
    pub fn architecture_by(&self, reader: &DescriptionReader, arch: Option<&str>) -> Result<Architecture> {
        let Some(metadata) = &self.metadata else {
            let arch = arch.ok_or_else(|| {
                let message = "the file does not say which architecture its weights are of".into();
                error(&self.path, message, "name the architecture")
            })?;
            let layouts = architecture(arch, None)?.parameter_layouts()?;
            let last = layouts.last().and_then(|(name, _)| self.tensors.get(name));
            // Outputs are the first axis of weights and biases.
            let classes = last.and_then(|(shape, _)| shape.first().copied()).unwrap_or(CIFAR10_CLASSES.len());
            return architecture(arch, Some(self.classes(classes)?));
        };
        if let Some(arch) = arch {
            let name = if Architecture::is_file(arch) { architecture(arch, None)?.name } else { arch.to_owned() };
            if metadata.arch != name {
                return Err(error(
                    &self.path,
                    format!("the weights are of {}, not of {name}", metadata.arch),
                    &format!("name architecture {}, or other weights", metadata.arch),
                ));
            }
        }
        let classes = self.classes(metadata.class_names.len())?;
        let damaged = |e: Error| error(&self.path, e.to_string(), "the file may be damaged: use another copy of it");
        let architecture = match &metadata.network {
            Some(text) => reader.read(&self.path.display().to_string(), text, Some(classes))?,
            None => Architecture::by_name(&metadata.arch, classes)?,
        };
        self.check_size(&architecture)?;
        architecture.with_normalization(metadata.normalization.clone()).map_err(damaged)
    }

    /// Fails if the network has more parameters than the file has numbers, before memory is allocated for it.
    fn check_size(&self, architecture: &Architecture) -> Result<()> {
        let count = |shape: &[usize]| shape.iter().map(|&side| side as u64).product::<u64>();
        let needed: u64 =
            architecture.parameter_layouts()?.iter().map(|(_, layout)| count(&layout.outer_shape())).sum();
        let found: u64 = self.tensors.values().map(|(shape, _)| count(shape)).sum();
        if found >= needed {
            return Ok(());
        }
        let Architecture { name, input, .. } = architecture;
        let message = format!("{name} for images of {input} has {needed} parameters, and the file has {found} numbers");
        Err(error(&self.path, message, "the file may be damaged: use another copy of it"))
    }

    /// Checks that the weights fit the channels of images of this shape, if the file gives their number.
    ///
    /// # Errors
    /// [`Error::Weights`] if they are not.
    pub fn check_channels(&self, images: ImageShape) -> Result<()> {
        let color = |shape: ImageShape| if shape.is_gray() { "gray" } else { "color" };
        match &self.metadata {
            Some(metadata) if metadata.input.channels() != images.channels() => Err(error(
                &self.path,
                format!("the weights are for {} images, not for {} ones", color(metadata.input), color(images)),
                &format!("use {} images, or other weights", color(metadata.input)),
            )),
            _ => Ok(()),
        }
    }

    /// Checks the number of classes in the file.
    fn classes(&self, claimed: usize) -> Result<usize> {
        if (2..=MOST_CLASSES).contains(&claimed) {
            return Ok(claimed);
        }
        Err(error(&self.path, format!("weights for {claimed} classes"), "networks have 2 to 1000 classes"))
    }

    /// Loads the weights into a network.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected, or has another shape; the network is then unchanged.
    pub fn load_into(&self, network: &Network) -> Result<()> {
        let Architecture { name: arch, input, .. } = network.architecture();
        let hint = format!(
            "the weights are not of {arch} for images of {input} and these classes: choose another network, image size or file"
        );
        let mut inner = Vec::new();
        for parameter in network.state() {
            let name = &parameter.name;
            let (shape, values) = self
                .tensors
                .get(name)
                .ok_or_else(|| error(&self.path, format!("tensor `{name}` of {arch} is missing"), &hint))?;
            let expected = parameter.layout.outer_shape();
            if *shape != expected {
                let message = format!("tensor `{name}` has shape {shape:?}, {arch} needs {expected:?}");
                return Err(error(&self.path, message, &hint));
            }
            inner.push(parameter.layout.to_inner(values));
        }
        if let Some(name) = self.tensors.keys().find(|name| network.state().all(|p| p.name != **name)) {
            return Err(error(&self.path, format!("{arch} has no tensor `{name}`"), &hint));
        }
        for (parameter, values) in network.state().zip(inner) {
            parameter.tensor.write(&values)?;
        }
        Ok(())
    }
}

/// Writes a network's weights atomically, so that a failure leaves the old file.
///
/// # Errors
/// If a weight is not a finite number, or the file cannot be written.
pub fn save(path: &Path, network: &Network, class_names: &[String]) -> Result<()> {
    let architecture = network.architecture();
    let json = |value: serde_json::Result<String>| value.map_err(|e| error(path, e.to_string(), ""));
    let metadata = BTreeMap::from([
        ("format", "pt".to_owned()),
        ("producer", concat!("cifar-gpu ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("arch", architecture.name.clone()),
        ("network", architecture.to_toml()?),
        ("preprocessing", json(serde_json::to_string(&architecture.normalization))?),
        ("classes", json(serde_json::to_string(class_names))?),
    ]);
    let metadata = json(serde_json::to_string(&metadata))?;
    let mut data = Vec::new();
    for parameter in network.state() {
        let outer = parameter.layout.to_outer(&parameter.tensor.to_vec()?);
        check_finite(
            path,
            &parameter.name,
            &outer,
            "training diverged, and the file is unchanged: lower the learning rate",
        )?;
        data.push((parameter.name.as_str(), parameter.layout.outer_shape(), outer));
    }
    let bad = |e: safetensors::SafeTensorError| error(path, e.to_string(), "");
    let views = data
        .iter()
        .map(|(name, shape, values)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).map_err(bad)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None).map_err(bad)?;
    crate::files::replace(path, &with_metadata(&bytes, &metadata))
}

/// A safetensors file with metadata, a JSON object, in its header.
///
/// The safetensors crate would write them in a random order; this way, equal networks give equal files.
fn with_metadata(file: &[u8], metadata: &str) -> Vec<u8> {
    let (length, rest) = file.split_at(8);
    let (header, data) = rest.split_at(LittleEndian::read_u64(length) as usize);
    let mut header = [br#"{"__metadata__":"#, metadata.as_bytes(), b",", &header[1..]].concat();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut length = [0; 8];
    LittleEndian::write_u64(&mut length, header.len() as u64);
    [&length, header.as_slice(), data].concat()
}

fn check_finite(path: &Path, name: &str, values: &[f32], hint: &str) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(error(path, format!("tensor `{name}` holds {} at element {i}", values[i]), hint)),
        None => Ok(()),
    }
}

fn parse_metadata(path: &Path, map: &HashMap<String, String>) -> Result<Option<Metadata>> {
    // Files of other programs have metadata, too.
    let Some(arch) = map.get("arch") else { return Ok(None) };
    let field = |name: &str| {
        map.get(name).ok_or_else(|| error(path, format!("metadata lack `{name}`"), "the file may be damaged"))
    };
    let bad = |e: serde_json::Error| error(path, format!("metadata: {e}"), "the file may be damaged");
    // Early versions stored no description and supported only one shape.
    let network = map.get("network").cloned();
    let input = network.as_deref().map_or(Ok(ImageShape::CIFAR), |text| described_input(path, text))?;
    let normalization: Normalization = serde_json::from_str(field("preprocessing")?).map_err(bad)?;
    normalization
        .validate(input.channels())
        .map_err(|message| error(path, format!("metadata: {message}"), "the file may be damaged"))?;
    let class_names: Vec<String> = serde_json::from_str(field("classes")?).map_err(bad)?;
    check_class_names(&class_names)
        .map_err(|message| error(path, format!("metadata: classes: {message}"), "the file may be damaged"))?;
    Ok(Some(Metadata { arch: arch.clone(), network, input, normalization, class_names }))
}

/// The image shape in a network's description; the rest is read when the network is created.
fn described_input(path: &Path, text: &str) -> Result<ImageShape> {
    #[derive(serde::Deserialize)]
    struct Input {
        input: ImageShape,
    }
    let described: std::result::Result<Input, _> = toml::from_str(text);
    let bad =
        |e: toml::de::Error| error(path, format!("metadata: network: {}", e.message()), "the file may be damaged");
    Ok(described.map_err(bad)?.input)
}

fn error(path: &Path, message: String, hint: &str) -> Error {
    Error::Weights { path: path.to_owned(), message, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tensor::Device;

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
        assert_eq!(file.metadata().unwrap().class_names, classes());
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
}
