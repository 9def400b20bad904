//! The library's one error type, with what the user can do about each error.

use std::path::{Path, PathBuf};

use crate::gpu::GpuError;
use crate::tensor::BadImageShape;

/// Shorthand for results of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, with the shapes, names and files concerned.
///
/// The message says what is wrong in one line; [`Error::hint`] says what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation was given operands that do not fit together.
    #[error("{op}: {message}")]
    Shape {
        /// Name of the operation.
        op: &'static str,
        /// Which shapes do not fit.
        message: String,
    },
    /// A normalization has not one mean and one deviation for each channel of the images.
    #[error("a normalization with {means} means and {deviations} deviations is not for images of {channels} channels")]
    Normalization {
        /// Means that it has.
        means: usize,
        /// Deviations that it has.
        deviations: usize,
        /// Channels of the images.
        channels: usize,
    },
    /// Numbers are no shape of an image.
    #[error(transparent)]
    BadImageShape(#[from] BadImageShape),
    /// Two operands live on different devices.
    #[error("{op}: operands are on different devices")]
    DeviceMismatch {
        /// Name of the operation.
        op: &'static str,
    },
    /// No kernel of a product computes it right on this device.
    #[error("{kernel} of {layer}: no kernel computes it right on this device: {reasons}")]
    NoKernel {
        /// The product's kernel.
        kernel: &'static str,
        /// The layer.
        layer: String,
        /// What was found of each that was tried.
        reasons: String,
    },
    /// A parameter took part in no operation that leads to the loss.
    #[error("parameter `{name}` received no gradient")]
    MissingGradient {
        /// The parameter's name, as in the weights file.
        name: String,
    },
    /// A gradient was asked for that is not on the tape.
    #[error("{0}")]
    Tape(String),
    /// The device name on the command line is not one we know.
    #[error("unknown device `{0}`")]
    UnknownDevice(String),
    /// A kernel computed something else than what is right.
    #[error("{case}: {message}")]
    Case {
        /// What was computed.
        case: String,
        /// What is wrong with it.
        message: String,
    },
    /// A network's description is wrong.
    #[error(transparent)]
    Description(#[from] crate::nn::DescriptionError),
    /// The architecture name is not one we know.
    #[error("unknown architecture `{0}`")]
    UnknownArchitecture(String),
    /// The host has too little memory.
    #[error("{what} needs {needed_mib} MiB of memory and {available_mib} MiB are there")]
    HostMemory {
        /// What the memory is for.
        what: String,
        /// Memory needed, in MiB.
        needed_mib: u64,
        /// Memory at hand, in MiB.
        available_mib: u64,
    },
    /// The GPU, its driver or a shader failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A data set could not be read or written.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// A weights file could not be read, written or used.
    #[error("weights {path}: {message}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// What mends it.
        hint: String,
    },
    /// A checkpoint could not be read, written or used.
    #[error("checkpoint {path}: {message}")]
    Checkpoint {
        /// The file or the folder of checkpoints.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A run folder cannot be read, or a run cannot be gone on with.
    #[error("run {run}: {message}")]
    Resume {
        /// The run folder.
        run: PathBuf,
        /// Why not.
        message: String,
        /// What mends it.
        hint: String,
    },
    /// A run was begun by a version of the program that draws other random numbers from the same seed, so that going on would
    /// show the network some images of an epoch twice and others never.
    #[error(
        "run {run}: it was begun by version {version}, whose random numbers (generator {generator}) order its images otherwise \
         than this version's (generator {})",
        crate::ops::random::GENERATOR
    )]
    OtherGenerator {
        /// The run folder.
        run: PathBuf,
        /// The version that began it.
        version: String,
        /// That version's [`GENERATOR`](crate::ops::random::GENERATOR).
        generator: u32,
    },
    /// A report or picture of results cannot be made.
    #[error("report {path}: {message}")]
    Report {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// A training setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// A check of sanity ended without its images learned by heart.
    #[error("one batch was NOT learned by heart: loss {loss:.4}")]
    NotLearned {
        /// The mean loss at the end.
        loss: f64,
    },
    /// The loss is no longer a finite number.
    #[error("the loss became {loss} at step {step}")]
    Diverged {
        /// Step at which this was seen.
        step: u64,
        /// The loss as read back.
        loss: f32,
    },
    /// The folder that should take the results is already in use.
    #[error("run folder {0} already exists")]
    RunFolderExists(PathBuf),
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done, for instance "writing".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Training was stopped from outside, after its results had been saved.
    #[error("interrupted at step {step}; to go on: cifar-gpu train --resume {}", for_shell(run))]
    Interrupted {
        /// Steps done.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },
}

impl Error {
    /// A shape error of operation `op`.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::Shape { op, message: message.into() }
    }

    /// Wraps a system error with the action and path it happened on.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// What the user can do about it, if anything is known to help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Gpu(e) => e.hint(),
            Error::Data(e) => e.hint(),
            Error::Weights { hint, .. } => Some(hint.clone()),
            Error::Checkpoint { .. } => Some(
                "take another copy of the run folder, or begin a new run from its weights: --init RUN/weights.safetensors"
                    .into(),
            ),
            Error::Resume { hint, .. } => Some(hint.clone()),
            Error::OtherGenerator { .. } => Some(
                "begin a new run from its weights: --init RUN/weights.safetensors; or go on with the program that began it".into(),
            ),
            Error::Report { .. } => Some("weights and metrics are not concerned; an upgrade of the program may help".into()),
            Error::UnknownDevice(_) => {
                Some("use auto, cpu, gpu or gpu:N; `cifar-gpu devices` lists what is here".into())
            }
            Error::Description(_) => Some(
                "docs/NETWORKS.md has every type of layer with its keys; images of another size may fit, too".into(),
            ),
            Error::UnknownArchitecture(_) => {
                Some(format!(
                    "the architectures are {}; a file that describes another one ends in .toml",
                    crate::nn::ARCHITECTURES.join(", ")
                ))
            }
            Error::BadImageShape(_) => Some("64 stands for 64 pixels a side, 48x40 for 48 rows of 40 pixels".into()),
            Error::NoKernel { .. } => Some(
                "update the driver, choose another adapter, or use --device cpu; a smaller --batch-size if memory ran out; `cifar-gpu devices --check` tells more".into(),
            ),
            Error::HostMemory { .. } => Some("use smaller batches or smaller images".into()),
            Error::Diverged { .. } => Some("lower --lr".into()),
            Error::RunFolderExists(_) => Some(
                "go on with it by --resume, name another with --out, or remove it if it is no longer wanted".into(),
            ),
            Error::NotLearned { .. } => Some(
                "a higher --lr or more --epochs may do; if not, something is wrong with the network or the images".into(),
            ),
            Error::Setting(_) => Some("--help after the command tells what each setting takes".into()),
            Error::Io { source, .. } => Some(io_hint(source).into()),
            _ => None,
        }
    }
}

/// What mends an error of the system.
pub(crate) fn io_hint(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "check the path",
        ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
        ErrorKind::IsADirectory => "this is a folder: name a file",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "free some space, or choose another disk; files that were complete are as they were"
        }
        _ => "check the path, and that the disk can be read and written",
    }
}

/// A path as a shell takes it: quoted if need be.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+,:@%\\".contains(c)) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
