//! Filters for a first convolution that whiten the patches of the training images.

use crate::data::Dataset;
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::nn::Network;
use crate::ops::batch_assembly::Normalization;
use crate::tape::Layout;
use crate::tensor::ImageShape;

/// Images whose patches are counted; the covariance of more is nearly the same.
const MOST_IMAGES: usize = 5_000;
/// Added to eigenvalues, so that directions without variance are not enlarged.
const EPSILON: f64 = 5e-4;
/// Sweeps of Jacobi's method, which needs about ten.
const MOST_SWEEPS: usize = 50;

/// Filters that make the outputs of a first convolution uncorrelated and of equal variance: the eigenvectors of the covariance of
/// the training images' patches, each divided by the root of its eigenvalue and used with both signs (Page, "How to train your
/// ResNet", 2019; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024).
#[derive(Debug, Clone, PartialEq)]
pub struct WhiteningFilters {
    /// The filters `[filters, in, height, width]`, by decreasing eigenvalue: first all positive ones, then the negative ones.
    pub filters: Vec<Vec<f32>>,
}

impl WhiteningFilters {
    /// The filters for a network's first convolution: as many as it has, or twice as many as a patch has elements if that is less.
    ///
    /// # Errors
    /// [`Error::Setting`] if the first layer with parameters is not a convolution, or the images are smaller than its kernel.
    pub fn of(network: &Network, images: &Dataset) -> Result<Self> {
        let (out_c, kernel) = first_convolution(network)?;
        let shape = images.shape();
        if kernel[0] > shape.height() || kernel[1] > shape.width() {
            return Err(Error::Setting(format!("whitening: images of {shape} have no patches of {kernel:?} pixels")));
        }
        let elements = shape.channels() * kernel[0] * kernel[1];
        let mut covariance = covariance(images, &network.architecture().normalization, kernel);
        let vectors = eigenvectors(&mut covariance, elements);
        let mut order: Vec<_> = (0..elements).collect();
        order.sort_by(|&a, &b| covariance[b * elements + b].total_cmp(&covariance[a * elements + a]));
        let whitening: Vec<Vec<f32>> = order
            .into_iter()
            .take(out_c.div_ceil(2))
            .map(|i| {
                let scale = 1.0 / (covariance[i * elements + i].max(0.0) + EPSILON).sqrt();
                (0..elements).map(|row| (vectors[row * elements + i] * scale) as f32).collect()
            })
            .collect();
        let negative = whitening.iter().map(|filter| filter.iter().map(|value| -value).collect());
        let filters = whitening.iter().cloned().chain(negative).take(out_c).collect();
        Ok(WhiteningFilters { filters })
    }

    /// Writes them into the first filters of the network's first convolution; the others are kept.
    ///
    /// # Errors
    /// As for [`WhiteningFilters::of`]; if the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn apply(&self, network: &Network) -> Result<()> {
        block_on(self.apply_async(network))
    }

    /// [`WhiteningFilters::apply`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`WhiteningFilters::apply`].
    pub async fn apply_async(&self, network: &Network) -> Result<()> {
        first_convolution(network)?;
        let Some(weight) = network.first_convolution() else { return Ok(()) };
        let mut values = weight.layout.to_outer(&weight.tensor.to_vec_async().await?);
        for (place, filter) in values.chunks_exact_mut(self.filters[0].len()).zip(&self.filters) {
            place.copy_from_slice(filter);
        }
        weight.tensor.write(&weight.layout.to_inner(&values))
    }
}

/// The output channels and the kernel of the first convolution.
fn first_convolution(network: &Network) -> Result<(usize, [usize; 2])> {
    match network.first_convolution().map(|weight| weight.layout) {
        Some(Layout::Conv2dWeight { out_c, kernel, .. }) => Ok((out_c, kernel)),
        _ => Err(Error::field(
            "whitening",
            format!("needs a network that begins with a convolution, and {} does not", network.architecture().name),
        )),
    }
}

/// The second moments of all patches `[in, height, width]` of the normalized images: nearly their covariance, as their mean is
/// nearly 0.
fn covariance(images: &Dataset, normalization: &Normalization, kernel: [usize; 2]) -> Vec<f64> {
    let shape = images.shape();
    let offsets = offsets(shape, kernel);
    let elements = offsets.len();
    let mut sums = vec![0.0; elements * elements];
    let mut patch = vec![0.0; elements];
    let mut count = 0_u64;
    for image in images.images().chunks_exact(shape.bytes()).take(MOST_IMAGES) {
        let normalized: Vec<f64> = image
            .iter()
            .enumerate()
            .map(|(i, &byte)| {
                let channel = i / shape.pixels();
                (f64::from(byte) / 255.0 - normalization.mean[channel]) / normalization.std[channel]
            })
            .collect();
        for y in 0..=shape.height() - kernel[0] {
            for x in 0..=shape.width() - kernel[1] {
                let corner = y * shape.width() + x;
                patch.iter_mut().zip(&offsets).for_each(|(value, offset)| *value = normalized[corner + offset]);
                // The upper triangle.
                for (i, &a) in patch.iter().enumerate() {
                    let row = &mut sums[i * elements..(i + 1) * elements];
                    row.iter_mut().zip(&patch).skip(i).for_each(|(sum, b)| *sum += a * b);
                }
                count += 1;
            }
        }
    }
    for i in 0..elements {
        for j in i..elements {
            let mean = sums[i * elements + j] / count as f64;
            sums[i * elements + j] = mean;
            sums[j * elements + i] = mean;
        }
    }
    sums
}

/// Places of a patch's elements relative to its first pixel in an image's planes.
fn offsets(shape: ImageShape, kernel: [usize; 2]) -> Vec<usize> {
    let mut offsets = Vec::new();
    for channel in 0..shape.channels() {
        for y in 0..kernel[0] {
            offsets.extend((0..kernel[1]).map(|x| channel * shape.pixels() + y * shape.width() + x));
        }
    }
    offsets
}

/// Eigenvectors, as columns, of a symmetric matrix `[n, n]`, whose diagonal becomes the eigenvalues: Jacobi's cyclic method (Golub
/// and Van Loan, "Matrix Computations").
fn eigenvectors(matrix: &mut [f64], n: usize) -> Vec<f64> {
    let mut vectors: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect();
    let total: f64 = matrix.iter().map(|value| value * value).sum();
    for _ in 0..MOST_SWEEPS {
        let off_diagonal: f64 = (0..n * n).filter(|i| i / n != i % n).map(|i| matrix[i] * matrix[i]).sum();
        if off_diagonal <= 1e-30 * total {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let pivot = matrix[p * n + q];
                if pivot == 0.0 {
                    continue;
                }
                // The rotation that makes the element zero; the smaller angle of two.
                let theta = (matrix[q * n + q] - matrix[p * n + p]) / (2.0 * pivot);
                let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
                let sine = tangent * cosine;
                let rotate = |a: &mut [f64], i: usize, j: usize| {
                    let (x, y) = (a[i], a[j]);
                    a[i] = cosine * x - sine * y;
                    a[j] = sine * x + cosine * y;
                };
                for k in 0..n {
                    rotate(matrix, k * n + p, k * n + q);
                }
                for k in 0..n {
                    rotate(matrix, p * n + k, q * n + k);
                    rotate(&mut vectors, k * n + p, k * n + q);
                }
            }
        }
    }
    vectors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use crate::nn::Architecture;
    use crate::tensor::Device;

    #[test]
    fn eigenvectors_diagonalize_a_matrix() {
        // Eigenvalues 1, 3 and 6.
        let mut matrix = [2.0, -1.0, 0.0, -1.0, 2.0, 0.0, 0.0, 0.0, 6.0];
        let original = matrix;
        let vectors = eigenvectors(&mut matrix, 3);
        let mut values = [matrix[0], matrix[4], matrix[8]];
        for i in 0..3 {
            for row in 0..3 {
                let product: f64 = (0..3).map(|k| original[row * 3 + k] * vectors[k * 3 + i]).sum();
                assert!((product - values[i] * vectors[row * 3 + i]).abs() < 1e-12);
            }
        }
        values.sort_by(f64::total_cmp);
        assert!(values.iter().zip([1.0, 3.0, 6.0]).all(|(value, expected)| (value - expected).abs() < 1e-12));
    }

    /// The outputs of a first convolution with these filters are uncorrelated and have variance 1.
    #[test]
    fn outputs_are_white() {
        let device = Device::cpu();
        let images = synthetic::generate(ImageShape::CIFAR, 300, 10, 0).unwrap().train;
        let mut network = Architecture::by_name("ygnet", 10).unwrap();
        let (mean, std) = images.color_statistics();
        network.normalization = Normalization::new(mean, std);
        let network = Network::new(network, &device, 1).unwrap();
        let before = network.parameters()[0].layout.to_outer(&network.parameters()[0].tensor.to_vec().unwrap());
        let white = WhiteningFilters::of(&network, &images).unwrap();
        assert_eq!((white.filters.len(), white.filters[0].len()), (54, 27));
        white.apply(&network).unwrap();
        let after = network.parameters()[0].layout.to_outer(&network.parameters()[0].tensor.to_vec().unwrap());
        assert_eq!(after[..27], white.filters[0]);
        assert_eq!(after[27 * 54..], before[27 * 54..]);
        assert_eq!(after[27 * 27], -after[0]);
        // v'Cv for each pair of filters, with the same patches.
        let covariance = covariance(&images, &network.architecture().normalization, [3, 3]);
        let product = |a: &[f32], b: &[f32]| -> f64 {
            let term = |(i, &a): (usize, &f32)| -> f64 {
                let row = &covariance[i * 27..(i + 1) * 27];
                f64::from(a) * row.iter().zip(b).map(|(c, &b)| c * f64::from(b)).sum::<f64>()
            };
            a.iter().enumerate().map(term).sum()
        };
        for (i, a) in white.filters[..27].iter().enumerate() {
            for (j, b) in white.filters[..27].iter().enumerate() {
                let value = product(a, b);
                // The variance is eigenvalue / (eigenvalue + ε).
                let is_white = if i == j { (0.0..=1.001).contains(&value) } else { value.abs() < 1e-4 };
                assert!(is_white, "{i} {j}: {value}");
            }
        }
        assert!(product(&white.filters[0], &white.filters[0]) > 0.999);
        // Fewer filters than both signs need.
        let small = Network::new(Architecture::by_name("resnet20", 10).unwrap(), &device, 1).unwrap();
        let few = WhiteningFilters::of(&small, &images).unwrap().filters;
        assert_eq!(few.len(), 16);
        assert!(few[0].iter().zip(&few[8]).all(|(a, b)| *a == -b));
    }
}
