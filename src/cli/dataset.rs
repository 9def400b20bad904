//! The data set of a command: where it is, and which of its labels count.

use std::path::PathBuf;

use cifar_gpu::data::{self, DataError, LabelSet, Splits, synthetic};
use cifar_gpu::train::SYNTHETIC;
use cifar_gpu::{ImageShape, Result};
use clap::ValueEnum;

use super::progress::ImageProgress;
use super::terminal::{complain, say};

/// The default data folders.
const DATA_FOLDERS: [&str; 5] = [
    "data/cifar10",
    "data/cifar-10-batches-bin",
    "cifar-10-batches-bin",
    "data/cifar-10-batches-py",
    "cifar-10-batches-py",
];

#[derive(Clone, Copy, ValueEnum)]
enum LabelsName {
    /// Those of the classes
    Fine,
    /// Those of CIFAR-100's 20 superclasses
    Coarse,
}

/// The labels to use.
#[derive(clap::Args)]
pub struct LabelArguments {
    /// Labels of CIFAR-100, which has two for each image [default: fine]
    #[arg(long, value_enum, value_name = "LABELS")]
    labels: Option<LabelsName>,
}

impl LabelArguments {
    /// The requested labels.
    pub fn choice(&self) -> Option<LabelSet> {
        self.labels.map(|name| match name {
            LabelsName::Fine => LabelSet::Fine,
            LabelsName::Coarse => LabelSet::Coarse,
        })
    }
}

/// Source of the data.
pub enum DataChoice {
    /// The built-in synthetic set.
    Synthetic,
    /// A folder of images or in the binary layout, or an archive.
    Folder(PathBuf),
}

impl DataChoice {
    /// The source in `--data`; by default the default folder, or else the synthetic set, with a notice.
    pub fn new(data: Option<&str>) -> Self {
        match data {
            Some(SYNTHETIC) => DataChoice::Synthetic,
            Some(folder) => DataChoice::Folder(folder.into()),
            None => match DATA_FOLDERS.map(PathBuf::from).into_iter().find(|folder| folder.is_dir()) {
                Some(folder) => DataChoice::Folder(folder),
                None => {
                    complain(format_args!(
                        "NO DATA FOUND in {}: using the built-in SYNTHETIC shapes.",
                        DATA_FOLDERS.join(", ")
                    ));
                    say(
                        "For CIFAR-10: cifar-gpu data download. For other images: --data FOLDER, with a folder for each class",
                    );
                    DataChoice::Synthetic
                }
            },
        }
    }

    /// The source as stored in a run's settings.
    pub fn name(&self) -> String {
        match self {
            DataChoice::Synthetic => SYNTHETIC.to_owned(),
            DataChoice::Folder(folder) => {
                std::path::absolute(folder).unwrap_or_else(|_| folder.clone()).display().to_string()
            }
        }
    }

    /// Loads or generates the data, as images of this shape; prints remarks on the folder.
    pub fn load(&self, shape: ImageShape, labels: LabelSet) -> Result<Splits> {
        Ok(match self {
            DataChoice::Synthetic if labels == LabelSet::Coarse => {
                return Err(DataError::NoCoarseLabels { path: SYNTHETIC.into() }.into());
            }
            DataChoice::Synthetic => synthetic::generate(shape, synthetic::TRAIN, synthetic::TEST, synthetic::SEED)?,
            DataChoice::Folder(folder) => {
                let progress = ImageProgress::new();
                let loaded = data::load(folder, shape, labels, &|done| progress.show(done));
                drop(progress);
                let loaded = loaded?;
                loaded.notes.iter().for_each(say);
                loaded.splits
            }
        })
    }
}
