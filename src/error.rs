//! The library's error type, with a hint for each error.
//!
//! Modules with their own error types wrap them in it as a [`Cause`].

use std::any::Any;
use std::path::PathBuf;

use crate::gpu::GpuError;

/// Shorthand for results of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of the library, with the shapes, names and files concerned.
///
/// The message says in one line what is wrong; [`Error::hint`] says how to fix it. Both name settings by their fields, not by
/// command-line options.
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
    /// A normalization does not have one mean and one standard deviation per image channel.
    #[error("a normalization with {means} means and {deviations} deviations is not for images of {channels} channels")]
    Normalization {
        /// Number of means.
        means: usize,
        /// Number of standard deviations.
        deviations: usize,
        /// Channels of the images.
        channels: usize,
    },
    /// Two operands live on different devices.
    #[error("{op}: operands are on different devices")]
    DeviceMismatch {
        /// Name of the operation.
        op: &'static str,
    },
    /// No kernel computes a product correctly on this device.
    #[error("{kernel} of {layer}: no kernel computes it correctly on this device: {reasons}")]
    NoKernel {
        /// The product's kernel.
        kernel: &'static str,
        /// The layer.
        layer: String,
        /// The finding for each candidate.
        reasons: String,
    },
    /// A parameter took part in no operation that leads to the loss.
    #[error("parameter `{name}` received no gradient")]
    MissingGradient {
        /// The parameter's name, as in the weights file.
        name: String,
    },
    /// The tape cannot provide the requested gradient or value.
    #[error("{0}")]
    Tape(String),
    /// There is no device of this name.
    #[error("unknown device `{0}`")]
    UnknownDevice(String),
    /// A kernel computed a wrong result.
    #[error("{case}: {message}")]
    Case {
        /// The operation.
        case: String,
        /// What is wrong with it.
        message: String,
    },
    /// There is no built-in architecture of this name.
    #[error("unknown architecture `{name}`")]
    UnknownArchitecture {
        /// The name.
        name: String,
        /// The known names.
        known: &'static [&'static str],
    },
    /// The host has too little memory.
    #[error("{what} needs {needed_mib} MiB of memory, but only {available_mib} MiB are available{}", fitting(*largest_batch))]
    HostMemory {
        /// What the memory is for.
        what: String,
        /// Memory needed, in MiB.
        needed_mib: u64,
        /// Memory available, in MiB.
        available_mib: u64,
        /// Images of the largest batch that fits, if that is known and one fits.
        largest_batch: Option<usize>,
    },
    /// The GPU, its driver or a shader failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The GPU failed while a run was under way.
    #[error("{source}; {} run {run}", saved_of(*step))]
    RunGpu {
        /// The run folder, which is removed if nothing was saved.
        run: PathBuf,
        /// The step of its newest checkpoint, if there is one.
        step: Option<u64>,
        /// What failed.
        source: GpuError,
    },
    /// An error of a module with its own error type; see [`Error::cause`].
    #[error("{0}")]
    Part(Box<dyn Cause>),
    /// A weights file could not be read, written or used.
    #[error("weights {path}: {message}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// How to fix it.
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
    /// A run folder cannot be read, or its run cannot be resumed.
    #[error("run {run}: {message}")]
    Resume {
        /// The run folder.
        run: PathBuf,
        /// Why not.
        message: String,
        /// How to fix it.
        remedy: Remedy,
    },
    /// A report or figure cannot be made.
    #[error("report {path}: {message}")]
    Report {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// Settings are invalid or do not go together.
    #[error("{0}")]
    Setting(String),
    /// A setting is invalid.
    #[error("{field} {message}")]
    Field {
        /// Path of the setting's field, such as `schedule.peak_at`.
        field: String,
        /// What is wrong with its value.
        message: String,
    },
    /// A network that should overfit one batch did not.
    #[error("failed to overfit one batch: loss {loss:.4}")]
    NotOverfit {
        /// The mean loss at the end.
        loss: f64,
    },
    /// Loss, gradients or weights are no longer finite numbers.
    #[error("{what} at step {step}{}", first_in(place.as_deref()))]
    Diverged {
        /// Step at which this was seen.
        step: u64,
        /// What became what.
        what: String,
        /// The first tensor of the step that is not finite, if known.
        place: Option<String>,
    },
    /// A network's output is not a finite number.
    #[error("the network returns {logit} for image {image}")]
    NotFinite {
        /// The output.
        logit: f32,
        /// The image's position in the input.
        image: usize,
    },
    /// The folder that should take the results is already in use.
    #[error("run folder {0} already exists")]
    RunFolderExists(PathBuf),
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// The action that failed, for example "writing".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Training was interrupted after its results had been saved.
    #[error("interrupted at step {step}; everything is saved in {run}")]
    Interrupted {
        /// Steps done.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },
}

/// An error of a module of the library, with its own hint.
pub trait Cause: std::error::Error + Any + Send + Sync {
    /// How to fix the error, if known.
    fn hint(&self) -> Option<String>;
}

/// How to fix a run folder that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The data that the run was begun with.
    SameData,
    /// A longer run, or a new one.
    LongerRun,
    /// Another copy of the run folder.
    OtherCopy,
    /// Another copy of the run folder, or a new run from its weights.
    OtherCopyOrNewRun,
    /// A new run from its weights, or the version of the program that began it.
    OtherVersion,
    /// The folder of a run.
    OtherFolder,
    /// The end of the process that uses the folder.
    Wait,
}

impl Remedy {
    /// What to do.
    pub fn hint(self) -> &'static str {
        match self {
            Remedy::SameData => "use the data that it was begun with, unchanged",
            Remedy::LongerRun => "ask for more epochs or steps, or begin a new run from its weights",
            Remedy::OtherCopy => "it may be damaged: take another copy of the run folder",
            Remedy::OtherCopyOrNewRun => "take another copy of the run folder, or begin a new run from its weights",
            Remedy::OtherVersion => "begin a new run from its weights, or continue with the version that began it",
            Remedy::OtherFolder => "name the folder of a run that this version of the program began",
            Remedy::Wait => "wait for it, or stop it with Ctrl-C",
        }
    }
}

impl Error {
    /// A shape error of operation `op`.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::Shape { op, message: message.into() }
    }

    /// An error of the setting `field`.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Error::Field { field: field.to_owned(), message: message.into() }
    }

    /// The same error where a field is one of `part` of the settings.
    pub fn within(self, part: &str) -> Self {
        match self {
            Error::Field { field, message } => Error::Field { field: format!("{part}.{field}"), message },
            other => other,
        }
    }

    /// Wraps a system error with the action and path concerned.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// Whether a device was lost, or hung, during a run, which can go on after it is opened again; see
    /// [`recover`](crate::run::recover).
    pub fn is_device_loss(&self) -> bool {
        matches!(self, Error::RunGpu { source, .. } if source.is_loss())
    }

    /// The underlying error of a module, if it is of type `T`, such as [`DataError`](crate::data::DataError).
    pub fn cause<T: Cause>(&self) -> Option<&T> {
        match self {
            Error::Part(cause) => (&**cause as &dyn Any).downcast_ref(),
            _ => None,
        }
    }

    /// How to fix the error, if known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Gpu(e) | Error::RunGpu { source: e, .. } => return e.hint(),
            Error::Part(cause) => return cause.hint(),
            Error::Weights { hint, .. } => hint,
            Error::Checkpoint { .. } => Remedy::OtherCopyOrNewRun.hint(),
            Error::Resume { remedy, .. } => remedy.hint(),
            Error::Report { .. } => "weights and metrics are safe; an upgrade of the program may help",
            Error::UnknownDevice(_) => "the devices are auto, cpu, gpu and gpu:N for adapter number N",
            Error::UnknownArchitecture { known, .. } => {
                let known = known.join(", ");
                return Some(format!("the architectures are {known}; a file that describes another one ends in .toml"));
            }
            Error::NoKernel { .. } => {
                "update the driver, choose another adapter, or use the CPU; smaller batches if memory ran out"
            }
            Error::HostMemory { .. } => "use smaller batches or smaller images, or compute batches in parts",
            Error::Diverged { .. } => {
                "lower the learning rate or clip gradients; the last checkpoint and the weights are from before"
            }
            Error::NotFinite { .. } => {
                "the training of its weights diverged: use others, or train at a lower learning rate"
            }
            Error::RunFolderExists(_) => {
                "resume its run, choose another folder, or remove it if it is no longer needed"
            }
            Error::NotOverfit { .. } => {
                "a higher learning rate or more epochs may help; if not, something is wrong with the network or the images"
            }
            Error::Io { source, .. } => io_hint(source),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn fitting(batch: Option<usize>) -> String {
    batch.map(|images| format!("; batches of {images} images would fit")).unwrap_or_default()
}

fn saved_of(step: Option<u64>) -> String {
    step.map_or("nothing is saved of".into(), |step| format!("step {step} is saved of"))
}

fn first_in(place: Option<&str>) -> String {
    place.map(|place| format!(", first in {place}")).unwrap_or_default()
}

/// A hint for a system error.
pub(crate) fn io_hint(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "check the path",
        ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
        ErrorKind::IsADirectory => "this is a folder: name a file",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "free some space, or choose another disk; complete files are unchanged"
        }
        _ => "check the path and that the disk is readable and writable",
    }
}
