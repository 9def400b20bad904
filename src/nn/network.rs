//! A network: an architecture with parameters on a device.

use std::iter::Peekable;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::gpu::GpuError;
use crate::nn::{Architecture, Init, Layer, Layout, Parameter, Parameters};
use crate::ops::batch_norm::Running;
use crate::ops::conv2d::{Conv2dGeometry, Plans};
use crate::ops::linear;
use crate::ops::max_pool2d::MaxPool2dGeometry;
use crate::ops::random::RandomStream;
use crate::tape::{Activation, Tape, Var};
use crate::tensor::DType;
use crate::tensor::Device;

/// A network with parameters on a device.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    parameters: Parameters,
    /// Running statistics, two tensors for each batch normalization, where there is any.
    statistics: Option<Parameters>,
    plans: Rc<Plans>,
    device: Device,
}

/// A parameter before it has values.
#[derive(Debug, Clone)]
struct ParameterPlan {
    name: String,
    layout: Layout,
    values: Values,
}

/// What a parameter starts as.
#[derive(Debug, Clone, Copy)]
enum Values {
    Random { init: Init, fan_in: usize, fan_out: usize },
    Constant(f32),
}

impl Network {
    /// A network with random parameters, the same for the same seed on every device.
    pub fn new(architecture: Architecture, device: &Device, seed: u64) -> Result<Self> {
        let plans = parameter_plans(&architecture)?;
        let values = (0..).zip(plans).map(|(stream, plan)| {
            let mut random = RandomStream::new(seed, stream);
            let count = plan.layout.outer_shape().iter().product();
            let outer = match (plan.values, plan.layout) {
                (Values::Constant(value), _) => vec![value; count],
                (Values::Random { init, fan_in, .. }, Layout::Bias(_)) => init.bias(count, fan_in, &mut random),
                (Values::Random { init, fan_in, fan_out }, _) => init.weight(count, fan_in, fan_out, &mut random),
            };
            (plan.name, plan.layout, outer)
        });
        let parameters = Parameters::new(device, values)?;
        let statistics = architecture
            .statistics()?
            .into_iter()
            .map(|(name, channels, value)| (name, Layout::Bias(channels), vec![value; channels]));
        let statistics = (statistics.len() > 0).then(|| Parameters::new(device, statistics)).transpose()?;
        Ok(Network { architecture, parameters, statistics, plans: Rc::default(), device: device.clone() })
    }

    /// The same network with parameters of its own, which start as these.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn copy(&self) -> Result<Self> {
        Ok(Network {
            architecture: self.architecture.clone(),
            parameters: self.parameters.copy()?,
            statistics: self.statistics.as_ref().map(Parameters::copy).transpose()?,
            plans: self.plans.clone(),
            device: self.device.clone(),
        })
    }

    /// Its description.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Its parameters, in the order of the layers.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The running statistics of its batch normalizations: each one's mean and variance, in the order of the layers; `None`
    /// if it has none.
    pub fn statistics(&self) -> Option<&Parameters> {
        self.statistics.as_ref()
    }

    /// All that its weights file holds: parameters, then running statistics.
    pub fn state(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().chain(self.statistics.iter().flat_map(|statistics| statistics.iter()))
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Lets its products be computed as `plans` say, with activations and rounded weights of their type.
    ///
    /// # Errors
    /// If the device has no such type.
    pub fn set_plans(&mut self, plans: Plans) -> Result<()> {
        if let (DType::F16, Device::Gpu(gpu)) = (plans.dtype(), &self.device)
            && !gpu.has_f16()
        {
            return Err(Error::Gpu(GpuError::MissingFeature {
                adapter: gpu.description(),
                feature: "SHADER_F16 (--precision f16)".into(),
            }));
        }
        self.plans = Rc::new(plans);
        Ok(())
    }

    /// Type of its activations.
    pub fn dtype(&self) -> DType {
        self.plans.dtype()
    }

    /// The logits `[batch, classes]`, 32 bits wide, of `images [batch, height, width, channels]`, normalized as the architecture says.
    pub fn forward(&self, tape: &Tape, images: &Var) -> Result<Var> {
        let tape = &tape.with_plans(self.plans.clone());
        let mut parameters = self.parameters.on(tape, self.dtype())?;
        let mut next =
            || -> Result<Var> { parameters.next().ok_or_else(|| Error::Tape("the network lacks parameters".into()))? };
        let mut statistics = self.statistics.iter().flat_map(|statistics| statistics.iter()).map(|s| &s.tensor);
        let mut value = tape.convert(images, self.dtype())?;
        let mut layers = self.architecture.layers.iter().peekable();
        while let Some(layer) = layers.next() {
            value = match *layer {
                Layer::Conv2d { stride, padding, .. } => {
                    tape.conv2d(&value, &next()?, &next()?, stride, padding, activation(&mut layers))?
                }
                Layer::Linear { .. } => tape.linear(&value, &next()?, &next()?, activation(&mut layers))?,
                Layer::BatchNorm { .. } => {
                    let relu = layers.next_if_eq(&&Layer::Relu).is_some();
                    let missing = || Error::Tape("the network lacks running statistics".into());
                    let mean = statistics.next().ok_or_else(missing)?;
                    let variance = statistics.next().ok_or_else(missing)?;
                    tape.batch_norm(&value, &next()?, &next()?, Running { mean, variance }, relu)?
                }
                Layer::Relu => tape.relu(&value)?,
                Layer::Dropout(0.0) => value,
                Layer::Dropout(probability) => tape.dropout(&value, probability)?,
                Layer::MaxPool2d { kernel, stride } => tape.max_pool2d(&value, kernel, stride)?,
                Layer::Flatten => tape.flatten(&value)?,
                Layer::GlobalAvgPool => tape.global_avg_pool(&value)?,
            };
        }
        tape.convert(&value, DType::F32)
    }
}

/// The activation that comes next, with the dropout behind it.
fn activation<'a>(layers: &mut Peekable<impl Iterator<Item = &'a Layer>>) -> Activation {
    if layers.next_if_eq(&&Layer::Relu).is_none() {
        return Activation::Identity;
    }
    match layers.next_if(|layer| matches!(layer, Layer::Dropout(_))) {
        Some(&Layer::Dropout(probability)) if probability > 0.0 => Activation::ReluDropout(probability),
        _ => Activation::Relu,
    }
}

impl Architecture {
    /// Shapes after each layer for one image, without the batch axis.
    ///
    /// # Errors
    /// If a layer does not fit the one before it.
    pub fn output_shapes(&self) -> Result<Vec<Vec<usize>>> {
        let mut shape = self.input.axes().to_vec();
        let mut shapes = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let batch: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
            let misfit = |error: Error| Error::ImageShape {
                arch: self.name.to_owned(),
                image: self.input,
                layer: layer.label(),
                input: batch[1..].to_vec(),
                reason: error.to_string(),
            };
            shape = match *layer {
                Layer::Conv2d { channels, kernel, stride, padding, .. } => {
                    let weight = [kernel, kernel, batch[batch.len() - 1], channels];
                    let geometry = Conv2dGeometry::new(&batch, &weight, stride, padding).map_err(misfit)?;
                    geometry.output_shape()[1..].to_vec()
                }
                Layer::MaxPool2d { kernel, stride } => {
                    let geometry = MaxPool2dGeometry::new(&batch, [kernel, kernel], stride).map_err(misfit)?;
                    geometry.output_shape()[1..].to_vec()
                }
                Layer::BatchNorm { .. } | Layer::Relu | Layer::Dropout(_) => shape,
                Layer::Flatten => vec![shape.iter().product()],
                Layer::Linear { features, .. } => vec![features],
                Layer::GlobalAvgPool => shape[shape.len() - 1..].to_vec(),
            };
            shapes.push(shape.clone());
        }
        Ok(shapes)
    }

    /// The number of classes that it tells apart: of logits for an image.
    ///
    /// # Errors
    /// If the layers do not fit together.
    pub fn num_classes(&self) -> Result<usize> {
        Ok(self.output_shapes()?.last().map_or(0, |shape| shape.iter().product()))
    }

    /// The layers that are convolutions, or products that are computed as such, for batches of `batch` images: name and
    /// geometry.
    ///
    /// # Errors
    /// If the layers do not fit together, or a tensor has more elements than kernels can count.
    pub fn convolutions(&self, batch: usize) -> Result<Vec<(&'static str, Conv2dGeometry)>> {
        let inputs = std::iter::once(self.input.axes().to_vec()).chain(self.output_shapes()?);
        let mut found = Vec::new();
        for (layer, input) in self.layers.iter().zip(inputs) {
            let input = [&[batch], input.as_slice()].concat();
            match *layer {
                Layer::Conv2d { name, channels, kernel, stride, padding, .. } => {
                    let weight = [kernel, kernel, input[input.len() - 1], channels];
                    found.push((name, Conv2dGeometry::new(&input, &weight, stride, padding)?));
                }
                Layer::Linear { name, features, .. } => {
                    found.push((name, linear::geometry(&input, &[input[1], features])?));
                }
                Layer::BatchNorm { .. }
                | Layer::Relu
                | Layer::Dropout(_)
                | Layer::MaxPool2d { .. }
                | Layer::Flatten
                | Layer::GlobalAvgPool => {}
            }
        }
        Ok(found)
    }

    /// The running statistics of its batch normalizations: names, channels, and what they start as.
    ///
    /// # Errors
    /// If the layers do not fit together.
    fn statistics(&self) -> Result<Vec<(String, usize, f32)>> {
        let shapes = self.output_shapes()?;
        let mut statistics = Vec::new();
        for (layer, shape) in self.layers.iter().zip(shapes) {
            if let Layer::BatchNorm { name } = layer {
                let channels = shape[shape.len() - 1];
                statistics.push((format!("{name}.running_mean"), channels, 0.0));
                statistics.push((format!("{name}.running_var"), channels, 1.0));
            }
        }
        Ok(statistics)
    }

    /// Layouts of the parameters with their names, in the order of the layers.
    pub fn parameter_layouts(&self) -> Result<Vec<(String, Layout)>> {
        Ok(parameter_plans(self)?.into_iter().map(|p| (p.name, p.layout)).collect())
    }
}

fn parameter_plans(architecture: &Architecture) -> Result<Vec<ParameterPlan>> {
    let outputs = architecture.output_shapes()?;
    let inputs = std::iter::once(architecture.input.axes().to_vec()).chain(outputs.iter().cloned());
    let mut before_flatten = None;
    let mut plans = Vec::new();
    for (layer, input) in architecture.layers.iter().zip(inputs) {
        let (name, init, weight, fan_in, fan_out) = match *layer {
            Layer::Conv2d { name, channels, kernel, init, .. } => {
                let in_c = input[input.len() - 1];
                let taps = kernel * kernel;
                let weight = Layout::Conv2dWeight { out_c: channels, in_c, kernel };
                (name, init, weight, in_c * taps, channels * taps)
            }
            Layer::Linear { name, features, init } => {
                let (channels, pixels) = before_flatten.take().unwrap_or((input[0], 1));
                let weight = Layout::LinearWeight { out_features: features, channels, pixels };
                (name, init, weight, input[0], features)
            }
            Layer::Flatten => {
                let channels = input[input.len() - 1];
                before_flatten = Some((channels, input.iter().product::<usize>() / channels));
                continue;
            }
            Layer::BatchNorm { name } => {
                let layout = Layout::Bias(input[input.len() - 1]);
                for (suffix, value) in [("weight", 1.0), ("bias", 0.0)] {
                    plans.push(ParameterPlan {
                        name: format!("{name}.{suffix}"),
                        layout,
                        values: Values::Constant(value),
                    });
                }
                continue;
            }
            Layer::Relu | Layer::Dropout(_) | Layer::MaxPool2d { .. } | Layer::GlobalAvgPool => continue,
        };
        let outs = weight.outer_shape()[0];
        for (suffix, layout) in [("weight", weight), ("bias", Layout::Bias(outs))] {
            let values = Values::Random { init, fan_in, fan_out };
            plans.push(ParameterPlan { name: format!("{name}.{suffix}"), layout, values });
        }
    }
    Ok(plans)
}
