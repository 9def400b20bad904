//! `cifar-gpu tune`, and the autotuning option of other commands.

use cifar_gpu::nn::Architecture;
use cifar_gpu::ops::conv2d::tune::Verdict;
use cifar_gpu::ops::conv2d::{Direction, Plan, Plans};
use cifar_gpu::tensor::Precision;
use cifar_gpu::train::{Autotune, Search, TrainConfig, Tuning, autotune, default_cache};
use cifar_gpu::weights::architecture;
use cifar_gpu::{Device, Error, Result};
use clap::ValueEnum;

use super::common::{DeviceArguments, ShapeArguments, architecture_names};
use super::tally::{Tally, warn_of_wrong};
use super::terminal::{print, print_json};

/// Extent of the search for kernels.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AutotuneChoice {
    /// No search: the default kernels of the kind of device
    Off,
    /// The most promising candidates, for about 8 seconds
    Quick,
    /// All candidates
    Full,
}

impl AutotuneChoice {
    fn mode(self) -> Autotune {
        match self {
            AutotuneChoice::Off => Autotune::Off,
            AutotuneChoice::Quick => Autotune::Quick,
            AutotuneChoice::Full => Autotune::Full,
        }
    }
}

/// Width of activations, of their cotangents, and of the weights that products read.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// 32 bits
    F32,
    /// 16 bits in memory; sums, parameters and updates stay at 32, and the loss is scaled
    F16,
}

impl PrecisionName {
    pub fn precision(self) -> Precision {
        match self {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::F16 => Precision::F16,
        }
    }
}

/// The options of commands that run a network.
#[derive(clap::Args)]
pub struct PlanArguments {
    /// Width of activations and of the weights that products read [default: f32]
    #[arg(long, value_enum, value_name = "WIDTH")]
    precision: Option<PrecisionName>,
    /// Time kernels on this device before the first step and cache the fastest [default: quick on a GPU, else off]
    #[arg(long, value_enum, value_name = "HOW MUCH")]
    autotune: Option<AutotuneChoice>,
}

impl PlanArguments {
    /// The plans for a network on a device; reports the trials.
    pub fn plans(&self, device: &Device, architecture: &Architecture, batch: usize, training: bool) -> Result<Plans> {
        let mode = self.mode().unwrap_or_else(|| Autotune::usual(device));
        let cache = default_cache();
        let mut tally = Tally::default();
        let search = Search { mode, cache: cache.as_deref(), again: false };
        let dtype = self.precision().dtype();
        let plans = autotune(device, dtype, architecture, batch, training, search, &mut |t| tally.add(t))?;
        tally.tell();
        Ok(plans)
    }

    /// Width of activations.
    pub fn precision(&self) -> Precision {
        self.precision.map_or(Precision::F32, PrecisionName::precision)
    }

    /// Applies the options to a run's settings.
    pub fn apply(&self, config: &mut TrainConfig) {
        config.precision = self.precision.map_or(config.precision, PrecisionName::precision);
        config.autotune = self.mode().or(config.autotune);
    }

    /// The requested search.
    pub fn mode(&self) -> Option<Autotune> {
        self.autotune.map(AutotuneChoice::mode)
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cifar-gpu tune --arch ygnet --batch-size 64 --device gpu")]
pub struct Tune {
    /// Network, or FILE.toml that describes one
    #[arg(long, default_value = "ygnet", value_parser = architecture_names())]
    arch: String,
    #[command(flatten)]
    shape: ShapeArguments,
    /// Images per step
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Extent of the search
    #[arg(long, value_enum, default_value = "full", value_name = "HOW MUCH")]
    autotune: AutotuneChoice,
    /// Width of activations and of the weights that products read
    #[arg(long, value_enum, default_value = "f32", value_name = "WIDTH")]
    precision: PrecisionName,
    /// Ignore cached choices and search again
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    device: DeviceArguments,
    /// Print a JSON array with one object per product
    #[arg(long)]
    json: bool,
}

/// What `tune --json` prints for a product.
#[derive(serde::Serialize)]
struct Product {
    layer: String,
    kernel: &'static str,
    gflop: f64,
    chosen: String,
    /// Empty if the choice was cached.
    trials: Vec<Trial>,
}

#[derive(serde::Serialize)]
struct Trial {
    plan: String,
    /// Null if it was not timed.
    gflops: Option<f64>,
    /// Why it was not timed.
    note: Option<String>,
}

impl Product {
    fn of(tuning: &Tuning) -> Self {
        let gflop = gflop(tuning);
        let trial = |(plan, verdict): &(Plan, Verdict)| {
            let (gflops, note) = match verdict {
                Verdict::Timed(time) => (Some(gflop / time.as_secs_f64()), None),
                other => (None, Some(figure(gflop, other))),
            };
            Trial { plan: plan.to_string(), gflops, note }
        };
        Product {
            layer: tuning.layer.to_string(),
            kernel: tuning.direction.kernel(),
            gflop,
            chosen: tuning.chosen.to_string(),
            trials: tuning.trials.iter().map(trial).collect(),
        }
    }
}

impl Tune {
    pub fn run(self) -> Result<()> {
        if self.autotune == AutotuneChoice::Off {
            return Err(Error::field("autotune", "must be quick or full here"));
        }
        let architecture = self.shape.network(architecture(&self.arch, None)?)?;
        let device = self.device.open()?;
        let cache = default_cache();
        let search = Search { mode: self.autotune.mode(), cache: cache.as_deref(), again: self.again };
        let (mut printed, mut products) = (Ok(()), Vec::new());
        if !self.json {
            print(format_args!("| layer | product | GFLOP | chosen | GFLOP/s | others |\n|---|---|---|---|---|---|"))?;
        }
        autotune(
            &device,
            self.precision.precision().dtype(),
            &architecture,
            self.batch_size as usize,
            true,
            search,
            &mut |tuning| {
                warn_of_wrong(tuning);
                if self.json {
                    products.push(Product::of(tuning));
                } else if printed.is_ok() {
                    printed = print(row(tuning));
                }
            },
        )?;
        if self.json { print_json(&products) } else { printed }
    }
}

/// Floating-point operations of a product, in 10⁹.
fn gflop(tuning: &Tuning) -> f64 {
    1e-9 * tuning.geometry.flops() as f64
}

/// The outcome of a plan's trial; its speed is in GFLOP/s.
fn figure(gflop: f64, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Timed(time) => format!("{:.1}", gflop / time.as_secs_f64()),
        Verdict::Wrong(error) => format!("wrong by {error:e}"),
        Verdict::Failed(reason) => format!("failed: {reason}"),
        Verdict::Untried => "no time left".to_owned(),
    }
}

/// A line of the table.
fn row(tuning: &Tuning) -> String {
    let gflop = gflop(tuning);
    let direction = match tuning.direction {
        Direction::Forward => "forward",
        Direction::BackwardInput => "backward to input",
        Direction::BackwardWeight => "backward to weight",
    };
    let figure = |verdict| figure(gflop, verdict);
    let (chosen, others): (Vec<_>, Vec<_>) = tuning.trials.iter().partition(|(plan, _)| *plan == tuning.chosen);
    format!(
        "| {} | {direction} | {gflop:.2} | {} | {} | {} |",
        tuning.layer,
        tuning.chosen,
        chosen.first().map_or("remembered".to_owned(), |(_, verdict)| figure(verdict)),
        others.iter().map(|(plan, verdict)| format!("{plan} {}", figure(verdict))).collect::<Vec<_>>().join(", "),
    )
}
