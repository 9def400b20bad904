//! Network architectures: their structure, the built-in ones, and changes by settings.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::read_at_most;
use crate::nn::description::{DescriptionError, DescriptionReader, MOST_BYTES};
use crate::nn::graph::{Node, Placed, Walk};
use crate::nn::{Init, Layer, ParameterSpec, Role};
use crate::ops::batch_assembly::Normalization;
use crate::ops::conv2d::Conv2dGeometry;
use crate::tape::Layout;
use crate::tensor::ImageShape;

/// The built-in networks: names and descriptions.
const BUILT_IN: [(&str, &str); 6] = [
    ("ygnet", include_str!("networks/ygnet.toml")),
    ("ygnet-final-relu", include_str!("networks/ygnet-final-relu.toml")),
    ("ygnet-bn", include_str!("networks/ygnet-bn.toml")),
    ("lenet5", include_str!("networks/lenet5.toml")),
    ("all-cnn-c", include_str!("networks/all-cnn-c.toml")),
    ("resnet20", include_str!("networks/resnet20.toml")),
];

/// Names of the built-in architectures.
pub const ARCHITECTURES: [&str; BUILT_IN.len()] = {
    let mut names = [""; BUILT_IN.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = BUILT_IN[at].0;
        at += 1;
    }
    names
};

/// Extensions of files that describe a network: descriptions, and weights, which contain one.
const ENDINGS: [&str; 8] = [DESCRIPTION_ENDING, "safetensors", "pth", "pt", "npz", "h5", "hdf5", "keras"];
const DESCRIPTION_ENDING: &str = "toml";

/// A network's description.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// Its name.
    pub name: String,
    /// The shape of its input images.
    pub input: ImageShape,
    /// Normalization of its input pixels.
    pub normalization: Normalization,
    pub(super) nodes: Vec<Node>,
}

impl PartialEq for Architecture {
    /// Whether both have the same description.
    fn eq(&self, other: &Self) -> bool {
        matches!((self.to_toml(), other.to_toml()), (Ok(mine), Ok(theirs)) if mine == theirs)
    }
}

impl Architecture {
    /// The built-in architecture of this name, for `classes` classes.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`].
    pub fn by_name(name: &str, classes: usize) -> Result<Self> {
        Architecture::built_in(name, Some(classes))
    }

    fn built_in(name: &str, classes: Option<usize>) -> Result<Self> {
        let known = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) =
            known.ok_or_else(|| Error::UnknownArchitecture { name: name.to_owned(), known: &ARCHITECTURES })?;
        DescriptionReader::default().read(name, text, classes)
    }

    /// Whether `arch` names a file that describes a network, alone (`.toml`) or with weights (`.safetensors` and others), and not a
    /// built-in network.
    pub fn is_file(arch: &str) -> bool {
        Path::new(arch).extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
    }

    /// Whether it names a file of weights, which may describe their network.
    pub fn is_weights_file(arch: &str) -> bool {
        Architecture::is_file(arch) && Path::new(arch).extension().is_some_and(|ending| ending != DESCRIPTION_ENDING)
    }

    /// The built-in architecture of this name, or the one described by the `.toml` file `arch`, for `classes` classes; `None` takes
    /// the number from the description, else ten.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`]; if the file cannot be read; and those of [`DescriptionReader::read`].
    pub fn load(arch: &str, classes: Option<usize>) -> Result<Self> {
        if !Architecture::is_file(arch) {
            return Architecture::built_in(arch, classes);
        }
        let path = Path::new(arch);
        let text = read_at_most(path, MOST_BYTES as u64)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| {
            let message = format!("a description is UTF-8 text of at most {MOST_BYTES} bytes");
            Error::from(DescriptionError::new(arch, message))
        })?;
        DescriptionReader::default().read(arch, &text, classes)
    }

    /// Its layers with their contexts, in the order of computation.
    ///
    /// # Errors
    /// If a layer does not fit the one before it.
    pub fn placed(&self) -> Result<Vec<Placed<'_>>> {
        self.placed_as(&self.name)
    }

    /// The same, with `source` in error messages.
    pub(super) fn placed_as<'a>(&'a self, source: &'a str) -> Result<Vec<Placed<'a>>> {
        Walk::through(source, &self.nodes, &self.input.axes())
    }

    /// Its layers and residual blocks, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The number of classes, which is the number of logits per image.
    ///
    /// # Errors
    /// If the layers do not fit together.
    pub fn num_classes(&self) -> Result<usize> {
        Ok(self.placed()?.last().map_or(0, |placed| placed.output.iter().product()))
    }

    /// The same architecture for images of another shape. The normalization is converted if the number of channels changes: gray
    /// gets the mean of the colors.
    ///
    /// # Errors
    /// If the layers do not fit it.
    pub fn with_input(mut self, input: ImageShape) -> Result<Self> {
        self.input = input;
        self.normalization = self.normalization.for_channels(input.channels());
        self.placed()?;
        Ok(self)
    }

    /// The same architecture with another normalization.
    ///
    /// # Errors
    /// [`Error::Setting`] if it does not match the images' channels.
    pub fn with_normalization(mut self, normalization: Normalization) -> Result<Self> {
        let channels = self.input.channels();
        normalization.validate(channels).map_err(|message| Error::Setting(format!("normalization: {message}")))?;
        self.normalization = normalization;
        Ok(self)
    }

    /// The layers that are matrix products, for batches of `batch` images: name and geometry.
    ///
    /// # Errors
    /// If the layers do not fit together, or a tensor has more elements than kernels can count.
    pub fn convolutions(&self, batch: usize) -> Result<Vec<(String, Conv2dGeometry)>> {
        let mut found = Vec::new();
        for placed in self.placed()? {
            let Some(layer) = placed.layer else { continue };
            if let Some(geometry) = layer.product(&[&[batch], placed.input.as_slice()].concat())? {
                found.push((layer.name().unwrap_or(layer.kind()).to_owned(), geometry));
            }
        }
        Ok(found)
    }

    /// Its parameters and running statistics with their names, in the order of the layers.
    ///
    /// # Errors
    /// If the layers do not fit together.
    pub fn parameters(&self) -> Result<Vec<(String, ParameterSpec)>> {
        Ok(self.placed()?.iter().flat_map(Placed::parameters).collect())
    }

    /// Layouts of the trained parameters with their names, in the order of the layers.
    ///
    /// # Errors
    /// If the layers do not fit together.
    pub fn parameter_layouts(&self) -> Result<Vec<(String, Layout)>> {
        let trained = self.parameters()?.into_iter().filter(|(_, spec)| spec.is_trained);
        Ok(trained.map(|(name, spec)| (name, spec.layout)).collect())
    }

    /// The probabilities of its dropout layers, in order.
    pub fn dropout(&self) -> Vec<f32> {
        let mut probabilities = Vec::new();
        for_each_layer(&self.nodes, &mut |layer| {
            if let Role::Dropout(probability) = layer.role() {
                probabilities.push(probability);
            }
        });
        probabilities
    }

    /// Replaces the probabilities of its dropout layers, in order.
    ///
    /// # Errors
    /// [`Error::Field`] if their number differs, or one is not in [0, 1).
    pub fn set_dropout(&mut self, probabilities: &[f32]) -> Result<()> {
        let described = self.dropout();
        if probabilities.len() != described.len() || probabilities.iter().any(|p| !(0.0..1.0).contains(p)) {
            return Err(Error::field(
                "dropout",
                format!(
                    "{probabilities:?}: {} has {} dropout layers, described with {described:?}, and takes as many numbers from 0 \
                     to below 1",
                    self.name,
                    described.len()
                ),
            ));
        }
        let mut probabilities = probabilities.iter();
        for_each_layer_mut(&mut self.nodes, &mut |layer| {
            if let Some(probability) = layer.dropout_mut()
                && let Some(&new) = probabilities.next()
            {
                *probability = new;
            }
        });
        Ok(())
    }

    /// Replaces the described initialization by one for rectifiers: [`Init::HeNormal`] for layers followed by a ReLU,
    /// [`Init::GlorotUniform`] for others.
    pub fn set_he_init(&mut self) {
        set_he_init(&mut self.nodes);
    }

    /// Replaces the described initialization by one whose convolutions pass their input on: [`Init::Dirac`] for layers followed by a
    /// ReLU, except the first layer; for the others as [`Architecture::set_he_init`].
    pub fn set_dirac_init(&mut self) {
        self.set_he_init();
        let mut is_first = true;
        for_each_layer_mut(&mut self.nodes, &mut |layer| {
            if let Some(init) = layer.init_mut() {
                if !is_first && *init == Some(Init::HeNormal) {
                    *init = Some(Init::Dirac);
                }
                is_first = false;
            }
        });
    }

    /// Sets the weight of a batch's statistics in the running statistics of all batch normalizations.
    pub fn set_batch_norm_momentum(&mut self, momentum: f32) {
        for_each_layer_mut(&mut self.nodes, &mut |layer| {
            if let Some(own) = layer.batch_norm_momentum_mut() {
                *own = momentum;
            }
        });
    }
}

fn set_he_init(nodes: &mut [Node]) {
    let leads_to_relu = |next: &Node| match next {
        Node::Layer { layer, .. } => matches!(layer.role(), Role::Relu | Role::BatchNorm { .. }),
        Node::Residual { .. } => false,
    };
    let rectified: Vec<bool> = nodes.iter().skip(1).map(leads_to_relu).chain([false]).collect();
    for (node, rectified) in nodes.iter_mut().zip(rectified) {
        match node {
            Node::Layer { layer, .. } => {
                if let Some(init) = layer.init_mut() {
                    *init = Some(if rectified { Init::HeNormal } else { Init::GlorotUniform });
                }
            }
            Node::Residual { body, shortcut, .. } => {
                set_he_init(body);
                set_he_init(shortcut);
            }
        }
    }
}

fn for_each_layer(nodes: &[Node], visit: &mut dyn FnMut(&dyn Layer)) {
    for node in nodes {
        match node {
            Node::Layer { layer, .. } => visit(layer.as_ref()),
            Node::Residual { body, shortcut, .. } => {
                for_each_layer(body, visit);
                for_each_layer(shortcut, visit);
            }
        }
    }
}

fn for_each_layer_mut(nodes: &mut [Node], visit: &mut dyn FnMut(&mut dyn Layer)) {
    for node in nodes {
        match node {
            Node::Layer { layer, .. } => visit(layer.as_mut()),
            Node::Residual { body, shortcut, .. } => {
                for_each_layer_mut(body, visit);
                for_each_layer_mut(shortcut, visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Summary;

    fn shape(height: usize, width: usize, channels: usize) -> ImageShape {
        ImageShape::new(height, width, channels).unwrap()
    }

    fn with_input(name: &str, input: ImageShape) -> Result<Architecture> {
        Architecture::by_name(name, 10).unwrap().with_input(input)
    }

    #[test]
    fn networks_take_other_images_if_their_layers_fit() {
        for name in ARCHITECTURES {
            for input in [shape(64, 64, 3), shape(48, 40, 1), shape(32, 32, 3)] {
                let architecture = with_input(name, input).unwrap();
                assert_eq!((architecture.input, architecture.num_classes().unwrap()), (input, 10));
                architecture.normalization.check_channels(input.channels()).unwrap();
            }
        }
        let parameters = |name, input| Summary::new(&with_input(name, input).unwrap()).unwrap().parameters;
        // After global average pooling the weights do not depend on the image size; those of lenet5's first fully connected layer
        // do.
        assert_eq!(parameters("ygnet", shape(48, 40, 3)), 1_369_738);
        assert_eq!(parameters("lenet5", shape(48, 40, 3)), 395_006 + 64 * (9 * 7 - 5 * 5) * 200);
        assert_eq!(parameters("lenet5", shape(32, 32, 1)), 395_006 - 2 * 5 * 5 * 32);
    }

    #[test]
    fn published_normalization_becomes_its_mean_for_gray() {
        let gray = with_input("all-cnn-c", shape(32, 32, 1)).unwrap().normalization;
        assert!((gray.mean[0] - 0.4734).abs() < 1e-4 && (gray.std[0] - 0.2507).abs() < 1e-4, "{gray:?}");
    }

    #[test]
    fn images_that_are_too_small_are_refused_with_layer_and_shapes() {
        for (name, input, parts) in [
            ("lenet5", shape(8, 40, 3), ["network lenet5", "conv2d `conv2`", "its input is 2×18×32"]),
            ("ygnet", shape(5, 5, 1), ["network ygnet", "conv2d `conv5`", "its input is 2×2×192"]),
            ("lenet5", shape(5, 32, 3), ["network lenet5", "max_pool2d", "its input is 1×28×32"]),
        ] {
            let error = with_input(name, input).unwrap_err();
            let message = error.to_string();
            assert!(parts.iter().all(|part| message.contains(part)) && error.hint().is_some(), "{message}");
        }
    }

    #[test]
    fn images_that_are_too_large_are_refused() {
        // Its first fully connected layer would have 13 billion weights.
        let message = with_input("lenet5", shape(4096, 4096, 3)).unwrap_err().to_string();
        assert!(message.contains("fc1") && message.contains("elements are too many"), "{message}");
    }
}
