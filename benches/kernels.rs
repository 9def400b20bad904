//! Every kernel on every device, in the shapes that the layers of the networks have.
//!
//! An id is `KERNEL/DEVICE/NETWORK.LAYER`, and a regular expression picks some; layers of one shape are timed once:
//!
//! ```sh
//! cargo bench --bench kernels
//! cargo bench --bench kernels -- conv2d_backward
//! cargo bench --bench kernels -- 'gpu/.*conv2'
//! CIFAR_GPU_BENCH_BATCH=256 cargo bench --bench kernels -- '/gpu/ygnet'
//! ```
//!
//! For convolutions and fully connected layers, elements are floating-point operations: Gelem/s are GFLOP/s. The input's
//! cotangent includes transposing the weight and the weight's gradient includes adding up its partial sums, as in
//! training; batch normalization includes its statistics and sums. All other kernels are bound by memory: their bytes are what must be read and written at least. Where a
//! kernel belongs to a layer without a name, it goes by the last named one before. Batches have 64 images unless the
//! environment says otherwise; on a software adapter those of the convolutions have 8.
//!
//! At the end of each device comes a table, a row a kernel and layer: what it computes and moves a second, and its share
//! of what the device can do at most, measured in the same run: multiply-adds in registers (on the CPU a matrix product)
//! and copying memory. The share is that of the time which the scarcer of the two would take. Small layers stay in
//! caches, which are faster than memory: their shares may pass 100 %.

mod ceilings;
mod common;

use std::collections::BTreeSet;
use std::iter;

use cifar_gpu::Result;
use cifar_gpu::nn::{Architecture, IMAGE_SHAPE, Layer};
use cifar_gpu::ops::Padding;
use cifar_gpu::ops::adam::{Adam, adam_step};
use cifar_gpu::ops::batch_assembly::{Augmentation, ImageChunk, Normalization, batch_assembly};
use cifar_gpu::ops::batch_norm::{self, Running, Statistics};
use cifar_gpu::ops::conv2d::{self, Conv2dGeometry, Epilogue};
use cifar_gpu::ops::count_iterations::count_iterations;
use cifar_gpu::ops::dropout::{self, Dropout};
use cifar_gpu::ops::loss_scaling::sum_of_squares;
use cifar_gpu::ops::max_pool2d::{self, MaxPool2dGeometry};
use cifar_gpu::ops::record_metrics::record_metrics;
use cifar_gpu::ops::sgd::{Sgd, sgd_step};
use cifar_gpu::ops::weight_average::weight_average;
use cifar_gpu::ops::{Gate, StepState, elementwise, global_avg_pool, linear, relu, softmax_cross_entropy};
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, ImageShape, Tensor, gpu};
use criterion::Throughput;

use ceilings::Ceilings;
use common::{CLASSES, NETWORKS, Suite, random, random_below};

fn main() -> Result<()> {
    Suite::run(|suite| {
        let mut kernels = Kernels { suite, names: BTreeSet::new(), figures: Vec::new() };
        convolutions(&mut kernels)?;
        weights(&mut kernels)?;
        max_pools(&mut kernels)?;
        global_avg_pools(&mut kernels)?;
        batch_norms(&mut kernels)?;
        activations(&mut kernels)?;
        dropouts(&mut kernels)?;
        batches(&mut kernels);
        kernels.report();
        Ok(())
    })
}

/// What a kernel does in a call.
#[derive(Clone, Copy)]
struct Work {
    /// Floating-point operations, where they count.
    flops: f64,
    /// Bytes that must be read and written at least.
    bytes: f64,
}

/// The benchmarks of one device and what came of them.
struct Kernels<'a> {
    suite: &'a mut Suite,
    names: BTreeSet<&'static str>,
    /// Kernel and layer, what a call does, and its seconds.
    figures: Vec<(String, Work, f64)>,
}

impl Kernels<'_> {
    /// Times what `setup` returns; see [`Suite::bench`].
    fn bench<T, W: FnMut() -> Result<T>>(
        &mut self,
        name: &'static str,
        label: &str,
        work: Work,
        setup: impl FnOnce(&Device) -> Result<W>,
    ) {
        self.names.insert(name);
        let throughput = match work.flops {
            0.0 => Throughput::Bytes(work.bytes as u64),
            flops => Throughput::Elements(flops as u64),
        };
        if let Some(seconds) = self.suite.bench(name, label, throughput, setup) {
            self.figures.push((format!("{name} | {label}"), work, seconds));
        }
    }

    /// Prints the figures beside the device's ceilings, if any were taken.
    fn report(&self) {
        let missing: Vec<_> = gpu::shaders::kernel_names().into_iter().filter(|n| !self.names.contains(n)).collect();
        if !missing.is_empty() {
            eprintln!("kernels without a benchmark: {}", missing.join(", "));
        }
        if self.figures.is_empty() {
            return;
        }
        let device = &self.suite.device;
        let ceilings = Ceilings::measure(device);
        eprintln!(
            "\n{}: {}; at most {:.0} GFLOP/s and {:.1} GB/s\n\n\
             | kernel | layer | time, µs | GFLOP/s | GB/s | share of the ceiling |\n|---|---|---:|---:|---:|---:|",
            self.suite.device_name,
            device.description(),
            ceilings.flops / 1e9,
            ceilings.bytes / 1e9,
        );
        for (what, work, seconds) in &self.figures {
            let least = (work.flops / ceilings.flops).max(work.bytes / ceilings.bytes);
            let rate = |amount: f64| if amount > 0.0 { format!("{:.1}", amount / seconds / 1e9) } else { "–".into() };
            let (flops, bytes, share) = (rate(work.flops), rate(work.bytes), 100.0 * least / seconds);
            eprintln!("| {what} | {:.1} | {flops} | {bytes} | {share:.0} % |", 1e6 * seconds);
        }
        eprintln!();
    }
}

/// What `pick` makes of the layers and their input shapes, each thing once, with the name of the layer.
fn layers<T: PartialEq>(
    batch: usize,
    pick: impl Fn(&Layer, &[usize]) -> Result<Option<T>>,
) -> Result<Vec<(String, T)>> {
    let mut found: Vec<(String, T)> = Vec::new();
    for network in NETWORKS {
        let architecture = Architecture::by_name(network, CLASSES)?;
        let inputs = iter::once(architecture.input.axes().to_vec()).chain(architecture.output_shapes()?);
        let mut last_name = "input";
        for (layer, input) in architecture.layers.iter().zip(inputs) {
            if let Layer::Conv2d { name, .. } | Layer::Linear { name, .. } = layer {
                last_name = name;
            }
            let input = [&[batch], input.as_slice()].concat();
            if let Some(new) = pick(layer, &input)?
                && found.iter().all(|(_, old)| *old != new)
            {
                found.push((format!("{network}.{last_name}"), new));
            }
        }
    }
    Ok(found)
}

/// The convolution that a layer is, if it is one.
fn convolution(layer: &Layer, input: &[usize]) -> Result<Option<Conv2dGeometry>> {
    match *layer {
        Layer::Conv2d { channels, kernel, stride, padding, .. } => {
            Conv2dGeometry::new(input, &[kernel, kernel, input[3], channels], stride, padding).map(Some)
        }
        Layer::Linear { features, .. } => linear::geometry(input, &[input[1], features]).map(Some),
        _ => Ok(None),
    }
}

/// The work of a kernel that reads and writes so many 32-bit words in all.
fn words(count: usize) -> Work {
    Work { flops: 0.0, bytes: 4.0 * count as f64 }
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn convolutions(kernels: &mut Kernels<'_>) -> Result<()> {
    for (layer, g) in layers(kernels.suite.costly_batch, convolution)? {
        let [input, weight, output] = [&g.input_shape(), &g.weight_shape(), &g.output_shape()].map(|s| elements(s));
        // Each direction reads two of the three and writes the third.
        let work =
            Work { flops: 2.0 * (g.products() * g.out_pixels() * g.out_c) as f64, ..words(input + weight + output) };
        kernels.bench("conv2d_forward", &layer, work, |device| {
            let input = random(device, &g.input_shape())?;
            let weight = random(device, &g.weight_shape())?;
            let bias = random(device, &[g.out_c])?;
            Ok(move || conv2d::forward(&g, Epilogue::RELU, &input, &weight, &bias))
        });
        kernels.bench("conv2d_backward_input", &layer, work, |device| {
            let d_output = random(device, &g.output_shape())?;
            let weight = random(device, &g.weight_shape())?;
            Ok(move || conv2d::backward_input(&g, &d_output, &weight))
        });
        kernels.bench("conv2d_backward_weight", &layer, work, |device| {
            let input = random(device, &g.input_shape())?;
            let d_output = random(device, &g.output_shape())?;
            Ok(move || conv2d::backward_weight(&g, &input, &d_output))
        });
        let (partial, weight) = (g.partial_sums_shape(), g.weight_shape());
        let moved = words(elements(&partial) + elements(&weight) + g.out_c);
        kernels.bench("split_k_reduce", &layer, moved, |device| {
            let partial = random(device, &partial)?;
            Ok(move || conv2d::split_k_reduce(&partial, &weight))
        });
    }
    Ok(())
}

fn weights(kernels: &mut Kernels<'_>) -> Result<()> {
    // The least convolution that has the layer's weight, so that weights of one shape are timed once.
    let geometry = |layer: &Layer, input: &[usize]| {
        let Some(weight) = convolution(layer, input)?.map(|g| g.weight_shape()) else { return Ok(None) };
        let [kernel_h, kernel_w, in_c, _] = weight;
        Conv2dGeometry::new(&[1, kernel_h, kernel_w, in_c], &weight, 1, Padding::Valid).map(Some)
    };
    let state = StepState::new(1, 0, 0.01);
    for (layer, g) in layers(1, geometry)? {
        let shape = g.weight_shape();
        let count = elements(&shape);
        kernels.bench("conv2d_transpose_weight", &layer, words(2 * count), |device| {
            let weight = random(device, &shape)?;
            Ok(move || conv2d::transpose_weight(&g, &weight))
        });
        kernels.bench("sgd_step", &layer, words(5 * count), |device| {
            let sgd = Sgd { momentum: 0.9, weight_decay: 0.001, nesterov: true };
            let state = state.tensor(device)?;
            let (gradient, parameter) = (random(device, &shape)?, random(device, &shape)?);
            let velocity = device.zeros(&shape, DType::F32)?;
            Ok(move || sgd_step(sgd, &state, &gradient, &parameter, &velocity))
        });
        kernels.bench("weight_average", &layer, words(3 * count), |device| {
            let state = StepState { average_share: 0.01, ..state }.tensor(device)?;
            let (parameter, average) = (random(device, &shape)?, random(device, &shape)?);
            Ok(move || weight_average(&state, &parameter, &average))
        });
        kernels.bench("sum_of_squares", &layer, words(count), |device| {
            let gradient = random(device, &shape)?;
            Ok(move || sum_of_squares(&gradient))
        });
        kernels.bench("adam_step", &layer, words(7 * count), |device| {
            let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true };
            let state = state.tensor(device)?;
            let (gradient, parameter) = (random(device, &shape)?, random(device, &shape)?);
            let (first, second) = (device.zeros(&shape, DType::F32)?, device.zeros(&shape, DType::F32)?);
            Ok(move || adam_step(adam, &state, &gradient, &parameter, &first, &second))
        });
    }
    Ok(())
}

fn max_pools(kernels: &mut Kernels<'_>) -> Result<()> {
    let pool = |layer: &Layer, input: &[usize]| match *layer {
        Layer::MaxPool2d { kernel, stride } => MaxPool2dGeometry::new(input, [kernel, kernel], stride).map(Some),
        _ => Ok(None),
    };
    for (layer, g) in layers(kernels.suite.batch, pool)? {
        // Outputs come with the choices.
        let moved = words(elements(&g.input_shape()) + 2 * elements(&g.output_shape()));
        kernels.bench("max_pool2d_forward", &layer, moved, |device| {
            let input = random(device, &g.input_shape())?;
            Ok(move || max_pool2d::forward(&g, &input))
        });
        kernels.bench("max_pool2d_backward", &layer, moved, |device| {
            let (_, choice) = max_pool2d::forward(&g, &random(device, &g.input_shape())?)?;
            let d_output = random(device, &g.output_shape())?;
            Ok(move || max_pool2d::backward(&g, &choice, &d_output))
        });
    }
    Ok(())
}

fn global_avg_pools(kernels: &mut Kernels<'_>) -> Result<()> {
    let pool = |layer: &Layer, input: &[usize]| match *layer {
        Layer::GlobalAvgPool => Ok(<[usize; 4]>::try_from(input).ok()),
        _ => Ok(None),
    };
    for (layer, shape) in layers(kernels.suite.batch, pool)? {
        let [batch, _, _, channels] = shape;
        let moved = words(elements(&shape) + batch * channels);
        kernels.bench("global_avg_pool_forward", &layer, moved, |device| {
            let input = random(device, &shape)?;
            Ok(move || global_avg_pool::forward(&input))
        });
        kernels.bench("global_avg_pool_backward", &layer, moved, |device| {
            let d_output = random(device, &[batch, channels])?;
            Ok(move || global_avg_pool::backward(shape, &d_output))
        });
    }
    Ok(())
}

/// The element-by-element kernels, in the sizes that the ReLUs have.
fn activations(kernels: &mut Kernels<'_>) -> Result<()> {
    let activation = |layer: &Layer, input: &[usize]| Ok((*layer == Layer::Relu).then(|| elements(input)));
    for (layer, count) in layers(kernels.suite.batch, activation)? {
        kernels.bench("relu_forward", &layer, words(2 * count), |device| {
            let input = random(device, &[count])?;
            Ok(move || relu::forward(&input))
        });
        kernels.bench("relu_backward", &layer, words(3 * count), |device| {
            let (output, d_output) = (random(device, &[count])?, random(device, &[count])?);
            Ok(move || relu::backward(Gate { output: &output, factor: 1.0 }, &d_output))
        });
        kernels.bench("fill", &layer, words(count), |device| {
            let output = device.empty(&[count])?;
            Ok(move || elementwise::fill(1.0, &output))
        });
        kernels.bench("add", &layer, words(3 * count), |device| {
            let (a, b) = (random(device, &[count])?, random(device, &[count])?);
            Ok(move || elementwise::add(&a, &b))
        });
        kernels.bench("scale", &layer, words(2 * count), |device| {
            let (input, factor) = (random(device, &[count])?, random(device, &[1])?);
            Ok(move || elementwise::scale(&input, &factor))
        });
    }
    Ok(())
}

/// Batch normalization, in the sizes of ygnet-bn.
fn batch_norms(kernels: &mut Kernels<'_>) -> Result<()> {
    let mut seen = Vec::new();
    let architecture = Architecture::by_name("ygnet-bn", CLASSES)?;
    for (layer, shape) in architecture.layers.iter().zip(architecture.output_shapes()?) {
        let Layer::BatchNorm { name } = layer else { continue };
        let (&[height, width, channels], batch) = (shape.as_slice(), kernels.suite.batch) else { continue };
        if seen.contains(&shape) {
            continue;
        }
        let (shape, count) = ([batch, height, width, channels], batch * height * width * channels);
        // The batch's statistics need a reading of their own.
        kernels.bench("batch_norm_forward", name, words(3 * count), |device| {
            let input = random(device, &shape)?;
            let [weight, bias, mean, variance] = per_channel(device, channels)?;
            Ok(move || {
                let running = Running { mean: &mean, variance: &variance };
                batch_norm::forward(Statistics::Batch, true, &input, &weight, &bias, running)
            })
        });
        kernels.bench("batch_norm_backward_input", name, words(6 * count), |device| {
            let (input, d_output) = (random(device, &shape)?, random(device, &shape)?);
            let [weight, bias, d_weight, d_bias] = per_channel(device, channels)?;
            let running = Running { mean: &d_weight, variance: &d_bias };
            let (output, statistics) = batch_norm::forward(Statistics::Batch, true, &input, &weight, &bias, running)?;
            let output = Some(output);
            Ok(move || {
                batch_norm::backward(&input, &statistics, &weight, &d_output, output.as_ref(), &d_weight, &d_bias)
            })
        });
        seen.push(shape[1..].to_vec());
    }
    Ok(())
}

fn per_channel(device: &Device, channels: usize) -> Result<[Tensor; 4]> {
    let one = || device.tensor(&[channels], &vec![1.0; channels]);
    Ok([one()?, one()?, one()?, one()?])
}

fn dropouts(kernels: &mut Kernels<'_>) -> Result<()> {
    let dropout = |layer: &Layer, input: &[usize]| match *layer {
        Layer::Dropout(probability) => Ok(Some((Dropout { probability, stream: 0 }, elements(input)))),
        _ => Ok(None),
    };
    for (layer, (dropout, count)) in layers(kernels.suite.batch, dropout)? {
        kernels.bench("dropout", &layer, words(2 * count), |device| {
            let (state, input) = (StepState::new(1, 0, 0.0).tensor(device)?, random(device, &[count])?);
            Ok(move || dropout::apply(dropout, &state, &input))
        });
    }
    Ok(())
}

/// The kernels that run once a batch, the same for all networks.
fn batches(kernels: &mut Kernels<'_>) {
    const IMAGES: usize = 10_000;
    let batch = kernels.suite.batch;
    let [height, width, channels] = ImageShape::CIFAR.axes();
    let image = ImageShape::CIFAR.bytes();
    // A byte in and four out.
    let moved = Work { flops: 0.0, bytes: (batch * image * 5) as f64 };
    kernels.bench("batch_assembly", &format!("from_{IMAGES}"), moved, |device| {
        let images = device.tensor_u8(&[IMAGES, channels, height * width], &vec![127; IMAGES * image])?;
        let chunks = [ImageChunk { start: 0, images }];
        let labels = random_below(device, CLASSES, IMAGES)?;
        let indices = random_below(device, IMAGES, batch)?;
        let output = device.empty(&[batch, height, width, channels])?;
        let labels_out = device.allocate(&[batch], DType::U32)?;
        let normalization = Normalization::new([0.5; 3], [0.25; 3]);
        Ok(move || batch_assembly(&normalization, None, &chunks, &labels, &indices, &output, &labels_out))
    });
    for (name, augmentation) in [("flip-crop", Augmentation::FLIP_CROP), ("keras", Augmentation::KERAS)] {
        kernels.bench("batch_assembly", name, moved, |device| {
            let images = device.tensor_u8(&[IMAGES, channels, height * width], &vec![127; IMAGES * image])?;
            let chunks = [ImageChunk { start: 0, images }];
            let labels = random_below(device, CLASSES, IMAGES)?;
            let indices = random_below(device, IMAGES, batch)?;
            let output = device.empty(&[batch, height, width, channels])?;
            let labels_out = device.allocate(&[batch], DType::U32)?;
            let normalization = Normalization::new([0.5; 3], [0.25; 3]);
            let state = StepState::new(1, 0, 0.0).tensor(device)?;
            Ok(move || {
                let changes = Some((&augmentation, &state));
                batch_assembly(&normalization, changes, &chunks, &labels, &indices, &output, &labels_out)
            })
        });
    }
    kernels.bench("softmax_cross_entropy", "logits", words(batch * (2 * CLASSES + 1) + 2), |device| {
        let (logits, labels) = (random(device, &[batch, CLASSES])?, random_below(device, CLASSES, batch)?);
        Ok(move || softmax_cross_entropy::forward(0.1, &logits, &labels))
    });
    kernels.bench("count_iterations", "60000", words(2), |device| {
        let device = device.clone();
        Ok(move || count_iterations(&device, 60_000))
    });
    kernels.bench("record_metrics", "slot", words(4), |device| {
        let (state, history) = (StepState::new(1, 0, 0.0).tensor(device)?, device.empty(&[1, 2])?);
        let (loss, correct) = (random(device, &[1])?, random(device, &[1])?);
        Ok(move || record_metrics(&state, &loss, &correct, &history))
    });
}
