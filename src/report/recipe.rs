//! A run's settings as text.

use crate::ops::batch_assembly::Normalization;
use crate::optim::Schedule;
use crate::run::SavedRun;
use crate::tensor::ImageShape;
use crate::train::{ClassWeighting, Initializer, MuonSettings, OptimizerKind, TeacherSettings, TrainConfig, Whitening};
use crate::words::counted;

/// The settings that matter most, each in a few words.
pub(super) fn recipe(config: &TrainConfig) -> Vec<String> {
    let mut parts = vec![
        format!("{}, batch {}", counted(config.epochs.into(), "epoch"), config.batch_size),
        format!("{} at {} ({})", config.optimizer, config.lr, config.schedule),
    ];
    if config.weight_decay > 0.0 {
        parts.push(format!("weight decay {}", config.weight_decay));
    }
    if config.label_smoothing > 0.0 {
        parts.push(format!("label smoothing {}", config.label_smoothing));
    }
    if config.class_weights == ClassWeighting::Balanced {
        parts.push("balanced classes".to_owned());
    }
    if config.average_decay > 0.0 {
        parts.push(format!("weight averaging {}", config.average_decay));
    }
    parts.push(config.augmentation.to_string());
    parts.push(format!("seed {}", config.seed));
    parts
}

/// Parameters of a schedule, which its name does not include.
fn schedule_details(schedule: &Schedule) -> String {
    let percent = |share: &f64| format!("{:.0} %", 100.0 * share);
    match schedule {
        Schedule::Constant | Schedule::Cosine => String::new(),
        Schedule::TimeDecay { decay } => format!(" of {decay}"),
        Schedule::Step { milestones, factor } => {
            let milestones: Vec<_> = milestones.iter().map(percent).collect();
            format!(" to {factor} of it after {} of the run", milestones.join(", "))
        }
        Schedule::OneCycle { peak_at } => format!(", highest at {}", percent(peak_at)),
    }
}

/// Formats a shape.
fn format_shape(images: ImageShape) -> String {
    let color = if images.is_gray() { "gray" } else { "color" };
    format!("{}×{} pixels, {color}", images.height(), images.width())
}

/// All settings by name, for images of this shape.
pub(super) fn configuration(run: &SavedRun, images: ImageShape) -> Vec<(&'static str, String)> {
    let config = &run.config;
    let or_none = |value: f64| if value > 0.0 { value.to_string() } else { "none".to_owned() };
    let dropout = match config.dropout.iter().any(|&rate| rate > 0.0) {
        true => config.dropout.iter().map(f32::to_string).collect::<Vec<_>>().join(", "),
        false => "none".into(),
    };
    let mut optimizer = format!("{} at {}", config.optimizer, config.lr);
    let nesterov = if config.nesterov { "Nesterov " } else { "" };
    match config.optimizer {
        OptimizerKind::Sgd => optimizer += &format!(", {nesterov}momentum {}", config.momentum),
        OptimizerKind::Muon => {
            let MuonSettings { lr, momentum, fixed_norm } = config.muon;
            let norm = if fixed_norm { ", weights of fixed norm" } else { "" };
            let rest = format!("SGD for the rest at {}, {nesterov}momentum {}", config.lr, config.momentum);
            optimizer = format!("Muon at {lr}, {nesterov}momentum {momentum}{norm}; {rest}");
        }
        OptimizerKind::Adam | OptimizerKind::AdamW => {}
    }
    if config.bias_lr_factor != 1.0 {
        optimizer += &format!("; biases at {} times the rate", config.bias_lr_factor);
    }
    let warmup = match config.warmup_epochs > 0.0 {
        true => format!(" after {} epochs of warm-up", config.warmup_epochs),
        false => String::new(),
    };
    let mut rows = vec![
        ("Network", run.network_name()),
        ("Data", run.source.clone()),
        ("Images", format!("{} training, {} {}", run.train_images, run.test_images, config.tested_on())),
        ("Image size", format_shape(images)),
        ("Epochs", config.epochs.to_string()),
        (
            "Batch",
            match config.micro_batch.filter(|size| *size < config.batch_size) {
                Some(size) => format!("{} in parts of {size}", config.batch_size),
                None => config.batch_size.to_string(),
            },
        ),
        ("Optimizer", optimizer),
        ("Schedule", format!("{}{}{warmup}", config.schedule, schedule_details(&config.schedule))),
        ("Weight decay", or_none(config.weight_decay)),
        ("Dropout", dropout),
        ("Augmentation", config.augmentation.to_string()),
        ("Label smoothing", or_none(config.label_smoothing)),
        (
            "Class weights",
            match config.class_weights {
                ClassWeighting::None => "none",
                ClassWeighting::Balanced => "balanced",
            }
            .into(),
        ),
        ("Gradient clipping", or_none(config.clip_norm)),
        ("Weight averaging", or_none(config.average_decay)),
        ("Test-time augmentation", config.tta.to_string()),
        (
            "Activations",
            match config.precision {
                crate::tensor::Precision::F32 => "32 bits",
                crate::tensor::Precision::F16 => "16 bits",
            }
            .into(),
        ),
        ("Seed", config.seed.to_string()),
    ];
    if run.init.is_none() {
        let initializer = match config.initializer {
            Initializer::Published => "as published",
            Initializer::He => "He's",
            Initializer::Dirac => "Dirac",
        };
        let whitening = match config.whitening {
            Whitening::None => "",
            Whitening::Start => ", whitening filters first",
            Whitening::Fixed => ", fixed whitening filters first",
        };
        rows.push(("Initial weights", format!("{initializer}{whitening}")));
    }
    let numbers = |values: &[f64]| values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(", ");
    let Normalization { mean, std } = &run.normalization;
    rows.push(("Input", format!("(pixel / 255 − mean {}) / deviation {}", numbers(mean), numbers(std))));
    if let Some(TeacherSettings { weights, weight, temperature, .. }) = &config.teacher {
        rows.push(("Teacher", format!("{}, weight {weight}, temperature {temperature}", weights.display())));
    }
    if let Some(momentum) = config.batch_norm_momentum {
        rows.push(("Batch norm momentum", momentum.to_string()));
    }
    if !config.shuffle {
        rows.push(("Order of images", "not shuffled".into()));
    }
    if let Some(steps) = config.max_steps {
        rows.push(("Maximum steps", steps.to_string()));
    }
    if let Some(init) = &run.init {
        rows.push(("Initial weights", init.display().to_string()));
    }
    rows.push(("Device", run.ran_on.clone()));
    rows.push(("Program", format!("cifar-gpu {}", run.version)));
    rows
}
