//! Pictures in, classes out.

use std::cell::RefCell;
use std::rc::Rc;

use cifar_gpu::data::read_picture;
use cifar_gpu::nn::Prediction;
use cifar_gpu::weights::WeightsFile;
use cifar_gpu::{Classifier, LayerOutput};
use wasm_bindgen::prelude::*;

use crate::engine::Engine;
use crate::{json, thrown};

/// A trained network on a device.
#[wasm_bindgen]
pub struct Network {
    classifier: Rc<Classifier>,
}

/// What a page shows of a network.
#[derive(serde::Serialize)]
struct Description<'a> {
    name: &'a str,
    parameters: usize,
    classes: &'a [String],
    height: usize,
    width: usize,
    channels: usize,
}

/// What it makes of a picture.
#[derive(serde::Serialize)]
pub(crate) struct Answer {
    /// Of each class, in the network's order.
    probabilities: Vec<f64>,
    logits: Vec<f32>,
    layers: Vec<Layer>,
}

/// The output of a layer, whose values follow as bytes.
#[derive(serde::Serialize)]
struct Layer {
    name: String,
    shape: Vec<usize>,
}

/// A prediction with the values of all layers.
#[wasm_bindgen]
pub struct Observed {
    answer: String,
    values: RefCell<Vec<f32>>,
}

#[wasm_bindgen]
impl Observed {
    /// Probabilities, logits, and names and shapes of layers, as JSON.
    #[wasm_bindgen(getter)]
    pub fn answer(&self) -> String {
        self.answer.clone()
    }

    /// The layers' values, which are handed over once.
    pub fn take_values(&self) -> Vec<f32> {
        self.values.take()
    }
}

#[wasm_bindgen]
impl Network {
    /// The network of a weights file, which errors call `name`.
    pub fn load(engine: &Engine, name: &str, bytes: Vec<u8>) -> Result<Network, JsError> {
        let file = WeightsFile::parse(name, bytes).map_err(thrown)?;
        let classifier = Classifier::of_file(&file, &engine.device).map_err(thrown)?;
        Ok(Network { classifier: Rc::new(classifier) })
    }

    /// Its name, size, classes and input, as JSON.
    pub fn describe(&self) -> Result<String, JsError> {
        let (architecture, input) = (self.classifier.network().architecture(), self.classifier.input());
        json(&Description {
            name: &architecture.name,
            parameters: self.classifier.network().parameters().iter().map(|p| p.tensor.len()).sum(),
            classes: self.classifier.class_names(),
            height: input.height(),
            width: input.width(),
            channels: input.channels(),
        })
    }

    /// The planes that it is shown of a picture in a file: JPEG or PNG, into which the page turns other formats.
    pub fn planes(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, JsError> {
        read_picture(name, bytes, self.classifier.input()).map_err(thrown)
    }

    /// The logits of images, each given by its planes, one after the other.
    pub async fn logits(&self, planes: Vec<u8>) -> Result<Vec<f32>, JsError> {
        let classifier = self.classifier.clone();
        let images: Vec<&[u8]> = planes.chunks(classifier.input().bytes()).collect();
        let predictions = classifier.predict_async(&images).await.map_err(thrown)?;
        Ok(predictions.into_iter().flat_map(|prediction| prediction.logits).collect())
    }

    /// What it makes of an image, layer by layer.
    pub async fn observe(&self, planes: Vec<u8>) -> Result<Observed, JsError> {
        let classifier = self.classifier.clone();
        let (prediction, layers) = classifier.observe_async(&planes).await.map_err(thrown)?;
        let values = layers.iter().flat_map(|layer| layer.values.iter().copied()).collect();
        Ok(Observed { answer: json(&answer_of(prediction, &layers))?, values: RefCell::new(values) })
    }
}

/// As JSON.
pub(crate) fn answer_of(prediction: Prediction, layers: &[LayerOutput]) -> Answer {
    Answer {
        probabilities: prediction.probabilities,
        logits: prediction.logits,
        layers: layers.iter().map(|layer| Layer { name: layer.layer.clone(), shape: layer.shape.clone() }).collect(),
    }
}
