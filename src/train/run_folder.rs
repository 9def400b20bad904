//! The folder that a run's results go into.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::nn::Network;

/// A run's folder: `config.json`, `metrics.jsonl`, `weights.safetensors`.
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
        for file in ["config.json", "metrics.jsonl"] {
            let _ = fs::remove_file(self.path.join(file));
        }
        // This removes empty folders only.
        for folder in std::iter::once(&self.path).chain(&self.parents) {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl RunFolder {
    /// Makes the folder with its `config.json`.
    ///
    /// # Errors
    /// [`Error::RunFolderExists`] if something of that name is there; it is left as it is.
    pub fn create(path: &Path, config: &impl serde::Serialize) -> Result<Self> {
        let claim = Claim::make(path)?;
        let config = serde_json::to_vec_pretty(config).map_err(|e| Error::Setting(e.to_string()))?;
        crate::files::replace(&path.join("config.json"), &config)?;
        let metrics = path.join("metrics.jsonl");
        let file =
            OpenOptions::new().append(true).create_new(true).open(&metrics).map_err(Error::io("making", metrics))?;
        Ok(RunFolder { metrics: BufWriter::new(file), claim })
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

    /// Writes the weights as they are now.
    pub fn save_weights(&mut self, network: &Network, class_names: &[String]) -> Result<()> {
        self.claim.has_results = true;
        crate::weights::save(&self.weights_path(), network, class_names)
    }
}
