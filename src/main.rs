//! The command line of cifar-gpu: parses, then calls the library.

mod cli;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
