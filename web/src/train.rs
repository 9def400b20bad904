//! Training, told step by step to JavaScript, which may pause it by answering late, and stop it.

use cifar_gpu::data::Dataset;
use cifar_gpu::ops::conv2d::Plans;
use cifar_gpu::train::{
    Autotune, Checkpoint, EpochMetrics, Search, Stretch, TestTimeAugmentation, TrainConfig, Training, TrainingSetup,
    autotune_async,
};
use cifar_gpu::weights::{Width, to_safetensors_async};
use cifar_gpu::{Classifier, Error};
use js_sys::Function;
use std::path::Path;
use wasm_bindgen::prelude::*;

use crate::classify::{Answer, answer_of};
use crate::data::Images;
use crate::engine::Engine;
use crate::{json, tell, thrown};

/// What the page hears of training.
#[derive(serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Tuned {
        layer: &'a str,
        plan: String,
    },
    Started {
        device: String,
        parameters: usize,
        steps_per_epoch: u64,
        total_steps: u64,
        first_step: u64,
    },
    Steps {
        epoch: u32,
        step: u64,
        /// The mean loss and the share of correct predictions of the images of these steps.
        loss: f64,
        accuracy: f64,
        images: usize,
        skipped: usize,
        losses: Vec<f32>,
    },
    Epoch {
        metrics: &'a EpochMetrics,
        confusion: &'a [Vec<usize>],
        /// The class and its probability for each of the first test images.
        guesses: Vec<(u16, f32)>,
        is_whole: bool,
    },
    /// The complete state, as bytes.
    Checkpoint {
        step: u64,
    },
    /// What the network makes of a test image; the layers' values follow as bytes.
    Observed {
        image: usize,
        answer: Answer,
    },
    /// The weights as a safetensors file, as bytes.
    Weights {
        step: u64,
    },
}

/// Test images whose predictions are told.
const SHOWN_GUESSES: usize = 64;

/// The settings of a recipe (`published`, `fast` or `practice`) for a network, with changes, an object of settings: as JSON.
#[wasm_bindgen]
pub fn settings(arch: &str, recipe: &str, changes: &str) -> Result<String, JsError> {
    let config = match recipe {
        "published" => TrainConfig::published(arch),
        "practice" => TrainConfig::practice(arch),
        _ => TrainConfig::fast(arch),
    };
    let wrong = |error: serde_json::Error| JsError::new(&error.to_string());
    // By way of text: a page need not load a second parser of settings.
    let object = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).map_err(wrong);
    let mut settings = object(&json(&config.map_err(thrown)?)?)?;
    settings.extend(object(changes)?);
    let config: TrainConfig = serde_json::from_str(&json(&settings)?).map_err(wrong)?;
    config.validate().map_err(thrown)?;
    json(&config)
}

/// Trains with these settings (see [`settings`]) from the first step, or from a checkpoint on. `hear` is told each event as JSON and
/// bytes. What it returns is waited for; an answer `stop` ends training after a checkpoint, `checkpoint` and `weights` ask for these,
/// and `observe N` for what the network makes of test image N.
#[wasm_bindgen]
pub async fn train(
    engine: &Engine,
    images: &Images,
    settings: &str,
    checkpoint: Option<Vec<u8>>,
    hear: Function,
) -> Result<(), JsValue> {
    let config: TrainConfig = serde_json::from_str(settings).map_err(|error| JsError::new(&error.to_string()))?;
    let checkpoint = checkpoint.map(|bytes| Checkpoint::from_bytes(&bytes)).transpose();
    let checkpoint =
        checkpoint.map_err(|message| JsError::new(&format!("the checkpoint cannot be used: {message}")))?;
    let (train_set, test_set) = TrainingSetup::sets(&config, &images.splits).map_err(thrown)?;
    let device = &engine.device;
    let architecture = config.architecture(&train_set).map_err(thrown)?;
    let plans = plans(&config, engine, &train_set, &hear).await?;
    let setup = TrainingSetup::new(&config, device, architecture, plans, train_set, test_set).await.map_err(thrown)?;
    let training = Training::new(&config, &setup, checkpoint.as_ref()).map_err(thrown)?;
    let started = Event::Started {
        device: device.description(),
        parameters: setup.network().parameters().iter().map(|p| p.tensor.len()).sum(),
        steps_per_epoch: training.steps_per_epoch(),
        total_steps: training.total_steps(),
        first_step: training.step(),
    };
    tell(&hear, &started, None).await?;
    Session { training, hear }.run().await
}

/// How products are computed: on a real GPU the fastest of a few candidates, unless the settings say otherwise.
async fn plans(config: &TrainConfig, engine: &Engine, train_set: &Dataset, hear: &Function) -> Result<Plans, JsValue> {
    let mode = config.autotune.unwrap_or_else(|| Autotune::usual(&engine.device));
    let search = Search { mode, cache: None, again: false };
    let architecture = config.architecture(train_set).map_err(thrown)?;
    let (dtype, batch) = (config.precision.dtype(), config.computed_batch(train_set.len()));
    let mut chosen = Vec::new();
    let mut keep = |tuning: &cifar_gpu::train::Tuning| {
        chosen.push((format!("{} {}", tuning.layer, tuning.direction.kernel()), tuning.chosen.to_string()));
    };
    let plans = autotune_async(&engine.device, dtype, &architecture, batch, true, search, &mut keep).await;
    for (layer, plan) in chosen {
        tell(hear, &Event::Tuned { layer: &layer, plan }, None).await?;
    }
    Ok(plans.map_err(thrown)?)
}

/// Training under way.
struct Session<'a> {
    training: Training<'a>,
    hear: Function,
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), JsValue> {
        while !self.training.is_complete() {
            let is_whole = loop {
                if self.training.is_epoch_complete() || self.training.is_complete() {
                    break self.training.is_epoch_complete();
                }
                let stretch = self.training.advance(u64::MAX).await.map_err(thrown)?;
                if !self.told(stretch).await? {
                    return self.save().await;
                }
            };
            self.test(is_whole).await?;
            self.save().await?;
            if !is_whole {
                break;
            }
        }
        self.weights().await
    }

    /// Tells of steps, and does what is answered. Whether training goes on.
    async fn told(&self, stretch: Stretch) -> Result<bool, JsValue> {
        let Stretch { epoch, steps, skipped, end } = stretch;
        let images: usize = steps.iter().map(|step| step.images).sum();
        let correct: usize = steps.iter().map(|step| step.correct).sum();
        let loss: f64 = steps.iter().map(|step| f64::from(step.loss) * step.images as f64).sum();
        let event = Event::Steps {
            epoch,
            step: self.training.step(),
            loss: loss / images.max(1) as f64,
            accuracy: correct as f64 / images.max(1) as f64,
            images,
            skipped: skipped.len(),
            losses: steps.iter().map(|step| step.loss).collect(),
        };
        let answer = tell(&self.hear, &event, None).await?;
        end.map_err(thrown)?;
        match answer.as_deref() {
            Some("stop") => return Ok(false),
            Some("checkpoint") => self.save().await?,
            Some("weights") => self.weights().await?,
            Some(other) => {
                if let Some(image) = other.strip_prefix("observe ").and_then(|number| number.parse().ok()) {
                    self.observe(image).await?;
                }
            }
            None => {}
        }
        Ok(true)
    }

    async fn test(&mut self, is_whole: bool) -> Result<(), JsValue> {
        let evaluation = self.training.test(TestTimeAugmentation::None, |_| ()).await.map_err(thrown)?;
        let metrics = self.training.metrics(&evaluation).await.map_err(thrown)?;
        if is_whole {
            self.training.end_epoch(metrics.test_accuracy);
        }
        let guesses = evaluation.guesses.iter().take(SHOWN_GUESSES).map(|guess| (guess.class, guess.probability));
        let (confusion, guesses) = (&evaluation.confusion[..], guesses.collect());
        tell(&self.hear, &Event::Epoch { metrics: &metrics, confusion, guesses, is_whole }, None).await?;
        Ok(())
    }

    async fn save(&self) -> Result<(), JsValue> {
        let checkpoint = self.training.checkpoint().await.map_err(thrown)?;
        let bytes = checkpoint.to_bytes().map_err(|message| JsError::new(&message))?;
        tell(&self.hear, &Event::Checkpoint { step: checkpoint.step() }, Some(bytes)).await?;
        Ok(())
    }

    async fn weights(&self) -> Result<(), JsValue> {
        let names = self.training.setup().train_set().class_names();
        let path = Path::new("weights.safetensors");
        let bytes = to_safetensors_async(path, self.training.result(), names, Width::F32).await.map_err(thrown)?;
        tell(&self.hear, &Event::Weights { step: self.training.step() }, Some(bytes)).await?;
        Ok(())
    }

    /// Tells what the network makes of a test image.
    async fn observe(&self, image: usize) -> Result<(), JsValue> {
        let test_set = self.training.setup().test_set();
        let Some(planes) = test_set.image(image) else { return Ok(()) };
        let seen: Result<_, Error> = async {
            let classifier = Classifier::new(self.training.result(), test_set.class_names().to_vec())?;
            classifier.observe_async(planes).await
        }
        .await;
        let (prediction, layers) = seen.map_err(thrown)?;
        let values: Vec<u8> =
            layers.iter().flat_map(|layer| layer.values.iter().flat_map(|value| value.to_le_bytes())).collect();
        let answer = answer_of(prediction, &layers);
        tell(&self.hear, &Event::Observed { image, answer }, Some(values)).await?;
        Ok(())
    }
}
