//! The commands, one file each.

mod bench;
mod common;
mod data;
mod devices;
mod eval;
mod predict;
mod progress;
mod runs;
mod settings;
mod summary;
mod train;
mod tune;

use std::process::ExitCode;

use cifar_gpu::Error;
use clap::{Parser, Subcommand};

use common::say;

/// Train CNN image classifiers on any GPU, or without one.
#[derive(Parser)]
#[command(name = "cifar-gpu", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cifar-gpu train --arch lenet5 --epochs 3 --batch-size 64 --lr 0.01
  cifar-gpu eval --weights runs/lenet5-1/weights.safetensors
  cifar-gpu predict --weights runs/lenet5-1/weights.safetensors cat.jpg
  cifar-gpu data import cifar10.tar.gz data/cifar10";

#[derive(Subcommand)]
enum Command {
    /// Train a network and write its weights and metrics into a run folder
    Train(train::Train),
    /// Measure a network's accuracy on a data set
    Eval(eval::Eval),
    /// List past runs, or compare some
    Runs(runs::Runs),
    /// Say what is on pictures
    Predict(predict::Predict),
    /// Time training or inference on random images
    Bench(bench::Bench),
    /// List the GPUs that can be used
    Devices(devices::Devices),
    /// Show a network's layers, parameters, arithmetic and memory
    Summary(summary::Summary),
    /// Try the kernels of a network's convolutions on a device and show the figures
    Tune(tune::Tune),
    /// Make data sets
    Data(data::Data),
}

/// Runs the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted after saving.
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Train(command) => command.run(),
        Command::Eval(command) => command.run(),
        Command::Runs(command) => command.run(),
        Command::Predict(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Devices(command) => command.run(),
        Command::Summary(command) => command.run(),
        Command::Tune(command) => command.run(),
        Command::Data(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(interrupted @ Error::Interrupted { .. }) => {
            say(interrupted);
            ExitCode::from(130)
        }
        Err(error) => {
            // One line, whatever a driver or decoder had to say.
            say(format_args!("error: {}", error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")));
            if let Some(hint) = error.hint() {
                say(format_args!("hint: {hint}"));
            }
            ExitCode::FAILURE
        }
    }
}
