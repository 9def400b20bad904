//! What a layer is: the door through which networks' descriptions, summaries, parameters and forward passes see every kind.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::nn::Init;
use crate::nn::forward::ForwardPass;
use crate::ops::conv2d::Conv2dGeometry;
use crate::tape::{Layout, Var};

/// One layer of a network. Shapes are those of one image, `[height, width, channels]` or `[features]`, unless said otherwise.
///
/// A kind of layer is a type with serde's traits, whose fields are the keys that a description file gives; see
/// [`LayerKind`] for how it becomes known.
pub trait Layer: fmt::Debug + Send + Sync {
    /// The `type` in a description.
    fn kind(&self) -> &'static str;

    /// Its keys in a description, without the type.
    ///
    /// # Errors
    /// If a value cannot be written.
    fn keys(&self) -> Result<toml::Table>;

    /// The same layer in a box of its own.
    fn boxed(&self) -> Box<dyn Layer>;

    /// Prefix of its parameters' names, if it has parameters.
    fn name(&self) -> Option<&str> {
        None
    }

    /// What it does, in a few words with its numbers.
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

    /// The matrix product that it is, if it is one, for a batch of inputs `[batch, …]`.
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

    /// What it is to its neighbors.
    fn role(&self) -> Role {
        Role::Other
    }

    /// How many outputs it has, if a description may give that as `"classes"`.
    fn outputs_mut(&mut self) -> Option<&mut Outputs> {
        None
    }

    /// How its weight and bias are drawn, if it has some that are drawn; `None` inside until the description's default is known.
    fn init_mut(&mut self) -> Option<&mut Option<Init>> {
        None
    }

    /// Whether it adds a bias, if that can be chosen.
    fn bias_mut(&mut self) -> Option<&mut bool> {
        None
    }

    /// The probability of dropout.
    fn dropout_mut(&mut self) -> Option<&mut f32> {
        None
    }
}

/// What a layer is to its neighbors.
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
    /// Another shape for the same numbers: weights behind it depend on the order of the numbers.
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
    /// Its name behind the layer's: `weight`, `bias`, `running_mean`.
    pub suffix: &'static str,
    /// Its shape, and how its elements are ordered.
    pub layout: Layout,
    /// What it starts as.
    pub start: Start,
    /// Whether it is trained; running statistics are not.
    pub is_trained: bool,
}

/// What a parameter starts as.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// The weight of a layer whose outputs sum `fan_in` products and whose inputs go into `fan_out`.
    Weight {
        /// Distribution.
        init: Init,
        /// Products that an output sums.
        fan_in: usize,
        /// Products that an input goes into.
        fan_out: usize,
    },
    /// The bias of such a layer.
    Bias {
        /// Distribution.
        init: Init,
        /// Products that an output sums.
        fan_in: usize,
    },
    /// This everywhere.
    Constant(f32),
}

/// A number of outputs: channels or features. `"classes"` in a description means as many as there are classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "OutputsKey", into = "OutputsKey")]
pub struct Outputs {
    count: usize,
    are_classes: bool,
}

/// More outputs than any layer has: a limit for files that are not trusted.
const MOST_OUTPUTS: usize = 1 << 16;

impl Outputs {
    /// So many outputs.
    pub fn new(count: usize) -> Self {
        Outputs { count, are_classes: false }
    }

    /// One for each class.
    pub fn classes() -> Self {
        Outputs { count: 0, are_classes: true }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Says how many classes there are.
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

/// What layers of every kind say of themselves in the same way.
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
