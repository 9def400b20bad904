//! `cifar-gpu train`

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cifar_gpu::data::Splits;
use cifar_gpu::gpu::GpuError;
use cifar_gpu::report::Reporter;
use cifar_gpu::run::{Outcome, SavedRun, Sources, recover, resume, train};
use cifar_gpu::train::{OnDeviceLoss, TrainConfig};
use cifar_gpu::{Device, Error, Result};

use super::dataset::DataChoice;
use super::progress::TrainProgress;
use super::settings::{NewRun, Settings, decided_by_overfitting, settled};
use super::signals::stop_on_signals;
use super::terminal::{print, print_json, warn};
use crate::words::counted;

/// Attempts to open a device that was lost.
const OPENING_ATTEMPTS: u32 = 5;
/// Pause before each but the first.
const OPENING_PAUSE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(after_help = "\
Settings that are not given are those of the recipe that the architecture was published with; on the synthetic set, those of a short recipe made for it.

Examples:
  cifar-gpu train --arch ygnet
  cifar-gpu train --arch lenet5 --data photographs --recipe fast
  cifar-gpu train --arch ygnet-bn --data photographs --image-size 64 --gray
  cifar-gpu train --arch ygnet --epochs 30 --schedule one-cycle --lr 0.05 --augment flip-crop --label-smoothing 0.1
  cifar-gpu train --resume runs/ygnet-1
  cifar-gpu train --config runs/ygnet-1/config.toml --seed 2
  cifar-gpu train --arch lenet5 --init runs/lenet5-1/weights.safetensors --device gpu")]
pub struct Train {
    #[command(flatten)]
    settings: Settings,
    /// Resume the run in this folder from its newest checkpoint, on the same device, as if it had not been interrupted
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = settled(), conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Stop after N steps
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Time every kernel of some early steps: prints a table and writes a trace that Perfetto opens
    #[arg(long)]
    profile: bool,
    /// Sanity check: overfit the first batch in 200 epochs of one step, with Adam at 1e-3 unless another optimizer or learning rate
    /// is given
    #[arg(long, conflicts_with_all = decided_by_overfitting(), conflicts_with = "resume")]
    overfit_one_batch: bool,
    /// Folder for the results, which must not exist [default: runs/ARCH-N]
    #[arg(long, value_name = "RUN_DIR")]
    out: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Train {
    pub fn run(self) -> Result<()> {
        let outcome = match &self.resume {
            Some(run) => self.resume(run)?,
            None => self.begin()?,
        };
        if self.json {
            print_json(&outcome)?;
        }
        if self.overfit_one_batch && outcome.last.test_accuracy < 1.0 {
            return Err(Error::NotOverfit { loss: outcome.last.test_loss });
        }
        if self.json {
            return Ok(());
        }
        if self.overfit_one_batch {
            return print(format_args!("overfit one batch: loss {:.4}", outcome.last.test_loss));
        }
        let done = match outcome.is_whole_epoch {
            true => counted(outcome.last.epoch.into(), "epoch"),
            false => counted(outcome.last.steps, "step"),
        };
        print(format_args!(
            "{} accuracy {:.2} % after {done}; weights, metrics and configuration are in {}",
            outcome.tested_on,
            100.0 * outcome.last.test_accuracy,
            outcome.run.display()
        ))?;
        match outcome.tta_accuracy {
            Some(share) => {
                print(format_args!("{} accuracy {:.2} % with test-time augmentation", outcome.tested_on, 100.0 * share))
            }
            None => Ok(()),
        }
    }

    fn begin(&self) -> Result<Outcome> {
        let NewRun { mut config, data, init } = self.settings.new_run(self.max_steps, self.overfit_one_batch)?;
        config.profile |= self.profile;
        // Fail before time is spent on reading images.
        if let Some(taken) = self.out.as_ref().filter(|out| out.exists()) {
            return Err(Error::RunFolderExists(taken.clone()));
        }
        let splits = data.load(config.image_shape()?, config.labels)?;
        let device = self.settings.device.open_for(&config)?;
        let stop = stop_on_signals()?;
        let sources = || Sources { splits: &splits, init: init.as_deref(), out: self.out.as_deref() };
        let begin =
            |device: Device| train(&config, &device, sources(), &stop, &mut Reporter::new(&mut TrainProgress::new()));
        let description = device.description();
        let begun = begin(device);
        if config.on_device_loss == OnDeviceLoss::Stop {
            return begun;
        }
        recover(begun, |loss, run| {
            let device = reopen(loss, &description, || self.settings.device.open_for(&config))?;
            match run {
                Some(run) => self.go_on(run, SavedRun::read(run)?, device, &splits, &stop),
                None => begin(device),
            }
        })
    }

    fn resume(&self, run: &Path) -> Result<Outcome> {
        let mut saved = SavedRun::read(run)?;
        saved.config.profile = self.profile;
        let before = saved.config.clone();
        self.settings.apply_to_resumed(&mut saved.config)?;
        warn_of_stretched_schedule(&before, &saved);
        let data = DataChoice::new(Some(self.settings.data.as_ref().unwrap_or(&saved.config.data)));
        let splits = data.load(saved.image_shape()?, saved.config.labels)?;
        if self.settings.data.is_some() {
            (saved.config.data, saved.source) = (data.name(), splits.source.clone());
        }
        let device = self.settings.device.open_again(&saved)?;
        if device.description() != saved.ran_on {
            warn(format_args!("the run used {} before: results may differ in the last digits", saved.ran_on));
        }
        let stop = stop_on_signals()?;
        let (description, on_device_loss) = (device.description(), saved.config.on_device_loss);
        let resumed = self.go_on(run, saved, device, &splits, &stop);
        if on_device_loss == OnDeviceLoss::Stop {
            return resumed;
        }
        recover(resumed, |loss, _| {
            let saved = SavedRun::read(run)?;
            let device = reopen(loss, &description, || self.settings.device.open_again(&saved))?;
            self.go_on(run, saved, device, &splits, &stop)
        })
    }

    fn go_on(
        &self,
        run: &Path,
        saved: SavedRun,
        device: Device,
        splits: &Splits,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        resume(&saved, self.max_steps, &device, splits, run, stop, &mut Reporter::new(&mut TrainProgress::new()))
    }
}

/// Opens a device that was lost. A driver may need some seconds until it is there again.
fn reopen(loss: &Error, description: &str, open: impl Fn() -> Result<Device>) -> Result<Device> {
    warn(format_args!("{loss}; opening the device again"));
    for attempt in 0..OPENING_ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(OPENING_PAUSE);
        }
        // Where the lost device is missing, another one may be found, whose results would differ.
        if let Ok(device) = open()
            && device.description() == description
        {
            return Ok(device);
        }
    }
    Err(Error::Gpu(GpuError::NoAdapter(format!("{description} did not come back"))))
}

/// Warns if a run goes on for more epochs, which changes the learning rate from where it has come to.
fn warn_of_stretched_schedule(before: &TrainConfig, saved: &SavedRun) {
    let now = &saved.config;
    let steps_per_epoch = saved.train_images.div_ceil(now.batch_size.max(1)) as u64;
    let end = steps_per_epoch * u64::from(before.epochs);
    let (old, new) = (before.rate(end, steps_per_epoch), now.rate(end, steps_per_epoch));
    if before.epochs != now.epochs && (new - old).abs() > 0.01 * old {
        warn(format_args!(
            "the schedule is stretched to {} epochs: after {} epochs the learning rate is {new:.3e} instead of {old:.3e}; \
             --schedule-epochs {} keeps the old schedule and goes on with its last rate",
            now.epochs, before.epochs, before.epochs
        ));
    }
}
