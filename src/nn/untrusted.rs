//! The reader of networks' descriptions, as a function of bytes.

use super::{DescriptionReader, Summary};
use crate::untrusted::Reader;

pub(crate) const READERS: &[Reader] =
    &[Reader { name: "description", constant: 1 << 20, multiple: 1024, read: description }];

/// A description and all that is derived from it before there is a network: the first byte chooses the number of classes.
fn description(bytes: &[u8]) {
    let Some((&classes, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let classes = (classes != b'\n').then_some(usize::from(classes));
    let Ok(architecture) = DescriptionReader::default().read("file", text, classes) else { return };
    let _ = (Summary::new(&architecture), architecture.convolutions(64), architecture.parameter_layouts());
    let written = architecture.to_toml().map(|text| DescriptionReader::default().read("file", &text, classes));
    assert!(matches!(written, Ok(Ok(again)) if again == architecture), "what is written is not read again");
}
