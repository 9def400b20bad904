//! The layer interface, used by descriptions, summaries, parameters and forward passes.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::nn::Init;
use crate::nn::forward::ForwardPass;
use crate::ops::conv2d::Conv2dGeometry;
use crate::tape::{Layout, Var};

/// One layer of a network. Shapes are those of one image, `[height, width, channels]` or `[features]`, unless said otherwise.
///
/// A kind of layer is a type with serde's traits, whose fields are the keys that a description file gives; see [`LayerKind`] for
/// how to register it.
pub trait Layer: fmt::Debug + Send + Sync {
    /// The `type` in a description.
    fn kind(&self) -> &'static str;

    /// Its keys in a description, without the type.
    ///
    /// # Errors
    /// If a value cannot be written.
    fn keys(&self) -> Result<toml::Table>;

    /// A boxed clone of the layer.
    fn boxed(&self) -> Box<dyn Layer>;

    /// Prefix of its parameters' names, if it has parameters.
    fn name(&self) -> Option<&str> {
        None
    }

    /// A short description with its numbers.
    fn description(&self) -> String;

    /// Shape of the output.
    ///
    /// # Errors
    /// If the layer does not fit the input.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>>;

    /// Its parameters, in the order in which [`Layer::forward`] takes them.
    fn parameters(&self, _input: LayerInput<'_>) -> Vec<ParameterSpec> {
        Vec::new()
    }

    /// Floating-point operations of the forward pass for one image; a multiply-add counts as two.
    fn flops(&self, input: &[usize], output: &[usize]) -> u64;

    /// Its matrix product for a batch of inputs `[batch, …]`, if it is one.
    ///
    /// # Errors
    /// If the layer does not fit the input.
    fn product(&self, _input: &[usize]) -> Result<Option<Conv2dGeometry>> {
        Ok(None)
    }

    /// The output for a batch of inputs.
    ///
    /// # Errors
    /// If the layer does not fit the input, or the device fails.
    fn forward(&self, input: &Var, pass: &mut ForwardPass<'_>) -> Result<Var>;

    /// Its role for neighboring layers.
    fn role(&self) -> Role {
        Role::Other
    }

    /// Its number of outputs, if a description may give that as `"classes"`.
    fn outputs_mut(&mut self) -> Option<&mut Outputs> {
        None
    }

    /// The distribution of its initial weight and bias, if it has any; the inner `None` stands for the description's default.
    fn init_mut(&mut self) -> Option<&mut Option<Init>> {
        None
    }

    /// Whether it adds a bias, if that is a setting.
    fn bias_mut(&mut self) -> Option<&mut bool> {
        None
    }

    /// The weight of a batch's statistics in running statistics.
    fn batch_norm_momentum_mut(&mut self) -> Option<&mut f32> {
        None
    }

    /// The probability of dropout.
    fn dropout_mut(&mut self) -> Option<&mut f32> {
        None
    }
}

/// A layer's role for neighboring layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// A weighted sum of its inputs, with or without bias: a batch normalization behind it can be folded into it.
    Affine,
    /// Batch normalization with this epsilon, with the parameters and running statistics of PyTorch's names.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// A rectified linear unit, which the layer before it may compute.
    Relu,
    /// Dropout with this probability, which the layer before it may compute.
    Dropout(f32),
    /// A reshape of the same numbers: the weights after it depend on their order.
    Flatten,
    /// Anything else.
    Other,
}

/// The shape that a layer's input has, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct LayerInput<'a> {
    /// Shape of one image's input.
    pub shape: &'a [usize],
    /// The shape that was flattened into it, if it comes from [`Role::Flatten`].
    pub flattened_from: Option<&'a [usize]>,
}

/// A parameter or running statistic of a layer, before it has values.
#[derive(Debug, Clone)]
pub struct ParameterSpec {
    /// Its name after the layer's prefix: `weight`, `bias`, `running_mean`.
    pub suffix: &'static str,
    /// Its shape, and how its elements are ordered.
    pub layout: Layout,
    /// Its initial values.
    pub start: Start,
    /// Whether it is trained; running statistics are not.
    pub is_trained: bool,
}

/// Initial values of a parameter.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// The weight of a layer with this fan-in and fan-out.
    Weight {
        /// Distribution.
        init: Init,
        /// Fan-in: products summed per output.
        fan_in: usize,
        /// Fan-out: products that use an input.
        fan_out: usize,
    },
    /// The bias of such a layer.
    Bias {
        /// Distribution.
        init: Init,
        /// Fan-in: products summed per output.
        fan_in: usize,
    },
    /// A constant.
    Constant(f32),
}

/// A number of outputs: channels or features. `"classes"` in a description means as many as there are classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "OutputsKey", into = "OutputsKey")]
pub struct Outputs {
    count: usize,
    are_classes: bool,
}

/// Upper limit on a layer's outputs, for untrusted files.
const MOST_OUTPUTS: usize = 1 << 16;

impl Outputs {
    /// This number of outputs.
    pub fn new(count: usize) -> Self {
        Outputs { count, are_classes: false }
    }

    /// One for each class.
    pub fn classes() -> Self {
        Outputs { count: 0, are_classes: true }
    }

    /// The number of outputs.
    pub fn count(self) -> usize {
        self.count
    }

    /// Sets the number of classes.
    pub(super) fn set_classes(&mut self, classes: usize) {
        if self.are_classes {
            self.count = classes;
        }
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged, expecting = "outputs must be a positive number or \"classes\"")]
enum OutputsKey {
    Count(usize),
    Name(String),
}

impl TryFrom<OutputsKey> for Outputs {
    type Error = String;

    fn try_from(key: OutputsKey) -> std::result::Result<Self, String> {
        match key {
            OutputsKey::Count(count) if (1..=MOST_OUTPUTS).contains(&count) => Ok(Outputs::new(count)),
            OutputsKey::Count(count) => Err(format!("{count} outputs: a layer has 1 to {MOST_OUTPUTS}")),
            OutputsKey::Name(name) if name == "classes" => Ok(Outputs::classes()),
            OutputsKey::Name(name) => Err(format!("{name:?} is neither a number nor \"classes\"")),
        }
    }
}

impl From<Outputs> for OutputsKey {
    fn from(outputs: Outputs) -> Self {
        if outputs.are_classes { OutputsKey::Name("classes".into()) } else { OutputsKey::Count(outputs.count) }
    }
}

/// A kind of layer that descriptions may name.
#[derive(Debug, Clone, Copy)]
pub struct LayerKind {
    /// The `type` in a description.
    pub name: &'static str,
    parse: fn(toml::Table) -> std::result::Result<Box<dyn Layer>, toml::de::Error>,
}

impl LayerKind {
    /// The kind whose layers are values of `L`, read from the keys by serde.
    pub const fn of<L: Layer + DeserializeOwned + 'static>(name: &'static str) -> Self {
        LayerKind { name, parse: |keys| Ok(Box::new(toml::Value::Table(keys).try_into::<L>()?)) }
    }

    /// A layer of this kind with these keys.
    pub(super) fn parse(&self, keys: toml::Table) -> std::result::Result<Box<dyn Layer>, toml::de::Error> {
        (self.parse)(keys)
    }
}

/// The keys of a layer from its fields.
///
/// # Errors
/// If a field cannot be written as TOML.
pub fn keys_of(layer: &impl serde::Serialize) -> Result<toml::Table> {
    toml::Table::try_from(layer).map_err(|e| Error::Setting(format!("a layer cannot be written: {e}")))
}

/// Product of a shape's sides.
pub(super) fn count(shape: &[usize]) -> u64 {
    shape.iter().map(|&side| side as u64).product()
}

impl Clone for Box<dyn Layer> {
    fn clone(&self) -> Self {
        self.boxed()
    }
}

/// The part of [`Layer`] that is the same for all kinds.
macro_rules! layer_basics {
    ($kind:literal) => {
        fn kind(&self) -> &'static str {
            $kind
        }

        fn keys(&self) -> crate::error::Result<toml::Table> {
            crate::nn::layer::keys_of(self)
        }

        fn boxed(&self) -> Box<dyn crate::nn::Layer> {
            Box::new(self.clone())
        }
    };
}
pub(super) use layer_basics;
