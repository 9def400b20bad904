//! Weights of Keras: `.h5` of Keras 2, `.weights.h5` and `.keras` of Keras 3.
//!
//! Keras names layers by their class and number, in the order of the model: `conv2d_1`, `conv2d_2`. Tensors get names as in PyTorch,
//! `conv2d_1.weight`, and keep Keras's order of elements.

use std::path::Path;

use hdf5_pure::{AttrValue, File, Group};

use super::zip_archive::Zip;
use super::{Contents, Format};
use crate::error::Result;
use crate::weights::tensors::{NamedTensor, Order, error};

/// The file of weights in a `.keras` archive, and that of the model.
const WEIGHTS_ENTRY: &str = "model.weights.h5";
const CONFIG_ENTRY: &str = "config.json";
/// Maximum depth of groups.
const MOST_DEPTH: usize = 8;
/// Maximum number of groups and variables that are looked at: links may lead to the same ones again and again.
const MOST_OBJECTS: usize = 10_000;

type Text<T> = std::result::Result<T, String>;

/// Reads a file whose variables may take `most` bytes.
pub(super) fn read(path: &Path, bytes: Vec<u8>, most: u64) -> Result<Contents> {
    let damaged = |message: String| error(path, message, "it is damaged, or no weights of Keras: save them once more");
    let (file, config) = match bytes.starts_with(b"PK") {
        true => {
            let mut archive = Zip::open(&bytes).map_err(damaged)?;
            let mut entry = |name| archive.entry(name, most).map_err(damaged);
            (entry(WEIGHTS_ENTRY)?, Some(String::from_utf8_lossy(&entry(CONFIG_ENTRY)?).into_owned()))
        }
        false => (bytes, None),
    };
    let file = File::from_bytes(file).map_err(|e| damaged(e.to_string()))?;
    let (layers, own_config) = layers(&file.root(), most).map_err(damaged)?;
    let mut tensors = Vec::new();
    for layer in layers {
        tensors.extend(layer.tensors().map_err(damaged)?);
    }
    if tensors.is_empty() {
        return Err(damaged("it holds no layers with weights".into()));
    }
    let layers = config.or(own_config).and_then(|config| layer_kinds(&config));
    Ok(Contents { format: Format::Keras, tensors, metadata: Default::default(), layers })
}

/// A layer's variables, in the order in which the layer made them.
struct KerasLayer {
    name: String,
    variables: Vec<(Vec<usize>, Vec<f32>)>,
}

impl KerasLayer {
    fn tensors(self) -> Text<Vec<NamedTensor>> {
        let axes: Vec<usize> = self.variables.iter().map(|(shape, _)| shape.len()).collect();
        let names: &[&str] = match axes[..] {
            [2 | 4] => &["weight"],
            [2 | 4, 1] => &["weight", "bias"],
            [1, 1, 1, 1] => &["weight", "bias", "running_mean", "running_var"],
            _ => {
                let shapes: Vec<_> = self.variables.iter().map(|(shape, _)| shape).collect();
                return Err(format!(
                    "layer `{}` has variables of shapes {shapes:?}: no such layer is known",
                    self.name
                ));
            }
        };
        let named = self.variables.into_iter().zip(names).map(|((shape, values), suffix)| NamedTensor {
            name: format!("{}.{suffix}", self.name),
            shape,
            order: Order::OutputsLast,
            values,
        });
        Ok(named.collect())
    }
}

/// The layers with variables, and the model's configuration if the file has it.
fn layers(root: &Group, most: u64) -> Text<(Vec<KerasLayer>, Option<String>)> {
    let text = |e: hdf5_pure::Error| e.to_string();
    let attributes = root.attrs().map_err(text)?;
    let config = attributes.get("model_config").and_then(one_text);
    let groups = root.groups().map_err(text)?;
    // A whole model of Keras 2 has its weights one level down.
    let weights = match groups.iter().any(|name| name == "model_weights") {
        true => root.group("model_weights").map_err(text)?,
        false => root.group("/").map_err(text)?,
    };
    let names = weights.attrs().map_err(text)?.get("layer_names").and_then(texts);
    let mut left = Left { most, bytes: most, objects: MOST_OBJECTS };
    let layers = match names {
        Some(names) => names.iter().map(|name| named_layer(&weights, name, &mut left)).collect::<Text<Vec<_>>>()?,
        None => {
            let mut found = Vec::new();
            numbered_layers(&weights, "", 0, &mut left, &mut found)?;
            found.sort_by_cached_key(|layer| natural(&layer.name));
            found
        }
    };
    Ok((layers.into_iter().filter(|layer| !layer.variables.is_empty()).collect(), config))
}

/// What may still be read.
struct Left {
    /// The bytes that all variables may take.
    most: u64,
    bytes: u64,
    objects: usize,
}

impl Left {
    /// Counts a group or a variable.
    fn count(&mut self) -> Text<()> {
        let left = self.objects.checked_sub(1);
        self.objects = left.ok_or_else(|| format!("it has more than {MOST_OBJECTS} groups and variables"))?;
        Ok(())
    }
}

/// A layer in a file of Keras 2: the attribute `weight_names` lists its variables.
fn named_layer(weights: &Group, name: &str, left: &mut Left) -> Text<KerasLayer> {
    left.count()?;
    let group = weights.group(name).map_err(|e| format!("layer `{name}`: {e}"))?;
    let attributes = group.attrs().map_err(|e| format!("layer `{name}`: {e}"))?;
    let names = attributes.get("weight_names").and_then(texts).unwrap_or_default();
    let variables = names.iter().map(|variable| read_variable(&group, variable, left)).collect::<Text<_>>()?;
    Ok(KerasLayer { name: name.to_owned(), variables })
}

/// All layers below a group in a file of Keras 3: each has a group `vars` of numbered variables.
fn numbered_layers(group: &Group, name: &str, depth: usize, left: &mut Left, found: &mut Vec<KerasLayer>) -> Text<()> {
    if depth > MOST_DEPTH {
        return Err("its groups are nested too deep".into());
    }
    let mut names = group.groups().map_err(|e| e.to_string())?;
    names.sort();
    for below in names {
        left.count()?;
        let inner = group.group(&below).map_err(|e| format!("{below}: {e}"))?;
        if below != "vars" {
            // The state of the optimizer is not the network's.
            if below != "optimizer" {
                numbered_layers(&inner, &below, depth + 1, left, found)?;
            }
            continue;
        }
        let mut variables = inner.datasets().map_err(|e| e.to_string())?;
        variables.sort_by_cached_key(|name| natural(name));
        let variables = variables.iter().map(|variable| read_variable(&inner, variable, left)).collect::<Text<_>>()?;
        found.push(KerasLayer { name: name.to_owned(), variables });
    }
    Ok(())
}

/// A variable as 32-bit floats, which are counted.
fn read_variable(group: &Group, name: &str, left: &mut Left) -> Text<(Vec<usize>, Vec<f32>)> {
    left.count()?;
    let fail = |e: hdf5_pure::Error| format!("variable `{name}`: {e}");
    let dataset = group.dataset(name).map_err(fail)?;
    let sides = dataset.shape().map_err(fail)?;
    // A few bytes may claim any shape.
    let bytes = sides.iter().try_fold(4_u64, |bytes, &side| bytes.checked_mul(side));
    left.bytes = bytes
        .and_then(|bytes| left.bytes.checked_sub(bytes))
        .ok_or_else(|| format!("variable `{name}`: shape {sides:?} makes it larger than {} bytes in all", left.most))?;
    let shape = sides.into_iter().map(|side| side as usize).collect();
    // Other widths are converted.
    Ok((shape, dataset.read_f32().map_err(fail)?))
}

fn one_text(value: &AttrValue) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| texts(value)?.into_iter().next())
}

/// The texts of an attribute, whatever their type in the file.
fn texts(value: &AttrValue) -> Option<Vec<String>> {
    value.as_strings().map(|texts| texts.iter().map(|text| text.trim_end_matches('\0').to_owned()).collect())
}

/// A key by which `conv2d_2` comes before `conv2d_10`, and `conv2d` before both.
fn natural(name: &str) -> (String, u64) {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (start, number) = name.split_at(name.len() - digits);
    (start.trim_end_matches('_').to_owned(), number.parse().unwrap_or(0))
}

/// Layers that compute nothing in inference, or nothing by which networks with the same tensors are told apart here.
const OTHER_LAYERS: [&str; 8] = [
    "InputLayer",
    "Activation",
    "Dropout",
    "Flatten",
    "BatchNormalization",
    "ZeroPadding2D",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
];

/// The kinds of a model's layers among [`COMPARED_KINDS`](super::COMPARED_KINDS), by its configuration; `None` if it has layers whose work is
/// not known here, such as those that merge several.
fn layer_kinds(config: &str) -> Option<Vec<&'static str>> {
    let mut kinds = Vec::new();
    add_kinds(&serde_json::from_str(config).ok()?, 0, &mut kinds)?;
    Some(kinds)
}

fn add_kinds(model: &serde_json::Value, depth: usize, kinds: &mut Vec<&'static str>) -> Option<()> {
    let layers = match &model["config"] {
        serde_json::Value::Array(layers) => layers,
        other => other["layers"].as_array()?,
    };
    for layer in layers {
        let config = &layer["config"];
        match layer["class_name"].as_str()? {
            "Sequential" | "Functional" | "Model" if depth < MOST_DEPTH => {
                add_kinds(layer, depth + 1, kinds)?;
                continue;
            }
            "Conv2D" | "Convolution2D" => kinds.push("conv2d"),
            "Dense" => kinds.push("linear"),
            "MaxPooling2D" => kinds.push("max_pool2d"),
            "ReLU" if is_plain_relu(config) => kinds.push("relu"),
            other if OTHER_LAYERS.contains(&other) => {}
            _ => return None,
        }
        // A name, or a layer of its own.
        match &config["activation"] {
            serde_json::Value::Null => {}
            serde_json::Value::String(name) if name == "linear" || name == "softmax" => {}
            serde_json::Value::String(name) if name == "relu" => kinds.push("relu"),
            activation if activation["class_name"] == "ReLU" && is_plain_relu(&activation["config"]) => {
                kinds.push("relu")
            }
            _ => return None,
        }
    }
    Some(())
}

/// Whether the configuration of a ReLU is that of max(·, 0).
fn is_plain_relu(config: &serde_json::Value) -> bool {
    let is_zero = |key: &str| config[key].is_null() || config[key] == 0.0 || config[key] == 0;
    config["max_value"].is_null() && is_zero("negative_slope") && is_zero("threshold")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Architecture;
    use crate::weights::WeightsFile;
    use hdf5_pure::FileBuilder;

    fn config(layers: &str) -> String {
        format!(r#"{{"class_name": "Sequential", "config": {{"layers": [{layers}]}}}}"#)
    }

    fn convolution(activation: &str) -> String {
        format!(r#"{{"class_name": "Conv2D", "config": {{"activation": "{activation}"}}}}"#)
    }

    /// A file of layers with variables of these shapes, and a model's configuration.
    fn file(layers: &[(String, Vec<Vec<usize>>)], config: &str) -> Vec<u8> {
        let mut file = FileBuilder::new();
        let mut group = file.create_group("layers");
        for (name, shapes) in layers {
            let mut layer = group.create_group(name);
            let mut variables = layer.create_group("vars");
            for (number, shape) in shapes.iter().enumerate() {
                let sides: Vec<u64> = shape.iter().map(|&side| side as u64).collect();
                let values = vec![0.5; shape.iter().product()];
                variables.create_dataset(&number.to_string()).with_f32_data(&values).with_shape(&sides);
            }
            layer.add_group(variables.finish());
            group.add_group(layer.finish());
        }
        file.add_group(group.finish());
        file.set_attr("model_config", AttrValue::AsciiString(config.into()));
        file.finish().unwrap()
    }

    #[test]
    fn layers_come_in_the_order_of_their_numbers() {
        let names = ["conv2d", "conv2d_1", "conv2d_2", "conv2d_10", "conv2d_11"];
        let layers = names.map(|name| (name.to_owned(), vec![vec![1, 2, 1, 3]]));
        let contents = read(Path::new("w.h5"), file(&layers, ""), 1 << 20).unwrap();
        let read: Vec<_> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(read, names.map(|name| format!("{name}.weight")));
    }

    /// Three networks have the same tensors: the published YGNet, which ends in a ReLU, ours, and All-CNN-C without pooling.
    #[test]
    fn a_built_in_network_is_told_by_its_layers() {
        let folder = tempfile::tempdir().unwrap();
        let parameters = Architecture::by_name("ygnet", 10).unwrap().parameters().unwrap();
        let layers: Vec<_> = (0..)
            .zip(parameters.chunks(2))
            .map(|(number, parts)| {
                (format!("conv2d_{number}"), parts.iter().map(|(_, spec)| spec.layout.inner_shape()).collect())
            })
            .collect();
        let (relu, pool) = (convolution("relu"), r#"{"class_name": "MaxPooling2D", "config": {}}"#.to_owned());
        let body = |pools: &[usize]| {
            let mut parts = vec![relu.clone(); 8];
            pools.iter().rev().for_each(|&after| parts.insert(after, pool.clone()));
            parts
        };
        let told = |mut parts: Vec<String>, last: &str| {
            let path = folder.path().join("w.h5");
            parts.push(convolution(last));
            std::fs::write(&path, file(&layers, &config(&parts.join(", ")))).unwrap();
            let read = WeightsFile::read(&path).unwrap();
            // A name that is given counts, with a warning if the layers are others.
            let ygnet = read.architecture(Some("ygnet")).unwrap();
            let found = read.architecture(None).map(|architecture| architecture.name);
            let is_ygnet = found.as_ref().is_ok_and(|name| name == "ygnet");
            assert_eq!(read.layers_differ(&ygnet), !is_ygnet);
            found
        };
        assert_eq!(told(body(&[3, 6]), "relu").unwrap(), "ygnet-final-relu");
        assert_eq!(told(body(&[3, 6]), "linear").unwrap(), "ygnet");
        assert_eq!(told(body(&[]), "relu").unwrap(), "all-cnn-c");
        let refused = told(body(&[]), "linear").unwrap_err().to_string();
        assert!(refused.contains("they fit no built-in one"), "{refused}");
    }

    #[test]
    fn numbers_are_sorted_as_numbers() {
        let mut names = ["conv2d_10", "dense", "conv2d_2", "conv2d", "conv2d_1"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["conv2d", "conv2d_1", "conv2d_2", "conv2d_10", "dense"]);
    }

    #[test]
    fn a_configuration_tells_the_layers() {
        assert_eq!(layer_kinds(&config(&convolution("relu"))), Some(vec!["conv2d", "relu"]));
        assert_eq!(layer_kinds(&config(&convolution("linear"))), Some(vec!["conv2d"]));
        let activation = r#"{"class_name": "Activation", "config": {"activation": "relu"}}"#;
        let both = format!("{}, {activation}", convolution("linear"));
        assert_eq!(layer_kinds(&config(&both)), Some(vec!["conv2d", "relu"]));
        let nested = config(&format!("{}, {}", convolution("relu"), config(&both)));
        assert_eq!(layer_kinds(&nested), Some(vec!["conv2d", "relu", "conv2d", "relu"]));
        let relu = |config: &str| format!(r#"{{"class_name": "ReLU", "config": {{{config}}}}}"#);
        let plain = r#""max_value": null, "negative_slope": 0.0, "threshold": 0.0"#;
        assert_eq!(layer_kinds(&config(&relu(plain))), Some(vec!["relu"]));
        let object = format!(r#"{{"class_name": "Dense", "config": {{"activation": {}}}}}"#, relu(plain));
        assert_eq!(layer_kinds(&config(&object)), Some(vec!["linear", "relu"]));
        for unknown in
            [&relu(r#""max_value": 6.0"#), &convolution("gelu"), r#"{"class_name": "Multiply", "config": {}}"#]
        {
            assert_eq!(layer_kinds(&config(&format!("{both}, {unknown}"))), None, "{unknown}");
        }
        assert_eq!(layer_kinds("not json"), None);
    }
}
