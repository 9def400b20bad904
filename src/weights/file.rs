//! A weights file: its network, and loading into one.

use std::path::{Path, PathBuf};

use crate::data::{CIFAR10_CLASSES, MOST_CLASSES};
use crate::error::Result;
use crate::nn::{ARCHITECTURES, Architecture, DescriptionReader, Network};
use crate::ops::batch_assembly::Normalization;
use crate::tensor::ImageShape;
use crate::weights::architecture;
use crate::weights::formats::{COMPARED_KINDS, Contents, Format, MOST_BYTES};
use crate::weights::mapping::{Mapping, Target};
use crate::weights::metadata::Metadata;
use crate::weights::tensors::{NamedTensor, Order, error};

/// Weights as read from a file, not yet in a network.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    format: Format,
    metadata: Option<Metadata>,
    tensors: Vec<NamedTensor>,
    layers: Option<Vec<&'static str>>,
}

impl WeightsFile {
    /// Reads a file of any known format and validates its contents.
    ///
    /// # Errors
    /// If it cannot be read, is cut short, is no weights file, or holds numbers that are not finite.
    pub fn read(path: &Path) -> Result<Self> {
        WeightsFile::of(path, Contents::read(path)?)
    }

    /// Reads the bytes of such a file, which errors call `name`.
    ///
    /// # Errors
    /// As for [`WeightsFile::read`].
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let path = Path::new(name);
        WeightsFile::of(path, Contents::parse(path, bytes, MOST_BYTES)?)
    }

    /// The file of these contents.
    pub(super) fn of(path: &Path, contents: Contents) -> Result<Self> {
        let Contents { format, tensors, metadata, layers } = contents;
        let metadata = Metadata::parse(path, &metadata)?;
        Ok(WeightsFile { path: path.to_owned(), format, metadata, tensors, layers })
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its tensors.
    pub fn tensors(&self) -> &[NamedTensor] {
        &self.tensors
    }

    /// The file's metadata, if they name an architecture.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The normalization of pixels, if the file gives it.
    pub fn normalization(&self) -> Option<&Normalization> {
        self.metadata.as_ref()?.normalization.as_ref()
    }

    /// Names of the classes, if the file gives them.
    pub fn known_class_names(&self) -> Option<&[String]> {
        self.metadata.as_ref()?.class_names.as_deref()
    }

    /// Names of the classes: the file's, else CIFAR-10's for ten classes, else numbers.
    pub fn class_names(&self, classes: usize) -> Vec<String> {
        match self.known_class_names() {
            Some(names) => names.to_vec(),
            None if classes == CIFAR10_CLASSES.len() => CIFAR10_CLASSES.map(String::from).to_vec(),
            None => (0..classes).map(|class| format!("class {class}")).collect(),
        }
    }

    /// The architecture of the weights: that of the metadata, or else `arch`, a name or a file, or else the one built-in network that
    /// they fit, with the number of classes of the last parameter.
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
            return match arch {
                Some(arch) => architecture(arch, Some(self.counted_classes(&architecture(arch, None)?)?)),
                None => self.guessed_architecture(),
            };
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
        let damaged = |message: String| error(&self.path, message, "the file may be damaged: use another copy of it");
        let classes = match &metadata.class_names {
            Some(names) => self.classes(names.len())?,
            None => self.counted_classes(&Architecture::by_name(&metadata.arch, CIFAR10_CLASSES.len())?)?,
        };
        let architecture = match &metadata.network {
            Some(text) => reader.read(&self.path.display().to_string(), text, Some(classes))?,
            None => Architecture::by_name(&metadata.arch, classes)?,
        };
        self.check_size(&architecture)?;
        match &metadata.normalization {
            Some(own) => architecture.with_normalization(own.clone()).map_err(|e| damaged(e.to_string())),
            None => Ok(architecture),
        }
    }

    /// The one built-in architecture that the tensors fit.
    fn guessed_architecture(&self) -> Result<Architecture> {
        let fits = |name: &&str| {
            let usual = Architecture::by_name(name, CIFAR10_CLASSES.len()).ok()?;
            let architecture = Architecture::by_name(name, self.counted_classes(&usual).ok()?).ok()?;
            (!self.layers_differ(&architecture) && self.mapping(&architecture).is_ok()).then_some(architecture)
        };
        let mut fitting: Vec<Architecture> = ARCHITECTURES.iter().filter_map(fits).collect();
        let message = "the file does not say which architecture its weights are of";
        match fitting.len() {
            1 => Ok(fitting.remove(0)),
            0 => Err(error(&self.path, format!("{message}, and they fit no built-in one"), "name the architecture")),
            _ => {
                let names: Vec<_> = fitting.into_iter().map(|architecture| architecture.name).collect();
                Err(error(&self.path, format!("{message}: they fit {}", names.join(", ")), "name one of them"))
            }
        }
    }

    /// The number of classes of the last parameter of this architecture, ten if the file has none of that name.
    fn counted_classes(&self, architecture: &Architecture) -> Result<usize> {
        let targets = targets(architecture)?;
        let last = targets.iter().rposition(|target| !target.name.contains("running_"));
        let mapping = Mapping::by_name(&self.tensors, &targets, &architecture.name).ok();
        let last = last.zip(mapping).map(|(last, mapping)| &self.tensors[mapping.sources[last]]);
        let outputs = |tensor: &NamedTensor| match tensor.order {
            Order::OutputsFirst => tensor.shape.first().copied(),
            Order::OutputsLast => tensor.shape.last().copied(),
        };
        self.classes(last.and_then(outputs).unwrap_or(CIFAR10_CLASSES.len()))
    }

    /// Fails if the network has more parameters than the file has numbers, before memory is allocated for it.
    fn check_size(&self, architecture: &Architecture) -> Result<()> {
        let count = |shape: &[usize]| shape.iter().map(|&side| side as u64).product::<u64>();
        let needed: u64 =
            architecture.parameter_layouts()?.iter().map(|(_, layout)| count(&layout.outer_shape())).sum();
        let found: u64 = self.tensors.iter().map(|tensor| tensor.values.len() as u64).sum();
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
    /// [`Error::Weights`](crate::Error::Weights) if they do not.
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

    /// Which tensor is which parameter or running statistic of an architecture.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected, or has another shape.
    pub fn mapping(&self, architecture: &Architecture) -> Result<Mapping> {
        let Architecture { name, input, .. } = architecture;
        Mapping::find(&self.tensors, &targets(architecture)?, name).map_err(|message| {
            let hint = format!(
                "the weights are not of {name} for images of {input} and these classes: choose another network, image size or file"
            );
            error(&self.path, message, &hint)
        })
    }

    /// Whether the file tells that its network has other layers, though the tensors may be of the same shapes: a model of Keras
    /// with its configuration does.
    pub fn layers_differ(&self, architecture: &Architecture) -> bool {
        self.layers.as_ref().is_some_and(|layers| Some(layers) != compared_layers(architecture).as_ref())
    }

    /// Loads the weights into a network.
    ///
    /// # Errors
    /// As [`WeightsFile::mapping`], or if the device fails; the network is then unchanged.
    pub fn load_into(&self, network: &Network) -> Result<()> {
        let mapping = self.mapping(network.architecture())?;
        let targets = targets(network.architecture())?;
        let mut inner = Vec::new();
        for parameter in network.state() {
            let Some(at) = targets.iter().position(|target| target.name == parameter.name) else { continue };
            let NamedTensor { order, values, .. } = &self.tensors[mapping.sources[at]];
            let values = match order {
                Order::OutputsFirst => parameter.layout.to_inner(values),
                Order::OutputsLast => values.clone(),
            };
            inner.push((parameter, values));
        }
        inner.into_iter().try_for_each(|(parameter, values)| parameter.tensor.write(&values))
    }
}

/// The kinds of its layers that a file may tell of; `None` if its layers are not in a sequence.
fn compared_layers(architecture: &Architecture) -> Option<Vec<&'static str>> {
    let kinds = architecture.nodes().iter().map(|node| node.layer().map(|layer| layer.kind()));
    let kinds: Option<Vec<_>> = kinds.collect();
    kinds.map(|kinds| kinds.into_iter().filter(|kind| COMPARED_KINDS.contains(kind)).collect())
}

/// What a file of weights of an architecture must have.
pub(super) fn targets(architecture: &Architecture) -> Result<Vec<Target>> {
    let parameters = architecture.parameters()?;
    Ok(parameters.into_iter().map(|(name, spec)| Target { name, layout: spec.layout }).collect())
}
