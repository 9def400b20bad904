//! Error messages for the command line: flags instead of fields, and hints with flags and commands.

use std::path::Path;

use cifar_gpu::data::DataError;
use cifar_gpu::gpu::GpuError;
use cifar_gpu::nn::DescriptionError;
use cifar_gpu::{Error, Remedy};

/// The error message.
pub fn message(error: &Error) -> String {
    match error {
        Error::Field { field, message } => format!("{} {message}", flag(field)),
        Error::Interrupted { step, run } => {
            format!("interrupted at step {step}; to resume: cifar-gpu train --resume {}", for_shell(run))
        }
        Error::RunGpu { run, step: Some(step), source } => {
            format!("{source}; to resume from step {step}: cifar-gpu train --resume {}", for_shell(run))
        }
        other => other.to_string(),
    }
}

/// The library's hint, with the flags or commands for it.
pub fn hint(error: &Error) -> Option<String> {
    match (error.hint(), usage(error)) {
        (Some(hint), Some(usage)) => Some(format!("{hint} ({usage})")),
        (hint, usage) => hint.or(usage.map(str::to_owned)),
    }
}

/// The flag that sets a field of the settings.
fn flag(field: &str) -> String {
    let name = match field {
        "augmentation" => "augment",
        "augmentation.rotation_degrees" | "rotation_degrees" => "rotation",
        "backend" => "opengl",
        "checkpoints.every_minutes" => "checkpoint-minutes",
        "checkpoints.every_steps" => "checkpoint-steps",
        "checkpoints.keep" => "keep-checkpoints",
        "muon.fixed_norm" => "muon-fixed-norm",
        "muon.lr" => "muon-lr",
        "muon.momentum" => "muon-momentum",
        "schedule.decay" => "time-decay",
        "schedule.factor" => "step-factor",
        "schedule.kind" => "schedule",
        "shuffle" => "no-shuffle",
        "teacher.temperature" => "temperature",
        "teacher.weight" => "teacher-weight",
        other => other.rsplit('.').next().unwrap_or(other),
    };
    format!("--{}", name.replace('_', "-"))
}

/// The flags or commands that help with an error.
fn usage(error: &Error) -> Option<&'static str> {
    if let Some(DataError::WrongSize { .. }) = error.cause() {
        return Some("--resize");
    }
    if let Some(DataError::FolderAbsent { .. } | DataError::UnknownLayout { .. } | DataError::NoTrainBatches { .. }) =
        error.cause()
    {
        return Some("--data FOLDER");
    }
    if let Some(DataError::NotAFolder { .. }) = error.cause() {
        return Some("cifar-gpu data import");
    }
    if error.cause::<DescriptionError>().is_some_and(|error| error.is_misfit) {
        return Some("--image-size");
    }
    Some(match error {
        Error::Setting(_) | Error::Field { .. } => "--help after the command describes each setting",
        Error::RunGpu { source, .. } if source.is_loss() => {
            "--on-device-loss resume goes on by itself; --batch-size N, --device cpu"
        }
        Error::Gpu(error) | Error::RunGpu { source: error, .. } => return gpu_usage(error),
        Error::UnknownDevice(_) => "`cifar-gpu devices` lists the available ones",
        Error::NoKernel { .. } => "--device, --batch-size; `cifar-gpu devices --check` tells more",
        Error::HostMemory { .. } => "--batch-size, --image-size, --micro-batch",
        Error::Diverged { .. } => {
            "--lr, --clip-norm, --init RUN/weights.safetensors; --on-non-finite skip goes on without such steps"
        }
        Error::NotOverfit { .. } => "--lr, --epochs",
        Error::RunFolderExists(_) => "--resume RUN, --out RUN",
        Error::Checkpoint { .. } => "--init RUN/weights.safetensors",
        Error::Resume { remedy, .. } => return remedy_usage(*remedy),
        _ => return None,
    })
}

fn gpu_usage(error: &GpuError) -> Option<&'static str> {
    match error {
        GpuError::NoAdapter(_) => Some("--device cpu"),
        GpuError::NoSuchAdapter { .. } => Some("`cifar-gpu devices` lists them"),
        GpuError::Limit { .. } | GpuError::OutOfMemory { .. } | GpuError::DeviceLost(_) | GpuError::Timeout { .. } => {
            Some("--batch-size N, --device cpu")
        }
        GpuError::MissingFeature { .. } | GpuError::OpenDevice { .. } | GpuError::FailedCheck { .. } => {
            Some("--device gpu:N, --device cpu")
        }
        GpuError::Shader { .. } | GpuError::Capturing { .. } | GpuError::Rejected(_) => {
            Some("`cifar-gpu devices` prints them")
        }
        _ => None,
    }
}

fn remedy_usage(remedy: Remedy) -> Option<&'static str> {
    match remedy {
        Remedy::SameData => Some("--data FOLDER"),
        Remedy::LongerRun => Some("--epochs N, --max-steps N, --init RUN/weights.safetensors"),
        Remedy::OtherCopyOrNewRun => Some("--init RUN/weights.safetensors"),
        Remedy::OtherFolder => Some("`cifar-gpu runs` lists them"),
        _ => None,
    }
}

/// A path for a shell command, quoted if necessary.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+,:@%\\".contains(c)) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use cifar_gpu::train::TrainConfig;
    use clap::CommandFactory;

    use super::*;

    /// The fields of a table and of the tables in it, with dots before those of parts.
    fn fields(table: &toml::Table, part: &str, all: &mut Vec<String>) {
        for (key, value) in table {
            let field = format!("{part}{key}");
            match value {
                toml::Value::Table(below) => fields(below, &format!("{field}."), all),
                _ => all.push(field),
            }
        }
    }

    #[test]
    fn every_setting_has_its_flag() {
        let mut all = Vec::new();
        for recipe in [TrainConfig::published("ygnet"), TrainConfig::fast("ygnet"), TrainConfig::published("resnet20")]
        {
            let config = recipe.unwrap().with(|config| {
                (config.validation, config.limit_train, config.limit_test) = (Some(1), Some(1), Some(1));
                (config.max_steps, config.gray, config.image_size) = (Some(1), Some(true), "32".parse().ok());
                (config.autotune, config.device) = (Some(cifar_gpu::train::Autotune::Off), "cpu".parse().ok());
            });
            fields(&config.to_toml().unwrap().parse().unwrap(), "", &mut all);
        }
        let command = super::super::Arguments::command();
        let train = command.find_subcommand("train").expect("there is such a command");
        let has = |flag: &str| train.get_arguments().any(|argument| argument.get_long() == Some(flag));
        // This field is set by --overfit-one-batch.
        for field in all.iter().filter(|field| *field != "test_on_training") {
            assert!(has(flag(field).trim_start_matches('-')), "{field}: {}", flag(field));
        }
    }

    #[test]
    fn hints_name_flags_beside_what_the_library_says() {
        let error = Error::Gpu(GpuError::OutOfMemory { bytes: 1, in_use: 2 });
        assert_eq!(hint(&error).unwrap(), "use smaller batches, or the CPU (--batch-size N, --device cpu)");
        assert_eq!(message(&Error::field("schedule.peak_at", "is 2")), "--peak-at is 2");
    }

    #[test]
    fn paths_are_quoted_for_the_shell() {
        let interrupted = |run: &str| message(&Error::Interrupted { step: 7, run: run.into() });
        assert!(interrupted("runs/a-1").ends_with("train --resume runs/a-1"));
        assert!(interrupted("my runs/a").ends_with("train --resume 'my runs/a'"));
    }
}
