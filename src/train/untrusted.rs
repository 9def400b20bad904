//! The readers of settings and of the cache of autotuning, as functions of bytes.

use super::TrainConfig;
use super::autotune;
use crate::nn::Architecture;
use crate::ops::conv2d::Plan;
use crate::untrusted::Reader;

pub(crate) const READERS: &[Reader] = &[
    Reader { name: "settings", constant: 1 << 20, multiple: 256, read: settings },
    Reader { name: "autotune_cache", constant: 1 << 16, multiple: 128, read: autotune_cache },
];

fn settings(bytes: &[u8]) {
    let Some(table) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) else { return };
    let Ok(settings) = TrainConfig::published("lenet5").and_then(|usual| usual.with_toml(table)) else { return };
    // Another file, which has a reader of its own.
    if Architecture::is_file(&settings.arch) || settings.validate().is_err() {
        return;
    }
    let written = settings.to_toml().ok().and_then(|text| text.parse().ok());
    let again =
        written.and_then(|table| TrainConfig::published("lenet5").and_then(|usual| usual.with_toml(table)).ok());
    assert!(again.is_some_and(|again| again == settings), "what is written is not read again");
}

fn autotune_cache(bytes: &[u8]) {
    let Some(file) = autotune::File::parse(bytes) else { return };
    for name in file.devices.values().flat_map(|plans| plans.values()) {
        if let Ok(plan) = name.parse::<Plan>() {
            assert!(plan.to_string().parse() == Ok(plan), "what is written is not read again");
        }
    }
}
