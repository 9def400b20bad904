//! The folder for a run's results.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Remedy, Result};
use crate::files::FileLock;
use crate::nn::Network;
use crate::run::saved_run::SavedRun;

/// Contents of a folder before its run has results.
const BEGINNING: [&str; 6] = [LOCK, CONFIG, SETTINGS, NETWORK, TEACHER, METRICS];
const CONFIG: &str = "config.json";
const SETTINGS: &str = "config.toml";
const NETWORK: &str = "network.toml";
const TEACHER: &str = "teacher.safetensors";
const LOCK: &str = "lock";
const METRICS: &str = "metrics.jsonl";

/// A run's folder: `config.json`, `config.toml`, `network.toml`, `metrics.jsonl`, `weights.safetensors`, `best.safetensors`,
/// `checkpoints/`, and `teacher.safetensors`, a copy of the teacher's weights if there is one. Only one process at a time writes to it.
///
/// A new folder that got no results (metrics, checkpoints or weights) is removed when this is dropped.
#[derive(Debug)]
pub struct RunFolder {
    metrics: BufWriter<File>,
    /// Locks the folder. It is a separate file, because where locks are mandatory, others must still be able to read the metrics.
    _lock: FileLock,
    // Dropped after the files, which must be closed before the folder is removed.
    claim: Claim,
}

/// A folder made for a run.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    /// Folders above it that were made for it, the innermost first.
    parents: Vec<PathBuf>,
    is_new: bool,
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
        Ok(Claim { path: path.to_owned(), parents, is_new: true })
    }

    /// Whether the folder holds more than its initial files.
    fn has_results(&self) -> bool {
        // An unreadable folder is kept.
        let Ok(entries) = fs::read_dir(&self.path) else { return true };
        let is_beginning = |name: &OsStr| BEGINNING.iter().any(|&file| name == file);
        entries.flatten().any(|entry| !is_beginning(&entry.file_name())) || RunFolder::has_metrics(&self.path)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_new || self.has_results() {
            return;
        }
        // Ignore failures to remove: the error that ended the run matters more.
        for file in BEGINNING {
            let _ = fs::remove_file(self.path.join(file));
        }
        // This removes empty folders only.
        for folder in std::iter::once(&self.path).chain(&self.parents) {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl RunFolder {
    /// Creates the folder with the files that describe the start of the run.
    ///
    /// # Errors
    /// [`Error::RunFolderExists`] if the path exists; it is left unchanged.
    pub fn create(path: &Path, saved: &SavedRun) -> Result<Self> {
        let claim = Claim::make(path)?;
        let lock = lock(path)?;
        write_settings(path, saved)?;
        if let Some(teacher) = &saved.config.teacher {
            fs::copy(&teacher.weights, RunFolder::teacher_path(path))
                .map_err(Error::io("copying", &teacher.weights))?;
        }
        let metrics = path.join(METRICS);
        let file =
            OpenOptions::new().write(true).create_new(true).open(&metrics).map_err(Error::io("making", metrics))?;
        Ok(RunFolder { metrics: BufWriter::new(file), _lock: lock, claim })
    }

    /// The copy of the teacher's weights in a run folder.
    pub fn teacher_path(path: &Path) -> PathBuf {
        path.join(TEACHER)
    }

    /// Creates the first of the folders `runs/NAME-1`, `runs/NAME-2` … that does not exist.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn create_numbered(name: &str, saved: &SavedRun) -> Result<Self> {
        let created = (1u32..).find_map(|number| {
            let path = Path::new("runs").join(format!("{name}-{number}"));
            match RunFolder::create(&path, saved) {
                Err(Error::RunFolderExists(_)) => None,
                other => Some(other),
            }
        });
        created.unwrap_or_else(|| Err(Error::RunFolderExists(Path::new("runs").join(name))))
    }

    /// Opens the folder of an earlier run to resume it after the first `metrics_bytes` bytes of its metrics, and updates its
    /// settings.
    ///
    /// # Errors
    /// [`Error::Resume`] if another process writes into it, or there are fewer metrics.
    pub fn reopen(path: &Path, metrics_bytes: u64, saved: &SavedRun) -> Result<Self> {
        let lock = lock(path)?;
        let metrics = path.join(METRICS);
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&metrics);
        let mut file = open().map_err(Error::io("opening", &metrics))?;
        let length = file.seek(SeekFrom::End(0)).map_err(Error::io("reading", &metrics))?;
        if length < metrics_bytes {
            return Err(Error::Resume {
                run: path.to_owned(),
                message: format!("metrics.jsonl has {length} bytes, the checkpoint was made after {metrics_bytes}"),
                remedy: Remedy::OtherCopyOrNewRun,
            });
        }
        write_settings(path, saved)?;
        file.set_len(metrics_bytes)
            .and_then(|()| file.seek(SeekFrom::Start(metrics_bytes)))
            .map_err(Error::io("writing", &metrics))?;
        let claim = Claim { path: path.to_owned(), parents: Vec::new(), is_new: false };
        Ok(RunFolder { metrics: BufWriter::new(file), _lock: lock, claim })
    }

    /// Whether a run has written metrics to a folder.
    pub fn has_metrics(path: &Path) -> bool {
        fs::metadata(path.join(METRICS)).is_ok_and(|file| file.len() > 0)
    }

    /// Length of the metrics so far, in bytes.
    pub fn metrics_bytes(&mut self) -> Result<u64> {
        self.flush()?;
        let path = self.claim.path.join(METRICS);
        self.metrics.get_ref().metadata().map(|file| file.len()).map_err(Error::io("reading", path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.claim.path
    }

    /// Adds a line to `metrics.jsonl`.
    pub fn log(&mut self, line: &impl serde::Serialize) -> Result<()> {
        let path = self.claim.path.join(METRICS);
        serde_json::to_writer(&mut self.metrics, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.metrics.write_all(b"\n"))
            .map_err(Error::io("writing", path))
    }

    /// Flushes all lines to the file.
    pub fn flush(&mut self) -> Result<()> {
        self.metrics.flush().map_err(Error::io("writing", self.claim.path.join(METRICS)))
    }

    /// The weights' file.
    pub fn weights_path(&self) -> PathBuf {
        self.claim.path.join("weights.safetensors")
    }

    /// Writes the current weights as those of the best epoch so far.
    pub fn save_best(&self, network: &Network, class_names: &[String]) -> Result<()> {
        crate::weights::save(&self.claim.path.join("best.safetensors"), network, class_names)
    }

    /// Writes the current weights.
    pub fn save_weights(&self, network: &Network, class_names: &[String]) -> Result<()> {
        crate::weights::save(&self.weights_path(), network, class_names)
    }
}

fn write_settings(run: &Path, saved: &SavedRun) -> Result<()> {
    let settings = saved.settings()?;
    let config = serde_json::to_vec_pretty(saved).map_err(|e| Error::Setting(e.to_string()))?;
    crate::files::replace(&run.join(CONFIG), &config)?;
    crate::files::replace(&run.join(SETTINGS), settings.as_bytes())?;
    match &saved.network {
        Some(network) => crate::files::replace(&run.join(NETWORK), network.as_bytes()),
        None => Ok(()),
    }
}

/// Prevents other processes from writing to the same folder.
fn lock(run: &Path) -> Result<FileLock> {
    let path = run.join(LOCK);
    let busy = || Error::Resume {
        run: run.to_owned(),
        message: "another process is training in it".into(),
        remedy: Remedy::Wait,
    };
    FileLock::try_take(&path).map_err(Error::io("locking", &path))?.ok_or_else(busy)
}
