//! The layers of a network in order, with residual blocks, and the context of each layer.

use crate::error::{Error, Result};
use crate::nn::description::DescriptionError;
use crate::nn::layer::{Layer, LayerInput, ParameterSpec, Role};

/// A part of a sequence.
#[derive(Debug, Clone)]
pub enum Node {
    /// A layer.
    Layer {
        /// The layer.
        layer: Box<dyn Layer>,
        /// Its line in the description.
        line: Option<usize>,
    },
    /// The sum of the outputs of two sequences with the same input.
    Residual {
        /// The first sequence.
        body: Vec<Node>,
        /// The second sequence; if empty, the input itself.
        shortcut: Vec<Node>,
        /// Its line in the description.
        line: Option<usize>,
    },
}

impl Node {
    /// The layer, if it is one.
    pub fn layer(&self) -> Option<&dyn Layer> {
        match self {
            Node::Layer { layer, .. } => Some(layer.as_ref()),
            Node::Residual { .. } => None,
        }
    }
}

/// A layer, or the sum that ends a residual block, with its context.
#[derive(Debug, Clone)]
pub struct Placed<'a> {
    /// The layer; `None` for a sum.
    pub layer: Option<&'a dyn Layer>,
    /// Shape of its input.
    pub input: Vec<usize>,
    /// The shape that was flattened into it.
    pub flattened_from: Option<Vec<usize>>,
    /// Shape of its output.
    pub output: Vec<usize>,
    /// The layer before it in its sequence.
    pub previous: Option<&'a dyn Layer>,
    /// The layer after it in its sequence.
    pub next: Option<&'a dyn Layer>,
    /// Nesting depth in residual blocks.
    pub depth: usize,
    /// Its line in the description.
    pub line: Option<usize>,
}

impl Placed<'_> {
    /// Its parameters and running statistics with their full names.
    pub fn parameters(&self) -> Vec<(String, ParameterSpec)> {
        let Some(layer) = self.layer else { return Vec::new() };
        let input = LayerInput { shape: &self.input, flattened_from: self.flattened_from.as_deref() };
        let prefix = layer.name().unwrap_or_default();
        let named = |spec: ParameterSpec| (format!("{prefix}.{}", spec.suffix), spec);
        layer.parameters(input).into_iter().map(named).collect()
    }
}

/// Traverses the layers in the order of computation and checks that they fit together.
pub(super) struct Walk<'a> {
    /// Prefix of error messages.
    source: &'a str,
    placed: Vec<Placed<'a>>,
}

impl<'a> Walk<'a> {
    /// All layers with their contexts for an input of this shape.
    ///
    /// # Errors
    /// [`DescriptionError`] for the first layer that does not fit.
    pub(super) fn through(source: &'a str, nodes: &'a [Node], input: &[usize]) -> Result<Vec<Placed<'a>>> {
        let mut walk = Walk { source, placed: Vec::new() };
        walk.sequence(nodes, Flow { shape: input.to_vec(), flattened_from: None }, 0)?;
        Ok(walk.placed)
    }

    fn sequence(&mut self, nodes: &'a [Node], mut flow: Flow, depth: usize) -> Result<Flow> {
        for (at, node) in nodes.iter().enumerate() {
            let neighbor = |at: Option<usize>| at.and_then(|at| nodes.get(at)).and_then(Node::layer);
            let place = |layer, flow: &Flow, output: &[usize], line| Placed {
                layer,
                input: flow.shape.clone(),
                flattened_from: flow.flattened_from.clone(),
                output: output.to_vec(),
                previous: neighbor(at.checked_sub(1)),
                next: neighbor(Some(at + 1)),
                depth,
                line,
            };
            flow = match node {
                Node::Layer { layer, line } => {
                    let output = layer.output_shape(&flow.shape).map_err(|e| {
                        // The message already names the layer.
                        let reason = match e {
                            Error::Shape { message, .. } => message,
                            other => other.to_string(),
                        };
                        let message = format!("{reason}; its input is {}", format_shape(&flow.shape));
                        self.fault(*line, layer.as_ref(), message)
                    })?;
                    self.placed.push(place(Some(layer.as_ref()), &flow, &output, *line));
                    let flattened_from = match layer.role() {
                        Role::Flatten => Some(flow.shape),
                        _ if output == flow.shape => flow.flattened_from,
                        _ => None,
                    };
                    Flow { shape: output, flattened_from }
                }
                Node::Residual { body, shortcut, line } => {
                    let along_body = self.sequence(body, flow.clone(), depth + 1)?;
                    let along_shortcut = self.sequence(shortcut, flow, depth + 1)?;
                    if along_body.shape != along_shortcut.shape {
                        let message = format!(
                            "the body's output is {} and the shortcut's is {}: they cannot be added",
                            format_shape(&along_body.shape),
                            format_shape(&along_shortcut.shape)
                        );
                        return Err(self.residual_fault(*line, message).into());
                    }
                    self.placed.push(place(None, &along_body, &along_body.shape, *line));
                    along_body
                }
            };
        }
        Ok(flow)
    }

    fn fault(&self, line: Option<usize>, layer: &dyn Layer, message: String) -> DescriptionError {
        let layer = match layer.name() {
            Some(name) => format!("{} `{name}`", layer.kind()),
            None => layer.kind().to_owned(),
        };
        DescriptionError { line, layer: Some(layer), is_misfit: true, ..DescriptionError::new(self.source, message) }
    }

    fn residual_fault(&self, line: Option<usize>, message: String) -> DescriptionError {
        let layer = Some("residual".into());
        DescriptionError { line, layer, is_misfit: true, ..DescriptionError::new(self.source, message) }
    }
}

/// Formats a shape: 2×2×32.
fn format_shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// The shapes passed from layer to layer.
#[derive(Debug, Clone)]
struct Flow {
    shape: Vec<usize>,
    flattened_from: Option<Vec<usize>>,
}
