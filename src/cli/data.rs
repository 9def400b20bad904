//! `cifar-gpu data`

use std::path::PathBuf;

use cifar_gpu::Result;
use cifar_gpu::data::{ImportPhase, import, synthetic, write_folder};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::common::{print, print_json, say};

#[derive(clap::Args)]
pub struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turn images into the binary layout that `train` reads
    #[command(after_help = "\
SRC is a folder or an archive (tar, tar.gz, tar.xz) of train/CLASS/IMAGE and test/CLASS/IMAGE, JPEG or PNG of 32×32 pixels.

Example:
  cifar-gpu data import cifar10.tar.gz data/cifar10")]
    Import {
        /// Folder or archive
        src: PathBuf,
        /// Folder to make
        dst: PathBuf,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the built-in synthetic set: ten shapes
    Synthesize {
        /// Folder to make
        dst: PathBuf,
        /// Training images
        #[arg(long, default_value_t = synthetic::TRAIN as u32, value_name = "N",
              value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        train: u32,
        /// Test images
        #[arg(long, default_value_t = synthetic::TEST as u32, value_name = "N",
              value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        test: u32,
        /// Seed
        #[arg(long, default_value_t = synthetic::SEED, value_name = "N")]
        seed: u64,
    },
}

impl Data {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Import { src, dst, json } => {
                let bar = ProgressBar::no_length().with_style(
                    ProgressStyle::with_template("{msg} {pos} images, {per_sec}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                let summary = import(&src, &dst, &|progress| {
                    bar.set_message(match progress.phase {
                        ImportPhase::Decode => "reading",
                        ImportPhase::Write => "writing",
                    });
                    bar.set_position(progress.done);
                });
                bar.finish_and_clear();
                let summary = summary?;
                if json {
                    return print_json(&summary);
                }
                if let Some(example) = &summary.first_skipped {
                    say(format_args!(
                        "left out {} files that are no images of a class, such as {example}",
                        summary.skipped
                    ));
                }
                print(format_args!(
                    "{}: {} training and {} test images of {} classes ({})",
                    dst.display(),
                    summary.train,
                    summary.test,
                    summary.classes.len(),
                    summary.classes.join(", ")
                ))
            }
            Command::Synthesize { dst, train, test, seed } => {
                write_folder(&dst, &synthetic::generate(train as usize, test as usize, seed))?;
                print(format_args!("{}: {train} training and {test} test images of ten shapes", dst.display()))
            }
        }
    }
}
