//! ONNX models: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto> is the schema, of which the messages here are the part that
//! is written.

mod schema;

use std::path::Path;

use prost::Message;

use crate::error::{Error, Result};
use crate::nn::layers::{AvgPool2d, BatchNorm, Conv2d, Linear, MaxPool2d, PadChannels};
use crate::nn::{Layer, Network, Node};
use crate::ops::Padding;
use crate::ops::conv2d::Conv2dGeometry;
use crate::weights::tensors::{NamedTensor, error};
use schema::{Attribute, Graph, Model, NodeProto, OperatorSet, Property, Tensor, ValueInfo};

/// The operator set that the models need; runtimes of 2021 and later know it.
const OPSET: i64 = 13;
/// The version of the format that belongs to it.
const IR_VERSION: i64 = 7;
/// Names of the model's input and output.
const INPUT: &str = "images";
const OUTPUT: &str = "logits";
/// Name of the axis of images, of any length.
const BATCH: &str = "batch";

/// Whether an exported model takes pixels, or normalized images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnnxInput {
    /// Bytes from 0 to 255: the model normalizes them.
    #[default]
    Pixels,
    /// Normalized floats.
    Normalized,
}

/// A model of a network with these weights.
pub(in crate::weights) fn write(
    path: &Path,
    network: &Network,
    weights: &[NamedTensor],
    class_names: &[String],
    input: OnnxInput,
) -> Result<Vec<u8>> {
    let architecture = network.architecture();
    let mut writer = Writer { graph: Graph { name: architecture.name.clone(), ..Graph::default() }, values: 0 };
    for NamedTensor { name, shape, values, .. } in weights {
        writer.graph.initializer.push(Tensor::floats(name, shape, values));
    }
    let [height, width, channels] = architecture.input.axes();
    let shape = [channels, height, width];
    let (element, pixels) = match input {
        OnnxInput::Pixels => (schema::UINT8, writer.normalized(architecture)),
        OnnxInput::Normalized => (schema::FLOAT, INPUT.to_owned()),
    };
    writer.graph.input.push(ValueInfo::new(INPUT, element, BATCH, &shape));
    let last = writer
        .sequence(architecture.nodes(), pixels, &architecture.input.axes())
        .map_err(|e| error(path, e.to_string(), "export to safetensors, .pth or .npz"))?;
    writer.node("Identity", &[&last.value], OUTPUT, Vec::new());
    writer.graph.output.push(ValueInfo::new(OUTPUT, schema::FLOAT, BATCH, &[architecture.num_classes()?]));
    let property = |key: &str, value: String| Property { key: key.to_owned(), value };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "cifar-gpu".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(writer.graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: vec![
            property("arch", architecture.name.clone()),
            property("classes", serde_json::to_string(class_names).unwrap_or_default()),
        ],
    };
    Ok(model.encode_to_vec())
}

/// A value of the graph and the shape of one image's part, channels last as in descriptions.
struct Flow {
    value: String,
    shape: Vec<usize>,
}

struct Writer {
    graph: Graph,
    /// Number of values that were named.
    values: usize,
}

impl Writer {
    fn fresh(&mut self) -> String {
        self.values += 1;
        format!("value_{}", self.values)
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<Attribute>) {
        let name = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            name,
            op_type: op.to_owned(),
            attribute: attributes,
        });
    }

    /// A node with one new value.
    fn apply(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let output = self.fresh();
        self.node(op, inputs, &output, attributes);
        output
    }

    /// Bytes of pixels as the network's input: `pixel / (255 · deviation) − mean / deviation`.
    fn normalized(&mut self, architecture: &crate::nn::Architecture) -> String {
        let normalization = &architecture.normalization;
        let channels = normalization.mean.len();
        let scale: Vec<f32> = normalization.std.iter().map(|std| (1.0 / (255.0 * std)) as f32).collect();
        let pairs = normalization.mean.iter().zip(&normalization.std);
        let offset: Vec<f32> = pairs.map(|(mean, std)| (-mean / std) as f32).collect();
        for (name, values) in [("normalization.scale", scale), ("normalization.offset", offset)] {
            self.graph.initializer.push(Tensor::floats(name, &[1, channels, 1, 1], &values));
        }
        let floats = self.apply("Cast", &[INPUT], vec![Attribute::int("to", schema::FLOAT.into())]);
        let scaled = self.apply("Mul", &[&floats, "normalization.scale"], Vec::new());
        self.apply("Add", &[&scaled, "normalization.offset"], Vec::new())
    }

    fn sequence(&mut self, nodes: &[Node], value: String, shape: &[usize]) -> Result<Flow> {
        let mut flow = Flow { value, shape: shape.to_vec() };
        for node in nodes {
            flow = match node {
                Node::Layer { layer, .. } => {
                    let shape = layer.output_shape(&flow.shape)?;
                    Flow { value: self.layer(layer.as_ref(), &flow)?, shape }
                }
                Node::Residual { body, shortcut, .. } => {
                    let along_body = self.sequence(body, flow.value.clone(), &flow.shape)?;
                    let along_shortcut = self.sequence(shortcut, flow.value, &flow.shape)?;
                    let sum = self.apply("Add", &[&along_body.value, &along_shortcut.value], Vec::new());
                    Flow { value: sum, shape: along_body.shape }
                }
            };
        }
        Ok(flow)
    }

    fn layer(&mut self, layer: &dyn Layer, input: &Flow) -> Result<String> {
        let value = input.value.as_str();
        Ok(match layer.kind() {
            "conv2d" => {
                let conv: Conv2d = keys(layer)?;
                let geometry = layer.product(&[&[1], input.shape.as_slice()].concat())?;
                let g = geometry.ok_or_else(|| unknown(layer))?;
                let (weight, bias) = (format!("{}.weight", conv.name), format!("{}.bias", conv.name));
                let operands = [value, &weight, &bias];
                let operands = if conv.bias { &operands[..] } else { &operands[..2] };
                self.apply("Conv", operands, window([g.kernel_h, g.kernel_w], g.stride, pads(&g)))
            }
            "linear" => {
                let linear: Linear = keys(layer)?;
                let (weight, bias) = (format!("{}.weight", linear.name), format!("{}.bias", linear.name));
                let operands = [value, &weight, &bias];
                let operands = if linear.bias { &operands[..] } else { &operands[..2] };
                self.apply("Gemm", operands, vec![Attribute::int("transB", 1)])
            }
            "batch_norm" => {
                let norm: BatchNorm = keys(layer)?;
                let [weight, bias, mean, variance] =
                    ["weight", "bias", "running_mean", "running_var"].map(|part| format!("{}.{part}", norm.name));
                let attributes = vec![Attribute::float("epsilon", norm.epsilon)];
                self.apply("BatchNormalization", &[value, &weight, &bias, &mean, &variance], attributes)
            }
            "max_pool2d" => {
                let pool: MaxPool2d = keys(layer)?;
                let kernel = pool.kernel.height_width();
                let pads = pool_pads(&input.shape, kernel, pool.stride, pool.padding)?;
                self.apply("MaxPool", &[value], window(kernel, pool.stride, pads))
            }
            "avg_pool2d" => {
                let pool: AvgPool2d = keys(layer)?;
                let kernel = pool.kernel.height_width();
                let pads = pool_pads(&input.shape, kernel, pool.stride, pool.padding)?;
                let mut attributes = window(kernel, pool.stride, pads);
                attributes.push(Attribute::int("count_include_pad", 1));
                self.apply("AveragePool", &[value], attributes)
            }
            "global_avg_pool" => {
                let pooled = self.apply("GlobalAveragePool", &[value], Vec::new());
                self.apply("Flatten", &[&pooled], vec![Attribute::int("axis", 1)])
            }
            // From channels, height, width: the order of the weights behind it.
            "flatten" => self.apply("Flatten", &[value], vec![Attribute::int("axis", 1)]),
            "relu" => self.apply("Relu", &[value], Vec::new()),
            "dropout" => value.to_owned(),
            "pad_channels" => {
                let padded: PadChannels = keys(layer)?;
                let added = padded.channels.saturating_sub(input.shape.last().copied().unwrap_or_default());
                let (before, after) = (added / 2, added - added / 2);
                let pads = self.fresh();
                let sides = [0, before, 0, 0, 0, after, 0, 0].map(|pixels| pixels as i64);
                self.graph.initializer.push(Tensor::integers(&pads, &sides));
                self.apply("Pad", &[value, &pads], Vec::new())
            }
            _ => return Err(unknown(layer)),
        })
    }
}

fn unknown(layer: &dyn Layer) -> Error {
    Error::Setting(format!("a layer of type {} has no form in ONNX", layer.kind()))
}

/// A layer with all its settings.
fn keys<L: serde::de::DeserializeOwned>(layer: &dyn Layer) -> Result<L> {
    let keys = toml::Value::Table(layer.keys()?);
    keys.try_into().map_err(|e: toml::de::Error| Error::Setting(format!("layer {}: {}", layer.kind(), e.message())))
}

/// The attributes of a sliding window.
fn window([height, width]: [usize; 2], stride: usize, pads: [usize; 4]) -> Vec<Attribute> {
    vec![
        Attribute::ints("kernel_shape", &[height, width]),
        Attribute::ints("strides", &[stride, stride]),
        Attribute::ints("pads", &pads),
    ]
}

/// Padding above, left, below and right, as far as windows reach.
fn pads(g: &Conv2dGeometry) -> [usize; 4] {
    let reach = |out: usize, kernel: usize| (out - 1) * g.stride + kernel;
    [
        g.pad_top,
        g.pad_left,
        reach(g.out_h, g.kernel_h).saturating_sub(g.in_h + g.pad_top),
        reach(g.out_w, g.kernel_w).saturating_sub(g.in_w + g.pad_left),
    ]
}

/// The same for pooling, whose windows lie as those of a convolution.
fn pool_pads(input: &[usize], [height, width]: [usize; 2], stride: usize, padding: Padding) -> Result<[usize; 4]> {
    let input = [&[1], input].concat();
    Ok(pads(&Conv2dGeometry::new(&input, &[height, width, input[3], 1], stride, padding)?))
}
