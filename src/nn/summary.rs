//! Cost of a network: parameters and FLOPs, computed from its description.

use crate::error::Result;
use crate::nn::Architecture;
use crate::nn::layer::count;
use crate::tensor::ImageShape;

/// One layer's line of the summary.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LayerSummary {
    /// Name of the layer if it has parameters, else its kind.
    pub name: String,
    /// A short description.
    pub kind: String,
    /// Output shape for one image: height, width, channels, or features.
    pub output: Vec<usize>,
    /// Nesting depth in residual blocks.
    pub depth: usize,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Floating-point operations of the forward pass for one image; a multiply-add counts as two.
    pub flops: u64,
}

/// Cost of a network: parameters and FLOPs.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// Name of the architecture.
    pub arch: String,
    /// Shape of an image: height, width, channels.
    pub input: ImageShape,
    /// Its layers in order.
    pub layers: Vec<LayerSummary>,
    /// Number of trained parameters.
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
        let mut layers: Vec<LayerSummary> = Vec::new();
        let mut training_flops = 0;
        for placed in architecture.placed()? {
            let (name, kind, flops) = match placed.layer {
                Some(layer) => {
                    let name = layer.name().unwrap_or(layer.kind());
                    (name.to_owned(), layer.description(), layer.flops(&placed.input, &placed.output))
                }
                None => ("residual".to_owned(), "sum of body and shortcut".to_owned(), count(&placed.output)),
            };
            let trained = placed.parameters().into_iter().filter(|(_, spec)| spec.is_trained);
            let parameters = trained.map(|(_, spec)| spec.layout.elements()).sum();
            // Backward costs as much again for the weight, if any, and for the input, unless no layer before it is trained.
            let learns_before = layers.iter().any(|layer| layer.parameters > 0);
            training_flops += flops * (1 + u64::from(parameters > 0) + u64::from(learns_before));
            layers.push(LayerSummary { name, kind, output: placed.output, depth: placed.depth, parameters, flops });
        }
        let parameters = layers.iter().map(|l| l.parameters).sum();
        Ok(Summary {
            arch: architecture.name.clone(),
            input: architecture.input,
            forward_flops: layers.iter().map(|l| l.flops).sum(),
            training_flops,
            parameters,
            layers,
        })
    }
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
        assert_eq!(summary("resnet20").parameters, 269_722);
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
            summary("ygnet").layers.iter().filter(|l| l.name == "max_pool2d").map(|l| l.output.clone()).collect();
        assert_eq!(sides, [vec![15, 15, 96], vec![6, 6, 192]]);
    }
}
