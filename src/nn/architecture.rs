//! The networks, each from one readable description.

use crate::error::{Error, Result};
use crate::nn::Init;
use crate::ops::batch_assembly::Normalization;
use crate::ops::conv2d::Padding;

/// Height, width and channels of the images that the networks take.
pub const IMAGE_SHAPE: [usize; 3] = [32, 32, 3];

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

/// A network's description.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Name, as on the command line.
    pub name: &'static str,
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
        Architecture { name, normalization, layers: self.layers }
    }
}
