//! What a network costs: parameters and arithmetic, from its description alone.

use crate::error::Result;
use crate::nn::{Architecture, Layer};

/// One layer's line of the summary.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LayerSummary {
    /// Name of the layer if it has parameters, else its kind.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// Output shape for one image: height, width, channels, or features.
    pub output: Vec<usize>,
    /// Number of parameters.
    pub parameters: usize,
    /// Floating-point operations of the forward pass for one image; a multiply-add counts as two.
    pub flops: u64,
}

/// What a network costs.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// Name of the architecture.
    pub arch: String,
    /// Its layers in order.
    pub layers: Vec<LayerSummary>,
    /// Number of parameters.
    pub parameters: usize,
    /// Floating-point operations of the forward pass for one image.
    pub forward_flops: u64,
    /// Floating-point operations of a training step for one image.
    pub training_flops: u64,
}

impl Summary {
    /// Summary of an architecture.
    ///
    /// # Errors
    /// If the layers do not fit together.
    pub fn new(architecture: &Architecture) -> Result<Self> {
        let outputs = architecture.output_shapes()?;
        let layouts = architecture.parameter_layouts()?;
        let mut layers = Vec::with_capacity(outputs.len());
        let mut training_flops = 0;
        let mut input = architecture.input.axes().to_vec();
        for (layer, output) in architecture.layers.iter().zip(outputs) {
            let (inputs, elements) = (count(&input), count(&output));
            let (name, kind, flops) = match layer {
                Layer::Conv2d { name, kernel, stride, .. } => {
                    let products = (kernel * kernel * input[2]) as u64;
                    let stride = if *stride > 1 { format!(", stride {stride}") } else { String::new() };
                    (*name, format!("conv {kernel}×{kernel}{stride}"), 2 * products * elements)
                }
                Layer::Linear { name, .. } => (*name, "linear".to_owned(), 2 * inputs * elements),
                Layer::BatchNorm { name } => (*name, "batch norm".to_owned(), 2 * elements),
                Layer::Relu => ("relu", "ReLU".to_owned(), elements),
                Layer::Dropout(p) => ("dropout", format!("dropout {p}"), 0),
                Layer::MaxPool2d { kernel, stride } => (
                    "pool",
                    format!("max-pool {kernel}×{kernel}, stride {stride}"),
                    (kernel * kernel) as u64 * elements,
                ),
                Layer::Flatten => ("flatten", "flatten".to_owned(), 0),
                Layer::GlobalAvgPool => ("mean", "global average pool".to_owned(), inputs),
            };
            let prefix = format!("{name}.");
            let parameters = layouts
                .iter()
                .filter(|(parameter, _)| parameter.starts_with(&prefix))
                .map(|(_, layout)| layout.outer_shape().iter().product::<usize>())
                .sum();
            // Backward costs once more for the weight, if there is one, and once more for the input, unless nothing before it learns.
            let learns_before = layers.iter().any(|l: &LayerSummary| l.parameters > 0);
            training_flops += flops * (1 + u64::from(parameters > 0) + u64::from(learns_before));
            layers.push(LayerSummary { name: name.to_owned(), kind, output: output.clone(), parameters, flops });
            input = output;
        }
        let parameters = layers.iter().map(|l| l.parameters).sum();
        Ok(Summary {
            arch: architecture.name.to_owned(),
            forward_flops: layers.iter().map(|l| l.flops).sum(),
            training_flops,
            parameters,
            layers,
        })
    }
}

fn count(shape: &[usize]) -> u64 {
    shape.iter().map(|&side| side as u64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(name: &str) -> Summary {
        Summary::new(&Architecture::by_name(name, 10).unwrap()).unwrap()
    }

    #[test]
    fn parameter_counts_are_the_published_ones() {
        assert_eq!(summary("ygnet").parameters, 1_369_738);
        assert_eq!(summary("ygnet-final-relu").parameters, 1_369_738);
        assert_eq!(summary("lenet5").parameters, 395_006);
        assert_eq!(summary("all-cnn-c").parameters, 1_369_738);
    }

    #[test]
    fn costs_are_of_the_known_size() {
        let ygnet = summary("ygnet");
        assert!((0.65e9..0.69e9).contains(&(ygnet.forward_flops as f64)), "{}", ygnet.forward_flops);
        assert!((1.9e9..2.1e9).contains(&(ygnet.training_flops as f64)), "{}", ygnet.training_flops);
        let lenet5 = summary("lenet5");
        assert!((38e6..50e6).contains(&(lenet5.training_flops as f64)), "{}", lenet5.training_flops);
    }

    #[test]
    fn shapes_shrink_as_designed() {
        let sides: Vec<_> =
            summary("ygnet").layers.iter().filter(|l| l.name == "pool").map(|l| l.output.clone()).collect();
        assert_eq!(sides, [vec![15, 15, 96], vec![6, 6, 192]]);
    }
}
