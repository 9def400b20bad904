//! A trained network with its class names: classifies pictures.

use std::borrow::Borrow;
use std::path::Path;

use crate::data::Dataset;
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::nn::{Network, Prediction};
use crate::tape::Tape;
use crate::tensor::{Device, ImageShape};
use crate::train::evaluate::evaluate;
use crate::train::{DeviceDataset, Evaluation, TestTimeAugmentation, usual_evaluation_batch};
use crate::weights::WeightsFile;

/// A trained network, owned or borrowed, that normalizes its input images as in training.
#[derive(Debug)]
pub struct Classifier<N = Network> {
    network: N,
    class_names: Vec<String>,
}

/// What a layer made of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerOutput {
    /// The layer's name or, without one, its kind.
    pub layer: String,
    /// `[height, width, channels]`, or `[features]`.
    pub shape: Vec<usize>,
    /// The elements.
    pub values: Vec<f32>,
}

impl Classifier {
    /// Loads the network of a weights file that this program wrote.
    ///
    /// # Errors
    /// [`Error::Weights`] if the file is not a weights file or does not describe its network.
    pub fn open(weights: &Path, device: &Device) -> Result<Self> {
        Classifier::of_file(&WeightsFile::read(weights)?, device)
    }

    /// The network of a weights file that was read.
    ///
    /// # Errors
    /// As for [`Classifier::open`].
    pub fn of_file(file: &WeightsFile, device: &Device) -> Result<Self> {
        let network = Network::new(file.architecture(None)?, device, 0)?;
        file.load_into(&network)?;
        let class_names = file.class_names(network.architecture().num_classes()?);
        Classifier::new(network, class_names)
    }
}

impl<N: Borrow<Network>> Classifier<N> {
    /// Combines a network with names for its classes.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are more or fewer names than classes.
    pub fn new(network: N, class_names: Vec<String>) -> Result<Self> {
        let classes = network.borrow().architecture().num_classes()?;
        if class_names.len() != classes {
            let message = format!("{} names for {classes} classes", class_names.len());
            return Err(Error::shape("classifier", message));
        }
        Ok(Classifier { network, class_names })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        self.network.borrow()
    }

    /// Names of the classes, in the order of the logits.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The shape of its input images; [`load_picture`](crate::data::load_picture) resizes any picture to it.
    pub fn input(&self) -> ImageShape {
        self.network().architecture().input
    }

    /// Predictions for images. Each image is the planes of [`Classifier::input`]: red, green and blue, or gray, row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] if an image has another size, [`Error::NotFinite`] if a logit is not finite, and the device's errors.
    #[cfg(not(target_family = "wasm"))]
    pub fn predict<I: AsRef<[u8]>>(&self, images: &[I]) -> Result<Vec<Prediction>> {
        block_on(self.predict_async(images))
    }

    /// [`Classifier::predict`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Classifier::predict`].
    pub async fn predict_async<I: AsRef<[u8]>>(&self, images: &[I]) -> Result<Vec<Prediction>> {
        let input = self.input();
        let mut predictions = Vec::with_capacity(images.len());
        for images in images.chunks(usual_evaluation_batch(input)) {
            let planes: Vec<&[u8]> = images.iter().map(AsRef::as_ref).collect();
            if let Some(wrong) = planes.iter().find(|planes| planes.len() != input.bytes()) {
                let message = format!("an image of {} bytes is not one of {input}", wrong.len());
                return Err(Error::shape("classifier", message));
            }
            let labels = vec![0; planes.len()];
            let batch = Dataset::new(input, planes.concat(), labels, self.class_names.clone())?;
            let architecture = self.network().architecture();
            let batch = DeviceDataset::new(self.network().device(), &batch, &architecture.normalization)?;
            let batch = batch.batch(&(0..planes.len() as u32).collect::<Vec<_>>())?;
            let tape = Tape::inference();
            let logits = self.network().forward(&tape, &tape.constant(&batch.images))?.tensor().to_vec_async().await?;
            for logits in logits.chunks_exact(self.class_names.len()) {
                if let Some(&logit) = logits.iter().find(|logit| !logit.is_finite()) {
                    return Err(Error::NotFinite { logit, image: predictions.len() });
                }
                predictions.push(Prediction::new(logits.to_vec()));
            }
        }
        Ok(predictions)
    }

    /// The prediction for an image, and what each layer made of it: to look at, of one image at a time.
    ///
    /// # Errors
    /// As for [`Classifier::predict`].
    pub async fn observe_async(&self, image: &[u8]) -> Result<(Prediction, Vec<LayerOutput>)> {
        let images = Dataset::new(self.input(), image.to_vec(), vec![0], self.class_names.clone())?;
        let network = self.network();
        let images =
            DeviceDataset::new(network.device(), &images, &network.architecture().normalization)?.batch(&[0])?;
        let tape = Tape::inference();
        let mut outputs = Vec::new();
        let logits = network.forward_observed(&tape, &tape.constant(&images.images), &mut |layer, output| {
            outputs.push((layer.to_owned(), output.tensor().clone()));
            Ok(())
        })?;
        let logits = logits.tensor().to_vec_async().await?;
        if let Some(&logit) = logits.iter().find(|logit| !logit.is_finite()) {
            return Err(Error::NotFinite { logit, image: 0 });
        }
        let mut layers = Vec::with_capacity(outputs.len());
        for (layer, output) in outputs {
            layers.push(LayerOutput {
                layer,
                shape: output.shape()[1..].to_vec(),
                values: output.to_vec_async().await?,
            });
        }
        Ok((Prediction::new(logits), layers))
    }

    /// Evaluates it on labeled images, `batch_size` at a time. `progress` receives the number of images done.
    ///
    /// # Errors
    /// [`Error::Shape`] if the images or their classes do not fit the network, and the device's errors.
    #[cfg(not(target_family = "wasm"))]
    pub fn evaluate(
        &self,
        images: &Dataset,
        batch_size: usize,
        tta: TestTimeAugmentation,
        progress: impl FnMut(usize),
    ) -> Result<Evaluation> {
        block_on(self.evaluate_async(images, batch_size, tta, progress))
    }

    /// [`Classifier::evaluate`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Classifier::evaluate`].
    pub async fn evaluate_async(
        &self,
        images: &Dataset,
        batch_size: usize,
        tta: TestTimeAugmentation,
        progress: impl FnMut(usize),
    ) -> Result<Evaluation> {
        self.check(images)?;
        let normalization = &self.network().architecture().normalization;
        let on_device = DeviceDataset::new(self.network().device(), images, normalization)?;
        self.evaluate_on_async(&on_device, images, batch_size, tta, progress).await
    }

    /// The same for images that are on the device already, normalized as the network's architecture describes.
    ///
    /// # Errors
    /// As for [`Classifier::evaluate`].
    #[cfg(not(target_family = "wasm"))]
    pub fn evaluate_on(
        &self,
        on_device: &DeviceDataset,
        images: &Dataset,
        batch_size: usize,
        tta: TestTimeAugmentation,
        progress: impl FnMut(usize),
    ) -> Result<Evaluation> {
        block_on(self.evaluate_on_async(on_device, images, batch_size, tta, progress))
    }

    /// [`Classifier::evaluate_on`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Classifier::evaluate`].
    pub async fn evaluate_on_async(
        &self,
        on_device: &DeviceDataset,
        images: &Dataset,
        batch_size: usize,
        tta: TestTimeAugmentation,
        progress: impl FnMut(usize),
    ) -> Result<Evaluation> {
        self.check(images)?;
        if on_device.len() != images.len() {
            let message = format!("{} images on the device and {} on the host", on_device.len(), images.len());
            return Err(Error::shape("classifier", message));
        }
        evaluate(self.network(), on_device, images, batch_size, tta, progress).await
    }

    /// Checks the shape of labeled images.
    fn check(&self, images: &Dataset) -> Result<()> {
        match images.shape() == self.input() {
            true => Ok(()),
            false => {
                let message = format!("images of {} for a network of {}", images.shape(), self.input());
                Err(Error::shape("classifier", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Architecture;

    #[test]
    fn images_of_another_size_are_refused() {
        let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        let network = || Network::new(Architecture::by_name("lenet5", 10).unwrap(), &Device::cpu(), 1).unwrap();
        assert!(Classifier::new(network(), names[1..].to_vec()).is_err());
        let classifier = Classifier::new(network(), names).unwrap();
        assert!(classifier.predict(&[vec![0; 3071]]).is_err());
        let images: Vec<Vec<u8>> = (0..70).map(|i| vec![i; 3072]).collect();
        let together = classifier.predict(&images).unwrap();
        assert_eq!(together.len(), 70);
        // Another batch size may change the order of summation.
        let alone = classifier.predict(&images[69..]).unwrap();
        assert!(alone[0].logits.iter().zip(&together[69].logits).all(|(a, b)| (a - b).abs() < 1e-4));
        assert_eq!(classifier.predict(&images[..0]).unwrap(), []);
    }

    #[test]
    fn evaluation_and_prediction_agree() {
        let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        let network = Network::new(Architecture::by_name("lenet5", 10).unwrap(), &Device::cpu(), 1).unwrap();
        let classifier = Classifier::new(network, names.clone()).unwrap();
        let images: Vec<Vec<u8>> = (0..20).map(|i| (0..3072).map(|j| (j * i % 251) as u8).collect()).collect();
        let predicted: Vec<u16> = classifier.predict(&images).unwrap().iter().map(|p| p.class as u16).collect();
        let labeled = Dataset::new(ImageShape::CIFAR, images.concat(), predicted, names.clone()).unwrap();
        let evaluation = classifier.evaluate(&labeled, 7, TestTimeAugmentation::None, |_| {}).unwrap();
        assert_eq!((evaluation.correct, evaluation.images), (20, 20));
        let gray = ImageShape::new(32, 32, 1).unwrap();
        let other = Dataset::new(gray, vec![0; 1024], vec![0], names).unwrap();
        let message = classifier.evaluate(&other, 1, TestTimeAugmentation::None, |_| {}).unwrap_err().to_string();
        assert!(message.contains("for a network of"), "{message}");
    }
}
