//! Batch normalization folded into the layer before it.

use crate::error::{Error, Result};
use crate::nn::{Architecture, Layer, Layout, Network};
use crate::ops::batch_norm::EPSILON;

/// What batch normalization does to a channel in inference.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Affine {
    scale: f64,
    shift: f64,
}

impl Architecture {
    /// This architecture without its batch normalizations, by the name that it then has.
    ///
    /// # Errors
    /// [`Error::Setting`] if it has none.
    pub fn without_batch_norms(&self) -> Result<Self> {
        let name = match self.name {
            "ygnet-bn" => "ygnet",
            other => return Err(Error::Setting(format!("{other} has no batch normalization to fold"))),
        };
        let stays = |layer: &&Layer| !matches!(layer, Layer::BatchNorm { .. });
        let layers = self.layers.iter().filter(stays).cloned().collect();
        Ok(Architecture { name, layers, input: self.input, normalization: self.normalization.clone() })
    }

    /// The batch normalization right behind the layer of this name.
    fn batch_norm_behind(&self, layer: &str) -> Option<&'static str> {
        self.layers.windows(2).find_map(|pair| match *pair {
            [Layer::Conv2d { name, .. } | Layer::Linear { name, .. }, Layer::BatchNorm { name: norm }]
                if name == layer =>
            {
                Some(norm)
            }
            _ => None,
        })
    }
}

impl Network {
    /// The network without batch normalizations that answers as this one does in inference: the layer before each of them
    /// takes over its scale and its shift by the running statistics (Jacob et al., "Quantization and Training of Neural
    /// Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2).
    ///
    /// # Errors
    /// [`Error::Setting`] if it has none; or if the device cannot hold the new network.
    pub fn fold_batch_norms(&self) -> Result<Self> {
        let folded = Network::new(self.architecture().without_batch_norms()?, self.device(), 0)?;
        for parameter in folded.parameters() {
            let mut outer = self.outer_values(&parameter.name)?;
            let layer = parameter.name.split('.').next().unwrap_or_default();
            if let Some(norm) = self.architecture().batch_norm_behind(layer) {
                let channels = self.affines(norm)?;
                // Output channels come first, of weights and biases alike.
                let row = outer.len() / channels.len();
                for (values, Affine { scale, shift }) in outer.chunks_exact_mut(row).zip(channels) {
                    let shift = if matches!(parameter.layout, Layout::Bias(_)) { shift } else { 0.0 };
                    values.iter_mut().for_each(|value| *value = (f64::from(*value) * scale + shift) as f32);
                }
            }
            parameter.tensor.write(&parameter.layout.to_inner(&outer))?;
        }
        Ok(folded)
    }

    /// What the batch normalization of this name does to each channel in inference.
    fn affines(&self, norm: &str) -> Result<Vec<Affine>> {
        let part = |suffix| self.outer_values(&format!("{norm}.{suffix}"));
        let (weight, bias, mean, variance) =
            (part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?);
        let affine = |channel: usize| {
            let [weight, bias, mean, variance] =
                [&weight, &bias, &mean, &variance].map(|values| f64::from(values[channel]));
            let scale = weight / (variance + f64::from(EPSILON)).sqrt();
            Affine { scale, shift: bias - mean * scale }
        };
        Ok((0..weight.len()).map(affine).collect())
    }

    /// The elements of a parameter or running statistic, in PyTorch's order.
    fn outer_values(&self, name: &str) -> Result<Vec<f32>> {
        let found = self.state().find(|parameter| parameter.name == name);
        let parameter = found.ok_or_else(|| Error::Tape(format!("the network lacks `{name}`")))?;
        Ok(parameter.layout.to_outer(&parameter.tensor.to_vec()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ARCHITECTURES;
    use crate::tape::Tape;
    use crate::tensor::Device;

    /// Biases, scales and statistics that are not those which a network starts with.
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
            if !architecture.layers.iter().any(|layer| matches!(layer, Layer::BatchNorm { .. })) {
                assert!(architecture.without_batch_norms().is_err(), "{name}");
                continue;
            }
            let device = Device::cpu();
            let network = Network::new(architecture, &device, 1).unwrap();
            vary(&network);
            let folded = network.fold_batch_norms().unwrap();
            let plain = folded.architecture();
            assert_eq!(*plain, Architecture::by_name(plain.name, 7).unwrap());

            let input = plain.input;
            let pixels: Vec<f32> = (0..3 * input.bytes()).map(|i| (i * 29 % 101) as f32 / 101.0).collect();
            let [expected, found] = [&network, &folded].map(|network| {
                let images = device.tensor(&input.batch(3), &pixels).unwrap();
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
