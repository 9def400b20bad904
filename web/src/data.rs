//! Data sets: the built-in shapes, and files that were dropped onto the page.

use std::rc::Rc;

use cifar_gpu::ImageShape;
use cifar_gpu::data::{self, Splits, synthetic};
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{json, thrown};

/// Training and test images.
#[wasm_bindgen]
pub struct Images {
    pub(crate) splits: Rc<Splits>,
    notes: Vec<String>,
}

#[derive(serde::Serialize)]
struct Description<'a> {
    train: usize,
    test: usize,
    classes: &'a [String],
    height: usize,
    width: usize,
    channels: usize,
    notes: &'a [String],
}

#[wasm_bindgen]
impl Images {
    /// The built-in shapes, the native program's: so many to train on and to test with.
    pub fn shapes(train: usize, test: usize) -> Result<Images, JsError> {
        let splits = synthetic::generate(ImageShape::CIFAR, train, test, synthetic::SEED).map_err(thrown)?;
        Ok(Images { splits: Rc::new(splits), notes: Vec::new() })
    }

    /// Files with their names below the set's folder: an archive, CIFAR-10's own files, or a folder of pictures for each class.
    pub fn files(name: &str, names: Vec<String>, contents: &Array) -> Result<Images, JsError> {
        let contents = contents.iter().map(|bytes| Uint8Array::new(&bytes).to_vec());
        let files: Vec<(String, Vec<u8>)> = names.into_iter().zip(contents).collect();
        let loaded = data::load_files(name, &files, ImageShape::CIFAR, &|_| ()).map_err(thrown)?;
        let notes = loaded.notes.iter().map(ToString::to_string).collect();
        Ok(Images { splits: Rc::new(loaded.splits), notes })
    }

    /// The numbers of images, the classes, and remarks on how the files were read, as JSON.
    pub fn describe(&self) -> Result<String, JsError> {
        let shape = self.splits.train.shape();
        json(&Description {
            train: self.splits.train.len(),
            test: self.splits.test.len(),
            classes: self.splits.train.class_names(),
            height: shape.height(),
            width: shape.width(),
            channels: shape.channels(),
            notes: &self.notes,
        })
    }

    /// The planes of a test image.
    pub fn test_image(&self, index: usize) -> Option<Vec<u8>> {
        self.splits.test.image(index).map(<[u8]>::to_vec)
    }

    /// The label of a test image.
    pub fn test_label(&self, index: usize) -> Option<u16> {
        self.splits.test.labels().get(index).copied()
    }
}
