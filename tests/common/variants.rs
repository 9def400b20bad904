//! The variants of every kernel that tests compile: add a row here when you add a kernel.

use cifar_gpu::gpu::ShaderVariant;

/// Constants that every convolution kernel takes: a small image, so that borders matter.
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
/// The same of ygnet's first layers.
const YGNET: [(&str, u32); 11] = [
    ("KERNEL_H", 3),
    ("KERNEL_W", 3),
    ("STRIDE", 1),
    ("PAD_TOP", 1),
    ("PAD_LEFT", 1),
    ("IN_H", 32),
    ("IN_W", 32),
    ("OUT_H", 32),
    ("OUT_W", 32),
    ("ROWS", 8),
    ("LANES", 64),
];
/// Input and output channels, with and without vectors of four.
const CHANNEL_PAIRS: [(u32, u32); 4] = [(4, 8), (3, 8), (4, 10), (3, 10)];
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
pub fn variants(name: &'static str) -> Option<Vec<ShaderVariant>> {
    let with =
        |shared: &[(&'static str, u32)], own: &[(&'static str, u32)]| ShaderVariant::new(name, &[shared, own].concat());
    // Every pair of channels on a small image, and those of real layers.
    type Own<'a> = &'a dyn Fn(u32, u32) -> Vec<(&'static str, u32)>;
    let conv2d = |real: &[(u32, u32)], own: Own<'_>| -> Vec<ShaderVariant> {
        let small = CHANNEL_PAIRS.iter().map(|&(a, b)| with(&CONV2D, &own(a, b)));
        small.chain(real.iter().map(|&(a, b)| with(&YGNET, &own(a, b)))).collect()
    };
    Some(match name {
        "conv2d_forward" => [0, 1]
            .map(|relu| {
                conv2d(&[(3, 96), (96, 96)], &|a, b| {
                    vec![("CHANNELS", a), ("COLUMNS", b), ("RELU", relu), ("COLUMNS_PER_LANE", 8)]
                })
            })
            .concat(),
        "conv2d_backward_input" => {
            conv2d(&[(96, 96)], &|a, b| vec![("CHANNELS", a), ("COLUMNS", b), ("COLUMNS_PER_LANE", 8)])
        }
        "conv2d_backward_weight" => {
            conv2d(&[(3, 96), (96, 96)], &|a, b| vec![("IN_C", a), ("OUT_C", b), ("COLUMNS_PER_LANE", 8)])
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
