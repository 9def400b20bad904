//! Every shader is rendered, parsed, validated and reflected without a GPU.

use cifar_gpu::gpu::ShaderVariant;
use cifar_gpu::gpu::shaders::{self, BindingKind};
use libtest_mimic::{Failed, Trial};

use crate::Outcome;

/// Constants that every convolution kernel takes, and those that each adds.
const CONV2D: [(&str, u32); 11] = [
    ("KERNEL_H", 3),
    ("KERNEL_W", 3),
    ("STRIDE", 2),
    ("PAD_TOP", 1),
    ("PAD_LEFT", 1),
    ("IN_H", 9),
    ("IN_W", 7),
    ("OUT_H", 5),
    ("OUT_W", 4),
    ("ROWS", 8),
    ("LANES", 64),
];
const POOL: [(&str, u32); 8] = [
    ("KERNEL_H", 3),
    ("KERNEL_W", 2),
    ("STRIDE", 2),
    ("IN_H", 9),
    ("IN_W", 7),
    ("OUT_H", 4),
    ("OUT_W", 3),
    ("CHANNELS", 5),
];

/// Variants of a kernel that take every branch of its template; `None` for a kernel that is not in the table.
fn variants(name: &'static str) -> Option<Vec<ShaderVariant>> {
    let with =
        |shared: &[(&'static str, u32)], own: &[(&'static str, u32)]| ShaderVariant::new(name, &[shared, own].concat());
    let channel_pairs = [(4, 8), (3, 8), (4, 10), (3, 10)];
    Some(match name {
        "conv2d_forward" => channel_pairs
            .iter()
            .flat_map(|&(a, b)| {
                [0, 1].map(|relu| {
                    with(&CONV2D, &[("CHANNELS", a), ("COLUMNS", b), ("RELU", relu), ("COLUMNS_PER_LANE", 8)])
                })
            })
            .collect(),
        "conv2d_backward_input" => channel_pairs
            .map(|(a, b)| with(&CONV2D, &[("CHANNELS", a), ("COLUMNS", b), ("COLUMNS_PER_LANE", 8)]))
            .to_vec(),
        "conv2d_backward_weight" => {
            channel_pairs.map(|(a, b)| with(&CONV2D, &[("IN_C", a), ("OUT_C", b), ("COLUMNS_PER_LANE", 8)])).to_vec()
        }
        "conv2d_transpose_weight" => vec![with(&[], &[("IN_C", 3), ("OUT_C", 5)])],
        "max_pool2d_forward" | "max_pool2d_backward" => vec![with(&POOL, &[])],
        "global_avg_pool_forward" | "global_avg_pool_backward" => vec![with(&[], &[("PIXELS", 36), ("CHANNELS", 10)])],
        "batch_assembly" => vec![with(&[], &[("PIXELS", 1024), ("CHANNELS", 3)])],
        "softmax_cross_entropy" => vec![with(&[], &[("CLASSES", 10), ("LANES", 256)])],
        "add" | "adam_step" | "dropout" | "fill" | "record_metrics" | "relu_backward" | "relu_forward" | "scale"
        | "sgd_step" | "split_k_reduce" => vec![with(&[], &[])],
        _ => return None,
    })
}

pub fn all() -> Vec<Trial> {
    let mut trials: Vec<_> = shaders::kernel_names()
        .into_iter()
        .map(|name| Trial::test(format!("shader/{name}"), move || validate(name)))
        .collect();
    trials.push(Trial::test("shader/errors name the shader and show the line", errors_are_annotated));
    trials
}

fn validate(name: &'static str) -> Outcome {
    let variants = variants(name).ok_or("this kernel has no row in the table of shader tests")?;
    for variant in variants {
        let shader = shaders::build(&variant)?;
        if !shader.bindings.contains(&BindingKind::ReadWrite) {
            return Err(Failed::from("the kernel writes nothing"));
        }
        if shader.workgroup_size.iter().product::<u32>() > 256 || shader.workgroup_bytes > 16 << 10 {
            return Err(Failed::from("more than every adapter can be relied on to allow"));
        }
    }
    Ok(())
}

fn errors_are_annotated() -> Outcome {
    // Zero channels make an empty shader loop's constant negative, which naga rejects.
    let variant = ShaderVariant::new("softmax_cross_entropy", &[("CLASSES", 0), ("LANES", 256)]);
    match shaders::build(&variant).map_err(|e| e.to_string()) {
        Err(message) if message.contains("softmax_cross_entropy.wgsl:") => Ok(()),
        Err(message) => Err(format!("no place in: {message}").into()),
        Ok(_) => Err("an invalid shader was accepted".into()),
    }
}
