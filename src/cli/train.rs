//! `cifar-gpu train`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cifar_gpu::optim::Schedule;
use cifar_gpu::train::{Optimization, RunFolder, TrainConfig, train};
use cifar_gpu::{Error, Result};
use clap::ValueEnum;

use super::common::{DataChoice, DeviceArguments, counted, print, print_json, say};
use super::progress::TrainProgress;
use super::tune::PlanArguments;

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Sgd,
    Adam,
    Adamw,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// The learning rate stays
    Constant,
    /// It is divided by 1 + 5e-5 · step
    TimeDecay,
    /// It falls to a tenth after 4/7, 5/7 and 6/7 of the run
    Step,
    /// It falls to zero along half a cosine
    Cosine,
    /// It rises tenfold in the first quarter of the run, then falls to nothing
    OneCycle,
}

impl ScheduleName {
    fn schedule(self) -> Schedule {
        match self {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::TimeDecay => Schedule::TimeDecay { decay: 5e-5 },
            ScheduleName::Step => Schedule::Step { milestones: [4.0 / 7.0, 5.0 / 7.0, 6.0 / 7.0], factor: 0.1 },
            ScheduleName::Cosine => Schedule::Cosine,
            ScheduleName::OneCycle => Schedule::OneCycle,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Augmentation {
    /// Images as they are
    None,
}

#[derive(clap::Args)]
#[command(after_help = "\
Settings that are not given are those of the recipe that the architecture was published with; on the synthetic set, those
of a short recipe made for it.

Examples:
  cifar-gpu train --arch ygnet
  cifar-gpu train --arch lenet5 --data data/cifar10 --epochs 10 --batch-size 64 --lr 0.02 --schedule one-cycle
  cifar-gpu train --arch lenet5 --init runs/lenet5-1/weights.safetensors --device gpu:1")]
pub struct Train {
    /// Network: ygnet, ygnet-final-relu, lenet5 or all-cnn-c
    #[arg(long)]
    arch: String,
    /// Data folder in CIFAR-10's binary layout, or `synthetic`; if none is given and none is found, synthetic
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    #[command(flatten)]
    device: DeviceArguments,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Images of a step
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Optimiser
    #[arg(long, value_enum)]
    optimizer: Option<OptimizerName>,
    /// Base learning rate
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Momentum (SGD)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// Look ahead along the velocity (SGD)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    nesterov: Option<bool>,
    /// Weight decay
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// How the learning rate changes
    #[arg(long, value_enum)]
    schedule: Option<ScheduleName>,
    /// Changes made to training images
    #[arg(long, value_enum, default_value = "none")]
    augment: Augmentation,
    /// Weights to start from
    #[arg(long, value_name = "WEIGHTS")]
    init: Option<PathBuf>,
    /// Seed of weights, order and dropout
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Take the training images in order
    #[arg(long)]
    no_shuffle: bool,
    /// Switch dropout off
    #[arg(long)]
    no_dropout: bool,
    /// Train on the first N images only
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Test on the first N images only
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Stop after N steps
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Write loss and learning rate of every Nth step into metrics.jsonl
    #[arg(long, default_value_t = 0, value_name = "N")]
    log_every: u64,
    /// Folder for the results, which must not exist [default: runs/ARCH-N]
    #[arg(long, value_name = "RUN_DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    plans: PlanArguments,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Train {
    pub fn run(self) -> Result<()> {
        let data = DataChoice::new(self.data.as_deref());
        let config = self.config(&data)?;
        config.validate()?;
        let out = self.out.clone().unwrap_or_else(|| RunFolder::unused_path(&config.arch));
        if out.exists() {
            return Err(Error::RunFolderExists(out));
        }
        let splits = data.load()?;
        let device = self.device.open()?;
        let stop = stop_on_interrupt()?;
        let mut progress = TrainProgress::new();
        let result = train(&config, &device, &splits, self.init.as_deref(), &out, &stop, &mut progress);
        drop(progress);
        let outcome = result?;
        if self.json {
            return print_json(&outcome);
        }
        print(format_args!(
            "test accuracy {:.2} % after {}; weights, metrics and configuration are in {}",
            100.0 * outcome.last.test_accuracy,
            counted(outcome.last.epoch.into(), "epoch"),
            outcome.run.display()
        ))
    }

    fn config(&self, data: &DataChoice) -> Result<TrainConfig> {
        let Augmentation::None = self.augment;
        let recipe = match data {
            DataChoice::Synthetic => TrainConfig::practice(&self.arch)?,
            DataChoice::Folder(_) => TrainConfig::published(&self.arch)?,
        };
        Ok(TrainConfig {
            arch: self.arch.clone(),
            epochs: self.epochs.unwrap_or(recipe.epochs),
            batch_size: self.batch_size.unwrap_or(recipe.batch_size),
            optimizer: self.optimizer.map_or(recipe.optimizer, |name| match name {
                OptimizerName::Sgd => Optimization::Sgd,
                OptimizerName::Adam => Optimization::Adam,
                OptimizerName::Adamw => Optimization::AdamW,
            }),
            lr: self.lr.unwrap_or(recipe.lr),
            momentum: self.momentum.unwrap_or(recipe.momentum),
            nesterov: self.nesterov.unwrap_or(recipe.nesterov),
            weight_decay: self.weight_decay.unwrap_or(recipe.weight_decay),
            schedule: self.schedule.map_or(recipe.schedule, ScheduleName::schedule),
            seed: self.seed,
            shuffle: !self.no_shuffle,
            dropout: recipe.dropout && !self.no_dropout,
            limit_train: self.limit_train,
            limit_test: self.limit_test,
            max_steps: self.max_steps,
            log_every: self.log_every,
            autotune: self.plans.mode(),
            precision: self.plans.precision(),
        })
    }
}

/// A flag that the first interrupt sets; the second ends the program at once.
fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        say("stopping soon; once more to stop at once, without saving");
    })
    .map_err(|e| Error::Setting(format!("cannot catch interrupts: {e}")))?;
    Ok(stop)
}
