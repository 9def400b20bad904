//! The backward pass through a tape: cotangents of the recorded values, and the resulting gradients.

use std::collections::HashMap;

use super::{Node, Parameters, Place, Tape, Var};
use crate::error::{Error, Result};
use crate::ops::{Upstream, Wanted, elementwise};
use crate::tensor::{DType, Tensor};

impl Var {
    /// Gradients of this one-element value with respect to all values on the tape that require a gradient.
    ///
    /// # Errors
    /// If the value has more than one element, depends on no value that requires a gradient, or an earlier call has consumed the
    /// tape.
    pub fn backward(&self) -> Result<Gradients> {
        if self.tensor.len() != 1 {
            return Err(Error::Tape(format!(
                "backward from a value of shape {:?}: only a single number has a gradient",
                self.shape()
            )));
        }
        let one = self.tensor.device().empty(self.shape())?;
        elementwise::fill(1.0, &one)?;
        self.backward_from(&one)
    }

    /// Like [`Var::backward`], from any value with a cotangent of its shape.
    pub fn backward_from(&self, cotangent: &Tensor) -> Result<Gradients> {
        let Some(last) = self.node else {
            return Err(Error::Tape("backward from a value that depends on nothing that wants a gradient".into()));
        };
        if cotangent.shape() != self.shape() {
            return Err(Error::Tape(format!("cotangent {:?} of a value {:?}", cotangent.shape(), self.shape())));
        }
        if self.tape.shared.used.replace(true) {
            return Err(Error::Tape("backward has run on this tape before".into()));
        }
        let mut nodes = std::mem::take(&mut *self.tape.shared.nodes.borrow_mut());
        nodes.truncate(last + 1);
        let (flats, places) = self.tape.flat_gradients()?;
        let mut uses = vec![0; nodes.len()];
        nodes.iter().flat_map(|node| node.parents.iter().flatten()).for_each(|&parent| uses[parent] += 1);
        let mut cotangents: Vec<Option<Tensor>> = vec![None; nodes.len()];
        cotangents[last] = Some(cotangent.clone());
        let unshared = unshared(&nodes, &uses);
        // Whether the gate of a node's value has been applied to its cotangent.
        let mut gated = vec![false; nodes.len()];
        // A node's rule is dropped right after its use, which frees its saved activations.
        while let Some(Node { parents, rule, passes_gate, input_gate }) = nodes.pop() {
            let is_gated = gated[nodes.len()];
            let Some(rule) = rule else { continue };
            let Some(cotangent) = cotangents[nodes.len()].take() else { continue };
            let wanted: Vec<_> = parents
                .iter()
                .map(|parent| match parent.map(|parent| (uses[parent], places.get(&parent))) {
                    // The sum over several uses is copied to its place once it is complete.
                    Some((1, Some(place))) => Wanted::In(place.clone()),
                    Some(_) => Wanted::Value,
                    None => Wanted::Nothing,
                })
                .collect();
            let first = parents.first().copied().flatten();
            // If the input has other uses, its gate must be applied to the sum.
            let input_gate = input_gate.filter(|_| first.is_some_and(|input| unshared[input]));
            let upstream = Upstream { cotangent: &cotangent, wanted: &wanted, is_gated, input_gate };
            let results = rule.backward(upstream)?;
            if let Some(input) = first {
                gated[input] = results.first_is_gated || is_gated && passes_gate;
            }
            for (parent, result) in parents.into_iter().zip(results.inputs) {
                if let (Some(parent), Some(result)) = (parent, result) {
                    cotangents[parent] = Some(match cotangents[parent].take() {
                        Some(earlier) => elementwise::add(&earlier, &result)?,
                        None => result,
                    });
                }
            }
        }
        for (node, place) in places {
            if let Some(cotangent) = cotangents.get_mut(node).and_then(Option::as_mut)
                && !cotangent.shares_memory(&place)
            {
                place.copy_from(cotangent)?;
                *cotangent = place;
            }
        }
        Ok(Gradients { cotangents, parameters: self.tape.shared.parameters.borrow().clone(), flats })
    }
}

/// For each node, whether a single operation uses its value and every value on the way from its ReLU.
fn unshared(nodes: &[Node], uses: &[usize]) -> Vec<bool> {
    let mut unshared: Vec<bool> = Vec::with_capacity(nodes.len());
    for (node, &uses) in nodes.iter().zip(uses) {
        let source = match node.parents.first() {
            Some(&Some(input)) if node.passes_gate => unshared[input],
            _ => true,
        };
        unshared.push(uses == 1 && source);
    }
    unshared
}

/// Tensors that hold several parameters, each with the tensor for their gradients.
type Flats = Vec<(Tensor, Tensor)>;

impl Tape {
    /// Tensors for the gradients of parameters that share a tensor, zeros, and in them the place of each by its node.
    fn flat_gradients(&self) -> Result<(Flats, HashMap<usize, Tensor>)> {
        let mut flats = Flats::new();
        let mut views = HashMap::new();
        for Place { node, flat, start, shape } in self.shared.places.borrow().iter() {
            let known = flats.iter().find(|(parameters, _)| parameters.shares_memory(flat));
            let gradients = match known {
                Some((_, gradients)) => gradients.clone(),
                None => {
                    let gradients = flat.device().zeros(flat.shape(), DType::F32)?;
                    flats.push((flat.clone(), gradients.clone()));
                    gradients
                }
            };
            views.insert(*node, gradients.view(*start, shape)?);
        }
        Ok((flats, views))
    }
}

/// Gradients of a tape's leaves.
pub struct Gradients {
    cotangents: Vec<Option<Tensor>>,
    parameters: HashMap<String, usize>,
    flats: Flats,
}

impl Gradients {
    /// The gradient of a leaf, if the result depends on it.
    pub fn get(&self, leaf: &Var) -> Option<&Tensor> {
        self.cotangents.get(leaf.node?)?.as_ref()
    }

    /// The gradients of all parameters that [`Tape::parameter_in`] found in `parameters`, each at its parameter's position, with
    /// zeros between them and for unused parameters.
    pub fn flat(&self, parameters: &Tensor) -> Option<&Tensor> {
        self.flats.iter().find(|(flat, _)| flat.shares_memory(parameters)).map(|(_, gradients)| gradients)
    }

    /// The gradients of all these parameters, in one tensor as in [`Gradients::flat`].
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if a parameter took no part in the result, and [`Error::Tape`] if the parameters were not put on the
    /// tape by [`Parameters::on`].
    pub fn of_all(&self, parameters: &Parameters) -> Result<&Tensor> {
        for parameter in parameters {
            self.parameter(&parameter.name)?;
        }
        let foreign = || Error::Tape("the gradients are not those of these parameters".into());
        self.flat(parameters.flat()).ok_or_else(foreign)
    }

    /// The gradient of the parameter of this name.
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if the result does not depend on it.
    pub fn parameter(&self, name: &str) -> Result<&Tensor> {
        self.parameters
            .get(name)
            .and_then(|&node| self.cotangents.get(node)?.as_ref())
            .ok_or_else(|| Error::MissingGradient { name: name.to_owned() })
    }
}
