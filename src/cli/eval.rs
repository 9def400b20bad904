//! `cifar-gpu eval`

use std::path::PathBuf;
use std::time::Instant;

use cifar_gpu::data::Dataset;
use cifar_gpu::nn::Network;
use cifar_gpu::ops::conv2d::DeviceKind;
use cifar_gpu::report::{
    ClassScore, class_scores, missing_characters, top_5_accuracy, write_confusion_csv, write_confusion_png,
};
use cifar_gpu::train::{TestTimeAugmentation, check_memory, evaluation_bytes, usual_evaluation_batch};
use cifar_gpu::{Classifier, Error, Result};
use clap::ValueEnum;

use super::common::{DeviceArguments, TtaArguments, WeightsArguments};
use super::dataset::{DataChoice, LabelArguments};
use super::terminal::{columns_of, padded, print, print_json, warn};
use super::tune::PlanArguments;

/// Classes whose confusion matrix is printed: more do not fit onto a line.
const MOST_COUNTED: usize = 20;

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    Test,
    Train,
    /// Both together
    All,
}

impl SplitName {
    /// The word before "images" in messages.
    fn name(self) -> &'static str {
        match self {
            SplitName::Test => "test",
            SplitName::Train => "training",
            SplitName::All => "all",
        }
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cifar-gpu eval --weights runs/lenet5-1/weights.safetensors --data data/cifar10 --json")]
pub struct Eval {
    #[command(flatten)]
    weights: WeightsArguments,
    /// Data set, in any form that `train` takes, or `synthetic`; images are scaled to the network's input size
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    #[command(flatten)]
    labels: LabelArguments,
    /// The split to use; for class folders without test images, a tenth is held out for testing
    #[arg(long, value_enum, default_value = "test")]
    split: SplitName,
    #[command(flatten)]
    device: DeviceArguments,
    /// Images per batch [default: 64, or fewer of images of more than 64×64 pixels]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    #[command(flatten)]
    tta: TtaArguments,
    #[command(flatten)]
    plans: PlanArguments,
    /// Write the confusion matrix as a picture
    #[arg(long, value_name = "FILE")]
    confusion_png: Option<PathBuf>,
    /// Write the confusion matrix as comma-separated values
    #[arg(long, value_name = "FILE")]
    confusion_csv: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `eval --json` prints.
#[derive(serde::Serialize)]
struct Report {
    /// The split: test, training or all.
    split: &'static str,
    accuracy: f64,
    /// Share of images whose class is among the five most probable; null where there are no more than five.
    top5_accuracy: Option<f64>,
    loss: f64,
    images: usize,
    correct: usize,
    per_class: Vec<ClassScore>,
    confusion: Vec<Vec<usize>>,
    arch: String,
    device: String,
    seconds: f64,
    /// The result of test-time augmentation, if that was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    tta: Option<TtaReport>,
}

/// The result of test-time augmentation.
#[derive(serde::Serialize)]
struct TtaReport {
    views: TestTimeAugmentation,
    accuracy: f64,
    loss: f64,
    correct: usize,
}

impl Eval {
    pub fn run(self) -> Result<()> {
        if self.batch_size == Some(0) {
            return Err(Error::field("batch_size", "must be at least 1"));
        }
        let (file, architecture) = self.weights.read()?;
        let splits =
            DataChoice::new(self.data.as_deref()).load(architecture.input, self.labels.choice().unwrap_or_default())?;
        let dataset = match self.split {
            SplitName::Test => splits.test,
            SplitName::Train => splits.train,
            SplitName::All => splits.train.joined(splits.test)?,
        };
        let device = self.device.open()?;
        let batch_size = self.batch_size.unwrap_or_else(|| usual_evaluation_batch(architecture.input));
        let batch = batch_size.min(dataset.len());
        let tta = self.tta.choice().unwrap_or_default();
        let (kind, precision) = (DeviceKind::of(&device), self.plans.precision());
        let needed = evaluation_bytes(kind, precision, &architecture, dataset.len(), batch, tta)?;
        check_memory(&device, needed, format!("evaluating {} with batches of {batch} images", architecture.name))?;
        let plans = self.plans.plans(&device, &architecture, batch, false)?;
        let mut network = Network::new(architecture, &device, 0)?;
        network.set_plans(plans);
        network.set_precision(precision)?;
        file.load_into(&network)?;
        self.check_classes(&network, &dataset, file.known_class_names())?;
        let start = Instant::now();
        let classifier = Classifier::new(network, dataset.class_names().to_vec())?;
        let evaluate = |tta| classifier.evaluate(&dataset, batch_size, tta, |_| {});
        let evaluation = evaluate(TestTimeAugmentation::None)?;
        let seconds = start.elapsed().as_secs_f64();
        let with_tta = match tta {
            TestTimeAugmentation::None => None,
            tta => Some(evaluate(tta)?),
        };
        let report = Report {
            split: self.split.name(),
            accuracy: evaluation.accuracy(),
            top5_accuracy: top_5_accuracy(&evaluation),
            loss: evaluation.loss,
            images: evaluation.images,
            correct: evaluation.correct,
            per_class: class_scores(&evaluation, dataset.class_names()),
            confusion: evaluation.confusion,
            arch: classifier.network().architecture().name.clone(),
            device: device.description(),
            seconds,
            tta: with_tta.map(|evaluation| TtaReport {
                views: tta,
                accuracy: evaluation.accuracy(),
                loss: evaluation.loss,
                correct: evaluation.correct,
            }),
        };
        if self.json {
            print_json(&report)?;
        } else {
            print(report.table(&splits.source))?;
        }
        // Written last, so that a full disk does not hide the results.
        if let Some(file) = &self.confusion_png {
            let missing = missing_characters(dataset.class_names())?;
            if !missing.is_empty() {
                let missing: String = missing.into_iter().collect();
                warn(format_args!(
                    "the font of pictures lacks characters of the classes' names and draws boxes: {missing}"
                ));
            }
            write_confusion_png(file, &report.confusion, dataset.class_names())?;
        }
        if let Some(file) = &self.confusion_csv {
            write_confusion_csv(file, &report.confusion, dataset.class_names())?;
        }
        Ok(())
    }

    /// The network must have the data's classes, in the same order if it names them.
    fn check_classes(&self, network: &Network, dataset: &Dataset, names: Option<&[String]>) -> Result<()> {
        let logits = network.architecture().num_classes()?;
        let message = match names {
            _ if logits != dataset.num_classes() => {
                format!("the network has {logits} classes, the data have {}", dataset.num_classes())
            }
            Some(names) if names != dataset.class_names() => format!(
                "the network's classes ({}) are not the data's ({})",
                names.join(", "),
                dataset.class_names().join(", ")
            ),
            _ => return Ok(()),
        };
        let hint = match (logits, dataset.num_classes()) {
            (20, 100) => "for weights of CIFAR-100's superclasses add --labels coarse",
            _ => "use --data with the set they were trained on",
        };
        let hint = hint.to_owned();
        Err(Error::Weights { path: self.weights.path.clone(), message, hint })
    }
}

impl Report {
    /// The result as text.
    fn table(&self, source: &str) -> String {
        let mut text = format!(
            "{} on {} images of {source}: {:.2} % right ({} of {}){}, loss {:.4}, {:.1} s\n",
            self.arch,
            self.split,
            100.0 * self.accuracy,
            self.correct,
            self.images,
            self.top5_accuracy.map_or(String::new(), |share| format!(", {:.2} % in the top five", 100.0 * share)),
            self.loss,
            self.seconds
        );
        if let Some(tta) = &self.tta {
            text += &format!(
                "with test-time augmentation ({}): {:.2} % right ({} of {}), loss {:.4}\n",
                tta.views,
                100.0 * tta.accuracy,
                tta.correct,
                self.images,
                tta.loss
            );
        }
        text.push('\n');
        let width = self.per_class.iter().map(|c| columns_of(&c.class)).max().unwrap_or(0).max(5);
        let has_counts = self.per_class.len() <= MOST_COUNTED;
        text += &format!("{:width$}  accuracy  precision   recall", "class");
        text += if has_counts { "  predicted\n" } else { "\n" };
        let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
        for (class, row) in self.per_class.iter().zip(&self.confusion) {
            let [accuracy, precision, recall] = [class.accuracy, class.precision, class.recall].map(percent);
            let counts: Vec<_> = row.iter().filter(|_| has_counts).map(|n| format!("{n:>5}")).collect();
            let name = padded(&class.class, width);
            let line = format!("{name}  {accuracy:>8}  {precision:>9} {recall:>8} {}", counts.concat());
            text += line.trim_end();
            text.push('\n');
        }
        if !has_counts {
            text += "\nConfusion matrix: --confusion-png FILE, --confusion-csv FILE";
        }
        text.trim_end().to_owned()
    }
}
