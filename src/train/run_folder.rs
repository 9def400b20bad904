//! The folder that a run's results go into.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::nn::Network;

/// A run's folder: `config.json`, `config.toml`, `metrics.jsonl`, `weights.safetensors`, `best.safetensors`,
/// `checkpoints/`. One process at a time writes into it.
///
/// If neither metrics nor weights come into it, it goes when this is dropped.
#[derive(Debug)]
pub struct RunFolder {
    metrics: BufWriter<File>,
    // After the file, which must be closed before its folder can go.
    claim: Claim,
}

/// A folder made for a run.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    /// Folders above it that were made for it, the innermost first.
    parents: Vec<PathBuf>,
    has_results: bool,
}

impl Claim {
    fn make(path: &Path) -> Result<Self> {
        let is_absent = |p: &&Path| !p.as_os_str().is_empty() && !p.exists();
        let parents = path.ancestors().skip(1).take_while(is_absent).map(Path::to_owned).collect();
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io("making", parent))?;
        }
        fs::create_dir(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => Error::RunFolderExists(path.to_owned()),
            _ => Error::io("making", path)(source),
        })?;
        Ok(Claim { path: path.to_owned(), parents, has_results: false })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.has_results {
            return;
        }
        // What cannot be removed stays: the error that ended the run matters more.
        for file in ["config.json", "config.toml", "metrics.jsonl"] {
            let _ = fs::remove_file(self.path.join(file));
        }
        // This removes empty folders only.
        for folder in std::iter::once(&self.path).chain(&self.parents) {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl RunFolder {
    /// Makes the folder with its `config.json` and `config.toml`.
    ///
    /// # Errors
    /// [`Error::RunFolderExists`] if something of that name is there; it is left as it is.
    pub fn create(path: &Path, config: &impl serde::Serialize, settings: &str) -> Result<Self> {
        let claim = Claim::make(path)?;
        write_settings(path, config, settings)?;
        let metrics = path.join("metrics.jsonl");
        let file =
            OpenOptions::new().append(true).create_new(true).open(&metrics).map_err(Error::io("making", metrics))?;
        lock(&file, path)?;
        Ok(RunFolder { metrics: BufWriter::new(file), claim })
    }

    /// Opens the folder of an earlier run, to go on after the first `metrics_bytes` bytes of its metrics; its `config.json` and
    /// `config.toml` become these.
    ///
    /// # Errors
    /// [`Error::Resume`] if another process writes into it, or there are fewer metrics.
    pub fn reopen(path: &Path, metrics_bytes: u64, config: &impl serde::Serialize, settings: &str) -> Result<Self> {
        let metrics = path.join("metrics.jsonl");
        let open = || OpenOptions::new().append(true).create(true).open(&metrics);
        let mut file = open().map_err(Error::io("opening", &metrics))?;
        lock(&file, path)?;
        let length = file.seek(SeekFrom::End(0)).map_err(Error::io("reading", &metrics))?;
        if length < metrics_bytes {
            return Err(Error::Resume {
                run: path.to_owned(),
                message: format!("metrics.jsonl has {length} bytes, the checkpoint was made after {metrics_bytes}"),
                hint: "take another copy of the run folder, or begin a new run from its weights with --init".into(),
            });
        }
        write_settings(path, config, settings)?;
        file.set_len(metrics_bytes).map_err(Error::io("writing", &metrics))?;
        let claim = Claim { path: path.to_owned(), parents: Vec::new(), has_results: true };
        Ok(RunFolder { metrics: BufWriter::new(file), claim })
    }

    /// Whether a run got as far as to write metrics into a folder.
    pub fn has_metrics(path: &Path) -> bool {
        fs::metadata(path.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0)
    }

    /// Length of the metrics so far, in bytes.
    pub fn metrics_bytes(&mut self) -> Result<u64> {
        self.flush()?;
        let path = self.claim.path.join("metrics.jsonl");
        self.metrics.get_ref().metadata().map(|file| file.len()).map_err(Error::io("reading", path))
    }

    /// The first of `runs/NAME-1`, `runs/NAME-2` … that is not there yet.
    pub fn unused_path(name: &str) -> PathBuf {
        (1..)
            .map(|n| Path::new("runs").join(format!("{name}-{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.claim.path
    }

    /// Adds a line to `metrics.jsonl`.
    pub fn log(&mut self, line: &impl serde::Serialize) -> Result<()> {
        let path = self.claim.path.join("metrics.jsonl");
        self.claim.has_results = true;
        serde_json::to_writer(&mut self.metrics, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.metrics.write_all(b"\n"))
            .map_err(Error::io("writing", path))
    }

    /// Sees to it that all lines so far are in the file.
    pub fn flush(&mut self) -> Result<()> {
        self.metrics.flush().map_err(Error::io("writing", self.claim.path.join("metrics.jsonl")))
    }

    /// The weights' file.
    pub fn weights_path(&self) -> PathBuf {
        self.claim.path.join("weights.safetensors")
    }

    /// Writes the weights as they are now, as those of the best epoch so far.
    pub fn save_best(&self, network: &Network, class_names: &[String]) -> Result<()> {
        crate::weights::save(&self.claim.path.join("best.safetensors"), network, class_names)
    }

    /// Writes the weights as they are now.
    pub fn save_weights(&mut self, network: &Network, class_names: &[String]) -> Result<()> {
        self.claim.has_results = true;
        crate::weights::save(&self.weights_path(), network, class_names)
    }
}

fn write_settings(run: &Path, config: &impl serde::Serialize, settings: &str) -> Result<()> {
    let config = serde_json::to_vec_pretty(config).map_err(|e| Error::Setting(e.to_string()))?;
    crate::files::replace(&run.join("config.json"), &config)?;
    crate::files::replace(&run.join("config.toml"), settings.as_bytes())
}

/// Keeps other processes from writing into the same folder.
fn lock(metrics: &File, run: &Path) -> Result<()> {
    match metrics.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Resume {
            run: run.to_owned(),
            message: "another process is training in it".into(),
            hint: "wait for it, or stop it with Ctrl-C".into(),
        }),
        // Some file systems have no locks.
        _ => Ok(()),
    }
}
