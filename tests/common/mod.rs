//! What the tests of whole networks share: both devices, batches, training steps, and how far numbers may be apart.

use std::sync::LazyLock;

use cifar_gpu::gpu::Backend;
use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::batch_assembly::{ImageChunk, batch_assembly};
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::Optimizer;
use cifar_gpu::tape::{Gradients, Tape, Var};
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, DeviceChoice, Result, Tensor};
use libtest_mimic::{Failed, Trial};

/// What a case answers: nothing, or what is wrong.
pub type Outcome = std::result::Result<(), Failed>;

static GPU: LazyLock<std::result::Result<Device, String>> = LazyLock::new(|| {
    Device::open(DeviceChoice::Gpu, Backend::Primary).map(|(device, _)| device).map_err(|e| e.to_string())
});

/// The GPU that all cases share. Where there is none, the case that asks fails.
pub fn gpu() -> std::result::Result<Device, Failed> {
    GPU.clone().map_err(|e| Failed::from(format!("no GPU to test on: {e}")))
}

/// The tests `cpu/name` and `gpu/name`.
pub fn on_both_devices(
    name: &str,
    run: impl Fn(&Device) -> Outcome + Clone + Send + 'static,
) -> impl Iterator<Item = Trial> {
    let on_gpu = run.clone();
    let cpu = Trial::test(format!("cpu/{name}"), move || run(&Device::cpu()));
    [cpu, Trial::test(format!("gpu/{name}"), move || on_gpu(&gpu()?))].into_iter()
}

/// A network of this name for ten classes, with random weights.
pub fn network(name: &str, device: &Device, seed: u64) -> Result<Network> {
    Network::new(Architecture::by_name(name, 10)?, device, seed)
}

/// Images and labels on a network's device.
pub struct Batch {
    pub images: Tensor,
    pub labels: Tensor,
}

impl Batch {
    /// Made from bytes, image by image in planes, the way training makes it.
    pub fn new(net: &Network, images: &[u8], labels: &[u32]) -> Result<Self> {
        let (device, count) = (net.device(), labels.len());
        let input = net.architecture().input;
        let images = device.tensor_u8(&[count, input.channels(), input.pixels()], images)?;
        let indices: Vec<u32> = (0..).take(count).collect();
        let batch =
            Batch { images: device.empty(&input.batch(count))?, labels: device.allocate(&[count], DType::U32)? };
        batch_assembly(
            &net.architecture().normalization,
            None,
            &[ImageChunk { start: 0, images }],
            &device.tensor_u32(&[count], labels)?,
            &device.tensor_u32(&[count], &indices)?,
            &batch.images,
            &batch.labels,
        )?;
        Ok(batch)
    }
}

/// Logits and loss on a tape.
pub fn forward(net: &Network, batch: &Batch, tape: &Tape) -> Result<(Var, Var)> {
    let logits = net.forward(tape, &tape.constant(&batch.images))?;
    let loss = logits.apply(SoftmaxCrossEntropy::new(&batch.labels)?)?;
    Ok((logits, loss))
}

/// The one number of a loss.
pub fn value(loss: &Var) -> Result<f64> {
    Ok(f64::from(loss.tensor().to_vec()?[0]))
}

/// One training step; answers with the loss before it.
pub fn train(
    net: &Network,
    optimizer: &mut Optimizer,
    batch: &Batch,
    mut step: StepState,
    dropout: bool,
) -> Result<f64> {
    optimizer.begin_step(&mut step);
    let state = step.tensor(net.device())?;
    let (_, loss) = forward(net, batch, &Tape::recording(dropout.then(|| state.clone())))?;
    optimizer.step(&state, net.parameters(), &loss.backward()?)?;
    value(&loss)
}

/// The parameters' gradients with their names, in PyTorch's order.
pub fn outer_gradients(net: &Network, gradients: &Gradients) -> Result<Vec<(String, Vec<f32>)>> {
    net.parameters()
        .iter()
        .map(|p| Ok((p.name.clone(), p.layout.to_outer(&gradients.parameter(&p.name)?.to_vec()?))))
        .collect()
}

/// Euclidean norm.
pub fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Norm of the difference over the norm of what was expected.
pub fn relative_distance(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of elements");
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (actual, expected) = (wide(actual), wide(expected));
    norm(actual.iter().zip(&expected).map(|(a, e)| a - e)) / norm(expected)
}

/// Largest difference over the largest magnitude of what was expected.
pub fn relative_maximum(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of elements");
    // Not `f64::max`, which drops NaN.
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |m, v| if m > v.abs() { m } else { v.abs() });
    let error = largest(&mut actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - e));
    error / largest(&mut expected.iter().copied())
}

/// Difference over the magnitude of what was expected.
pub fn relative(actual: f64, expected: f64) -> f64 {
    (actual - expected).abs() / expected.abs()
}

/// Fails if an error exceeds its tolerance or is NaN.
pub fn within(what: &str, error: f64, tolerance: f64) -> Outcome {
    if error <= tolerance {
        Ok(())
    } else {
        Err(format!("{what}: relative error {error:.2e}, at most {tolerance:e} is allowed").into())
    }
}
