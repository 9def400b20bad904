//! Whole training steps (forward, loss, backward, SGD update) and inference of the networks on every device.
//!
//! An id is `training_step/DEVICE/NETWORK` or `inference/DEVICE/NETWORK`, and a regular expression picks some:
//!
//! ```sh
//! cargo bench --bench step
//! cargo bench --bench step -- 'training_step/gpu'
//! CIFAR_GPU_BENCH_BATCH=256 cargo bench --bench step -- 'gpu/ygnet'
//! ```
//!
//! Elements are images: elem/s are images a second. Batches have 64 images unless the environment says otherwise; on a
//! software adapter those of all networks but lenet5 have 8.

mod common;

use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::ops::StepState;
use cifar_gpu::ops::sgd::Sgd;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::optim::{Optimizer, OptimizerConfig};
use cifar_gpu::{ImageShape, Result, Tape};
use criterion::Throughput;

use common::{CLASSES, NETWORKS, Suite, random, random_below};

fn main() -> Result<()> {
    Suite::run(|suite| {
        for name in NETWORKS {
            network(suite, name, if name == "lenet5" { suite.batch } else { suite.costly_batch });
        }
        Ok(())
    })
}

fn network(suite: &mut Suite, name: &str, batch: usize) {
    let shape = ImageShape::CIFAR.batch(batch);
    let images = Throughput::Elements(batch as u64);
    suite.bench("training_step", name, images.clone(), |device| {
        let net = Network::new(Architecture::by_name(name, CLASSES)?, device, 1)?;
        let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.001, nesterov: true });
        let mut optimizer = Optimizer::new(sgd, device, net.parameters())?;
        let images = random(device, &shape)?;
        let labels = random_below(device, CLASSES, batch)?;
        let mut state = StepState::new(1, 0, 0.01);
        let state_tensor = state.tensor(device)?;
        Ok(move || {
            state.step += 1;
            optimizer.begin_step(&mut state);
            state.store(&state_tensor)?;
            let tape = Tape::recording(Some(state_tensor.clone()));
            let logits = net.forward(&tape, &tape.constant(&images))?;
            let gradients = logits.apply(SoftmaxCrossEntropy::new(&labels)?)?.backward()?;
            optimizer.step(&state_tensor, net.parameters(), &gradients)
        })
    });
    suite.bench("inference", name, images, |device| {
        let net = Network::new(Architecture::by_name(name, CLASSES)?, device, 1)?;
        let images = random(device, &shape)?;
        Ok(move || {
            let tape = Tape::inference();
            net.forward(&tape, &tape.constant(&images))
        })
    });
}
