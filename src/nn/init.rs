//! Initial weights.

use rand::RngExt;

use crate::ops::random::{RandomStream, StandardNormal};

/// Distribution of a layer's initial weight and bias, named as in the literature and in PyTorch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Uniform within ±√(6 / (fan_in + fan_out)), bias zero (Glorot and Bengio, 2010; Keras's default).
    GlorotUniform,
    /// Weight and bias uniform within ±1/√fan_in: PyTorch's default, there called Kaiming-uniform with a = √5.
    KaimingUniform,
    /// Normal with variance 2 / (fan_in + fan_out), bias as in [`Init::KaimingUniform`]: the result of PyTorch code that calls
    /// `xavier_normal_` on the weight only.
    XavierNormal,
    /// Normal with variance 2 / fan_in, bias zero (He et al., 2015).
    #[default]
    HeNormal,
    /// The first filters of a convolution, as many as there are input channels, each pass one channel on (Zagoruyko and Komodakis,
    /// "DiracNets", 2017); the other filters are uniform within ±1/√fan_in; bias zero.
    Dirac,
}

impl Init {
    /// `count` initial weights of a layer with this fan-in and fan-out, without the filters that pass a channel on.
    pub fn weight(self, count: usize, fan_in: usize, fan_out: usize, random: &mut RandomStream) -> Vec<f32> {
        let (fan_in, fan_out) = (fan_in as f64, fan_out as f64);
        match self {
            Init::GlorotUniform => uniform(count, (6.0 / (fan_in + fan_out)).sqrt(), random),
            Init::KaimingUniform | Init::Dirac => uniform(count, 1.0 / fan_in.sqrt(), random),
            Init::XavierNormal => normal(count, (2.0 / (fan_in + fan_out)).sqrt(), random),
            Init::HeNormal => normal(count, (2.0 / fan_in).sqrt(), random),
        }
    }

    /// `count` initial biases of such a layer.
    pub fn bias(self, count: usize, fan_in: usize, random: &mut RandomStream) -> Vec<f32> {
        match self {
            Init::GlorotUniform | Init::HeNormal | Init::Dirac => vec![0.0; count],
            Init::KaimingUniform | Init::XavierNormal => uniform(count, 1.0 / (fan_in as f64).sqrt(), random),
        }
    }
}

/// Makes the first filters of a weight `[out, in, height, width]` pass one channel on each.
pub(super) fn set_dirac(weight: &mut [f32], out_c: usize, in_c: usize, [height, width]: [usize; 2]) {
    let taps = height * width;
    let center = height / 2 * width + width / 2;
    for (channel, filter) in weight.chunks_exact_mut(in_c * taps).take(out_c.min(in_c)).enumerate() {
        filter.fill(0.0);
        filter[channel * taps + center] = 1.0;
    }
}

fn uniform(count: usize, bound: f64, random: &mut RandomStream) -> Vec<f32> {
    (0..count).map(|_| ((f64::from(random.random::<f32>()) * 2.0 - 1.0) * bound) as f32).collect()
}

fn normal(count: usize, deviation: f64, random: &mut RandomStream) -> Vec<f32> {
    (0..count).map(|_| (f64::from(random.sample(StandardNormal)) * deviation) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean square of the weights, which is the variance as all means are zero.
    fn variance(init: Init) -> f64 {
        let weights = init.weight(100_000, 75, 800, &mut RandomStream::new(3, 0));
        weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / weights.len() as f64
    }

    #[test]
    fn variances_are_those_of_the_papers() {
        let close = |init, expected: f64| assert!((variance(init) / expected - 1.0).abs() < 0.02, "{init:?}");
        close(Init::GlorotUniform, 2.0 / 875.0);
        close(Init::KaimingUniform, 1.0 / 3.0 / 75.0);
        close(Init::XavierNormal, 2.0 / 875.0);
        close(Init::HeNormal, 2.0 / 75.0);
    }

    /// A seed has given these values since the first version. Increment [`GENERATOR`](crate::ops::random::GENERATOR) with any
    /// change.
    #[test]
    fn initial_weights_are_pinned() {
        let weights = |init: Init| init.weight(1000, 75, 800, &mut RandomStream::new(3, 1));
        let bytes: Vec<u8> = weights(Init::GlorotUniform).iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let checksum = crc32fast::hash(&bytes);
        assert_eq!(checksum, 0x7390_503d, "{checksum:#x}");
        // Logarithm and cosine come from the system library, and rounding differs between systems.
        for (weight, expected) in
            weights(Init::HeNormal).into_iter().zip([0.279_120_84, 0.035_958_81, 0.268_319_45, 0.176_886_24])
        {
            assert!((weight - expected).abs() < 1e-6, "{weight}");
        }
    }

    #[test]
    fn uniform_weights_stay_within_their_bound() {
        let bound = 1.0 / 75_f32.sqrt();
        let weights = Init::KaimingUniform.weight(10_000, 75, 800, &mut RandomStream::new(3, 0));
        assert!(weights.iter().all(|w| w.abs() <= bound) && weights.iter().any(|w| w.abs() > 0.99 * bound));
    }
}
