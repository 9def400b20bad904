//! `cifar-gpu data info` and `cifar-gpu data verify`

use cifar_gpu::data::{CIFAR10_CLASSES, ClassCount, DataError, DataInfo, FileState, FileSum, file_sums};
use cifar_gpu::{Error, ImageShape, Result};

use crate::cli::common::{ShapeArguments, pixels};
use crate::cli::dataset::{DataChoice, LabelArguments};
use crate::cli::terminal::{aligned, print, print_json};
use crate::words::{counted, grouped};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu data info data/cifar10
  cifar-gpu data info photographs --image-size 64 --json")]
pub struct Info {
    /// Data set, in any form that `train` takes, or `synthetic`
    path: String,
    #[command(flatten)]
    labels: LabelArguments,
    #[command(flatten)]
    shape: ShapeArguments,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self) -> Result<()> {
        let shape = self.shape.of(ImageShape::CIFAR)?;
        let splits = DataChoice::new(Some(&self.path)).load(shape, self.labels.choice().unwrap_or_default())?;
        let info = DataInfo::of(&splits);
        if self.json { print_json(&info) } else { print(text(&info)) }
    }
}

fn text(info: &DataInfo) -> String {
    let DataInfo { source, shape, classes, mean, standard_deviation, duplicates } = info;
    let (train, test) = classes.iter().fold((0, 0), |(train, test), class| (train + class.train, test + class.test));
    let mut counts = vec![["class", "train", "test"].map(str::to_owned)];
    let count = |class: &ClassCount| [class.name.clone(), grouped_size(class.train), grouped_size(class.test)];
    counts.extend(classes.iter().map(count));
    counts.push(["all".to_owned(), grouped_size(train), grouped_size(test)]);
    let channels: &[&str] = if shape.is_gray() { &["gray"] } else { &["red", "green", "blue"] };
    let mut statistics = vec![["training pixels, 0 to 1", "mean", "standard deviation"].map(str::to_owned)];
    statistics.extend(
        channels.iter().zip(mean.iter().zip(standard_deviation)).map(|(channel, (mean, deviation))| {
            [(*channel).to_owned(), format!("{mean:.4}"), format!("{deviation:.4}")]
        }),
    );
    format!(
        "{source}: {} of {} in {}\n\n{}\n\n{}\n\n\
         copies of other images, pixel by pixel: {} of the training images, {} of the test images\n\
         test images that are also training images: {}, {} of them of another class",
        counted((train + test) as u64, "image"),
        pixels(*shape),
        counted(classes.len() as u64, "class"),
        aligned(&counts, 1),
        aligned(&statistics, 1),
        duplicates.within_train,
        duplicates.within_test,
        duplicates.test_in_train,
        duplicates.test_in_train_of_other_class,
    )
}

fn grouped_size(count: usize) -> String {
    grouped(count as u64)
}

#[derive(clap::Args)]
#[command(after_help = "\
Every image is read; of folders of pictures, all files that cannot be read are named. The MD5 sums of CIFAR's files are compared with the published ones, as far as these are known.

Examples:
  cifar-gpu data verify data/cifar10 --official
  cifar-gpu data verify photographs")]
pub struct Verify {
    /// Data set, in any form that `train` takes
    path: String,
    #[command(flatten)]
    labels: LabelArguments,
    /// Fail unless the files are the published ones of CIFAR-10 or CIFAR-100
    #[arg(long)]
    official: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What `data verify --json` prints.
#[derive(serde::Serialize)]
struct Verified {
    source: String,
    train: usize,
    test: usize,
    classes: usize,
    /// Whether there are ten classes of other names than CIFAR-10's: no sum is known of its binary file of names.
    has_other_names: bool,
    files: Vec<FileSum>,
}

impl Verify {
    pub fn run(self) -> Result<()> {
        let data = DataChoice::new(Some(&self.path));
        let splits = data.load(ImageShape::CIFAR, self.labels.choice().unwrap_or_default())?;
        let files = match data {
            DataChoice::Synthetic => Vec::new(),
            DataChoice::Folder(path) => file_sums(path)?,
        };
        let verified = Verified {
            train: splits.train.len(),
            test: splits.test.len(),
            classes: splits.train.num_classes(),
            has_other_names: splits.train.num_classes() == 10 && splits.train.class_names() != CIFAR10_CLASSES,
            source: splits.source,
            files,
        };
        if self.json {
            print_json(&verified)?
        } else {
            print(verified.text())?
        }
        if !self.official {
            return Ok(());
        }
        let is_other = |file: &&FileSum| !matches!(file.state, FileState::Published | FileState::NoSumKnown);
        let others: Vec<_> = verified.files.iter().filter(is_other).map(|file| file.file.as_str()).collect();
        let reason = match others[..] {
            [] if verified.files.iter().any(|file| file.state == FileState::Published) && !verified.has_other_names => {
                return Ok(());
            }
            [] if verified.has_other_names => "its classes have other names".to_owned(),
            [] => "no published sums are known of it".to_owned(),
            _ => format!("not the published files: {}", others.join(", ")),
        };
        Err(Error::Part(Box::new(DataError::NotOfficial { path: self.path.into(), reason })))
    }
}

impl Verified {
    fn text(&self) -> String {
        let Verified { source, train, test, classes, files, .. } = self;
        let mut text = format!(
            "{source}: {} training and {} test images of {}, all readable",
            grouped_size(*train),
            grouped_size(*test),
            counted(*classes as u64, "class")
        );
        let rows =
            files.iter().map(|file| [file.file.clone(), file.md5.clone().unwrap_or_default(), file.state.to_string()]);
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            text += &format!("\n{}", aligned(&rows, usize::MAX));
        }
        text
    }
}
