//! Every kernel on every device, in the shapes that the layers of both networks have.
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
//! training. All other kernels are bound by memory: their bytes are what must be read and written at least. Where a
//! kernel belongs to a layer without a name, it goes by the last named one before. Batches have 64 images unless the
//! environment says otherwise; on a software adapter those of the convolutions have 8.

mod common;

use std::iter;

use cifar_gpu::Result;
use cifar_gpu::nn::{Architecture, IMAGE_SHAPE, Layer};
use cifar_gpu::ops::adam::{Adam, adam_step};
use cifar_gpu::ops::batch_assembly::{ImageChunk, Normalisation, batch_assembly};
use cifar_gpu::ops::conv2d::{self, Conv2dGeometry, Padding};
use cifar_gpu::ops::dropout::{self, Dropout};
use cifar_gpu::ops::max_pool2d::{self, MaxPool2dGeometry};
use cifar_gpu::ops::record_metrics::record_metrics;
use cifar_gpu::ops::sgd::{Sgd, sgd_step};
use cifar_gpu::ops::{StepState, elementwise, global_avg_pool, linear, relu, softmax_cross_entropy};
use cifar_gpu::tensor::DType;
use criterion::Throughput;

use common::{CLASSES, NETWORKS, Suite, random, random_below};

fn main() -> Result<()> {
    Suite::run(|suite| {
        convolutions(suite)?;
        weights(suite)?;
        max_pools(suite)?;
        global_avg_pools(suite)?;
        activations(suite)?;
        dropouts(suite)?;
        batches(suite);
        Ok(())
    })
}

/// What `pick` makes of the layers and their input shapes, each thing once, with the name of the layer.
fn layers<T: PartialEq>(
    batch: usize,
    pick: impl Fn(&Layer, &[usize]) -> Result<Option<T>>,
) -> Result<Vec<(String, T)>> {
    let mut found: Vec<(String, T)> = Vec::new();
    for network in NETWORKS {
        let architecture = Architecture::by_name(network, CLASSES)?;
        let inputs = iter::once(IMAGE_SHAPE.to_vec()).chain(architecture.output_shapes()?);
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

/// Throughput of a kernel that reads and writes so many 32-bit words in all.
fn words(count: usize) -> Throughput {
    Throughput::Bytes(4 * count as u64)
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn convolutions(suite: &mut Suite) -> Result<()> {
    for (layer, g) in layers(suite.costly_batch, convolution)? {
        let flops = Throughput::Elements(2 * (g.products() * g.out_pixels() * g.out_c) as u64);
        suite.bench("conv2d_forward", &layer, flops.clone(), |device| {
            let input = random(device, &g.input_shape())?;
            let weight = random(device, &g.weight_shape())?;
            let bias = random(device, &[g.out_c])?;
            Ok(move || conv2d::forward(&g, true, &input, &weight, &bias))
        });
        suite.bench("conv2d_backward_input", &layer, flops.clone(), |device| {
            let d_output = random(device, &g.output_shape())?;
            let weight = random(device, &g.weight_shape())?;
            Ok(move || conv2d::backward_input(&g, &d_output, &weight))
        });
        suite.bench("conv2d_backward_weight", &layer, flops, |device| {
            let input = random(device, &g.input_shape())?;
            let d_output = random(device, &g.output_shape())?;
            Ok(move || conv2d::backward_weight(&g, &input, &d_output))
        });
        let (partial, weight) = (g.partial_sums_shape(), g.weight_shape());
        let moved = words(elements(&partial) + elements(&weight) + g.out_c);
        suite.bench("split_k_reduce", &layer, moved, |device| {
            let partial = random(device, &partial)?;
            Ok(move || conv2d::split_k_reduce(&partial, &weight))
        });
    }
    Ok(())
}

fn weights(suite: &mut Suite) -> Result<()> {
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
        suite.bench("conv2d_transpose_weight", &layer, words(2 * count), |device| {
            let weight = random(device, &shape)?;
            Ok(move || conv2d::transpose_weight(&g, &weight))
        });
        suite.bench("sgd_step", &layer, words(5 * count), |device| {
            let sgd = Sgd { momentum: 0.9, weight_decay: 0.001, nesterov: true };
            let state = state.tensor(device)?;
            let (gradient, parameter) = (random(device, &shape)?, random(device, &shape)?);
            let velocity = device.zeros(&shape, DType::F32)?;
            Ok(move || sgd_step(sgd, &state, &gradient, &parameter, &velocity))
        });
        suite.bench("adam_step", &layer, words(7 * count), |device| {
            let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true };
            let state = state.tensor(device)?;
            let (gradient, parameter) = (random(device, &shape)?, random(device, &shape)?);
            let (first, second) = (device.zeros(&shape, DType::F32)?, device.zeros(&shape, DType::F32)?);
            Ok(move || adam_step(adam, &state, &gradient, &parameter, &first, &second))
        });
    }
    Ok(())
}

fn max_pools(suite: &mut Suite) -> Result<()> {
    let pool = |layer: &Layer, input: &[usize]| match *layer {
        Layer::MaxPool2d { kernel, stride } => MaxPool2dGeometry::new(input, [kernel, kernel], stride).map(Some),
        _ => Ok(None),
    };
    for (layer, g) in layers(suite.batch, pool)? {
        // Outputs come with the choices.
        let moved = words(elements(&g.input_shape()) + 2 * elements(&g.output_shape()));
        suite.bench("max_pool2d_forward", &layer, moved.clone(), |device| {
            let input = random(device, &g.input_shape())?;
            Ok(move || max_pool2d::forward(&g, &input))
        });
        suite.bench("max_pool2d_backward", &layer, moved, |device| {
            let (_, choice) = max_pool2d::forward(&g, &random(device, &g.input_shape())?)?;
            let d_output = random(device, &g.output_shape())?;
            Ok(move || max_pool2d::backward(&g, &choice, &d_output))
        });
    }
    Ok(())
}

fn global_avg_pools(suite: &mut Suite) -> Result<()> {
    let pool = |layer: &Layer, input: &[usize]| match *layer {
        Layer::GlobalAvgPool => Ok(<[usize; 4]>::try_from(input).ok()),
        _ => Ok(None),
    };
    for (layer, shape) in layers(suite.batch, pool)? {
        let [batch, _, _, channels] = shape;
        let moved = words(elements(&shape) + batch * channels);
        suite.bench("global_avg_pool_forward", &layer, moved.clone(), |device| {
            let input = random(device, &shape)?;
            Ok(move || global_avg_pool::forward(&input))
        });
        suite.bench("global_avg_pool_backward", &layer, moved, |device| {
            let d_output = random(device, &[batch, channels])?;
            Ok(move || global_avg_pool::backward(shape, &d_output))
        });
    }
    Ok(())
}

/// The element-by-element kernels, in the sizes that the ReLUs have.
fn activations(suite: &mut Suite) -> Result<()> {
    let activation = |layer: &Layer, input: &[usize]| Ok((*layer == Layer::Relu).then(|| elements(input)));
    for (layer, count) in layers(suite.batch, activation)? {
        suite.bench("relu_forward", &layer, words(2 * count), |device| {
            let input = random(device, &[count])?;
            Ok(move || relu::forward(&input))
        });
        suite.bench("relu_backward", &layer, words(3 * count), |device| {
            let (output, d_output) = (random(device, &[count])?, random(device, &[count])?);
            Ok(move || relu::backward(&output, &d_output))
        });
        suite.bench("fill", &layer, words(count), |device| {
            let output = device.empty(&[count])?;
            Ok(move || elementwise::fill(1.0, &output))
        });
        suite.bench("add", &layer, words(3 * count), |device| {
            let (a, b) = (random(device, &[count])?, random(device, &[count])?);
            Ok(move || elementwise::add(&a, &b))
        });
        suite.bench("scale", &layer, words(2 * count), |device| {
            let (input, factor) = (random(device, &[count])?, random(device, &[1])?);
            Ok(move || elementwise::scale(&input, &factor))
        });
    }
    Ok(())
}

fn dropouts(suite: &mut Suite) -> Result<()> {
    let dropout = |layer: &Layer, input: &[usize]| match *layer {
        Layer::Dropout(probability) => Ok(Some((Dropout { probability, stream: 0 }, elements(input)))),
        _ => Ok(None),
    };
    for (layer, (dropout, count)) in layers(suite.batch, dropout)? {
        suite.bench("dropout", &layer, words(2 * count), |device| {
            let (state, input) = (StepState::new(1, 0, 0.0).tensor(device)?, random(device, &[count])?);
            Ok(move || dropout::apply(dropout, &state, &input))
        });
    }
    Ok(())
}

/// The kernels that run once a batch, the same for both networks.
fn batches(suite: &mut Suite) {
    const IMAGES: usize = 10_000;
    let batch = suite.batch;
    let [height, width, channels] = IMAGE_SHAPE;
    let image = elements(&IMAGE_SHAPE);
    // A byte in and four out.
    let moved = Throughput::Bytes((batch * image * 5) as u64);
    suite.bench("batch_assembly", &format!("from_{IMAGES}"), moved, |device| {
        let images = device.tensor_u8(&[IMAGES, channels, height * width], &vec![127; IMAGES * image])?;
        let chunks = [ImageChunk { start: 0, images }];
        let labels = random_below(device, CLASSES, IMAGES)?;
        let indices = random_below(device, IMAGES, batch)?;
        let output = device.empty(&[batch, height, width, channels])?;
        let labels_out = device.allocate(&[batch], DType::U32)?;
        let normalisation = Normalisation::from_mean_std([0.5; 3], [0.25; 3]);
        Ok(move || batch_assembly(&normalisation, &chunks, &labels, &indices, &output, &labels_out))
    });
    suite.bench("softmax_cross_entropy", "logits", words(batch * (2 * CLASSES + 1) + 2), |device| {
        let (logits, labels) = (random(device, &[batch, CLASSES])?, random_below(device, CLASSES, batch)?);
        Ok(move || softmax_cross_entropy::forward(&logits, &labels))
    });
    suite.bench("record_metrics", "slot", words(4), |device| {
        let (state, history) = (StepState::new(1, 0, 0.0).tensor(device)?, device.empty(&[1, 2])?);
        let (loss, correct) = (random(device, &[1])?, random(device, &[1])?);
        Ok(move || record_metrics(&state, &loss, &correct, &history))
    });
}
