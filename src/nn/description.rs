//! Reads and writes the TOML descriptions of networks.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Cause, Error, Result};
use crate::nn::graph::Node;
use crate::nn::layers::BUILT_IN;
use crate::nn::{Architecture, Init, LayerKind};
use crate::ops::batch_assembly::Normalization;
use crate::tensor::ImageShape;

/// Longest description that is read, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;
/// Default number of classes: CIFAR-10's.
const USUAL_CLASSES: usize = 10;
/// Upper limit on means; larger ones are in another unit.
const LARGEST_MEAN: f64 = 2.0;
/// Deepest nesting of residual blocks.
const MOST_DEPTH: usize = 16;

/// An error in a network's description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network {source_name}{}{}: {message}", at(.line), of(.layer))]
#[non_exhaustive]
pub struct DescriptionError {
    /// The file, or the network's name.
    pub source_name: String,
    /// The line, where it is known.
    pub line: Option<usize>,
    /// The layer's type and name, if it is about one.
    pub layer: Option<String>,
    /// What is wrong.
    pub message: String,
    /// Whether layers do not fit the images or each other, so that another image size may help.
    pub is_misfit: bool,
}

impl DescriptionError {
    /// An error of the whole description.
    pub(super) fn new(source: &str, message: impl Into<String>) -> Self {
        DescriptionError {
            source_name: source.to_owned(),
            line: None,
            layer: None,
            message: message.into(),
            is_misfit: false,
        }
    }
}

impl Cause for DescriptionError {
    fn hint(&self) -> Option<String> {
        let keys = "docs/NETWORKS.md has every type of layer with its keys";
        Some(if self.is_misfit { format!("{keys}; another image size may also help") } else { keys.to_owned() })
    }
}

impl From<DescriptionError> for Error {
    fn from(error: DescriptionError) -> Self {
        Error::Part(Box::new(error))
    }
}

fn at(line: &Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

fn of(layer: &Option<String>) -> String {
    layer.as_ref().map_or_else(String::new, |layer| format!(", {layer}"))
}

/// A description file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Spanned<String>>,
    #[serde(default = "cifar")]
    input: ImageShape,
    #[serde(default)]
    init: Init,
    normalization: Option<Spanned<Normalization>>,
    layers: Vec<Spanned<Entry>>,
}

fn cifar() -> ImageShape {
    ImageShape::CIFAR
}

/// A layer or a residual block.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    body: Option<Vec<Spanned<Entry>>>,
    shortcut: Option<Vec<Spanned<Entry>>>,
    #[serde(flatten)]
    keys: toml::Table,
}

/// The `type` of a residual block.
const RESIDUAL: &str = "residual";

/// Reads descriptions that use its registered kinds of layers.
#[derive(Debug, Clone)]
pub struct DescriptionReader {
    kinds: Vec<LayerKind>,
}

impl Default for DescriptionReader {
    /// A reader with the layer kinds of this crate.
    fn default() -> Self {
        DescriptionReader { kinds: BUILT_IN.to_vec() }
    }
}

impl DescriptionReader {
    /// The same reader with `kind` registered, too.
    #[must_use]
    pub fn with(mut self, kind: LayerKind) -> Self {
        self.kinds.retain(|known| known.name != kind.name);
        self.kinds.push(kind);
        self
    }

    /// The architecture that `text` describes, for `classes` classes; `None` takes the number from the text, else ten. `source` is
    /// the file name: errors begin with it, and its stem is the network's name unless the text has one.
    ///
    /// # Errors
    /// [`DescriptionError`] with line and layer: for invalid TOML, an unknown key or type, a duplicate name, layers that do not fit
    /// together, or an output that is not one number per class.
    pub fn read(&self, source: &str, text: &str, classes: Option<usize>) -> Result<Architecture> {
        let reading = Reading { kinds: &self.kinds, source, text, classes: classes.unwrap_or(USUAL_CLASSES) };
        let architecture = reading.file()?;
        architecture.check(source, classes)?;
        Ok(architecture)
    }
}

struct Reading<'a> {
    kinds: &'a [LayerKind],
    source: &'a str,
    text: &'a str,
    classes: usize,
}

impl Reading<'_> {
    fn fault(&self, line: Option<usize>, layer: Option<String>, message: impl Into<String>) -> Error {
        DescriptionError { line, layer, ..DescriptionError::new(self.source, message) }.into()
    }

    fn line(&self, offset: usize) -> Option<usize> {
        Some(self.text.as_bytes().get(..offset)?.iter().filter(|&&byte| byte == b'\n').count() + 1)
    }

    fn file(&self) -> Result<Architecture> {
        if self.text.len() > MOST_BYTES {
            return Err(self.fault(None, None, format!("a description has at most {MOST_BYTES} bytes")));
        }
        let file: File = toml::from_str(self.text).map_err(|e| {
            let line = e.span().and_then(|span| self.line(span.start));
            self.fault(line, None, e.message().trim())
        })?;
        let stem = || Path::new(self.source).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let line = file.name.as_ref().and_then(|name| self.line(name.span().start));
        let name = file.name.map(Spanned::into_inner).or_else(stem).unwrap_or_default();
        let is_name = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) || name.starts_with(['.', '-']) {
            let message = format!("the name {name:?} must be 1 to 64 letters, digits, -, _, + and dots within");
            return Err(self.fault(line, None, message));
        }
        let channels = file.input.channels();
        let line = file.normalization.as_ref().and_then(|normalization| self.line(normalization.span().start));
        let normalization = file.normalization.map_or_else(|| Normalization::identity(channels), Spanned::into_inner);
        let fault = |message| self.fault(line, Some("normalization".into()), message);
        normalization.validate(channels).map_err(fault)?;
        if let Some(mean) = normalization.mean.iter().find(|mean| mean.abs() > LARGEST_MEAN) {
            return Err(fault(format!("the mean {mean} must be a fraction of the full range, at most 1")));
        }
        let nodes = self.nodes(file.layers, file.init, 0)?;
        Ok(Architecture { name, input: file.input, normalization, nodes })
    }

    fn nodes(&self, entries: Vec<Spanned<Entry>>, init: Init, depth: usize) -> Result<Vec<Node>> {
        if depth > MOST_DEPTH {
            return Err(self.fault(None, None, format!("residual blocks are nested more than {MOST_DEPTH} deep")));
        }
        entries.into_iter().map(|entry| self.node(entry, init, depth)).collect()
    }

    fn node(&self, entry: Spanned<Entry>, init: Init, depth: usize) -> Result<Node> {
        let line = self.line(entry.span().start);
        let Entry { kind, body, shortcut, keys } = entry.into_inner();
        if kind == RESIDUAL {
            if let Some(key) = keys.keys().next() {
                let message = format!("unknown key `{key}`: a residual block has a body and may have a shortcut");
                return Err(self.fault(line, Some(kind), message));
            }
            let Some(body) = body.filter(|body| !body.is_empty()) else {
                return Err(self.fault(line, Some(kind), "a residual block needs layers in its `body`"));
            };
            let body = self.nodes(body, init, depth + 1)?;
            let shortcut = self.nodes(shortcut.unwrap_or_default(), init, depth + 1)?;
            return Ok(Node::Residual { body, shortcut, line });
        }
        let name = keys.get("name").and_then(toml::Value::as_str).map(|name| format!("{kind} `{name}`"));
        let fault = |message: String| self.fault(line, name.clone().or(Some(kind.clone())), message);
        let Some(known) = self.kinds.iter().find(|known| known.name == kind) else {
            let names: Vec<_> = self.kinds.iter().map(|known| known.name).chain([RESIDUAL]).collect();
            return Err(fault(format!("unknown type of layer; the types are {}", names.join(", "))));
        };
        if body.is_some() || shortcut.is_some() {
            return Err(fault(format!("only a layer of type {RESIDUAL} has a body and a shortcut")));
        }
        let mut layer = known.parse(keys).map_err(|e| fault(e.message().trim().to_owned()))?;
        if let Some(outputs) = layer.outputs_mut() {
            outputs.set_classes(self.classes);
        }
        if let Some(own) = layer.init_mut() {
            own.get_or_insert(init);
        }
        if let Some(name) = layer.name() {
            let is_sound = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
            if !name.split('.').all(is_sound) {
                return Err(fault("a name consists of letters, digits and _, in parts separated by dots".into()));
            }
        }
        Ok(Node::Layer { layer, line })
    }
}

impl Architecture {
    /// Checks that names are unique and that there is one output per class.
    fn check(&self, source: &str, classes: Option<usize>) -> Result<()> {
        let fault = |line, layer: Option<&str>, message: String| {
            let layer = layer.map(|name| format!("`{name}`"));
            Err(DescriptionError { line, layer, ..DescriptionError::new(source, message) }.into())
        };
        let placed = self.placed_as(source)?;
        let mut names = HashSet::new();
        let mut parameters = 0_usize;
        for place in &placed {
            if let Some(name) = place.layer.and_then(|layer| layer.name())
                && !names.insert(name)
            {
                return fault(
                    place.line,
                    Some(name),
                    "the name is used twice, but names of weights must be unique".into(),
                );
            }
            let elements = |(_, spec): &(String, crate::nn::ParameterSpec)| spec.layout.elements();
            parameters = place.parameters().iter().map(elements).fold(parameters, usize::saturating_add);
        }
        if parameters == 0 || parameters > MOST_PARAMETERS {
            return fault(
                None,
                None,
                format!("{parameters} parameters: a network has 1 to {MOST_PARAMETERS}, in layers with weights"),
            );
        }
        let output = placed.last().map(|place| place.output.clone()).unwrap_or_default();
        match output.as_slice() {
            [outputs] if classes.is_none_or(|classes| classes == *outputs) => Ok(()),
            [outputs] => {
                let classes = classes.unwrap_or_default();
                let message = format!(
                    "the last layer has {outputs} outputs and there are {classes} classes: write `\"classes\"` for its number of outputs"
                );
                fault(placed.last().and_then(|place| place.line), None, message)
            }
            _ => {
                let message = format!(
                    "the last layer's output is {output:?}, not one number per class: end with global_avg_pool, or with \
                     flatten and linear"
                );
                fault(placed.last().and_then(|place| place.line), None, message)
            }
        }
    }

    /// Its description, in the format that [`DescriptionReader::read`] reads.
    ///
    /// # Errors
    /// If a layer's keys cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        let bad = |e: toml::ser::Error| Error::Setting(format!("network {}: {e}", self.name));
        let mut table = toml::Table::new();
        table.insert("name".into(), self.name.clone().into());
        table.insert("input".into(), toml::Value::try_from(self.input).map_err(bad)?);
        table.insert("normalization".into(), toml::Value::try_from(&self.normalization).map_err(bad)?);
        table.insert("layers".into(), entries(&self.nodes)?);
        toml::to_string(&table).map_err(bad)
    }
}

/// Upper limit on a network's parameters, for untrusted files.
const MOST_PARAMETERS: usize = 1 << 28;

fn entries(nodes: &[Node]) -> Result<toml::Value> {
    let entry = |node: &Node| {
        let mut table = toml::Table::new();
        match node {
            Node::Layer { layer, .. } => {
                table.insert("type".into(), layer.kind().into());
                table.extend(layer.keys()?);
            }
            Node::Residual { body, shortcut, .. } => {
                table.insert("type".into(), RESIDUAL.into());
                table.insert("body".into(), entries(body)?);
                if !shortcut.is_empty() {
                    table.insert("shortcut".into(), entries(shortcut)?);
                }
            }
        }
        Ok(toml::Value::Table(table))
    };
    Ok(toml::Value::Array(nodes.iter().map(entry).collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ARCHITECTURES;

    fn read(layers: &str) -> Result<Architecture> {
        let text = format!("input = [8, 8, 3]\nlayers = [\n{layers}\n]");
        DescriptionReader::default().read("test", &text, Some(4))
    }

    const END: &str = "{ type = \"global_avg_pool\" },\n{ type = \"linear\", name = \"out\", features = \"classes\" },";

    #[test]
    fn what_is_written_is_read_again() {
        for name in ARCHITECTURES {
            let architecture = Architecture::by_name(name, 7).unwrap();
            let text = architecture.to_toml().unwrap();
            let again = DescriptionReader::default().read("again", &text, Some(7)).unwrap();
            assert_eq!(again, architecture, "{text}");
            // The number of classes depends on the data.
            assert!(DescriptionReader::default().read("again", &text, Some(3)).unwrap().num_classes().unwrap() == 3);
        }
    }

    #[test]
    fn faults_are_told_with_line_and_layer() {
        let conv = "{ type = \"conv2d\", name = \"a\", channels = 6, kernel = 3, padding = 1 },";
        let wide = conv.replace('6', "5").replace("\"a\"", "\"b\"");
        for (layers, expected) in [
            (format!("{}\n{END}", conv.replace("kernel", "kernal")), "line 3, conv2d `a`: unknown field `kernal`"),
            (format!("{conv}\n{conv}\n{END}"), "line 4, `a`: the name is used twice"),
            (
                format!("{conv}\n{{ type = \"linear\", name = \"b\", features = 4 }},"),
                "line 4, linear `b`: takes [features]: put a flatten layer before it; its input is 8×8×6",
            ),
            (format!("{conv}\n{{ type = \"conv\" }},"), "line 4, conv: unknown type of layer"),
            (
                format!("{{ type = \"residual\", body = [\n{wide}\n], shortcut = [\n{conv}\n] }},"),
                "the body's output is 8×8×5 and the shortcut's is 8×8×6",
            ),
            ("{ type = \"residual\" },".to_owned(), "line 3, residual: a residual block needs layers"),
            (format!("{conv}\n{{ type = \"max_pool2d\", kernel = 9 }},"), "line 4, max_pool2d: a window of 9 pixels"),
            (conv.to_owned(), "the last layer's output is [8, 8, 6], not one number per class"),
            (END.replace("\"classes\"", "5"), "the last layer has 5 outputs and there are 4 classes"),
            (format!("{{ type = \"dropout\", probability = 1.0 }},\n{END}"), "line 3, dropout: probability 1"),
            (format!("{{ type = \"relu\", slope = 0.1 }},\n{END}"), "unknown field `slope`"),
            (conv.replace('6', "0"), "0 outputs"),
            (conv.replace("\"a\"", "\"a/b\""), "a name consists of letters"),
            ("{ type = ".to_owned(), "line 4: "),
        ] {
            let message = read(&layers).map(|_| ()).unwrap_err().to_string();
            assert!(message.starts_with("network test") && message.contains(expected), "{layers}\n{message}");
        }
    }

    #[test]
    fn huge_networks_are_refused_before_anything_is_allocated() {
        let conv = |name: &str| {
            format!("{{ type = \"conv2d\", name = \"{name}\", channels = 65536, kernel = 3, padding = 1 }},")
        };
        let message = read(&format!("{}\n{}\n{END}", conv("a"), conv("b"))).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("too many") || message.contains("parameters"), "{message}");
    }
}
