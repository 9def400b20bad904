//! Reads the metrics in a run folder.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{Error, Remedy, Result};
use crate::files::read_at_most;
use crate::run::observer::StepLine;
use crate::train::EpochMetrics;

/// Largest `metrics.jsonl` that is read, in bytes: some millions of steps.
const MOST_BYTES: u64 = 512 << 20;

/// The lines of a run's `metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Lines of epochs. Of several with the same number, only the last, which is of the whole epoch.
    pub epochs: Vec<EpochMetrics>,
    /// Lines of steps.
    pub steps: Vec<StepLine>,
}

/// Either kind of line.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Step(StepLine),
    Epoch(EpochMetrics),
}

impl Metrics {
    /// Reads a run folder's metrics. An incomplete last line is ignored: it was interrupted or is being written.
    ///
    /// # Errors
    /// If there is no such file, or another line is malformed.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let bad = |message: String| Error::Resume {
            run: run.to_owned(),
            message: format!("metrics.jsonl {message}"),
            remedy: Remedy::OtherCopy,
        };
        let bytes = read_at_most(&path, MOST_BYTES)?.ok_or_else(|| bad("is too large".into()))?;
        Metrics::parse(&bytes).map_err(bad)
    }

    /// Reads the lines of metrics; an error is a message.
    pub(super) fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let mut metrics = Metrics::default();
        for (number, line) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            match serde_json::from_slice(line) {
                Ok(Line::Step(step)) => metrics.steps.push(step),
                Ok(Line::Epoch(epoch)) => metrics.epochs.push(epoch),
                Err(_) => return Err(format!("line {number} is malformed")),
            }
        }
        // From the end, and each number once: a file may have millions of such lines.
        let mut seen = HashSet::new();
        metrics.epochs.reverse();
        metrics.epochs.retain(|epoch| seen.insert(epoch.epoch));
        metrics.epochs.reverse();
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &str = r#""steps":3,"train_loss":null,"train_accuracy":0.5,"test_loss":1.5,"images_per_second":9.0"#;

    fn read(text: &str) -> Result<Metrics> {
        let run = tempfile::tempdir().unwrap();
        std::fs::write(run.path().join("metrics.jsonl"), text).unwrap();
        Metrics::read(run.path())
    }

    #[test]
    fn steps_and_epochs_are_told_apart_and_a_cut_line_is_left_out() {
        let epoch = |accuracy| format!("{{\"epoch\":1,\"seconds\":2.0,\"test_accuracy\":{accuracy},{EPOCH}}}\n");
        let step = "{\"step\":0,\"epoch\":1,\"loss\":2.25,\"lr\":0.1}\n";
        let metrics = read(&format!("{step}{}{}{{\"epoch\":2,", epoch(0.25), epoch(0.75))).unwrap();
        assert_eq!(metrics.steps, [StepLine { step: 0, epoch: 1, loss: 2.25, lr: 0.1 }]);
        assert_eq!(metrics.epochs.len(), 1);
        assert_eq!(metrics.epochs[0].test_accuracy, 0.75);
        assert!(metrics.epochs[0].train_loss.is_nan() && metrics.epochs[0].lr.is_none());
    }

    #[test]
    fn a_line_that_is_no_metrics_is_named() {
        let error = read("{\"step\":0,\"epoch\":1,\"loss\":2.25,\"lr\":0.1}\n{}\n").unwrap_err();
        assert!(error.to_string().contains("metrics.jsonl line 2"), "{error}");
        assert!(error.hint().is_some());
    }
}
