//! Which tensor of a file is which parameter of a network.

use std::collections::{BTreeSet, HashMap};

use crate::tape::Layout;
use crate::weights::tensors::{NamedTensor, Order};

/// Other names of layers: those of the LeNet that this project's `lenet5` was published as.
const ALIASES: [(&str, &str); 5] = [
    ("convLayer1.", "conv1."),
    ("convLayer2.", "conv2."),
    ("fullyc1.", "fc1."),
    ("fullyc2.", "fc2."),
    ("fullyc3.", "fc3."),
];

/// A parameter or running statistic that a network needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its shape, and how its elements are ordered.
    pub layout: Layout,
}

impl Target {
    /// The shape that it has in this order.
    pub fn shape(&self, order: Order) -> Vec<usize> {
        match order {
            Order::OutputsFirst => self.layout.outer_shape(),
            Order::OutputsLast => self.layout.inner_shape(),
        }
    }
}

/// How the names of a file became those of a network.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Naming {
    /// They are the same.
    Same,
    /// They are the same without this prefix.
    Prefix(String),
    /// Some have another known name.
    Aliases,
    /// Layers of each kind follow each other in the same order.
    Order,
}

/// A mapping of tensors to parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// How it was found.
    pub naming: Naming,
    /// For each target the number of its tensor.
    pub sources: Vec<usize>,
    /// Numbers of tensors that are no part of the network, such as an optimizer's state.
    pub unused: Vec<usize>,
}

/// Why there is no mapping: a sentence.
pub type Mismatch = String;

impl Mapping {
    /// The mapping of `tensors` to `targets`, which the file of architecture `arch` must have, by names alone.
    ///
    /// # Errors
    /// A tensor that is missing, or one that is not of the network.
    pub fn by_name(tensors: &[NamedTensor], targets: &[Target], arch: &str) -> Result<Self, Mismatch> {
        if tensors.iter().any(|tensor| tensor.order == Order::OutputsLast) {
            return by_order(tensors, targets, arch);
        }
        let wanted: BTreeSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let named = |prefix: &str, has_aliases: bool| -> HashMap<String, usize> {
            let own = |(number, tensor): (usize, &NamedTensor)| {
                let name = tensor.name.strip_prefix(prefix)?;
                let alias =
                    ALIASES.iter().find_map(|(theirs, ours)| Some(format!("{ours}{}", name.strip_prefix(theirs)?)));
                Some((alias.filter(|_| has_aliases).unwrap_or_else(|| name.to_owned()), number))
            };
            tensors.iter().enumerate().filter_map(own).collect()
        };
        let matches =
            |names: &HashMap<String, usize>| names.keys().filter(|name| wanted.contains(name.as_str())).count();
        let prefixes = prefixes(tensors);
        let candidates = prefixes.iter().flat_map(|prefix| [(prefix, false), (prefix, true)]);
        // The first of equals: a shorter prefix, and no aliases.
        let best = candidates
            .map(|(prefix, aliases)| (prefix, aliases, named(prefix, aliases)))
            .reduce(|best, next| if matches(&next.2) > matches(&best.2) { next } else { best });
        let Some((prefix, has_aliases, names)) = best else {
            return Err("it holds no tensors".into());
        };
        let mut sources = Vec::new();
        for target in targets {
            match names.get(&target.name) {
                Some(&number) => sources.push(number),
                None => return Err(format!("tensor `{}` of {arch} is missing", target.name)),
            }
        }
        let mut unused = Vec::new();
        for (number, tensor) in tensors.iter().enumerate().filter(|(number, _)| !sources.contains(number)) {
            if prefix.is_empty() || tensor.name.starts_with(prefix.as_str()) {
                return Err(format!("{arch} has no tensor `{}`", tensor.name));
            }
            unused.push(number);
        }
        let naming = match (prefix.as_str(), has_aliases) {
            (_, true) => Naming::Aliases,
            ("", false) => Naming::Same,
            (prefix, false) => Naming::Prefix(prefix.to_owned()),
        };
        Ok(Mapping { naming, sources, unused })
    }

    /// Checks the shapes, too.
    ///
    /// # Errors
    /// As [`Mapping::by_name`], and for a tensor of another shape.
    pub fn find(tensors: &[NamedTensor], targets: &[Target], arch: &str) -> Result<Self, Mismatch> {
        let mapping = Mapping::by_name(tensors, targets, arch)?;
        for (target, &source) in targets.iter().zip(&mapping.sources) {
            let NamedTensor { name, shape, order, .. } = &tensors[source];
            let expected = target.shape(*order);
            if *shape != expected {
                let of = if *name == target.name { String::new() } else { format!(" for `{}`", target.name) };
                return Err(format!("tensor `{name}` has shape {shape:?}, {arch} needs {expected:?}{of}"));
            }
        }
        Ok(mapping)
    }
}

/// The beginnings of names that end in a dot, the shortest first, and no beginning at all.
fn prefixes(tensors: &[NamedTensor]) -> Vec<String> {
    let mut prefixes = BTreeSet::from([String::new()]);
    for tensor in tensors {
        for (at, _) in tensor.name.match_indices('.') {
            prefixes.insert(tensor.name[..=at].to_owned());
        }
    }
    let mut prefixes: Vec<_> = prefixes.into_iter().collect();
    prefixes.sort_by_key(String::len);
    prefixes
}

/// The kinds of layers with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conv2d,
    Linear,
    BatchNorm,
}

/// The tensors or targets of one layer, with the parts of their names after the layer's.
struct LayerParts<'a> {
    name: &'a str,
    kind: Kind,
    /// Last part of the name, and number.
    parts: Vec<(&'a str, usize)>,
}

/// Groups names `layer.part` by layer, in order; `axes` are the axes of each.
fn by_layer<'a>(names: impl Iterator<Item = (&'a str, usize)>) -> Vec<LayerParts<'a>> {
    let mut layers: Vec<LayerParts<'a>> = Vec::new();
    for (number, (full, axes)) in names.enumerate() {
        let (name, part) = full.rsplit_once('.').unwrap_or(("", full));
        let kind = match axes {
            4 => Kind::Conv2d,
            2 => Kind::Linear,
            _ => Kind::BatchNorm,
        };
        match layers.iter_mut().find(|layer| layer.name == name) {
            Some(layer) => {
                // A bias has one axis in every kind of layer.
                if axes > 1 {
                    layer.kind = kind;
                }
                layer.parts.push((part, number));
            }
            None => layers.push(LayerParts { name, kind, parts: vec![(part, number)] }),
        }
    }
    layers
}

/// The n-th convolution is the n-th convolution, and so on.
fn by_order(tensors: &[NamedTensor], targets: &[Target], arch: &str) -> Result<Mapping, Mismatch> {
    let theirs = by_layer(tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.len())));
    let ours = by_layer(targets.iter().map(|t| (t.name.as_str(), t.layout.outer_shape().len())));
    let mut sources = vec![0; targets.len()];
    for (kind, what) in [
        (Kind::Conv2d, "convolutions"),
        (Kind::Linear, "fully connected layers"),
        (Kind::BatchNorm, "batch normalizations"),
    ] {
        let of = |layers: &[LayerParts<'_>]| layers.iter().filter(|layer| layer.kind == kind).count();
        let (found, needed) = (of(&theirs), of(&ours));
        if found != needed {
            return Err(format!("it has {found} {what}, {arch} has {needed}"));
        }
        let pairs =
            ours.iter().filter(|layer| layer.kind == kind).zip(theirs.iter().filter(|layer| layer.kind == kind));
        for (own, other) in pairs {
            for (part, number) in &own.parts {
                let source = other.parts.iter().find(|(theirs, _)| theirs == part);
                let Some((_, source)) = source else {
                    return Err(format!("layer `{}` has no {part}, which `{}` of {arch} needs", other.name, own.name));
                };
                sources[*number] = *source;
            }
            if let Some((part, _)) = other.parts.iter().find(|(part, _)| own.parts.iter().all(|(own, _)| own != part)) {
                return Err(format!("layer `{}` has a {part}, and `{}` of {arch} has none", other.name, own.name));
            }
        }
    }
    Ok(Mapping { naming: Naming::Order, sources, unused: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Architecture;

    fn targets(arch: &str) -> Vec<Target> {
        let parameters = Architecture::by_name(arch, 10).unwrap().parameters().unwrap();
        parameters.into_iter().map(|(name, spec)| Target { name, layout: spec.layout }).collect()
    }

    fn tensors(targets: &[Target], order: Order, name: impl Fn(&str) -> String) -> Vec<NamedTensor> {
        let tensor = |target: &Target| {
            let shape = target.shape(order);
            let values = vec![0.5; shape.iter().product()];
            NamedTensor { name: name(&target.name), shape, order, values }
        };
        targets.iter().map(tensor).collect()
    }

    #[test]
    fn prefixes_and_known_names_are_taken_off() {
        let targets = targets("lenet5");
        let naming = |name: &dyn Fn(&str) -> String| {
            Mapping::find(&tensors(&targets, Order::OutputsFirst, name), &targets, "lenet5").map(|m| m.naming)
        };
        assert_eq!(naming(&|name| name.to_owned()), Ok(Naming::Same));
        assert_eq!(naming(&|name| format!("module.{name}")), Ok(Naming::Prefix("module.".into())));
        assert_eq!(naming(&|name| format!("a.b.{name}")), Ok(Naming::Prefix("a.b.".into())));
        let published = |name: &str| name.replace("conv", "convLayer").replace("fc", "fullyc");
        assert_eq!(naming(&published), Ok(Naming::Aliases));
        assert_eq!(naming(&|name| format!("net.{}", published(name))), Ok(Naming::Aliases));
        assert_eq!(naming(&|name| format!("x{name}")), Err("tensor `conv1.weight` of lenet5 is missing".into()));
    }

    #[test]
    fn other_state_beside_the_network_is_left_out_and_accounted_for() {
        let targets = targets("lenet5");
        let mut all = tensors(&targets, Order::OutputsFirst, |name| format!("model.{name}"));
        let extra = |name: &str| NamedTensor {
            name: name.into(),
            shape: vec![1],
            order: Order::OutputsFirst,
            values: vec![0.0],
        };
        all.push(extra("optimizer.0.exp_avg"));
        let mapping = Mapping::find(&all, &targets, "lenet5").unwrap();
        assert_eq!(mapping.unused, [all.len() - 1]);
        all.push(extra("model.fc9.bias"));
        assert_eq!(Mapping::find(&all, &targets, "lenet5"), Err("lenet5 has no tensor `model.fc9.bias`".into()));
    }

    #[test]
    fn layers_of_each_kind_are_matched_in_order() {
        let targets = targets("ygnet-bn");
        let all = tensors(&targets, Order::OutputsLast, |name| {
            name.replace("conv", "conv2d_").replace("bn", "batch_normalization_")
        });
        let mapping = Mapping::find(&all, &targets, "ygnet-bn").unwrap();
        assert_eq!((mapping.naming, mapping.sources), (Naming::Order, (0..targets.len()).collect()));
        let error = Mapping::find(&all[2..], &targets, "ygnet-bn").unwrap_err();
        assert_eq!(error, "it has 8 convolutions, ygnet-bn has 9");
        let without_bias: Vec<_> = all.iter().filter(|tensor| tensor.name != "conv2d_1.bias").cloned().collect();
        let error = Mapping::find(&without_bias, &targets, "ygnet-bn").unwrap_err();
        assert_eq!(error, "layer `conv2d_1` has no bias, which `conv1` of ygnet-bn needs");
    }

    #[test]
    fn wrong_shapes_are_named() {
        let targets = targets("lenet5");
        let mut all = tensors(&targets, Order::OutputsFirst, str::to_owned);
        all[1].shape = vec![31];
        let error = Mapping::find(&all, &targets, "lenet5").unwrap_err();
        assert_eq!(error, "tensor `conv1.bias` has shape [31], lenet5 needs [32]");
    }
}
