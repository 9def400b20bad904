//! The synthetic set is a real task: too hard for a linear classifier, and learned by a small convolutional network.

use std::sync::atomic::AtomicBool;

use cifar_gpu::data::{Dataset, Splits, synthetic};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::adam::Adam;
use cifar_gpu::ops::batch_assembly::Normalization;
use cifar_gpu::ops::flatten::Flatten;
use cifar_gpu::ops::linear::Linear;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::run::{Observer, Sources, train};
use cifar_gpu::tape::{Layout, Parameters, Tape, Var};
use cifar_gpu::train::{DeviceDataset, TrainConfig};
use cifar_gpu::{Device, ImageShape, Result};

const PIXELS: usize = 3072;
const CLASSES: usize = 10;

fn splits() -> Result<Splits> {
    Ok(synthetic::generate(ImageShape::CIFAR, synthetic::TRAIN, synthetic::TEST, synthetic::SEED)?)
}

/// Logits of a linear classifier on the pixels.
fn linear(tape: &Tape, parameters: &Parameters, images: &Var) -> Result<Var> {
    let parameters = parameters.on(tape, cifar_gpu::tensor::DType::F32)?.collect::<Result<Vec<_>>>()?;
    tape.apply(Linear::default(), &[&images.apply(Flatten)?, &parameters[0], &parameters[1]])
}

/// Share of the images that a linear classifier gets right after so many epochs of Adam on the training images.
fn linear_accuracy(splits: &Splits, epochs: usize, lr: f32, weight_decay: f32) -> Result<f64> {
    let device = Device::cpu();
    let on_device = |data: &Dataset| DeviceDataset::new(&device, data, &Normalization::new([0.5; 3], [0.5; 3]));
    let (training, test) = (on_device(&splits.train)?, on_device(&splits.test)?);
    let weight = Layout::LinearWeight { out_features: CLASSES, channels: PIXELS, pixels: 1 };
    let parameters = Parameters::new(
        &device,
        [
            ("weight".into(), weight, vec![0.0; PIXELS * CLASSES]),
            ("bias".into(), Layout::Bias(CLASSES), vec![0.0; CLASSES]),
        ],
    )?;
    let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay, decoupled: true };
    let mut optimizer = Optimizer::new(OptimizerConfig::Adam(adam), &device, &parameters)?;
    let indices: Vec<u32> = (0..training.len() as u32).collect();
    for _ in 0..epochs {
        for indices in indices.chunks(100) {
            let batch = training.batch(indices)?;
            let mut state = StepState::new(0, 0, lr);
            optimizer.begin_step(&mut state);
            let state = state.tensor(&device)?;
            let tape = Tape::recording(None);
            let logits = linear(&tape, &parameters, &tape.constant(&batch.images))?;
            let gradients = logits.apply(SoftmaxCrossEntropy::new(&batch.labels)?)?.backward()?;
            optimizer.step(&state, &parameters, &gradients)?;
        }
    }
    let indices: Vec<u32> = (0..test.len() as u32).collect();
    let batch = test.batch(&indices)?;
    let tape = Tape::inference();
    let logits = linear(&tape, &parameters, &tape.constant(&batch.images))?;
    let criterion = SoftmaxCrossEntropy::new(&batch.labels)?;
    let correct = criterion.correct().clone();
    logits.apply(criterion)?;
    let correct = correct.to_vec()?[0];
    Ok(f64::from(correct) / test.len() as f64)
}

#[test]
fn no_linear_classifier_passes_60_percent() {
    let splits = splits().expect("room for the images");
    for (lr, weight_decay) in [(1e-4, 0.0), (1e-3, 0.0), (1e-3, 1.0)] {
        let accuracy = linear_accuracy(&splits, 15, lr, weight_decay).expect("training on the CPU");
        println!("learning rate {lr}, weight decay {weight_decay}: {:.1} %", 100.0 * accuracy);
        assert!(accuracy < 0.6, "learning rate {lr}, weight decay {weight_decay}: {accuracy}");
        assert!(accuracy > 0.1, "it learned nothing: the test would show nothing");
    }
}

#[test]
fn lenet5_passes_90_percent() {
    struct Silent;
    impl Observer for Silent {}
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = TrainConfig::practice("lenet5").expect("a known architecture");
    let (device, run) = (Device::cpu(), folder.path().join("run"));
    let splits = splits().expect("room for the images");
    let sources = Sources { splits: &splits, init: None, out: Some(&run) };
    let outcome = train(&config, &device, sources, &AtomicBool::new(false), &mut Silent).expect("training on the CPU");
    println!("lenet5: {:.1} %", 100.0 * outcome.last.test_accuracy);
    assert!(outcome.last.test_accuracy > 0.9, "{:?}", outcome.last);
}
