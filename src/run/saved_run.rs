//! The record in a run folder of how its run was started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::Dataset;
use crate::error::{Error, Remedy, Result};
use crate::files::read_at_most;
use crate::nn::{Architecture, DescriptionReader};
use crate::ops::batch_assembly::Normalization;
use crate::ops::conv2d::{Plan, Plans};
use crate::tensor::ImageShape;
use crate::train::EpochMetrics;
use crate::train::{TrainConfig, problem_name, problems};
use crate::words::counted;

/// Largest `config.json` that is read, in bytes.
const MOST_CONFIG_BYTES: u64 = 16 << 20;

/// `config.json`: the settings of a run, and further data to compare and resume runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct SavedRun {
    /// Version of the program that started it.
    pub version: String,
    /// [`GENERATOR`](crate::ops::random::GENERATOR) of that version; missing in runs of early versions.
    #[serde(default = "first_generator")]
    pub generator: u32,
    /// The settings.
    #[serde(flatten)]
    pub config: TrainConfig,
    /// The device of the last run, in one line.
    pub ran_on: String,
    /// Source of the data.
    pub source: String,
    /// File of initial weights.
    pub init: Option<PathBuf>,
    /// Start time in seconds since 1970; missing in runs of early versions.
    #[serde(default)]
    pub began: Option<f64>,
    /// CRC-32 of the images and labels.
    #[serde(default)]
    pub checksum: Option<u32>,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// The classes.
    pub class_names: Vec<String>,
    /// Normalization of pixels.
    #[serde(rename = "preprocessing")]
    pub normalization: Normalization,
    /// The network's description; `None` in runs of early versions, whose networks are built in.
    #[serde(default)]
    pub network: Option<String>,
    /// Plans chosen by autotuning, by layer and product; the default plans compute the others.
    pub plans: BTreeMap<String, String>,
}

/// The generator of versions that did not store it.
fn first_generator() -> u32 {
    1
}

impl SavedRun {
    /// Reads a run folder's `config.json`.
    ///
    /// # Errors
    /// If it does not exist or does not have this version's format.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("config.json");
        let bad = |message: String| Error::Resume { run: run.to_owned(), message, remedy: Remedy::OtherFolder };
        if !path.is_file() {
            return Err(bad("it has no config.json".into()));
        }
        let bytes = read_at_most(&path, MOST_CONFIG_BYTES)?.ok_or_else(|| bad("config.json is too large".into()))?;
        SavedRun::parse(&bytes).map_err(|e| bad(format!("config.json: {e}")))
    }

    pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)?;
        // Early versions stored the device's description under the key that is now the requested device.
        if !fields.contains_key("ran_on")
            && let Some(device) = fields.remove("device")
        {
            fields.insert("ran_on".into(), device);
        }
        serde_json::from_value(fields.into())
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.train_images.div_ceil(self.config.batch_size.max(1)).max(1) as u64
    }

    /// A run's progress at the end of these metrics, as text: whole epochs, or steps.
    pub fn done(&self, last: &EpochMetrics) -> String {
        match last.steps.is_multiple_of(self.steps_per_epoch()) {
            true => counted(last.steps / self.steps_per_epoch(), "epoch"),
            false => counted(last.steps, "step"),
        }
    }

    /// The shape of the images that it trains on.
    ///
    /// # Errors
    /// If its network's description, or a setting, cannot be used.
    pub fn image_shape(&self) -> Result<ImageShape> {
        match self.described(None)? {
            Some(architecture) => Ok(architecture.input),
            None => self.config.image_shape(),
        }
    }

    /// The network's name.
    pub fn network_name(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Named {
            name: String,
        }
        let named = |text: &String| toml::from_str(text).ok().map(|Named { name }| name);
        self.network.as_ref().and_then(named).unwrap_or_else(|| self.config.arch.clone())
    }

    /// The network as described when the run was started, even if the file has changed since.
    pub(super) fn described(&self, classes: Option<usize>) -> Result<Option<Architecture>> {
        let read = |text: &String| DescriptionReader::default().read("config.json", text, classes);
        self.network.as_ref().map(read).transpose()
    }

    /// Checks the settings as [`TrainConfig::validate`] does.
    pub(super) fn validate(&self) -> Result<()> {
        match self.described(None)? {
            Some(architecture) => self.config.validate_for(&architecture),
            None => self.config.validate(),
        }
    }

    /// The network that it trains, on these images.
    ///
    /// # Errors
    /// If its description, or a setting, cannot be used.
    pub(super) fn architecture(&self, train_set: &Dataset) -> Result<Architecture> {
        let architecture = match self.described(Some(train_set.num_classes()))? {
            Some(architecture) => architecture,
            None => self.config.architecture(train_set)?,
        };
        architecture.with_normalization(self.normalization.clone())
    }

    /// The settings as a TOML file that can start the run again, with its initial weights.
    ///
    /// # Errors
    /// [`Error::Setting`], for what TOML cannot hold.
    pub(super) fn settings(&self) -> Result<String> {
        let settings = self.config.to_toml()?;
        let Some(init) = &self.init else { return Ok(settings) };
        let Some(path) = init.to_str() else {
            let message =
                format!("{} is a path that is not UTF-8, which settings cannot hold: rename it", init.display());
            return Err(Error::field("init", message));
        };
        Ok(format!("init = {}\n{settings}", toml::Value::from(path)))
    }

    /// The plans that it was started with; an error is a message.
    pub(super) fn plans(&self, architecture: &Architecture, batch: usize) -> std::result::Result<Plans, String> {
        let mut plans = Plans::default();
        for (layer, direction, geometry) in problems(architecture, batch, true).map_err(|e| e.to_string())? {
            if let Some(name) = self.plans.get(&problem_name(&layer, direction)) {
                let plan: Plan = name.parse().map_err(|_| format!("unknown plan `{name}`"))?;
                plans.choose(direction, &geometry, plan);
            }
        }
        Ok(plans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::random::GENERATOR;
    use crate::tensor::{DeviceChoice, ImageShape, ImageSize};

    fn saved() -> SavedRun {
        SavedRun {
            version: "0.1.0".into(),
            generator: GENERATOR,
            config: TrainConfig {
                device: Some(DeviceChoice::Cpu),
                image_size: Some(ImageSize { height: 48, width: 40 }),
                gray: Some(true),
                ..TrainConfig::fast("lenet5").unwrap()
            },
            ran_on: "CPU, 2 threads".into(),
            source: "images".into(),
            init: None,
            began: None,
            checksum: Some(7),
            train_images: 65,
            test_images: 20,
            class_names: vec!["cat".into(), "dog".into()],
            normalization: Normalization::new([0.1; 3], [0.3; 3]),
            network: None,
            plans: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_saved_is_read() {
        assert_eq!(SavedRun::parse(&serde_json::to_vec(&saved()).unwrap()).unwrap(), saved());
    }

    #[test]
    fn runs_of_early_versions_are_read() {
        let mut early = serde_json::to_value(saved()).unwrap();
        let fields = early.as_object_mut().unwrap();
        let device = fields.remove("ran_on").unwrap();
        let newer = ["backend", "began", "checksum", "generator", "gray", "image_size", "profile", "test_on_training"];
        for name in newer {
            fields.remove(name).unwrap();
        }
        fields.insert("device".into(), device);
        let read = SavedRun::parse(&serde_json::to_vec(&early).unwrap()).unwrap();
        assert_eq!((read.ran_on.as_str(), read.config.device, read.checksum), ("CPU, 2 threads", None, None));
        assert_eq!(read.config.image_shape().unwrap(), ImageShape::CIFAR);
        assert_eq!(read.generator, 1);
    }

    #[test]
    fn a_part_of_an_epoch_is_done_in_steps() {
        let metrics = |epoch, steps| EpochMetrics {
            epoch,
            steps,
            lr: None,
            train_loss: 1.0,
            train_accuracy: 0.5,
            test_loss: 1.0,
            test_accuracy: 0.5,
            images_per_second: 1.0,
            seconds: 1.0,
            skipped_steps: 0,
            loss_scaling: None,
        };
        let done = [(1, 1), (1, 2), (2, 3), (2, 4)].map(|(epoch, steps)| saved().done(&metrics(epoch, steps)));
        assert_eq!(done, ["1 step", "1 epoch", "3 steps", "2 epochs"]);
    }
}
