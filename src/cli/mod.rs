//! The commands, one file each.

mod bench;
mod common;
mod completions;
mod data;
mod dataset;
mod devices;
mod errors;
mod eval;
mod fold;
mod live;
mod man;
mod predict;
mod progress;
mod runs;
mod settings;
mod signals;
mod summary;
mod tally;
mod terminal;
mod train;
mod tune;
mod weights;

use std::process::ExitCode;

use cifar_gpu::Error;
use clap::{Parser, Subcommand};

use terminal::complain;

/// Train CNN image classifiers on any GPU, or without one.
#[derive(Parser)]
#[command(name = "cifar-gpu", version, about, after_help = EXAMPLES)]
struct Arguments {
    /// Print only warnings and errors on standard error
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cifar-gpu train --arch lenet5 --epochs 3 --batch-size 64 --lr 0.01
  cifar-gpu eval --weights runs/lenet5-1/weights.safetensors
  cifar-gpu predict --weights runs/lenet5-1/weights.safetensors cat.jpg
  cifar-gpu data import cifar10.tar.gz data/cifar10

Without data of its own, train takes a built-in set of synthetic shapes; --data names a folder of images.
Environment: NO_COLOR=1 for no colors, RUST_LOG=cifar_gpu=debug to see what is going on inside.";

#[derive(Subcommand)]
enum Command {
    /// Train a network and write its weights and metrics into a run folder
    Train(Box<train::Train>),
    /// Measure a network's accuracy on a data set
    Eval(eval::Eval),
    /// List past runs, or compare several
    Runs(runs::Runs),
    /// Classify pictures
    Predict(predict::Predict),
    /// Time training or inference on random images
    Bench(bench::Bench),
    /// List the GPUs that can be used
    Devices(devices::Devices),
    /// Fold batch normalization into the convolutions before it: a smaller, faster network with the same predictions
    Fold(fold::Fold),
    /// Convert and inspect weights files of this and other programs
    Weights(weights::Weights),
    /// Show a network's layers, parameters, arithmetic and memory
    Summary(summary::Summary),
    /// Time the kernels of a network's convolutions on a device and show the results
    Tune(tune::Tune),
    /// Download, create and inspect data sets
    Data(data::Data),
    /// Print a script that completes commands and options in a shell
    Completions(completions::Completions),
    /// Write manual pages
    Man(man::Man),
}

/// Runs the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted after saving.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    terminal::set_quiet(arguments.quiet);
    // wgpu logs many warnings that concern its use, not the user.
    let filter = env_logger::Env::default().default_filter_or("error,cifar_gpu=warn");
    // This fails if there is a logger already, which is fine.
    let _ = env_logger::Builder::from_env(filter).try_init();
    let result = match arguments.command {
        Command::Train(command) => command.run(),
        Command::Eval(command) => command.run(),
        Command::Runs(command) => command.run(),
        Command::Predict(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Devices(command) => command.run(),
        Command::Fold(command) => command.run(),
        Command::Summary(command) => command.run(),
        Command::Tune(command) => command.run(),
        Command::Weights(command) => command.run(),
        Command::Data(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(interrupted @ Error::Interrupted { .. }) => {
            complain(errors::message(&interrupted));
            ExitCode::from(130)
        }
        Err(error) => {
            complain(format_args!("error: {}", one_line(&errors::message(&error))));
            if let Some(hint) = errors::hint(&error) {
                complain(format_args!("hint: {hint}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Joins the lines of a text, such as a driver's or decoder's message.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Checks that the examples in the help of a command and its subcommands parse.
    fn check_examples(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> = help.lines().filter_map(|line| line.strip_prefix("  cifar-gpu ")).collect();
        assert!(!examples.is_empty(), "{} has no example", command.get_name());
        for example in examples {
            // Cut off at characters that a shell interprets.
            let arguments = example.split(['<', '>']).next().unwrap_or(example);
            let words = ["cifar-gpu"].into_iter().chain(arguments.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_ok(), "`{example}` is not valid usage");
        }
        command.get_subcommands().filter(|below| below.get_name() != "help").for_each(check_examples);
    }

    #[test]
    fn errors_take_one_line_and_keep_their_blanks() {
        assert_eq!(one_line("shader:\n  line 3\n\n  of a  b.png"), "shader: line 3 of a  b.png");
    }

    #[test]
    fn every_command_has_examples_that_are_good_usage() {
        check_examples(&Arguments::command());
    }
}
