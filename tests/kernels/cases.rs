//! The table of cases.

use std::sync::Arc;

use cifar_gpu::Device;
use cifar_gpu::ops::Padding;
use cifar_gpu::ops::batch_assembly::Augmentation;
use cifar_gpu::ops::conv2d::{self, Conv2dGeometry, Epilogue, Plan, Target};
use cifar_gpu::ops::count_iterations::count_iterations;
use cifar_gpu::ops::elementwise;
use cifar_gpu::tensor::DType;

use crate::Outcome;
use crate::compare::compare_exact;
use crate::elements::{
    adam_updates, averaging_weights, clipping, converting, dropping, elementwise_operations, recording_metrics,
    scaling_losses, sgd_updates,
};
use crate::layers::{assembling, averaging, convolution, cross_entropy, fully_connected, normalizing, pooling};

/// A case's body, run on each device.
pub type Run = Arc<dyn Fn(&Device) -> Outcome + Send + Sync>;

/// Types that activations may have, and how they show in a case's name.
const REALS: [(DType, &str); 2] = [(DType::F32, ""), (DType::F16, "_f16")];

fn case(name: impl Into<String>, run: impl Fn(&Device) -> Outcome + Send + Sync + 'static) -> (String, Run) {
    (name.into(), Arc::new(run))
}

/// Every case: its name and its body.
pub fn all() -> Vec<(String, Run)> {
    let mut cases = Vec::new();
    let (valid, same) = (Padding::Valid, Padding::Same);
    // Odd and prime sides, strides 1 to 3, every padding, batch 1, channels that no tile divides.
    for (input, kernel, out_c, stride, padding) in [
        ([1, 1, 1, 1], [1, 1], 1, 1, valid),
        ([2, 7, 5, 3], [3, 3], 10, 1, same),
        ([1, 11, 13, 5], [5, 3], 7, 2, same),
        ([3, 9, 8, 4], [2, 2], 8, 1, same),
        ([2, 10, 7, 6], [3, 3], 9, 3, valid),
        ([1, 8, 8, 12], [3, 3], 96, 1, valid),
        ([2, 6, 6, 96], [1, 1], 10, 1, same),
        ([5, 1, 1, 33], [1, 1], 20, 1, valid),
        ([2, 5, 5, 8], [3, 3], 16, 1, Padding::Explicit(2)),
        ([2, 16, 16, 8], [3, 3], 12, 2, Padding::Explicit(1)),
        ([1, 17, 3, 2], [7, 1], 3, 1, Padding::Explicit(3)),
        ([3, 2, 2, 4], [1, 1], 4, 3, Padding::Explicit(1)),
        ([9, 15, 15, 20], [3, 3], 24, 1, same),
        ([9, 15, 15, 20], [3, 3], 24, 2, same),
        ([2, 33, 31, 4], [3, 3], 8, 2, Padding::Explicit(1)),
        ([66, 8, 8, 3], [5, 5], 32, 1, valid),
    ] {
        let ([n, h, w, c], [kh, kw]) = (input, kernel);
        let name = format!("conv2d/{n}x{h}x{w}x{c}_to_{out_c}_kernel_{kh}x{kw}_stride_{stride}_{padding:?}");
        // Of 16 bits those that take other ways through the kernels, for the time that drivers take to compile.
        let narrow = [[1, 8, 8, 12], [2, 6, 6, 96], [2, 16, 16, 8], [2, 7, 5, 3]].contains(&input);
        for (dtype, suffix) in REALS.into_iter().take(if narrow { 2 } else { 1 }) {
            cases.push(case(format!("{name}{suffix}"), move |device| {
                convolution(device, dtype, None, &input, &[kh, kw, c, out_c], stride, padding)
            }));
        }
    }
    for (input, out_c, padding) in
        [([2, 7, 9, 3], 5, valid), ([3, 9, 12, 33], 18, same), ([5, 8, 6, 40], 36, Padding::Explicit(4))]
    {
        let [n, h, w, c] = input;
        let name = format!("conv2d/winograd-2 direct-8x8/{n}x{h}x{w}x{c}_to_{out_c}_kernel_5x5_{padding:?}");
        cases.push(case(name, move |device| {
            let plan = "winograd-2 direct-8x8".parse()?;
            convolution(device, DType::F32, Some(plan), &input, &[5, 5, c, out_c], 1, padding)
        }));
    }
    // Every algorithm and family of tiles, with shapes that fill no tile, reach over several and have odd channels. Few of
    // them: software drivers take seconds to compile a tile that is unrolled for a GPU.
    let (odd, wide) = (([2, 7, 5, 3], 10, 1, same), ([3, 9, 11, 20], 100, 2, same));
    for (plan, (input, out_c, stride, padding)) in [
        ("direct-4x16", odd),
        ("direct-8x8", wide),
        ("direct-8x32", odd),
        ("broadcast-2x16", odd),
        ("broadcast-4x8", wide),
        ("broadcast-8x16", ([3, 9, 15, 12], 18, 1, valid)),
        ("broadcast-4x8", ([2, 6, 11, 8], 12, 3, Padding::Explicit(2))),
        ("broadcast-2x12", ([3, 5, 4, 10], 9, 1, same)),
        ("staged-64x64", odd),
        ("staged-128x96", wide),
        ("staged-32x64", wide),
        ("staged-32x32", odd),
        ("winograd-2 direct-8x8", ([1, 1, 1, 1], 1, 1, same)),
        ("winograd-2 direct-8x8", ([3, 9, 12, 33], 18, 1, valid)),
        ("winograd-4 direct-4x16", ([3, 9, 12, 33], 18, 1, valid)),
        ("winograd-2 broadcast-8x16", ([3, 9, 12, 33], 18, 1, valid)),
        ("winograd-4 broadcast-2x16", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
        ("winograd-4 direct-8x8", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
        ("winograd-2 staged-64x64", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
    ] {
        let [n, h, w, c] = input;
        let name = format!("conv2d/{plan}/{n}x{h}x{w}x{c}_to_{out_c}_kernel_3x3_stride_{stride}_{padding:?}");
        cases.push(case(name, move |device| {
            convolution(device, DType::F32, Some(plan.parse()?), &input, &[3, 3, c, out_c], stride, padding)
        }));
    }
    for (plan, (input, out_c, stride, padding)) in [
        ("staged-64x32", odd),
        ("cooperative-64x32", ([2, 5, 7, 4], 12, 1, same)),
        ("cooperative-64x32", ([5, 8, 6, 40], 36, 1, Padding::Explicit(2))),
    ] {
        let [n, h, w, c] = input;
        let name = format!("conv2d/{plan}_f16/{n}x{h}x{w}x{c}_to_{out_c}_kernel_3x3_stride_{stride}_{padding:?}");
        cases.push(case(name, move |device| {
            let plan: Plan = plan.parse()?;
            let g = Conv2dGeometry::new(&input, &[3, 3, c, out_c], stride, padding)?;
            if plan.suits(Target::new(device, DType::F16), &g) {
                return convolution(device, DType::F16, Some(plan), &input, &[3, 3, c, out_c], stride, padding);
            }
            // Few adapters have cooperative matrices; the others must say so.
            let [x, w] = [&g.input_shape(), &g.weight_shape()].map(|shape| device.zeros(shape, DType::F16));
            match (device, conv2d::forward_by(plan, &g, Epilogue::RELU, &x?, &w?, Some(&device.empty(&[out_c])?))) {
                (Device::Gpu(_), Ok(_)) => Err("cooperative matrices on an adapter that has none".into()),
                _ => Ok(()),
            }
        }));
    }
    for [batch, inputs, outputs] in [[1, 1, 1], [3, 7, 5], [64, 100, 10], [17, 1600, 200]] {
        let name = format!("linear/{batch}x{inputs}_to_{outputs}");
        for (dtype, suffix) in REALS {
            let name = format!("{name}{suffix}");
            cases.push(case(name, move |device| fully_connected(device, dtype, batch, inputs, outputs)));
        }
    }
    for (input, kernel, stride) in [
        ([1, 1, 1, 1], [1, 1], 1),
        ([2, 7, 5, 3], [2, 2], 2),
        ([1, 13, 11, 5], [3, 3], 2),
        ([3, 9, 8, 4], [3, 2], 1),
        ([2, 10, 7, 6], [2, 2], 3),
        ([2, 32, 32, 7], [3, 3], 2),
    ] {
        let ([n, h, w, c], [kh, kw]) = (input, kernel);
        let name = format!("max_pool2d/{n}x{h}x{w}x{c}_kernel_{kh}x{kw}_stride_{stride}");
        for (dtype, suffix) in REALS {
            cases.push(case(format!("{name}{suffix}"), move |device| pooling(device, dtype, &input, kernel, stride)));
        }
    }
    for count in [1, 255, 256, 1009] {
        for (dtype, suffix) in REALS {
            let name = format!("elementwise/{count}{suffix}");
            cases.push(case(name, move |device| elementwise_operations(device, dtype, count)));
            cases.push(case(format!("dropout/{count}{suffix}"), move |device| dropping(device, dtype, count)));
        }
        cases.push(case(format!("convert/{count}"), move |device| converting(device, count)));
        cases.push(case(format!("sgd_step/{count}"), move |device| sgd_updates(device, count)));
        cases.push(case(format!("adam_step/{count}"), move |device| adam_updates(device, count)));
    }
    // More workgroups than one dimension of the grid holds.
    cases.push(case("elementwise/17000003_folded_grid", |device| {
        let count = 17_000_003;
        let tensor = device.empty(&[count])?;
        elementwise::fill(1.5, &tensor)?;
        let values = tensor.to_vec()?;
        compare_exact("fill", &values, &vec![1.5; count])
    }));
    for shape in [[1, 1, 1, 1], [3, 5, 7, 11], [2, 6, 6, 10]] {
        let [n, h, w, c] = shape;
        for (dtype, suffix) in REALS {
            let name = format!("global_avg_pool/{n}x{h}x{w}x{c}{suffix}");
            cases.push(case(name, move |device| averaging(device, dtype, shape)));
        }
    }
    for shape in [[1, 1, 2, 1], [3, 5, 7, 11], [2, 6, 6, 10], [5, 60, 60, 3]] {
        let [n, h, w, c] = shape;
        for (dtype, suffix) in REALS {
            let name = format!("batch_norm/{n}x{h}x{w}x{c}{suffix}");
            cases.push(case(name, move |device| normalizing(device, dtype, shape)));
        }
    }
    for (batch, classes, largest) in [(1, 2, 1.0), (7, 10, 5.0), (300, 3, 1.0), (5, 1000, 3.0), (16, 10, 1e4)] {
        for smoothing in [0.0, 0.1, 1.0] {
            let name = format!("softmax_cross_entropy/{batch}x{classes}_logits_to_{largest}_smoothing_{smoothing}");
            cases.push(case(name, move |device| cross_entropy(device, batch, classes, largest, smoothing)));
        }
    }
    // Color and gray; an image's bytes are no whole number of words.
    for (shape, kind) in [([3, 5, 3], ""), ([5, 3, 1], "_5x3_gray"), ([4, 7, 1], "_4x7_gray"), ([7, 4, 3], "_7x4")] {
        for (dtype, suffix) in REALS {
            for (name, augmentation) in [
                ("two_chunks", None),
                ("flip-crop", Some(Augmentation { crop_padding: 2, ..Augmentation::FLIP_CROP })),
                ("mirror", Some(Augmentation::MIRROR)),
                ("keras", Some(Augmentation::KERAS)),
                ("strong", Some(Augmentation { crop_padding: 1, cutout: 2, ..Augmentation::STRONG })),
                ("upside-down", Some(Augmentation { rotation_degrees: 180.0, shift: 1.0, ..Augmentation::NONE })),
                ("cutout", Some(Augmentation { cutout: 3, ..Augmentation::NONE })),
            ] {
                let name = format!("batch_assembly/{name}{kind}{suffix}");
                cases.push(case(name, move |device| assembling(device, dtype, shape, augmentation)));
            }
        }
    }
    for count in [1, 257, 100_003] {
        cases.push(case(format!("loss_scaling/{count}"), move |device| scaling_losses(device, count)));
        cases.push(case(format!("gradient_clipping/{count}"), move |device| clipping(device, count)));
        cases.push(case(format!("weight_average/{count}"), move |device| averaging_weights(device, count)));
    }
    cases.push(case("record_metrics/slot", recording_metrics));
    for iterations in [0, 1, 65_535] {
        cases.push(case(format!("count_iterations/{iterations}"), move |device| {
            let generated = (0..iterations).fold(0_u64, |x, _| (1_664_525 * x + 1_013_904_223) % (1 << 32));
            let counted = count_iterations(device, iterations)?.to_vec_u32()?;
            compare_exact("count_iterations", &counted, &[iterations, generated as u32])
        }));
    }
    cases
}
