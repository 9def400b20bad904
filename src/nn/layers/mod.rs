//! The kinds of layers, one per file: keys in a description, shape, parameters, cost, and forward pass.

mod avg_pool2d;
mod batch_norm;
mod conv2d;
mod dropout;
mod flatten;
mod global_avg_pool;
mod linear;
mod max_pool2d;
mod pad_channels;
mod relu;

pub use avg_pool2d::AvgPool2d;
pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use global_avg_pool::GlobalAvgPool;
pub use linear::Linear;
pub use max_pool2d::MaxPool2d;
pub use pad_channels::PadChannels;
pub use relu::Relu;

use crate::error::{Error, Result};
use crate::nn::LayerKind;
use crate::ops::Padding;
use crate::ops::pool2d::Pool2dGeometry;

/// The kinds that every description may name.
pub const BUILT_IN: [LayerKind; 10] = [
    LayerKind::of::<Conv2d>("conv2d"),
    LayerKind::of::<BatchNorm>("batch_norm"),
    LayerKind::of::<Relu>("relu"),
    LayerKind::of::<Dropout>("dropout"),
    LayerKind::of::<MaxPool2d>("max_pool2d"),
    LayerKind::of::<AvgPool2d>("avg_pool2d"),
    LayerKind::of::<GlobalAvgPool>("global_avg_pool"),
    LayerKind::of::<PadChannels>("pad_channels"),
    LayerKind::of::<Flatten>("flatten"),
    LayerKind::of::<Linear>("linear"),
];

/// A side in pixels: one number for both, or `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged, expecting = "a kernel must be a number of pixels or [height, width]")]
pub enum Sides {
    /// The same height and width.
    Square(usize),
    /// Height and width.
    Rectangle([usize; 2]),
}

impl Sides {
    /// Height and width in pixels.
    pub fn height_width(self) -> [usize; 2] {
        match self {
            Sides::Square(side) => [side; 2],
            Sides::Rectangle(sides) => sides,
        }
    }
}

impl std::fmt::Display for Sides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [height, width] = self.height_width();
        write!(f, "{height}×{width}")
    }
}

/// Description of a window's stride, if above 1, and its padding.
fn step_and_padding(stride: usize, padding: Padding) -> String {
    let step = if stride > 1 { format!(", stride {stride}") } else { String::new() };
    step + &match padding {
        Padding::Valid => String::new(),
        Padding::Same => ", same".to_owned(),
        Padding::Explicit(pixels) => format!(", padding {pixels}"),
        Padding::Sides { top, bottom, left, right } => format!(", padding [{top}, {bottom}, {left}, {right}]"),
    }
}

fn one() -> usize {
    1
}

/// The shape of a batch of one.
fn batch_of_one(shape: &[usize]) -> Vec<usize> {
    [&[1], shape].concat()
}

/// Shape after pooling.
fn pooled(op: &'static str, input: &[usize], kernel: Sides, stride: usize, padding: Padding) -> Result<Vec<usize>> {
    let geometry = Pool2dGeometry::new(op, &batch_of_one(input), kernel.height_width(), stride, padding)?;
    Ok(geometry.output_shape()[1..].to_vec())
}

/// Checks that an input is an image.
fn expect_image(op: &'static str, input: &[usize]) -> Result<()> {
    match input {
        [_, _, _] => Ok(()),
        _ => Err(Error::shape(op, "takes images [height, width, channels]")),
    }
}
