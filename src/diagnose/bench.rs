//! Benchmarks of training and inference: times whole steps on random images.

use std::time::Duration;

use super::ceiling;
use crate::clock::Instant;

use rand::{Rng, RngExt};

use crate::data::{self, CIFAR10_CLASSES, Dataset};
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::nn::{Architecture, Network, Summary};
use crate::ops::conv2d::Plans;
use crate::ops::random::RandomStream;
use crate::tensor::cpu::peak_process_bytes;
use crate::tensor::{Device, ImageShape, ImageSize, Precision};
use crate::train::{DeviceDataset, Inference, StepMetrics, Stepper, TestTimeAugmentation, TrainConfig};
use crate::weights::architecture;
#[cfg(not(target_family = "wasm"))]
use crate::{
    ops::conv2d::DeviceKind,
    train::{check_memory, inference_bytes, training_bytes},
};

/// Number of the random stream for the images; training does not use it.
const IMAGE_STREAM: u32 = 1 << 17;
/// Number of images on the device; large batches repeat some.
const MOST_IMAGES: usize = 10_000;
/// Learning rate, small enough that training on random labels does not diverge.
const LEARNING_RATE: f64 = 1e-5;

/// The work of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// Batch assembly, forward, loss, backward and the published recipe's update, as in training.
    Train,
    /// Batch assembly and forward, as in evaluation.
    Infer,
}

/// Settings of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BenchConfig {
    /// Name of the architecture.
    pub arch: String,
    /// Height and width of the images; by default those of the architecture's description.
    pub image_size: Option<ImageSize>,
    /// Whether images are gray; by default as in the architecture's description.
    pub gray: Option<bool>,
    /// The work of a step.
    pub mode: Mode,
    /// Width of activations.
    pub precision: Precision,
    /// Images per step.
    pub batch_size: usize,
    /// Steps to time.
    pub steps: usize,
    /// Warm-up steps, which are not timed.
    pub warmup: usize,
    /// Steps per time measurement, at the end of which the device is waited for.
    pub steps_per_wait: usize,
}

impl BenchConfig {
    /// 20 training steps with 64 images each, timed one by one, after three warm-up steps.
    pub fn new(arch: impl Into<String>) -> Self {
        BenchConfig {
            arch: arch.into(),
            image_size: None,
            gray: None,
            mode: Mode::Train,
            precision: Precision::F32,
            batch_size: 64,
            steps: 20,
            warmup: 3,
            steps_per_wait: 1,
        }
    }

    /// Checks the settings, and returns what is trained or run.
    fn subject(&self) -> Result<(TrainConfig, Architecture)> {
        for (field, value) in
            [("batch_size", self.batch_size), ("steps", self.steps), ("steps_per_wait", self.steps_per_wait)]
        {
            if value == 0 {
                return Err(Error::field(field, "must be at least 1"));
            }
        }
        let recipe = TrainConfig { precision: self.precision, ..TrainConfig::published(&self.arch)? };
        let architecture = architecture(&self.arch, None)?;
        let input = architecture.input.changed(self.image_size, self.gray)?;
        Ok((recipe, architecture.with_input(input)?))
    }
}

/// Distribution of the seconds per step.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct StepTimes {
    /// The shortest.
    pub best: f64,
    /// First quartile.
    pub quartile_1: f64,
    /// Median.
    pub median: f64,
    /// Third quartile.
    pub quartile_3: f64,
    /// The longest.
    pub worst: f64,
}

impl StepTimes {
    /// The distribution of durations; `None` if there are none.
    fn of(mut seconds: Vec<f64>) -> Option<Self> {
        seconds.sort_by(f64::total_cmp);
        let last = seconds.len().checked_sub(1)?;
        let at = |quarters: usize| {
            // Linear interpolation between two neighbors.
            let (whole, rest) = (last * quarters / 4, (last * quarters % 4) as f64 / 4.0);
            seconds[whole] + rest * (seconds[(whole + 1).min(last)] - seconds[whole])
        };
        Some(StepTimes { best: at(0), quartile_1: at(1), median: at(2), quartile_3: at(3), worst: at(4) })
    }
}

/// Results of a benchmark.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct BenchReport {
    /// Version of this program.
    pub version: &'static str,
    /// Name of the architecture.
    pub arch: String,
    /// Height, width and channels of the images.
    pub input: ImageShape,
    /// The work of a step.
    pub mode: Mode,
    /// The device in one line.
    pub device: String,
    /// Width of activations.
    pub precision: Precision,
    /// Images per step.
    pub batch_size: usize,
    /// Steps timed.
    pub steps: usize,
    /// Warm-up steps, which were not timed.
    pub warmup: usize,
    /// Steps per time measurement.
    pub steps_per_wait: usize,
    /// Images per second in the shortest step.
    pub best_images_per_second: f64,
    /// Images per second in the median step.
    pub median_images_per_second: f64,
    /// Seconds per step, including the wait for the device.
    pub step_seconds: StepTimes,
    /// Host seconds to prepare and submit a step; `None` on the CPU device.
    pub host_seconds: Option<StepTimes>,
    /// Floating-point operations a second in the median step: those of products, as direct convolutions would do them.
    pub flops_per_second: f64,
    /// The most that this GPU does, measured; see [`ceiling`]. `None` on the CPU device.
    pub ceiling_flops_per_second: Option<f64>,
    /// Peak device memory of tensors in bytes, where it is counted.
    pub peak_device_bytes: Option<u64>,
    /// Peak memory of the process in bytes, where the system reports it.
    pub peak_process_bytes: Option<u64>,
}

/// Runs and times steps on random images, with the convolution plans that `plans` returns for the network.
///
/// # Errors
/// If a setting cannot be used, memory does not suffice, or the device fails.
#[cfg(not(target_family = "wasm"))]
pub fn bench(
    config: &BenchConfig,
    device: &Device,
    plans: impl FnOnce(&Architecture) -> Result<Plans>,
) -> Result<BenchReport> {
    let (recipe, architecture) = config.subject()?;
    let kind = DeviceKind::of(device);
    let needed = match config.mode {
        Mode::Train => training_bytes(kind, &architecture, &recipe, config.batch_size)?,
        Mode::Infer => inference_bytes(kind, config.precision, &architecture, config.batch_size)?,
    };
    check_memory(device, needed, format!("{} with batches of {} images", config.arch, config.batch_size))?;
    block_on(bench_async(config, device, plans(&architecture)?))
}

/// [`bench()`] where the thread must not block, with these plans. Whether memory suffices is not checked before.
///
/// # Errors
/// As for [`bench()`].
pub async fn bench_async(config: &BenchConfig, device: &Device, plans: Plans) -> Result<BenchReport> {
    let (recipe, architecture) = config.subject()?;
    let input = architecture.input;
    let summary = Summary::new(&architecture)?;
    let flops_per_image = match config.mode {
        Mode::Train => summary.training_flops,
        Mode::Infer => summary.forward_flops,
    };
    let dataset = random_images(input, config.batch_size.min(MOST_IMAGES))?;
    let images = DeviceDataset::new(device, &dataset, &architecture.normalization)?;
    let mut network = Network::new(architecture, device, recipe.seed)?;
    network.set_plans(plans);
    network.set_precision(config.precision)?;
    let mut runner = Runner::new(config, &recipe, &network, &images)?;
    let (mut step_seconds, mut host_seconds) = (Vec::new(), Vec::new());
    runner.run(config.warmup, |_| ()).await?;
    device.synchronize_async().await?;
    let mut left = config.steps;
    while left > 0 {
        let steps = left.min(config.steps_per_wait);
        let start = Instant::now();
        runner.run(steps, |host| host_seconds.push(host.as_secs_f64())).await?;
        device.synchronize_async().await?;
        step_seconds.push(start.elapsed().as_secs_f64() / steps as f64);
        left -= steps;
    }
    // A non-finite loss would make the figures meaningless.
    runner.finish().await?;
    let gpu = match device {
        Device::Cpu(_) => None,
        Device::Gpu(gpu) => Some(gpu),
    };
    // Before memory is taken for other purposes.
    let peak_device_bytes = gpu.map(|gpu| gpu.memory().peak_bytes);
    let ceiling_flops_per_second = match gpu {
        Some(gpu) => Some(ceiling::flops_per_second_async(gpu).await?),
        None => None,
    };
    // With more steps in flight, submitting one would wait for an earlier one.
    let host_is_free = gpu.is_some() && config.steps_per_wait == 1;
    let no_steps = || Error::field("steps", "must be at least 1");
    let step_seconds = StepTimes::of(step_seconds).ok_or_else(no_steps)?;
    Ok(BenchReport {
        version: env!("CARGO_PKG_VERSION"),
        arch: config.arch.clone(),
        input,
        mode: config.mode,
        precision: config.precision,
        device: device.description(),
        batch_size: config.batch_size,
        steps: config.steps,
        warmup: config.warmup,
        steps_per_wait: config.steps_per_wait,
        best_images_per_second: config.batch_size as f64 / step_seconds.best,
        median_images_per_second: config.batch_size as f64 / step_seconds.median,
        step_seconds,
        host_seconds: StepTimes::of(host_seconds).filter(|_| host_is_free),
        flops_per_second: (flops_per_image * config.batch_size as u64) as f64 / step_seconds.median,
        ceiling_flops_per_second,
        peak_device_bytes,
        peak_process_bytes: peak_process_bytes(),
    })
}

/// Runs the steps.
enum Work<'a> {
    Train(Box<Stepper<'a>>),
    Infer(Box<Inference<'a>>),
}

/// Runs steps on the first images of a data set.
struct Runner<'a> {
    device: &'a Device,
    indices: Vec<u32>,
    work: Work<'a>,
}

impl<'a> Runner<'a> {
    fn new(
        config: &BenchConfig,
        recipe: &TrainConfig,
        network: &'a Network,
        images: &'a DeviceDataset,
    ) -> Result<Self> {
        let device = network.device();
        let work = match config.mode {
            Mode::Infer => {
                Work::Infer(Box::new(Inference::new(network, images, config.batch_size, TestTimeAugmentation::None)?))
            }
            Mode::Train => {
                let optimizer = recipe.optimizer(network)?;
                Work::Train(Box::new(Stepper::new(network, images, optimizer, recipe.step_settings())?))
            }
        };
        let indices = (0..images.len() as u32).cycle().take(config.batch_size).collect();
        Ok(Runner { device, indices, work })
    }

    /// Submits `count` steps; `handed_over` is called with the host time of each.
    async fn run(&mut self, steps: usize, mut handed_over: impl FnMut(Duration)) -> Result<()> {
        for _ in 0..steps {
            let start = Instant::now();
            match &mut self.work {
                Work::Train(stepper) => stepper.step_async(&self.indices, 0, LEARNING_RATE).await?,
                Work::Infer(inference) => {
                    inference.logits(&self.indices)?;
                    self.device.submit()?;
                }
            }
            handed_over(start.elapsed());
            if let Work::Train(stepper) = &mut self.work
                && stepper.is_full()
            {
                stepper.drain_async().await?.iter().try_for_each(StepMetrics::check)?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        if let Work::Train(stepper) = &mut self.work {
            stepper.drain_async().await?.iter().try_for_each(StepMetrics::check)?;
        }
        Ok(())
    }
}

/// Images of random bytes with random labels.
fn random_images(shape: ImageShape, count: usize) -> Result<Dataset> {
    data::check_memory(count as u64, shape)?;
    let mut random = RandomStream::new(1, IMAGE_STREAM);
    let mut images = vec![0; count * shape.bytes()];
    random.fill_bytes(&mut images);
    let labels = (0..count).map(|_| random.random_range(..CIFAR10_CLASSES.len() as u16)).collect();
    Ok(Dataset::new(shape, images, labels, CIFAR10_CLASSES.map(str::to_owned).to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::batch_assembly::Normalization;

    #[test]
    fn quartiles_lie_between_neighbors() {
        let times = StepTimes::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(times, StepTimes { best: 1.0, quartile_1: 1.75, median: 2.5, quartile_3: 3.25, worst: 4.0 });
        let one = StepTimes::of(vec![7.0]).unwrap();
        assert_eq!((one.best, one.median, one.worst), (7.0, 7.0, 7.0));
        assert_eq!(StepTimes::of(Vec::new()), None);
    }

    #[test]
    fn every_step_is_run_and_waited_for_in_groups() {
        // More steps at a time than the metrics' history holds.
        let mut config =
            BenchConfig { batch_size: 2, steps: 41, warmup: 1, steps_per_wait: 40, ..BenchConfig::new("lenet5") };
        let device = Device::cpu();
        let recipe = TrainConfig::published(&config.arch).unwrap();
        let images = random_images(ImageShape::CIFAR, 2).unwrap();
        let images = DeviceDataset::new(&device, &images, &Normalization::new([0.5; 3], [0.5; 3])).unwrap();
        let network = Network::new(Architecture::by_name("lenet5", 10).unwrap(), &device, 1).unwrap();
        let mut runner = Runner::new(&config, &recipe, &network, &images).unwrap();
        let mut heard = 0;
        block_on(runner.run(40, |_| heard += 1)).unwrap();
        let Work::Train(stepper) = &runner.work else { panic!("it should train") };
        assert_eq!((heard, stepper.next_step()), (40, 40));
        let report = bench(&config, &device, |_| Ok(Plans::default())).unwrap();
        assert!(report.step_seconds.best > 0.0 && report.host_seconds.is_none());
        let other = BenchConfig { image_size: "20x16".parse().ok(), gray: Some(true), steps: 1, ..config.clone() };
        assert_eq!(bench(&other, &device, |_| Ok(Plans::default())).unwrap().input.axes(), [20, 16, 1]);
        config.steps_per_wait = 0;
        assert!(bench(&config, &device, |_| Ok(Plans::default())).unwrap_err().to_string().contains("steps_per_wait"));
    }
}
