//! A network's layers run on a tape.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::nn::Role;
use crate::nn::graph::Node;
use crate::ops::conv2d::{Activation, Plans};
use crate::ops::elementwise::Add;
use crate::tape::{Parameter, Tape, Var};
use crate::tensor::Tensor;

/// A forward pass under way: what layers take from it.
pub struct ForwardPass<'a> {
    tape: &'a Tape,
    plans: Rc<Plans>,
    parameters: &'a mut dyn Iterator<Item = Result<Var>>,
    statistics: &'a mut dyn Iterator<Item = &'a Parameter>,
    /// The layers behind the present one in its sequence, less those it has computed already.
    following: &'a [Node],
}

impl<'a> ForwardPass<'a> {
    pub(super) fn new(
        tape: &'a Tape,
        plans: Rc<Plans>,
        parameters: &'a mut dyn Iterator<Item = Result<Var>>,
        statistics: &'a mut dyn Iterator<Item = &'a Parameter>,
    ) -> Self {
        ForwardPass { tape, plans, parameters, statistics, following: &[] }
    }

    /// The tape that is recorded on.
    pub fn tape(&self) -> &'a Tape {
        self.tape
    }

    /// How products are computed.
    pub fn plans(&self) -> Rc<Plans> {
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

    /// Takes over the ReLU that follows, if one does: the present layer computes it.
    pub fn absorb_relu(&mut self) -> bool {
        self.absorb(|role| (role == Role::Relu).then_some(())).is_some()
    }

    /// Takes over the ReLU that follows and the dropout behind it, if there are such: the present layer computes them.
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

    /// The output of layers that follow one another.
    pub(super) fn run(&mut self, nodes: &'a [Node], input: Var) -> Result<Var> {
        let mut value = input;
        let mut left = nodes;
        while let Some((node, rest)) = left.split_first() {
            self.following = rest;
            value = match node {
                Node::Layer { layer, .. } => layer.forward(&value, self)?,
                Node::Residual { body, shortcut, .. } => {
                    let along_body = self.run(body, value.clone())?;
                    let along_shortcut = self.run(shortcut, value)?;
                    self.following = rest;
                    let relu = self.absorb_relu();
                    self.tape.apply(Add { relu }, &[&along_body, &along_shortcut])?
                }
            };
            left = self.following;
        }
        Ok(value)
    }
}
