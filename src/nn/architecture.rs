//! The networks, each from one readable description.

use crate::error::{Error, Result};
use crate::nn::Init;
use crate::ops::batch_assembly::Normalization;
use crate::ops::conv2d::Padding;
use crate::tensor::ImageShape;

/// Names of the architectures, as on the command line.
pub const ARCHITECTURES: [&str; 5] = ["ygnet", "ygnet-final-relu", "ygnet-bn", "lenet5", "all-cnn-c"];

/// One layer of a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Layer {
    /// Convolution with a square kernel and bias.
    Conv2d {
        /// Prefix of its parameters' names.
        name: &'static str,
        /// Output channels.
        channels: usize,
        /// Side of the kernel in pixels.
        kernel: usize,
        /// Step in pixels.
        stride: usize,
        /// Zeros around the input.
        padding: Padding,
        /// Distribution of the initial weight and bias.
        init: Init,
    },
    /// Batch normalization of every channel.
    BatchNorm {
        /// Prefix of its parameters' and running statistics' names.
        name: &'static str,
    },
    /// Rectified linear unit.
    Relu,
    /// Dropout with this probability.
    Dropout(f32),
    /// Max-pooling over square windows that stay inside.
    MaxPool2d {
        /// Side of the window in pixels.
        kernel: usize,
        /// Step in pixels.
        stride: usize,
    },
    /// All of an image in one row.
    Flatten,
    /// Fully connected layer with bias.
    Linear {
        /// Prefix of its parameters' names.
        name: &'static str,
        /// Output features.
        features: usize,
        /// Distribution of the initial weight and bias.
        init: Init,
    },
    /// Mean of every channel over all pixels.
    GlobalAvgPool,
}

impl Layer {
    /// What errors call it: its name if it has parameters, else its kind.
    pub(super) fn label(&self) -> String {
        match self {
            Layer::Conv2d { name, .. } | Layer::BatchNorm { name } | Layer::Linear { name, .. } => (*name).to_owned(),
            Layer::MaxPool2d { kernel, .. } => format!("max-pool {kernel}×{kernel}"),
            Layer::Relu => "ReLU".to_owned(),
            Layer::Dropout(_) => "dropout".to_owned(),
            Layer::Flatten => "flatten".to_owned(),
            Layer::GlobalAvgPool => "global average pool".to_owned(),
        }
    }
}

/// A network's description.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Name, as on the command line.
    pub name: &'static str,
    /// The shape of the images that it takes.
    pub input: ImageShape,
    /// How pixels become its input.
    pub normalization: Normalization,
    /// Its layers in order.
    pub layers: Vec<Layer>,
}

impl Architecture {
    /// The architecture of this name for so many classes.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`].
    pub fn by_name(name: &str, classes: usize) -> Result<Self> {
        match name {
            "ygnet" => Ok(ygnet(classes)),
            "ygnet-final-relu" => Ok(ygnet_final_relu(classes)),
            "ygnet-bn" => Ok(ygnet_bn(classes)),
            "lenet5" => Ok(lenet5(classes)),
            "all-cnn-c" => Ok(all_cnn_c(classes)),
            _ => Err(Error::UnknownArchitecture(name.to_owned())),
        }
    }

    /// The same network for images of another shape. Its normalization stays, but for other channels becomes that of
    /// [`Normalization::for_channels`]; fully connected layers take as many features as there then are.
    ///
    /// # Errors
    /// [`Error::ImageShape`] if the layers do not fit such images, or [`Error::Setting`] if a layer's weights have more elements
    /// than kernels can count.
    pub fn with_input(self, input: ImageShape) -> Result<Self> {
        let normalization = self.normalization.for_channels(input.channels());
        let architecture = Architecture { input, normalization, ..self };
        match architecture.convolutions(1) {
            Err(Error::Shape { message, .. }) => {
                Err(Error::Setting(format!("{} for images of {input} is too large: {message}", architecture.name)))
            }
            result => result.map(|_| architecture),
        }
    }

    /// The probabilities of its dropout layers, in order.
    pub fn dropout(&self) -> Vec<f32> {
        let probability = |layer: &Layer| match layer {
            Layer::Dropout(probability) => Some(*probability),
            _ => None,
        };
        self.layers.iter().filter_map(probability).collect()
    }

    /// Replaces the probabilities of its dropout layers, in order.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are more or fewer, or one is no probability below 1.
    pub fn set_dropout(&mut self, probabilities: &[f32]) -> Result<()> {
        let published = self.dropout();
        if probabilities.len() != published.len() || probabilities.iter().any(|p| !(0.0..1.0).contains(p)) {
            return Err(Error::Setting(format!(
                "--dropout {probabilities:?}: {} has {} dropout layers, published with {published:?}, and takes as many numbers \
                 from 0 to below 1",
                self.name,
                published.len()
            )));
        }
        let mut probabilities = probabilities.iter();
        for layer in &mut self.layers {
            if let (Layer::Dropout(probability), Some(&new)) = (layer, probabilities.as_slice().first()) {
                *probability = new;
                probabilities.next();
            }
        }
        Ok(())
    }

    /// Draws initial weights as suits rectifiers, whatever it was published with: of layers with a ReLU as in
    /// [`Init::HeNormal`], of others as in [`Init::GlorotUniform`].
    pub fn set_he_init(&mut self) {
        let leads_to_relu = |next: &Layer| matches!(next, Layer::Relu | Layer::BatchNorm { .. });
        let rectified: Vec<bool> = self.layers.iter().skip(1).map(leads_to_relu).chain([false]).collect();
        for (layer, rectified) in self.layers.iter_mut().zip(rectified) {
            if let Layer::Conv2d { init, .. } | Layer::Linear { init, .. } = layer {
                *init = if rectified { Init::HeNormal } else { Init::GlorotUniform };
            }
        }
    }
}

/// Nine convolutions, 1,369,738 parameters for ten classes.
fn ygnet(classes: usize) -> Architecture {
    let [valid, same] = [Padding::Valid, Padding::Same];
    Builder::new(Init::GlorotUniform)
        .conv2d("conv1", 96, 3, 1, same)
        .relu()
        .dropout(0.2)
        .conv2d("conv2", 96, 3, 1, same)
        .relu()
        .conv2d("conv3", 96, 3, 1, same)
        .relu()
        .max_pool2d(3, 2)
        .dropout(0.5)
        .conv2d("conv4", 192, 3, 1, same)
        .relu()
        .conv2d("conv5", 192, 3, 1, valid)
        .relu()
        .conv2d("conv6", 192, 3, 1, same)
        .relu()
        .max_pool2d(3, 2)
        .dropout(0.5)
        .conv2d("conv7", 192, 3, 1, same)
        .relu()
        .conv2d("conv8", 192, 1, 1, same)
        .relu()
        .conv2d("conv9", classes, 1, 1, same)
        .global_avg_pool()
        .build("ygnet", Normalization::new([0.0; 3], [1.0; 3]))
}

/// [`ygnet`] as it was published with pretrained weights: with one more ReLU after the last convolution.
fn ygnet_final_relu(classes: usize) -> Architecture {
    let mut architecture = ygnet(classes);
    architecture.name = "ygnet-final-relu";
    let pool = architecture.layers.len() - 1;
    architecture.layers.insert(pool, Layer::Relu);
    architecture
}

/// [`ygnet`] with batch normalization behind every convolution that has a ReLU: another network, which learns faster.
fn ygnet_bn(classes: usize) -> Architecture {
    const NAMES: [&str; 8] = ["bn1", "bn2", "bn3", "bn4", "bn5", "bn6", "bn7", "bn8"];
    let ygnet = ygnet(classes);
    let mut names = NAMES.into_iter();
    let mut layers = Vec::new();
    for layer in ygnet.layers {
        if layer == Layer::Relu {
            layers.extend(names.next().map(|name| Layer::BatchNorm { name }));
        }
        layers.push(layer);
    }
    Architecture { name: "ygnet-bn", layers, ..ygnet }
}

/// Two convolutions and three fully connected layers, 395,006 parameters for ten classes.
fn lenet5(classes: usize) -> Architecture {
    let valid = Padding::Valid;
    Builder::new(Init::KaimingUniform)
        .conv2d("conv1", 32, 5, 1, valid)
        .relu()
        .dropout(0.2)
        .max_pool2d(2, 2)
        .conv2d("conv2", 64, 5, 1, valid)
        .relu()
        .dropout(0.2)
        .max_pool2d(2, 2)
        .flatten()
        .linear("fc1", 200)
        .init(Init::XavierNormal)
        .relu()
        .linear("fc2", 100)
        .relu()
        .linear("fc3", classes)
        .build("lenet5", Normalization::new([0.5; 3], [0.5; 3]))
}

/// All-CNN-C (Springenberg et al., "Striving for Simplicity", 2015): strided convolutions in place of pooling.
fn all_cnn_c(classes: usize) -> Architecture {
    let [valid, one] = [Padding::Valid, Padding::Explicit(1)];
    Builder::new(Init::HeNormal)
        .dropout(0.2)
        .conv2d("conv1", 96, 3, 1, one)
        .relu()
        .conv2d("conv2", 96, 3, 1, one)
        .relu()
        .conv2d("conv3", 96, 3, 2, one)
        .relu()
        .dropout(0.5)
        .conv2d("conv4", 192, 3, 1, one)
        .relu()
        .conv2d("conv5", 192, 3, 1, one)
        .relu()
        .conv2d("conv6", 192, 3, 2, one)
        .relu()
        .dropout(0.5)
        .conv2d("conv7", 192, 3, 1, valid)
        .relu()
        .conv2d("conv8", 192, 1, 1, valid)
        .relu()
        .conv2d("conv9", classes, 1, 1, valid)
        .relu()
        .global_avg_pool()
        .build("all-cnn-c", Normalization::new([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]))
}

/// Writes a description layer by layer.
struct Builder {
    default_init: Init,
    layers: Vec<Layer>,
}

impl Builder {
    fn new(default_init: Init) -> Self {
        Builder { default_init, layers: Vec::new() }
    }

    fn push(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    fn conv2d(self, name: &'static str, channels: usize, kernel: usize, stride: usize, padding: Padding) -> Self {
        let init = self.default_init;
        self.push(Layer::Conv2d { name, channels, kernel, stride, padding, init })
    }

    fn linear(self, name: &'static str, features: usize) -> Self {
        let init = self.default_init;
        self.push(Layer::Linear { name, features, init })
    }

    /// Replaces the initial distribution of the layer before.
    fn init(mut self, new: Init) -> Self {
        if let Some(Layer::Conv2d { init, .. } | Layer::Linear { init, .. }) = self.layers.last_mut() {
            *init = new;
        }
        self
    }

    fn relu(self) -> Self {
        self.push(Layer::Relu)
    }

    fn dropout(self, probability: f32) -> Self {
        self.push(Layer::Dropout(probability))
    }

    fn max_pool2d(self, kernel: usize, stride: usize) -> Self {
        self.push(Layer::MaxPool2d { kernel, stride })
    }

    fn flatten(self) -> Self {
        self.push(Layer::Flatten)
    }

    fn global_avg_pool(self) -> Self {
        self.push(Layer::GlobalAvgPool)
    }

    fn build(self, name: &'static str, normalization: Normalization) -> Architecture {
        Architecture { name, input: ImageShape::CIFAR, normalization, layers: self.layers }
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
        // A mean over all pixels leaves none of them to the weights; lenet5's first fully connected layer takes all.
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
            ("lenet5", shape(8, 40, 3), ["lenet5", "8×40×3", "conv2 gets 2×18×32"]),
            ("ygnet", shape(5, 5, 1), ["ygnet", "5×5×1", "conv5 gets 2×2×192"]),
            ("lenet5", shape(5, 32, 3), ["lenet5", "5×32×3", "max-pool 2×2 gets 1×28×32"]),
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
        assert!(message.contains("4096×4096×3 is too large") && message.contains("elements are too many"), "{message}");
    }
}
