//! The visitor's GPU: whether it computes right, and how fast it is.

use std::cell::RefCell;

use cifar_gpu::diagnose::bench::{BenchConfig, Mode, bench_async};
use cifar_gpu::diagnose::check::check_async;
use cifar_gpu::ops::conv2d::Plans;
use js_sys::Function;
use wasm_bindgen::prelude::*;

use crate::engine::Engine;
use crate::{json, tell, thrown};

/// Compares every kernel with its CPU twin. `hear` is told each line of the report as JSON, in the format of
/// `cifar-gpu devices --check --json`; what it returns is waited for.
#[wasm_bindgen]
pub async fn check(engine: &Engine, hear: Function) -> Result<(), JsValue> {
    let failed = RefCell::new(None);
    let checked = check_async(&engine.device, async |result| {
        if let Err(error) = tell(&hear, &result.report("gpu:0".to_owned()), None).await {
            failed.borrow_mut().get_or_insert(error);
        }
    });
    checked.await.map_err(thrown)?;
    failed.into_inner().map_or(Ok(()), Err)
}

/// Times steps of a network, `train` or `infer`: the report as JSON, in the format of `cifar-gpu bench --json`.
#[wasm_bindgen]
pub async fn bench(
    engine: &Engine,
    arch: &str,
    mode: &str,
    batch_size: usize,
    steps: usize,
) -> Result<String, JsError> {
    let mut config = BenchConfig::new(arch);
    config.mode = if mode == "infer" { Mode::Infer } else { Mode::Train };
    (config.batch_size, config.steps) = (batch_size, steps);
    // A browser's clock is coarse, and a wait takes a turn of its event loop.
    config.steps_per_wait = steps.clamp(1, 5);
    json(&bench_async(&config, &engine.device, Plans::default()).await.map_err(thrown)?)
}
