//! Training under way: which step is next, what the steps so far came to, and the whole state as a [`Checkpoint`]. It knows no files, so
//! that run folders and browsers use the same loop.

mod checkpoint;
mod non_finite;
mod progress;

use std::time::Duration;

use rand::seq::SliceRandom;

pub use checkpoint::Checkpoint;
pub use progress::EpochMetrics;
#[cfg(test)]
pub(crate) use progress::Totals;
#[cfg(not(target_family = "wasm"))]
pub(crate) use progress::number_or_nan;
pub(crate) use progress::{Best, Progress};

use crate::classifier::Classifier;
use crate::clock::Instant;
use crate::data::{Dataset, Splits};
use crate::error::{Error, Result};
use crate::nn::{Architecture, Network};
use crate::ops::conv2d::Plans;
use crate::ops::random::RandomStream;
use crate::train::{
    DeviceDataset, Evaluation, NonFinite, StepMetrics, Stepper, TestTimeAugmentation, TrainConfig, Whitening,
    WhiteningFilters,
};
use non_finite::Skipping;

/// Maximum interval between readbacks of metrics, short enough for a responsive progress bar.
const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Number of the generator's stream that orders the images; those below initialize the weights.
const ORDER_STREAM: u32 = 1 << 16;

/// What a network is trained and tested on, on its device.
#[derive(Debug)]
pub struct TrainingSetup {
    train_set: Dataset,
    test_set: Dataset,
    network: Network,
    train_images: DeviceDataset,
    test_images: DeviceDataset,
}

impl TrainingSetup {
    /// The images of a data set that are trained and tested on.
    ///
    /// # Errors
    /// [`Error::Field`] if none would be left to train on.
    pub fn sets(config: &TrainConfig, splits: &Splits) -> Result<(Dataset, Dataset)> {
        let mut train_set = splits.train.clone();
        let test_set = match config.validation {
            Some(count) if count >= train_set.len() => {
                let message =
                    format!("{count} would leave none of the {} training images to train on", train_set.len());
                return Err(Error::field("validation", message));
            }
            Some(count) => train_set.split_off(count),
            None => splits.test.clone(),
        };
        let limited = |set: Dataset, limit: Option<usize>| set.truncated(limit.unwrap_or(usize::MAX));
        let train_set = limited(train_set, config.limit_train);
        let test_set = if config.test_on_training { train_set.clone() } else { test_set };
        Ok((train_set, limited(test_set, config.limit_test)))
    }

    /// A new network for these images, which are copied to the device.
    ///
    /// # Errors
    /// If the images do not fit the network, or the device cannot hold them.
    pub async fn new(
        config: &TrainConfig,
        device: &crate::tensor::Device,
        architecture: Architecture,
        plans: Plans,
        train_set: Dataset,
        test_set: Dataset,
    ) -> Result<Self> {
        let mut network = Network::new(architecture, device, config.seed)?;
        network.set_plans(plans);
        network.set_precision(config.precision)?;
        if config.whitening != Whitening::None {
            WhiteningFilters::of(&network, &train_set)?.apply_async(&network).await?;
        }
        let train_images = DeviceDataset::new(device, &train_set, &network.architecture().normalization)?;
        let test_images = DeviceDataset::new(device, &test_set, &network.architecture().normalization)?;
        Ok(TrainingSetup { train_set, test_set, network, train_images, test_images })
    }

    /// The network, whose weights training changes.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The images that it is trained on.
    pub fn train_set(&self) -> &Dataset {
        &self.train_set
    }

    /// The images that it is tested on.
    pub fn test_set(&self) -> &Dataset {
        &self.test_set
    }

    fn stepper(&self, config: &TrainConfig) -> Result<Stepper<'_>> {
        let class_weights = config.class_weights.of(&self.train_set);
        let teacher = config.teacher.as_ref().map(|teacher| teacher.open(&self.network)).transpose()?;
        config.stepper(&self.network, &self.train_images, class_weights, teacher)
    }
}

/// Steps that were done one after the other in an epoch.
#[derive(Debug)]
pub struct Stretch {
    /// Number of the epoch from 1.
    pub epoch: u32,
    /// The steps that count.
    pub steps: Vec<StepMetrics>,
    /// The steps that updated nothing, because this is not finite.
    pub skipped: Vec<(StepMetrics, NonFinite)>,
    /// Why training must end here, if it must: [`Error::Diverged`]. The steps before help to explain it.
    pub end: Result<()>,
}

/// Training under way.
#[derive(Debug)]
pub struct Training<'a> {
    config: &'a TrainConfig,
    setup: &'a TrainingSetup,
    stepper: Stepper<'a>,
    progress: Progress,
    skipping: Skipping,
    /// Of the current epoch's images.
    order: Vec<u32>,
    /// When this part of the run began, and the seconds of the parts before.
    began: Instant,
    seconds_before: f64,
}

impl<'a> Training<'a> {
    /// Training from the first step, or from a checkpoint on.
    ///
    /// # Errors
    /// If the device cannot hold the optimizer's state, or the checkpoint is one of other settings or another network.
    pub fn new(config: &'a TrainConfig, setup: &'a TrainingSetup, checkpoint: Option<&Checkpoint>) -> Result<Self> {
        let mut stepper = setup.stepper(config)?;
        if let Some(checkpoint) = checkpoint {
            stepper.restore(&checkpoint.state)?;
        }
        let progress = checkpoint.map_or_else(Progress::start, |checkpoint| checkpoint.progress.clone());
        Ok(Training {
            config,
            setup,
            stepper,
            order: epoch_order(config, setup.train_set.len(), progress.epoch),
            seconds_before: progress.seconds,
            progress,
            skipping: Skipping::default(),
            began: Instant::now(),
        })
    }

    /// What it trains.
    pub fn setup(&self) -> &'a TrainingSetup {
        self.setup
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.progress.step
    }

    /// The current epoch, from 1; after the last epoch, the one that would follow.
    pub fn epoch(&self) -> u32 {
        self.progress.epoch
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.setup.train_set.len().div_ceil(self.config.batch_size) as u64
    }

    /// Steps of the run.
    pub fn total_steps(&self) -> u64 {
        let all = self.steps_per_epoch() * u64::from(self.config.epochs);
        self.config.max_steps.map_or(all, |most| most.min(all))
    }

    /// Whether all steps of the epoch are done.
    pub fn is_epoch_complete(&self) -> bool {
        self.progress.steps_in_epoch >= self.steps_per_epoch()
    }

    /// Whether all steps of the run are done.
    pub fn is_complete(&self) -> bool {
        self.progress.epoch > self.config.epochs || self.progress.step >= self.total_steps()
    }

    /// The network as trained so far: with the averaged weights, if there is an average.
    pub fn result(&self) -> &Network {
        self.stepper.result()
    }

    /// Trains for about a quarter of a second, to the end of the epoch or of the run, or until `limit` steps are done, whatever comes
    /// first.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn advance(&mut self, limit: u64) -> Result<Stretch> {
        let (config, start) = (self.config, Instant::now());
        let limit = limit.min(self.total_steps());
        let epoch = self.progress.epoch;
        let batches = self.order.chunks(config.batch_size).skip(self.progress.steps_in_epoch as usize);
        for indices in batches {
            let step = self.progress.step;
            if step >= limit || self.stepper.is_full() || start.elapsed() > DRAIN_INTERVAL {
                break;
            }
            self.stepper.step_async(indices, epoch - 1, config.rate(step, self.steps_per_epoch())).await?;
            self.progress.step = step + 1;
            self.progress.steps_in_epoch += 1;
        }
        let steps = self.stepper.drain_async().await?;
        self.progress.epoch_seconds += start.elapsed().as_secs_f64();
        self.count(steps).await
    }

    /// Sorts the metrics of steps.
    async fn count(&mut self, steps: Vec<StepMetrics>) -> Result<Stretch> {
        let epoch = self.progress.epoch;
        let first_step = self.progress.step - self.progress.steps_in_epoch;
        let mut stretch = Stretch { epoch, steps: Vec::with_capacity(steps.len()), skipped: Vec::new(), end: Ok(()) };
        for step in steps {
            let indices_of = |step: u64| {
                let batch = self.order.chunks(self.config.batch_size).nth((step - first_step) as usize);
                batch.unwrap_or_default().to_vec()
            };
            match self.skipping.of(&step, self.config.on_non_finite, epoch, &self.stepper, indices_of).await {
                Ok(None) => {
                    self.progress.totals.add(&step);
                    stretch.steps.push(step);
                }
                Ok(Some(what)) => {
                    self.progress.totals.skipped += 1;
                    stretch.skipped.push((step, what));
                }
                Err(error) => {
                    stretch.end = Err(error);
                    break;
                }
            }
        }
        Ok(stretch)
    }

    /// Tests the network. `progress` receives the number of images done.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the test loss is not finite, and the device's errors.
    pub async fn test(&self, tta: TestTimeAugmentation, progress: impl FnMut(usize)) -> Result<Evaluation> {
        let TrainingSetup { train_set, test_set, test_images, .. } = self.setup;
        let batch_size = self.config.evaluation_batch(train_set.shape(), train_set.len());
        let classifier = Classifier::new(self.stepper.result(), test_set.class_names().to_vec())?;
        let test = classifier.evaluate_on_async(test_images, test_set, batch_size, tta, progress).await?;
        if !test.loss.is_finite() {
            let what = format!("the test loss became {}", test.loss);
            let place = self.stepper.broken_weights_async().await?;
            return Err(Error::Diverged { step: self.progress.step, what, place });
        }
        Ok(test)
    }

    /// The metrics of the epoch so far, with this result of the test.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn metrics(&self, test: &Evaluation) -> Result<EpochMetrics> {
        let Progress { totals, epoch, step, epoch_seconds, .. } = self.progress;
        Ok(EpochMetrics {
            epoch,
            steps: step,
            lr: Some(self.config.rate(step - 1, self.steps_per_epoch())),
            train_loss: totals.loss / totals.images as f64,
            train_accuracy: totals.correct as f64 / totals.images as f64,
            skipped_steps: totals.skipped,
            test_loss: test.loss,
            test_accuracy: test.accuracy(),
            images_per_second: totals.images as f64 / epoch_seconds,
            seconds: self.seconds(),
            loss_scaling: self.stepper.scaler_state_async().await?,
        })
    }

    /// Ends the epoch with this test accuracy, and says whether no epoch before was better.
    pub fn end_epoch(&mut self, test_accuracy: f64) -> bool {
        let is_best = self.progress.best.is_none_or(|best| test_accuracy > best.accuracy);
        if is_best {
            self.progress.best = Some(Best { accuracy: test_accuracy, step: self.progress.step });
        }
        self.progress.next_epoch();
        self.order = epoch_order(self.config, self.setup.train_set.len(), self.progress.epoch);
        is_best
    }

    /// Seconds since the start of the run, without the time before it was resumed.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.began.elapsed().as_secs_f64()
    }

    /// The complete state.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a weight is not finite, and the device's errors.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        let state = self.stepper.state_async().await?;
        // The last update may have made weights infinite.
        if !state.is_finite()
            && let Some(place) = self.stepper.broken_weights_async().await?
        {
            let what = "the weights are no longer finite".into();
            return Err(Error::Diverged { step: self.progress.step, what, place: Some(place) });
        }
        Ok(Checkpoint { progress: Progress { seconds: self.seconds(), ..self.progress.clone() }, state })
    }
}

/// The order of an epoch's images, a function of seed and epoch alone.
fn epoch_order(config: &TrainConfig, images: usize, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images as u32).collect();
    if config.shuffle {
        order.shuffle(&mut RandomStream::new(config.seed, ORDER_STREAM + epoch));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, epoch: u32, shuffle: bool) -> Vec<u32> {
        let config = TrainConfig { seed, shuffle, ..TrainConfig::fast("lenet5").unwrap() };
        epoch_order(&config, 1000, epoch)
    }

    #[test]
    fn an_epoch_sees_every_image_once_in_an_order_of_its_own() {
        for (seed, epoch) in [(1, 1), (1, 2), (2, 1)] {
            let mut sorted = order(seed, epoch, true);
            sorted.sort_unstable();
            assert_eq!(sorted, order(seed, epoch, false));
        }
        assert_ne!(order(1, 1, true), order(1, 2, true));
        assert_ne!(order(1, 1, true), order(2, 1, true));
    }

    /// Resumed runs must get the same order as before. If this changes, increment [`GENERATOR`](crate::ops::random::GENERATOR).
    #[test]
    fn the_order_is_pinned() {
        let bytes: Vec<u8> = order(1, 1, true).iter().flat_map(|index| index.to_le_bytes()).collect();
        let checksum = crc32fast::hash(&bytes);
        assert_eq!(checksum, 0x9299_13a0, "{checksum:#x}");
    }
}
