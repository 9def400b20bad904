//! `cifar-gpu runs`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cifar_gpu::run::{Metrics, SavedRun};
use cifar_gpu::{Error, Result};
use serde_json::Value;

use super::common::lossy;
use super::terminal::{aligned, print, print_json, warn};
use crate::words::{counted, duration};

/// Fields that distinguish runs but are not settings.
const NO_SETTINGS: [&str; 4] = ["class_names", "preprocessing", "plans", "began"];

/// The default folder of runs.
const RUNS: &str = "runs";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu runs
  cifar-gpu runs runs/ygnet-1 runs/ygnet-2")]
pub struct Runs {
    /// A folder of runs to list, or runs to compare [default: runs]
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Print JSON: an array with one object per run, or one object with the comparison
    #[arg(long)]
    json: bool,
}

/// A run read from its folder.
struct Run {
    path: PathBuf,
    saved: SavedRun,
    metrics: Metrics,
}

/// What `runs --json` prints for a run.
#[derive(serde::Serialize)]
struct Row {
    #[serde(serialize_with = "lossy")]
    run: PathBuf,
    arch: String,
    epochs_done: u64,
    steps_done: u64,
    epochs: u32,
    batch_size: usize,
    optimizer: String,
    lr: f64,
    /// The images of both accuracies: test, validation or training.
    tested_on: &'static str,
    best_test_accuracy: Option<f64>,
    last_test_accuracy: Option<f64>,
    seconds: f64,
    device: String,
    finished: bool,
}

/// What `runs RUN_A RUN_B --json` prints.
#[derive(serde::Serialize)]
struct Comparison {
    runs: Vec<String>,
    /// The images of each run's accuracies: test, validation or training.
    tested_on: Vec<&'static str>,
    /// The settings that differ, each with one value per run; for a single run, all settings.
    settings: BTreeMap<String, Vec<Value>>,
    epochs: Vec<EpochRow>,
}

#[derive(serde::Serialize)]
struct EpochRow {
    epoch: u32,
    /// One value per run; null if the run did not get that far.
    test_accuracy: Vec<Option<f64>>,
}

impl Runs {
    pub fn run(self) -> Result<()> {
        match self.folders.as_slice() {
            [] if !Path::new(RUNS).exists() => match self.json {
                true => print("[]"),
                false => print(format_args!("there are no runs yet: `cifar-gpu train` creates the first in {RUNS}")),
            },
            [] => self.list(Path::new(RUNS)),
            [folder] if !folder.join("config.json").exists() => self.list(folder),
            runs => self.compare(runs),
        }
    }

    fn list(&self, folder: &Path) -> Result<()> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(Error::io("reading", folder))? {
            let path = entry.map_err(Error::io("reading", folder))?.path();
            if path.is_dir() {
                paths.push(path);
            }
        }
        paths.sort_by_cached_key(|path| natural(&path.to_string_lossy()));
        let rows: Vec<_> = readable(&paths).iter().map(Run::row).collect();
        if self.json {
            return print_json(&rows);
        }
        if rows.is_empty() {
            return print(format_args!("there are no runs in {}", folder.display()));
        }
        print(table(&rows))
    }

    fn compare(&self, paths: &[PathBuf]) -> Result<()> {
        let runs = paths.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>>>()?;
        let comparison = Comparison::of(&runs)?;
        if self.json { print_json(&comparison) } else { print(comparison.text()) }
    }
}

/// Splits a name into text and numbers, for a natural order: run-2 before run-10.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(digits);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((text.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// The readable runs; prints the errors of the others.
fn readable(paths: &[PathBuf]) -> Vec<Run> {
    let mut runs = Vec::new();
    for path in paths {
        match Run::read(path) {
            Ok(run) => runs.push(run),
            Err(error) => warn(format_args!("skipped: {error}")),
        }
    }
    runs
}

impl Run {
    fn read(path: &Path) -> Result<Self> {
        Ok(Run { path: path.to_owned(), saved: SavedRun::read(path)?, metrics: Metrics::read(path)? })
    }

    fn row(&self) -> Row {
        let (config, epochs) = (&self.saved.config, &self.metrics.epochs);
        let steps = self.saved.steps_per_epoch() * u64::from(config.epochs);
        let wanted = config.max_steps.map_or(steps, |most| most.min(steps));
        let last = epochs.last();
        Row {
            run: self.path.clone(),
            arch: self.saved.network_name(),
            epochs_done: last.map_or(0, |epoch| epoch.steps / self.saved.steps_per_epoch()),
            steps_done: last.map_or(0, |epoch| epoch.steps),
            epochs: config.epochs,
            batch_size: config.batch_size,
            optimizer: config.optimizer.to_string(),
            lr: config.lr,
            tested_on: config.tested_on(),
            best_test_accuracy: epochs.iter().map(|epoch| epoch.test_accuracy).max_by(f64::total_cmp),
            last_test_accuracy: last.map(|epoch| epoch.test_accuracy),
            seconds: last.map_or(0.0, |epoch| epoch.seconds),
            device: self.saved.ran_on.clone(),
            finished: last.is_some_and(|epoch| epoch.steps >= wanted),
        }
    }
}

/// Formats a fraction as a percentage.
fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.2} %", 100.0 * share))
}

fn table(rows: &[Row]) -> String {
    let head =
        ["run", "arch", "epochs", "batch", "optimizer", "tested on", "best", "last", "time", "finished", "device"];
    let mut lines = vec![head.map(String::from)];
    lines.extend(rows.iter().map(|row| {
        [
            row.run.display().to_string(),
            row.arch.clone(),
            match row.epochs_done {
                0 if row.steps_done > 0 => counted(row.steps_done, "step"),
                done => format!("{done}/{}", row.epochs),
            },
            row.batch_size.to_string(),
            format!("{} {}", row.optimizer, row.lr),
            row.tested_on.into(),
            percent(row.best_test_accuracy),
            percent(row.last_test_accuracy),
            duration(row.seconds),
            if row.finished { "yes" } else { "no" }.into(),
            row.device.clone(),
        ]
    }));
    aligned(&lines, usize::MAX)
}

/// Formats a value with few digits: those of a 32-bit float, if it is one.
fn number(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(wide) if f64::from(wide as f32) == wide => (wide as f32).to_string(),
        _ => value.to_string(),
    }
}

impl Comparison {
    fn of(runs: &[Run]) -> Result<Self> {
        let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (number, run) in runs.iter().enumerate() {
            let settings = serde_json::to_value(&run.saved).map_err(|e| Error::Setting(e.to_string()))?;
            for (name, value) in settings.as_object().into_iter().flatten() {
                let values = all.entry(name.clone()).or_default();
                values.resize(number, Value::Null);
                values.push(value.clone());
            }
        }
        all.retain(|name, values| {
            values.resize(runs.len(), Value::Null);
            let differ = runs.len() == 1 || values.iter().any(|value| *value != values[0]);
            !NO_SETTINGS.contains(&name.as_str()) && differ
        });
        let numbers: BTreeSet<u32> =
            runs.iter().flat_map(|run| run.metrics.epochs.iter().map(|epoch| epoch.epoch)).collect();
        let accuracy = |run: &Run, number| {
            run.metrics.epochs.iter().find(|epoch| epoch.epoch == number).map(|epoch| epoch.test_accuracy)
        };
        let row = |epoch| EpochRow { epoch, test_accuracy: runs.iter().map(|run| accuracy(run, epoch)).collect() };
        let epochs = numbers.into_iter().map(row).collect();
        let names = runs.iter().map(|run| run.path.to_string_lossy().into_owned());
        let tested_on = runs.iter().map(|run| run.saved.config.tested_on()).collect();
        Ok(Comparison { runs: names.collect(), tested_on, settings: all, epochs })
    }

    /// As text.
    fn text(&self) -> String {
        let head = |first: &str| std::iter::once(first.to_owned()).chain(self.runs.iter().cloned()).collect();
        let mut settings: Vec<Vec<String>> = vec![head("setting")];
        settings.extend(self.settings.iter().map(|(name, values)| {
            let value = |value: &Value| match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                Value::Array(list) => list.iter().map(number).collect::<Vec<_>>().join(", "),
                Value::Object(fields) => {
                    let field =
                        |(name, value): (&String, &Value)| format!("{name} {}", number(value).trim_matches('"'));
                    fields.iter().map(field).collect::<Vec<_>>().join(", ")
                }
                other => number(other),
            };
            std::iter::once(name.clone()).chain(values.iter().map(value)).collect()
        }));
        let mut epochs: Vec<Vec<String>> = vec![head("epoch")];
        epochs.extend(self.epochs.iter().map(|row| {
            std::iter::once(row.epoch.to_string())
                .chain(row.test_accuracy.iter().map(|&share| percent(share)))
                .collect()
        }));
        let settings =
            if self.settings.is_empty() { "all settings are equal".to_owned() } else { aligned(&settings, usize::MAX) };
        let tested_on: BTreeSet<_> = self.tested_on.iter().copied().collect();
        let tested_on = tested_on.into_iter().collect::<Vec<_>>().join(" or ");
        format!("{settings}\n\n{tested_on} accuracy\n{}", aligned(&epochs, usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_in_the_order_of_their_numbers() {
        let mut names = ["ygnet-10", "ygnet-2", "lenet5-1", "ygnet", "lenet5-1-again"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["lenet5-1", "lenet5-1-again", "ygnet", "ygnet-2", "ygnet-10"]);
    }
}
