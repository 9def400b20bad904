//! Trains CNN image classifiers on any GPU, from scratch: hand-written WGSL kernels through wgpu, a tape-based autograd,
//! no machine-learning framework.
//!
//! The library reads like the mathematics:
//!
//! ```
//! # fn main() -> cifar_gpu::Result<()> {
//! use cifar_gpu::{Device, Tape, nn::{Architecture, Network}, optim::{Optimizer, OptimizerConfig}};
//! use cifar_gpu::ops::{StepState, sgd::Sgd, softmax_cross_entropy::SoftmaxCrossEntropy};
//!
//! let device = Device::cpu();
//! let net = Network::new(Architecture::by_name("lenet5", 10)?, &device, 1)?;
//! let sgd = OptimizerConfig::Sgd(Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: true });
//! let mut optimizer = Optimizer::new(sgd, &device, net.parameters())?;
//! let images = device.tensor(&[2, 32, 32, 3], &[0.5; 2 * 32 * 32 * 3])?;
//! let labels = device.tensor_u32(&[2], &[3, 7])?;
//!
//! let mut step = StepState::new(1, 0, 0.01);
//! optimizer.begin_step(&mut step);
//! let step = step.tensor(&device)?;
//! let tape = Tape::recording(Some(step.clone()));
//! let logits = net.forward(&tape, &tape.constant(&images))?;
//! let loss = logits.apply(SoftmaxCrossEntropy::new(&labels)?)?;
//! let gradients = loss.backward()?;
//! optimizer.step(&step, net.parameters(), &gradients)?;
//! assert!(loss.tensor().to_vec()?[0].is_finite());
//! # Ok(())
//! # }
//! ```

/// The snippets of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod classifier;
mod clock;
pub mod data;
pub mod diagnose;
mod error;
mod files;
pub mod gpu;
pub mod nn;
pub mod ops;
pub mod optim;
mod parallel;
pub mod profile;
#[cfg(feature = "report")]
pub mod report;
#[cfg(not(target_family = "wasm"))]
pub mod run;
pub mod tape;
pub mod tensor;
pub mod train;
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
#[doc(hidden)]
pub mod untrusted;
pub mod weights;
mod words;

pub use classifier::{Classifier, LayerOutput};
pub use error::{Cause, Error, Remedy, Result};
pub use gpu::Backend;
pub use tape::Tape;
pub use tensor::{Device, DeviceChoice, ImageShape, Replay, Tensor};
