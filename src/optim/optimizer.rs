//! Optimizers: their state per parameter, and the update.

use crate::error::Result;
use crate::ops::StepState;
use crate::ops::adam::{Adam, adam_step};
use crate::ops::muon::{Muon, muon_update};
use crate::ops::sgd::{Sgd, sgd_step};
use crate::tape::{Gradients, Layout, Parameter, Parameters};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// An optimizer's kind and settings.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam or AdamW.
    Adam(Adam),
    /// Muon for the weights of convolutions and fully connected layers, except those of the last layer; stochastic gradient descent
    /// for all other parameters.
    Muon(Muon, Sgd),
}

/// An optimizer with its state.
#[derive(Debug)]
pub struct Optimizer {
    memory: Memory,
    groups: Vec<Group>,
    updates: u64,
}

/// State of an optimizer; each tensor has the layout of the parameters' tensor.
#[derive(Debug)]
enum Memory {
    Sgd { sgd: Sgd, velocity: Tensor },
    Adam { adam: Adam, first_moment: Tensor, second_moment: Tensor },
    Muon { muon: Muon, sgd: Sgd, velocity: Tensor },
}

/// Consecutive elements of the parameters' tensor that are updated together.
#[derive(Debug, Clone, PartialEq)]
struct Group {
    start: usize,
    len: usize,
    rate_factor: f32,
    /// The shape of a weight that Muon updates.
    matrix: Option<Vec<usize>>,
}

impl Optimizer {
    /// An optimizer for these parameters; [`Optimizer::step`] must be given the same ones.
    pub fn new(config: OptimizerConfig, device: &Device, parameters: &Parameters) -> Result<Self> {
        Optimizer::with_rate_factors(config, device, parameters, |_| 1.0)
    }

    /// The same with a factor of the learning rate for each parameter, which does not apply to weight decay. A parameter with factor
    /// 0 is not changed at all.
    pub fn with_rate_factors(
        config: OptimizerConfig,
        device: &Device,
        parameters: &Parameters,
        rate_factor: impl Fn(&Parameter) -> f32,
    ) -> Result<Self> {
        let zeros = || device.zeros(parameters.flat().shape(), DType::F32);
        let memory = match config {
            OptimizerConfig::Sgd(sgd) => Memory::Sgd { sgd, velocity: zeros()? },
            OptimizerConfig::Adam(adam) => Memory::Adam { adam, first_moment: zeros()?, second_moment: zeros()? },
            OptimizerConfig::Muon(muon, sgd) => Memory::Muon { muon, sgd, velocity: zeros()? },
        };
        let groups = groups(parameters, rate_factor, matches!(config, OptimizerConfig::Muon(..)));
        Ok(Optimizer { memory, groups, updates: 0 })
    }

    /// Counts one update and writes Adam's moment corrections into the step's state.
    pub fn begin_step(&mut self, state: &mut StepState) {
        self.updates += 1;
        if let Memory::Adam { adam, .. } = self.memory {
            // After this many updates the corrections are 1.
            let updates = i32::try_from(self.updates).unwrap_or(i32::MAX);
            state.first_moment_correction = (1.0 - adam.beta1.powi(updates)) as f32;
            state.second_moment_correction = (1.0 - adam.beta2.powi(updates)) as f32;
        }
    }

    /// Its state tensors, by name.
    pub fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match &self.memory {
            Memory::Sgd { velocity, .. } | Memory::Muon { velocity, .. } => vec![("velocity", velocity)],
            Memory::Adam { first_moment, second_moment, .. } => {
                vec![("first_moment", first_moment), ("second_moment", second_moment)]
            }
        }
    }

    /// Sets the number of updates done, to resume; the state tensors are restored separately.
    pub fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// Updates all parameters in place, with learning rate and corrections from the step's state. Consecutive parameters with the
    /// same settings are updated by one kernel call.
    ///
    /// # Errors
    /// As for [`Gradients::of_all`], and if the device fails.
    pub fn step(&self, state: &Tensor, parameters: &Parameters, gradients: &Gradients) -> Result<()> {
        self.step_from(state, parameters, gradients.of_all(parameters)?)
    }

    /// The same from a tensor of all gradients, at the places of their parameters: [`Gradients::flat`], or a sum of several.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn step_from(&self, state: &Tensor, parameters: &Parameters, gradients: &Tensor) -> Result<()> {
        let flat = parameters.flat();
        for Group { start, len, rate_factor, matrix } in &self.groups {
            let (rate_factor, len) = (*rate_factor, [*len]);
            let shape = matrix.as_deref().unwrap_or(&len);
            let part = |tensor: &Tensor| tensor.view(*start, shape);
            let (parameter, gradient) = (part(flat)?, part(gradients)?);
            // SGD multiplies its decay by the learning rate.
            let undo = |sgd: Sgd| Sgd { weight_decay: sgd.weight_decay / rate_factor, ..sgd };
            match &self.memory {
                Memory::Muon { muon, velocity, .. } if matrix.is_some() => {
                    let muon = Muon { rate_factor: muon.rate_factor * rate_factor, ..*muon };
                    muon_update(muon, state, &gradient, &parameter, &part(velocity)?)?;
                }
                Memory::Sgd { sgd, velocity } | Memory::Muon { sgd, velocity, .. } => {
                    sgd_step(undo(*sgd), rate_factor, state, &gradient, &parameter, &part(velocity)?)?;
                }
                Memory::Adam { adam, first_moment, second_moment } => {
                    let (first_moment, second_moment) = (part(first_moment)?, part(second_moment)?);
                    adam_step(*adam, rate_factor, state, &gradient, &parameter, &first_moment, &second_moment)?;
                }
            }
        }
        Ok(())
    }
}

/// The groups of parameters, in order, without those whose rate factor is 0.
fn groups(parameters: &Parameters, rate_factor: impl Fn(&Parameter) -> f32, has_muon: bool) -> Vec<Group> {
    let is_weight = |parameter: &Parameter| !matches!(parameter.layout, Layout::Bias(_));
    let last_weight = parameters.iter().rfind(|p| is_weight(p)).map(|p| p.start);
    let mut groups: Vec<Group> = Vec::new();
    for parameter in parameters {
        let Parameter { start, tensor, .. } = parameter;
        let has_matrix = has_muon && is_weight(parameter) && Some(*start) != last_weight;
        let group = Group {
            start: *start,
            len: tensor.len(),
            rate_factor: rate_factor(parameter),
            matrix: has_matrix.then(|| tensor.shape().to_vec()),
        };
        match groups.last_mut() {
            // The padding between them is zeros and stays so.
            Some(last) if last.rate_factor == group.rate_factor && last.matrix.is_none() && group.matrix.is_none() => {
                last.len = group.start + group.len - last.start;
            }
            _ => groups.push(group),
        }
    }
    groups.retain(|group| group.rate_factor != 0.0);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Architecture, Network};

    #[test]
    fn parameters_with_the_same_settings_are_one_group() {
        let device = Device::cpu();
        let network = Network::new(Architecture::by_name("lenet5", 10).unwrap(), &device, 1).unwrap();
        let parameters = network.parameters();
        let all = groups(parameters, |_| 1.0, false);
        let [whole] = all.as_slice() else { panic!("{all:?}") };
        let last = parameters.iter().last().unwrap();
        assert_eq!((whole.start, whole.len), (0, last.start + last.tensor.len()));
        let is_bias = |parameter: &Parameter| parameter.name.ends_with("bias");
        let by_kind = groups(parameters, |parameter| if is_bias(parameter) { 64.0 } else { 1.0 }, false);
        assert_eq!(by_kind.len(), parameters.iter().count());
        assert_eq!(by_kind.iter().filter(|group| group.rate_factor == 64.0).count(), parameters.iter().count() / 2);
        let frozen = groups(parameters, |parameter| if is_bias(parameter) { 0.0 } else { 1.0 }, false);
        assert_eq!(frozen.len(), parameters.iter().count() / 2);
    }

    #[test]
    fn muon_updates_weights_except_the_last() {
        let device = Device::cpu();
        let network = Network::new(Architecture::by_name("resnet20", 10).unwrap(), &device, 1).unwrap();
        let groups = groups(network.parameters(), |_| 1.0, true);
        let matrices: Vec<_> = groups.iter().filter_map(|group| group.matrix.as_deref()).collect();
        assert_eq!((matrices.len(), matrices[0]), (19, [3, 3, 3, 16].as_slice()));
        assert!(groups.last().unwrap().matrix.is_none());
    }
}
