//! `cifar-gpu bench`

use cifar_gpu::Result;
use cifar_gpu::diagnose::bench::{BenchConfig, BenchReport, Mode, StepTimes, bench};
use cifar_gpu::nn::Architecture;
use clap::ValueEnum;

use super::common::{DeviceArguments, ShapeArguments, architecture_names};
use super::terminal::{print, print_json};
use super::tune::PlanArguments;
use crate::words::counted;

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    /// Whole training steps, with dropout and update
    Train,
    /// Forward passes
    Infer,
}

#[derive(clap::Args)]
#[command(after_help = "\
Images and labels are random. By default the device is waited for after every step, as in most benchmarks; with
--steps-per-wait 16 it runs behind the host, as in training.

Examples:
  cifar-gpu bench
  cifar-gpu bench --arch lenet5 --mode infer --batch-size 256 --steps 100
  cifar-gpu bench --device gpu --steps 64 --steps-per-wait 16 --json")]
pub struct Bench {
    /// Network, or FILE.toml that describes one
    #[arg(long, default_value = "ygnet", value_parser = architecture_names())]
    arch: String,
    #[command(flatten)]
    shape: ShapeArguments,
    /// What to time
    #[arg(long, value_enum, default_value = "train")]
    mode: ModeName,
    #[command(flatten)]
    device: DeviceArguments,
    /// Images per step
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch_size: u32,
    /// Steps to time
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Warm-up steps, which are not timed
    #[arg(long, default_value_t = 3, value_name = "N")]
    warmup: u32,
    /// Steps per time measurement, each of which ends with a wait for the device
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps_per_wait: u32,
    #[command(flatten)]
    plans: PlanArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let mut config = BenchConfig::new(self.arch);
        (config.image_size, config.gray) = (self.shape.image_size, self.shape.gray);
        config.mode = match self.mode {
            ModeName::Train => Mode::Train,
            ModeName::Infer => Mode::Infer,
        };
        config.precision = self.plans.precision();
        (config.batch_size, config.steps) = (self.batch_size as usize, self.steps as usize);
        (config.warmup, config.steps_per_wait) = (self.warmup as usize, self.steps_per_wait as usize);
        let device = self.device.open()?;
        let training = config.mode == Mode::Train;
        let plans = |architecture: &Architecture| self.plans.plans(&device, architecture, config.batch_size, training);
        let report = bench(&config, &device, plans)?;
        if self.json {
            return print_json(&report);
        }
        print(table(&report))
    }
}

/// The result as text.
fn table(report: &BenchReport) -> String {
    let what = match report.mode {
        Mode::Train => "training step",
        _ => "inference step",
    };
    let mut text = format!(
        "device       {}\n\
         timed        {} of {}, {} each ({}){}\n\
         images/s     {:.1} best, {:.1} median\n\
         time a step  {}",
        report.device,
        counted(report.steps as u64, what),
        report.arch,
        counted(report.batch_size as u64, "image"),
        report.input,
        if report.precision == cifar_gpu::tensor::Precision::F16 { ", 16-bit activations" } else { "" },
        report.best_images_per_second,
        report.median_images_per_second,
        times(&report.step_seconds),
    );
    if let Some(host) = &report.host_seconds {
        text += &format!("\n  host       {}", times(host));
    }
    let giga = |flops: f64| format!("{:.1} GFLOP/s", flops / 1e9);
    text += &format!("\narithmetic   {}", giga(report.flops_per_second));
    if let Some(ceiling) = report.ceiling_flops_per_second {
        let share = 100.0 * report.flops_per_second / ceiling;
        text += &format!(", {share:.0} % of the {} that it does at most, measured", giga(ceiling));
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let memory = [
        report.peak_device_bytes.map(|bytes| format!("{} MiB of tensors", mib(bytes))),
        report.peak_process_bytes.map(|bytes| format!("{} MiB of the process", mib(bytes))),
    ];
    let memory: Vec<_> = memory.into_iter().flatten().collect();
    if !memory.is_empty() {
        text += &format!("\npeak memory  {}", memory.join(", "));
    }
    text
}

fn times(times: &StepTimes) -> String {
    let [best, low, median, high, worst] =
        [times.best, times.quartile_1, times.median, times.quartile_3, times.worst].map(|seconds| 1e3 * seconds);
    format!("{median:.2} ms median, half within {low:.2} to {high:.2}, all within {best:.2} to {worst:.2}")
}
