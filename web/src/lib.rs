//! cifar-gpu in a browser tab: what the page's worker calls. All work is done by the library that the native program uses; here it is
//! only told to JavaScript, as JSON and bytes.

mod classify;
mod data;
mod diagnose;
mod engine;
mod train;

use js_sys::{Function, Promise};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// An error with all its causes and its hint, as JavaScript's.
fn thrown(error: impl Into<cifar_gpu::Error>) -> JsError {
    let error = error.into();
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        // Many messages already contain the one of their cause.
        let text = source.to_string();
        if !message.contains(&text) {
            message += &format!(": {text}");
        }
        cause = source.source();
    }
    if let Some(hint) = error.hint() {
        message += &format!(" ({hint})");
    }
    JsError::new(&message)
}

fn json(value: &impl Serialize) -> Result<String, JsError> {
    serde_json::to_string(value).map_err(|error| JsError::new(&error.to_string()))
}

/// Tells JavaScript, waits for what it does, and returns its answer, if that is a text.
async fn tell(hear: &Function, event: &impl Serialize, bytes: Option<Vec<u8>>) -> Result<Option<String>, JsValue> {
    let bytes = bytes.map_or(JsValue::UNDEFINED, |bytes| js_sys::Uint8Array::from(bytes.as_slice()).into());
    let answer = hear.call2(&JsValue::UNDEFINED, &json(event)?.into(), &bytes)?;
    Ok(JsFuture::from(Promise::resolve(&answer)).await?.as_string())
}
