//! Parameters, and their external form: names, shapes and element order of PyTorch.

use std::ops::Deref;

use crate::error::Result;
use crate::ops::convert::convert;
use crate::tape::{Tape, Var};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor, VIEW_ALIGNMENT};

/// How a parameter's elements are ordered inside, compared with PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Convolution weight: `[out, in, h, w]` outside, `[h, w, in, out]` inside.
    Conv2dWeight {
        /// Output channels.
        out_c: usize,
        /// Input channels.
        in_c: usize,
        /// Height and width of the kernel.
        kernel: [usize; 2],
    },
    /// Weight of a fully connected layer: `[out, in]` outside, `[in, out]` inside. Where its input is a flattened image,
    /// the input features are ordered channels, height, width outside and height, width, channels inside.
    LinearWeight {
        /// Output features.
        out_features: usize,
        /// Channels of the flattened image; the number of input features if there was none.
        channels: usize,
        /// Pixels of the flattened image, 1 if there was none.
        pixels: usize,
    },
    /// Bias with this number of elements, the same inside and outside.
    Bias(usize),
}

impl Layout {
    /// Shape in PyTorch.
    pub fn outer_shape(&self) -> Vec<usize> {
        match *self {
            Layout::Conv2dWeight { out_c, in_c, kernel } => vec![out_c, in_c, kernel[0], kernel[1]],
            Layout::LinearWeight { out_features, channels, pixels } => vec![out_features, channels * pixels],
            Layout::Bias(count) => vec![count],
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.outer_shape().into_iter().fold(1, usize::saturating_mul)
    }

    /// Shape of our tensor.
    pub fn inner_shape(&self) -> Vec<usize> {
        match *self {
            Layout::Conv2dWeight { out_c, in_c, kernel } => vec![kernel[0], kernel[1], in_c, out_c],
            Layout::LinearWeight { out_features, channels, pixels } => vec![channels * pixels, out_features],
            Layout::Bias(count) => vec![count],
        }
    }

    /// Inner position of each outer element, in outer order.
    fn inner_positions(&self) -> Vec<usize> {
        // Both weights are [out, channel, pixel] outside and [pixel, channel, out] inside.
        let (outs, channels, pixels) = match *self {
            Layout::Conv2dWeight { out_c, in_c, kernel } => (out_c, in_c, kernel[0] * kernel[1]),
            Layout::LinearWeight { out_features, channels, pixels } => (out_features, channels, pixels),
            Layout::Bias(count) => return (0..count).collect(),
        };
        (0..outs * channels * pixels)
            .map(|i| {
                let (o, c, p) = (i / (channels * pixels), i / pixels % channels, i % pixels);
                (p * channels + c) * outs + o
            })
            .collect()
    }

    /// Elements in our order from elements in PyTorch's.
    pub fn to_inner(&self, outer: &[f32]) -> Vec<f32> {
        let mut inner = vec![0.0; outer.len()];
        for (position, &value) in self.inner_positions().into_iter().zip(outer) {
            inner[position] = value;
        }
        inner
    }

    /// Elements in PyTorch's order from elements in ours.
    pub fn to_outer(&self, inner: &[f32]) -> Vec<f32> {
        self.inner_positions().into_iter().map(|position| inner[position]).collect()
    }
}

/// A trainable tensor of a network.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Name, as in PyTorch.
    pub name: String,
    /// Its elements, in our order: a view of the tensor that holds all parameters.
    pub tensor: Tensor,
    /// How its element order differs from PyTorch's.
    pub layout: Layout,
    /// Its first element in that tensor.
    pub start: usize,
}

/// The parameters of a network, stored consecutively in one tensor, so that one kernel call updates all.
#[derive(Debug, Clone)]
pub struct Parameters {
    flat: Tensor,
    parameters: Vec<Parameter>,
}

impl Parameters {
    /// Parameters with these names, layouts, and elements in PyTorch's order.
    ///
    /// # Errors
    /// If there are none, or the device cannot hold them in one tensor.
    pub fn new(device: &Device, parameters: impl IntoIterator<Item = (String, Layout, Vec<f32>)>) -> Result<Self> {
        // The alignment must also hold for copies with narrower floats.
        let aligned = VIEW_ALIGNMENT / DType::F16.bytes();
        let mut values = Vec::new();
        let mut places = Vec::new();
        for (name, layout, outer) in parameters {
            places.push((name, layout, values.len()));
            values.extend(layout.to_inner(&outer));
            // Zeros, which every optimizer leaves as they are: their gradient is zero, too.
            values.resize(values.len().next_multiple_of(aligned), 0.0);
        }
        let flat = device.tensor(&[values.len()], &values)?;
        let parameters = places
            .into_iter()
            .map(|(name, layout, start)| {
                let tensor = flat.view(start, &layout.inner_shape())?;
                Ok(Parameter { name, tensor, layout, start })
            })
            .collect::<Result<_>>()?;
        Ok(Parameters { flat, parameters })
    }

    /// A copy of the parameters in a new tensor.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn copy(&self) -> Result<Self> {
        let flat = self.flat.device().empty(self.flat.shape())?;
        flat.copy_from(&self.flat)?;
        let parameters =
            self.iter().map(|p| Ok(Parameter { tensor: flat.view(p.start, p.tensor.shape())?, ..p.clone() }));
        Ok(Parameters { parameters: parameters.collect::<Result<_>>()?, flat })
    }

    /// The tensor that holds them all, `[elements]`, with zeros between them.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The parameters as values on a tape, in order, so that their gradients lie in one tensor, too; weights are rounded
    /// to `dtype`.
    ///
    /// # Errors
    /// If the device cannot hold a rounded copy.
    pub fn on<'a>(&'a self, tape: &'a Tape, dtype: DType) -> Result<impl Iterator<Item = Result<Var>> + 'a> {
        let rounded = (dtype != DType::F32).then(|| convert(&self.flat, dtype)).transpose()?;
        Ok(self.iter().map(move |p| {
            let value = tape.parameter_in(&p.name, &self.flat, p.start, p.tensor.shape())?;
            match (&rounded, p.layout) {
                (None, _) | (_, Layout::Bias(_)) => Ok(value),
                (Some(rounded), _) => value.rounded(rounded.view(p.start, p.tensor.shape())?),
            }
        }))
    }
}

impl Deref for Parameters {
    type Target = [Parameter];

    fn deref(&self) -> &[Parameter] {
        &self.parameters
    }
}

impl<'a> IntoIterator for &'a Parameters {
    type Item = &'a Parameter;
    type IntoIter = std::slice::Iter<'a, Parameter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_put_each_element_where_it_belongs() {
        let conv = Layout::Conv2dWeight { out_c: 2, in_c: 3, kernel: [2, 2] };
        let outer: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let inner = conv.to_inner(&outer);
        // Outer [o=1, c=2, y=0, x=1] is element 21; inner [y=0, x=1, c=2, o=1] is element 11.
        assert_eq!(inner[11], 21.0);
        assert_eq!(conv.to_outer(&inner), outer);

        let linear = Layout::LinearWeight { out_features: 2, channels: 3, pixels: 4 };
        let inner = linear.to_inner(&outer);
        // Outer [o=1, c=2, p=3] is element 23; inner [p=3, c=2, o=1] is element 23; [o=0, c=1, p=0] is 4 and 2.
        assert_eq!((inner[23], inner[2]), (23.0, 4.0));
        assert_eq!(linear.to_outer(&inner), outer);
    }
}
