//! Batch normalization folded into the layer before it.

use std::collections::HashMap;

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::nn::graph::Node;
use crate::nn::{Architecture, Network, Role};
use crate::tape::Layout;

/// The per-channel effect of a batch normalization in inference.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Affine {
    scale: f64,
    shift: f64,
}

/// A batch normalization and the layer that it is folded into.
#[derive(Debug, Clone)]
struct Folding {
    name: String,
    epsilon: f32,
}

/// Name suffix of networks with batch normalization that also exist without it.
const ENDING: &str = "-bn";

impl Architecture {
    /// This architecture without its batch normalizations; the layers before them get a bias instead. The suffix `-bn` of its name
    /// is removed, or else `-folded` is appended.
    ///
    /// # Errors
    /// [`Error::Setting`] if it has none, or one does not directly follow a convolution or linear layer.
    pub fn without_batch_norms(&self) -> Result<Self> {
        if self.foldings()?.is_empty() {
            return Err(Error::Setting(format!("{} has no batch normalization to fold", self.name)));
        }
        let name = match self.name.strip_suffix(ENDING) {
            Some(plain) => plain.to_owned(),
            None => format!("{}-folded", self.name),
        };
        Ok(Architecture { name, nodes: without_batch_norms(&self.nodes), ..self.clone() })
    }

    /// The batch normalizations, by the names of the layers that they are folded into.
    fn foldings(&self) -> Result<HashMap<String, Folding>> {
        let mut foldings = HashMap::new();
        for placed in self.placed()? {
            let Some((layer, Role::BatchNorm { epsilon })) = placed.layer.map(|layer| (layer, layer.role())) else {
                continue;
            };
            let name = layer.name().unwrap_or_default().to_owned();
            let owner =
                placed.previous.filter(|previous| previous.role() == Role::Affine).and_then(|owner| owner.name());
            let owner = owner.ok_or_else(|| {
                Error::Setting(format!(
                    "batch normalization `{name}` of {} cannot be folded: there is no convolution or fully connected layer right \
                     before it",
                    self.name
                ))
            })?;
            foldings.insert(owner.to_owned(), Folding { name, epsilon });
        }
        Ok(foldings)
    }
}

fn without_batch_norms(nodes: &[Node]) -> Vec<Node> {
    let is_batch_norm = |node: &Node| node.layer().is_some_and(|l| matches!(l.role(), Role::BatchNorm { .. }));
    let mut kept = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        match node {
            _ if is_batch_norm(node) => {}
            Node::Layer { layer, line } => {
                let mut layer = layer.clone();
                if let Some(bias) = layer.bias_mut() {
                    *bias |= nodes.get(at + 1).is_some_and(is_batch_norm);
                }
                kept.push(Node::Layer { layer, line: *line });
            }
            Node::Residual { body, shortcut, line } => kept.push(Node::Residual {
                body: without_batch_norms(body),
                shortcut: without_batch_norms(shortcut),
                line: *line,
            }),
        }
    }
    kept
}

impl Network {
    /// The network without batch normalizations that computes what this one does in inference: each one's scale and shift by the
    /// running statistics are folded into the layer before it (Jacob et al., "Quantization and Training of Neural Networks for
    /// Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2).
    ///
    /// # Errors
    /// As for [`Architecture::without_batch_norms`]; or if the device cannot hold the new network.
    #[cfg(not(target_family = "wasm"))]
    pub fn fold_batch_norms(&self) -> Result<Self> {
        block_on(self.fold_batch_norms_async())
    }

    /// [`Network::fold_batch_norms`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Network::fold_batch_norms`].
    pub async fn fold_batch_norms_async(&self) -> Result<Self> {
        let folded = Network::new(self.architecture().without_batch_norms()?, self.device(), 0)?;
        let foldings = self.architecture().foldings()?;
        for parameter in folded.parameters() {
            let is_bias = matches!(parameter.layout, Layout::Bias(_));
            let mut outer = match self.outer_values(&parameter.name).await? {
                Some(values) => values,
                // The layer had no bias before.
                None => vec![0.0; parameter.layout.elements()],
            };
            let layer = parameter.name.rsplit_once('.').map_or("", |(layer, _)| layer);
            if let Some(folding) = foldings.get(layer) {
                let channels = self.affines(folding).await?;
                // Output channels are the first axis of weights and biases.
                let row = outer.len() / channels.len();
                for (values, Affine { scale, shift }) in outer.chunks_exact_mut(row).zip(channels) {
                    let shift = if is_bias { shift } else { 0.0 };
                    values.iter_mut().for_each(|value| *value = (f64::from(*value) * scale + shift) as f32);
                }
            }
            parameter.tensor.write(&parameter.layout.to_inner(&outer))?;
        }
        Ok(folded)
    }

    /// The effect of the batch normalization of this name on each channel in inference.
    async fn affines(&self, norm: &Folding) -> Result<Vec<Affine>> {
        let part = async |suffix: &str| {
            let name = format!("{}.{suffix}", norm.name);
            self.outer_values(&name).await?.ok_or_else(|| Error::Tape(format!("the network lacks `{name}`")))
        };
        let (weight, bias) = (part("weight").await?, part("bias").await?);
        let (mean, variance) = (part("running_mean").await?, part("running_var").await?);
        let affine = |channel: usize| {
            let [weight, bias, mean, variance] =
                [&weight, &bias, &mean, &variance].map(|values| f64::from(values[channel]));
            let scale = weight / (variance + f64::from(norm.epsilon)).sqrt();
            Affine { scale, shift: bias - mean * scale }
        };
        Ok((0..weight.len()).map(affine).collect())
    }

    /// The elements of a parameter or running statistic, in PyTorch's order, if there is one of this name.
    async fn outer_values(&self, name: &str) -> Result<Option<Vec<f32>>> {
        match self.state().find(|parameter| parameter.name == name) {
            Some(parameter) => Ok(Some(parameter.layout.to_outer(&parameter.tensor.to_vec_async().await?))),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ARCHITECTURES;
    use crate::tape::Tape;
    use crate::tensor::Device;

    /// Biases, scales and statistics that differ from the initial ones.
    fn vary(network: &Network) {
        for parameter in network.state().filter(|parameter| matches!(parameter.layout, Layout::Bias(_))) {
            let least = if parameter.name.ends_with("running_var") { 0.25 } else { -0.5 };
            let value = |i: usize| ((i * 37 + 11) % 64) as f32 / 64.0 + least;
            let values: Vec<f32> = (0..parameter.tensor.len()).map(value).collect();
            parameter.tensor.write(&values).unwrap();
        }
    }

    #[test]
    fn a_folded_network_is_the_plain_one_and_answers_alike() {
        for name in ARCHITECTURES {
            let architecture = Architecture::by_name(name, 7).unwrap();
            if architecture.foldings().unwrap().is_empty() {
                assert!(architecture.without_batch_norms().is_err(), "{name}");
                continue;
            }
            let device = Device::cpu();
            let network = Network::new(architecture, &device, 1).unwrap();
            vary(&network);
            let folded = network.fold_batch_norms().unwrap();
            let plain = folded.architecture();
            match Architecture::by_name(&plain.name, 7) {
                Ok(known) => assert_eq!(*plain, known),
                Err(_) => assert_eq!(plain.name, "resnet20-folded"),
            }

            let [height, width, channels] = plain.input.axes();
            let pixels: Vec<f32> = (0..3 * height * width * channels).map(|i| (i * 29 % 101) as f32 / 101.0).collect();
            let [expected, found] = [&network, &folded].map(|network| {
                let images = device.tensor(&[3, height, width, channels], &pixels).unwrap();
                let tape = Tape::inference();
                network.forward(&tape, &tape.constant(&images)).unwrap().tensor().to_vec().unwrap()
            });
            let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            for (expected, found) in expected.iter().zip(&found) {
                assert!((expected - found).abs() < 1e-4 * largest, "{expected} {found} of {largest}");
            }
        }
    }
}
