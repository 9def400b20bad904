//! What a weights file says of its network: written by this program, or in part by others.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::data::check_class_names;
use crate::error::Result;
use crate::nn::{Architecture, MOST_DESCRIPTION_BYTES, Network};
use crate::ops::batch_assembly::Normalization;
use crate::tensor::ImageShape;
use crate::weights::tensors::error;

/// Metadata of a weights file that names its architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// Name of the architecture.
    pub arch: String,
    /// The network's description, unless an early version or another program wrote the file.
    pub network: Option<String>,
    /// The shape of the network's input images.
    pub input: ImageShape,
    /// Normalization of pixels, unless another program wrote the file.
    pub normalization: Option<Normalization>,
    /// Names of the classes, in the order of the logits, unless another program wrote the file.
    pub class_names: Option<Vec<String>>,
}

impl Metadata {
    /// Reads the texts of a file; `None` if they name no architecture.
    pub(super) fn parse(path: &Path, texts: &HashMap<String, String>) -> Result<Option<Self>> {
        // Files of other programs have metadata, too.
        let Some(arch) = texts.get("arch") else { return Ok(None) };
        let bad = |message: String| error(path, format!("metadata: {message}"), "the file may be damaged");
        // Early versions stored no description and supported only one shape.
        let network = texts.get("network").cloned();
        let input = network.as_deref().map_or(Ok(ImageShape::CIFAR), |text| described_input(path, text))?;
        let normalization: Option<Normalization> = texts
            .get("preprocessing")
            .map(|text| serde_json::from_str(text))
            .transpose()
            .map_err(|e| bad(e.to_string()))?;
        if let Some(normalization) = &normalization {
            normalization.validate(input.channels()).map_err(bad)?;
        }
        let class_names: Option<Vec<String>> =
            texts.get("classes").map(|text| serde_json::from_str(text)).transpose().map_err(|e| bad(e.to_string()))?;
        if let Some(names) = &class_names {
            check_class_names(names).map_err(|message| bad(format!("classes: {message}")))?;
        }
        Ok(Some(Metadata { arch: arch.clone(), network, input, normalization, class_names }))
    }
}

/// The image shape in a network's description; the rest is read when the network is created.
fn described_input(path: &Path, text: &str) -> Result<ImageShape> {
    #[derive(serde::Deserialize)]
    struct Input {
        input: ImageShape,
    }
    let bad = |message: &str| error(path, format!("metadata: network: {message}"), "the file may be damaged");
    if text.len() > MOST_DESCRIPTION_BYTES {
        return Err(bad(&format!("a description has at most {MOST_DESCRIPTION_BYTES} bytes")));
    }
    let described: std::result::Result<Input, toml::de::Error> = toml::from_str(text);
    Ok(described.map_err(|e| bad(e.message()))?.input)
}

/// The metadata of a network's weights, a JSON object of texts in a fixed order.
pub(super) fn of_network(path: &Path, network: &Network, class_names: &[String]) -> Result<String> {
    let architecture: &Architecture = network.architecture();
    let json = |value: serde_json::Result<String>| value.map_err(|e| error(path, e.to_string(), ""));
    let metadata = BTreeMap::from([
        ("format", "pt".to_owned()),
        ("producer", concat!("cifar-gpu ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("arch", architecture.name.clone()),
        ("network", architecture.to_toml()?),
        ("preprocessing", json(serde_json::to_string(&architecture.normalization))?),
        ("classes", json(serde_json::to_string(class_names))?),
    ]);
    json(serde_json::to_string(&metadata))
}

/// The texts of a JSON object; none if it is something else.
#[cfg(feature = "formats")]
pub(super) fn parse_object(text: &str) -> HashMap<String, String> {
    serde_json::from_str(text).unwrap_or_default()
}
