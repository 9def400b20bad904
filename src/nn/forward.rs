//! A network's layers run on a tape.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::nn::Role;
use crate::nn::graph::Node;
use crate::ops::conv2d::{Activation, Plans};
use crate::ops::elementwise::Add;
use crate::tape::{Parameter, Tape, Var};
use crate::tensor::Tensor;

/// State of a forward pass, which layers use.
pub struct ForwardPass<'a> {
    tape: &'a Tape,
    plans: Arc<Plans>,
    parameters: &'a mut dyn Iterator<Item = Result<Var>>,
    statistics: &'a mut dyn Iterator<Item = &'a Parameter>,
    /// Is shown each output, with the name of its layer.
    observe: &'a mut dyn FnMut(&str, &Var) -> Result<()>,
    /// The layers after the current one in its sequence, without those it has already computed.
    following: &'a [Node],
}

impl<'a> ForwardPass<'a> {
    pub(super) fn new(
        tape: &'a Tape,
        plans: Arc<Plans>,
        parameters: &'a mut dyn Iterator<Item = Result<Var>>,
        statistics: &'a mut dyn Iterator<Item = &'a Parameter>,
        observe: &'a mut dyn FnMut(&str, &Var) -> Result<()>,
    ) -> Self {
        ForwardPass { tape, plans, parameters, statistics, observe, following: &[] }
    }

    /// The tape that records the pass.
    pub fn tape(&self) -> &'a Tape {
        self.tape
    }

    /// How products are computed.
    pub fn plans(&self) -> Arc<Plans> {
        self.plans.clone()
    }

    /// The layer's next trained parameter.
    ///
    /// # Errors
    /// If there is none, or the device fails.
    pub fn parameter(&mut self) -> Result<Var> {
        self.parameters.next().ok_or_else(|| Error::Tape("the network lacks parameters".into()))?
    }

    /// The layer's next running statistic.
    ///
    /// # Errors
    /// If there is none.
    pub fn statistic(&mut self) -> Result<Tensor> {
        let next = self.statistics.next();
        Ok(next.ok_or_else(|| Error::Tape("the network lacks running statistics".into()))?.tensor.clone())
    }

    /// Fuses a following ReLU, if any, into the current layer, which must compute it.
    pub fn absorb_relu(&mut self) -> bool {
        self.absorb(|role| (role == Role::Relu).then_some(())).is_some()
    }

    /// Fuses a following ReLU and the dropout after it, if any, into the current layer, which must compute them.
    pub fn absorb_activation(&mut self) -> Activation {
        if !self.absorb_relu() {
            return Activation::Identity;
        }
        let dropout = self.absorb(|role| match role {
            Role::Dropout(probability) => Some(probability),
            _ => None,
        });
        dropout.filter(|&probability| probability > 0.0).map_or(Activation::Relu, Activation::ReluDropout)
    }

    fn absorb<T>(&mut self, wanted: impl FnOnce(Role) -> Option<T>) -> Option<T> {
        let (first, rest) = self.following.split_first()?;
        let found = first.layer().and_then(|layer| wanted(layer.role()))?;
        self.following = rest;
        Some(found)
    }

    /// The output of a sequence of layers.
    pub(super) fn run(&mut self, nodes: &'a [Node], input: Var) -> Result<Var> {
        let mut value = input;
        let mut left = nodes;
        while let Some((node, rest)) = left.split_first() {
            self.following = rest;
            value = match node {
                Node::Layer { layer, .. } => {
                    let output = layer.forward(&value, self)?;
                    (self.observe)(layer.name().unwrap_or(layer.kind()), &output)?;
                    output
                }
                Node::Residual { body, shortcut, .. } => {
                    let along_body = self.run(body, value.clone())?;
                    let along_shortcut = self.run(shortcut, value)?;
                    self.following = rest;
                    let relu = self.absorb_relu();
                    let output = self.tape.apply(Add { relu }, &[&along_body, &along_shortcut])?;
                    (self.observe)("residual", &output)?;
                    output
                }
            };
            left = self.following;
        }
        Ok(value)
    }
}
