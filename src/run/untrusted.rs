//! The readers of the files in a run's folder, as functions of bytes.

use super::{Metrics, SavedRun};
use crate::nn::Architecture;
use crate::train::Checkpoint;
use crate::untrusted::Reader;

pub(crate) const READERS: &[Reader] = &[
    Reader { name: "run_config", constant: 1 << 20, multiple: 256, read: run_config },
    Reader { name: "checkpoint", constant: 1 << 16, multiple: 128, read: checkpoint },
    Reader { name: "metrics", constant: 1 << 16, multiple: 64, read: metrics },
];

fn checkpoint(bytes: &[u8]) {
    let _ = Checkpoint::from_bytes(bytes);
}

fn metrics(bytes: &[u8]) {
    let _ = Metrics::parse(bytes);
}

/// All that is derived from a run's settings before anything is trained.
fn run_config(bytes: &[u8]) {
    let Ok(run) = SavedRun::parse(bytes) else { return };
    let _ = (run.steps_per_epoch(), run.network_name());
    // Another file, which has readers of its own.
    if Architecture::is_file(&run.config.arch) {
        return;
    }
    let _ = (run.validate(), run.image_shape(), run.settings());
    if let Ok(Some(architecture)) = run.described(None) {
        let _ = run.plans(&architecture, run.config.batch_size);
    }
}
