//! `cifar-gpu data`

mod download;
mod look;

use std::path::PathBuf;

use cifar_gpu::data::{LabelSet, Note, PictureSize, import, synthetic, write_folder};
use cifar_gpu::ops::batch_assembly::Augmentation;
use cifar_gpu::report::write_preview;
use cifar_gpu::{ImageShape, Result};
use clap::Subcommand;

use super::common::ShapeArguments;
use super::dataset::{DataChoice, LabelArguments};
use super::progress::ImageProgress;
use super::settings::AugmentArguments;
use super::terminal::{print, print_json, say};
use crate::words::counted;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu data download
  cifar-gpu data synthesize data/shapes --train 5000 --test 1000")]
pub struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Download CIFAR-10 or CIFAR-100
    Download(download::Download),
    /// Count images and copies of images, and show the statistics of pixels
    Info(look::Info),
    /// Read every image, and compare files with the published ones
    Verify(look::Verify),
    /// Convert images to the binary layout that `train` reads
    #[command(after_help = "\
SRC is a data set in any form that `train --data` takes: an official version of CIFAR-10 or CIFAR-100, a folder of class folders, or an archive (tar, tar.gz, tar.xz, zip). Pictures have 32×32 pixels, or with --resize any size. The layout holds up to 256 classes.

Examples:
  cifar-gpu data import cifar10.tar.gz data/cifar10
  cifar-gpu data import photographs data/photographs --resize")]
    Import {
        /// Folder or archive
        src: PathBuf,
        /// Folder to create
        dst: PathBuf,
        /// Accept images of any size and scale them to the layout's 32×32 pixels
        #[arg(long)]
        resize: bool,
        #[command(flatten)]
        labels: LabelArguments,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw a preview of an augmentation of training images
    #[command(after_help = "\
A row an image: as it is, then as training would see it in eleven epochs.

Examples:
  cifar-gpu data preview --out sheet.png --augment strong --cutout 12
  cifar-gpu data preview --out sheet.png --data photographs --image-size 64 --gray --augment keras")]
    Preview {
        /// PNG file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Data folder, or `synthetic`
        #[arg(long, value_name = "PATH")]
        data: Option<String>,
        #[command(flatten)]
        shape: ShapeArguments,
        #[command(flatten)]
        augmentation: AugmentArguments,
        /// Seed
        #[arg(long, default_value_t = 1, value_name = "N")]
        seed: u64,
    },
    /// Write the built-in synthetic set: ten shapes
    #[command(after_help = "\
Example:
  cifar-gpu data synthesize data/shapes --train 5000 --test 1000 --seed 7")]
    Synthesize {
        /// Folder to create
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
            Command::Download(command) => command.run(),
            Command::Info(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Import { src, dst, resize, labels, json } => {
                let sizes = if resize { PictureSize::Any } else { PictureSize::Exact };
                let progress = ImageProgress::new();
                let summary =
                    import(&src, &dst, sizes, labels.choice().unwrap_or_default(), &|done| progress.show(done));
                drop(progress);
                let summary = summary?;
                if json {
                    return print_json(&summary);
                }
                summary.notes.iter().for_each(say);
                if let Some(example) = &summary.first_skipped {
                    say(Note::LeftOut { files: summary.skipped, example: example.clone() });
                }
                print(format_args!(
                    "{}: {} training and {} test images of {} ({})",
                    dst.display(),
                    summary.train,
                    summary.test,
                    counted(summary.classes.len() as u64, "class"),
                    summary.classes.join(", ")
                ))
            }
            Command::Preview { out, data, shape, augmentation, seed } => {
                let splits = DataChoice::new(data.as_deref()).load(shape.of(ImageShape::CIFAR)?, LabelSet::Fine)?;
                let mut changes = Augmentation::NONE;
                augmentation.apply(&mut changes);
                write_preview(&splits.train, &changes, seed, &out)?;
                print(out.display())
            }
            Command::Synthesize { dst, train, test, seed } => {
                let (train_images, test_images) = (train as usize, test as usize);
                write_folder(&dst, &synthetic::generate(ImageShape::CIFAR, train_images, test_images, seed)?)?;
                print(format_args!("{}: {train} training and {test} test images of ten shapes", dst.display()))
            }
        }
    }
}
