//! A network: an architecture with parameters on a device.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::GpuError;
use crate::nn::forward::ForwardPass;
use crate::nn::init::set_dirac;
use crate::nn::{Architecture, Init, ParameterSpec, Start};
use crate::ops::conv2d::Plans;
use crate::ops::convert::Convert;
use crate::ops::random::RandomStream;
use crate::tape::{Layout, Parameter, Parameters, Tape, Var};
use crate::tensor::{DType, Device, Precision};

/// A network with parameters on a device.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    parameters: Parameters,
    /// Running statistics, two tensors per batch normalization, if there are any.
    statistics: Option<Parameters>,
    precision: Precision,
    plans: Arc<Plans>,
    device: Device,
}

impl Network {
    /// A network with random parameters, the same for the same seed on every device.
    ///
    /// # Errors
    /// If the layers do not fit together, or the device cannot hold the parameters.
    pub fn new(architecture: Architecture, device: &Device, seed: u64) -> Result<Self> {
        let (trained, statistics): (Vec<_>, Vec<_>) =
            architecture.parameters()?.into_iter().partition(|(_, spec)| spec.is_trained);
        // Each parameter has its own random stream.
        let with_values = |specs: Vec<(String, ParameterSpec)>| {
            (0..).zip(specs).map(move |(stream, (name, spec))| {
                let values = start_values(&spec, RandomStream::new(seed, stream));
                (name, spec.layout, values)
            })
        };
        let has_statistics = !statistics.is_empty();
        let parameters = Parameters::new(device, with_values(trained))?;
        let statistics = has_statistics.then(|| Parameters::new(device, with_values(statistics))).transpose()?;
        Ok(Network {
            architecture,
            parameters,
            statistics,
            precision: Precision::F32,
            plans: Arc::default(),
            device: device.clone(),
        })
    }

    /// A copy of the network with separate parameters.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn copy(&self) -> Result<Self> {
        Ok(Network {
            architecture: self.architecture.clone(),
            parameters: self.parameters.copy()?,
            statistics: self.statistics.as_ref().map(Parameters::copy).transpose()?,
            precision: self.precision,
            plans: self.plans.clone(),
            device: self.device.clone(),
        })
    }

    /// A network of another architecture on the same device, with the same plans and precision.
    ///
    /// # Errors
    /// If the layers do not fit together, or the device cannot hold the parameters.
    pub fn sibling(&self, architecture: Architecture) -> Result<Self> {
        let network = Network::new(architecture, &self.device, 0)?;
        Ok(Network { precision: self.precision, plans: self.plans.clone(), ..network })
    }

    /// Its description.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Its parameters, in the order of the layers.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The weight of its first layer with parameters, if that is a convolution.
    pub fn first_convolution(&self) -> Option<&Parameter> {
        self.parameters.first().filter(|parameter| matches!(parameter.layout, Layout::Conv2dWeight { .. }))
    }

    /// The running statistics of its batch normalizations: each one's mean and variance, in the order of the layers; `None`
    /// if it has none.
    pub fn statistics(&self) -> Option<&Parameters> {
        self.statistics.as_ref()
    }

    /// The contents of its weights file: parameters, then running statistics.
    pub fn state(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().chain(self.statistics.iter().flat_map(|statistics| statistics.iter()))
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sets the plans that compute its products.
    pub fn set_plans(&mut self, plans: Plans) {
        self.plans = Arc::new(plans);
    }

    /// Sets the width of its activations and of the weights that products read.
    ///
    /// # Errors
    /// If the device has no such type.
    pub fn set_precision(&mut self, precision: Precision) -> Result<()> {
        if let (Precision::F16, Device::Gpu(gpu)) = (precision, &self.device)
            && !gpu.has_f16()
        {
            return Err(Error::Gpu(GpuError::MissingFeature {
                adapter: gpu.description(),
                feature: "SHADER_F16, which 16-bit activations need".into(),
            }));
        }
        self.precision = precision;
        Ok(())
    }

    /// Type of its activations.
    pub fn dtype(&self) -> DType {
        self.precision.dtype()
    }

    /// The logits `[batch, classes]`, 32 bits wide, of `images [batch, height, width, channels]`, which must be normalized as
    /// described by the architecture.
    ///
    /// # Errors
    /// If the images do not have the architecture's shape, or the device fails.
    pub fn forward(&self, tape: &Tape, images: &Var) -> Result<Var> {
        self.forward_observed(tape, images, &mut |_, _| Ok(()))
    }

    /// The same, which shows `observe` each layer's output, with the layer's name or, without one, its kind. Layers that are computed
    /// together are shown once, with the first one's name.
    ///
    /// # Errors
    /// As [`Network::forward`], and those of `observe`.
    pub fn forward_observed(
        &self,
        tape: &Tape,
        images: &Var,
        observe: &mut dyn FnMut(&str, &Var) -> Result<()>,
    ) -> Result<Var> {
        let input = self.architecture.input;
        if images.shape().get(1..) != Some(&input.axes()) {
            let message = format!("{} takes images {input}, these are {:?}", self.architecture.name, images.shape());
            return Err(Error::shape("network", message));
        }
        let mut parameters = self.parameters.on(tape, self.dtype())?;
        let mut statistics = self.statistics.iter().flat_map(|statistics| statistics.iter());
        let mut pass = ForwardPass::new(tape, self.plans.clone(), &mut parameters, &mut statistics, observe);
        let images = images.apply(Convert { dtype: self.dtype() })?;
        let logits = pass.run(&self.architecture.nodes, images)?;
        logits.apply(Convert { dtype: DType::F32 })
    }
}

fn start_values(spec: &ParameterSpec, mut random: RandomStream) -> Vec<f32> {
    let count = spec.layout.elements();
    match spec.start {
        Start::Constant(value) => vec![value; count],
        Start::Bias { init, fan_in } => init.bias(count, fan_in, &mut random),
        Start::Weight { init, fan_in, fan_out } => {
            let mut weight = init.weight(count, fan_in, fan_out, &mut random);
            if let (Init::Dirac, Layout::Conv2dWeight { out_c, in_c, kernel }) = (init, spec.layout) {
                set_dirac(&mut weight, out_c, in_c, kernel);
            }
            weight
        }
    }
}
