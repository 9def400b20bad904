//! The variants of every kernel that tests compile: add a row here when you add a kernel.

use cifar_gpu::gpu::ShaderVariant;

/// Constants that every convolution kernel takes: a small image, so that borders matter.
const CONV2D: [(&str, u32); 9] = [
    ("KERNEL_H", 3),
    ("KERNEL_W", 3),
    ("STRIDE", 2),
    ("PAD_TOP", 1),
    ("PAD_LEFT", 1),
    ("IN_H", 9),
    ("IN_W", 7),
    ("OUT_H", 5),
    ("OUT_W", 4),
];
/// The same of ygnet's first layers.
const YGNET: [(&str, u32); 9] = [
    ("KERNEL_H", 3),
    ("KERNEL_W", 3),
    ("STRIDE", 1),
    ("PAD_TOP", 1),
    ("PAD_LEFT", 1),
    ("IN_H", 32),
    ("IN_W", 32),
    ("OUT_H", 32),
    ("OUT_W", 32),
];
/// How a matrix product is cut up: (staged, rows, columns).
type Tile = (bool, u32, u32);
/// Tiles for GPUs.
const STAGED: [Tile; 7] = [
    (true, 128, 96),
    (true, 64, 96),
    (true, 128, 64),
    (true, 64, 64),
    (true, 128, 32),
    (true, 64, 32),
    (true, 128, 16),
];
/// Tiles for software drivers alone.
const DIRECT: [Tile; 3] = [(false, 8, 8), (false, 4, 16), (false, 4, 8)];
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

/// Variants of a kernel that take every branch of its template, as GPUs run them and as software drivers do; `None` for a
/// kernel that is not in the table.
pub fn variants(name: &'static str) -> Option<(Vec<ShaderVariant>, Vec<ShaderVariant>)> {
    Some((variants_with(name, &STAGED)?, variants_with(name, &DIRECT)?))
}

fn variants_with(name: &'static str, tiles: &[Tile]) -> Option<Vec<ShaderVariant>> {
    let with =
        |shared: &[(&'static str, u32)], own: &[(&'static str, u32)]| ShaderVariant::new(name, &[shared, own].concat());
    let tile = |(staged, rows, columns): Tile| -> Vec<(&'static str, u32)> {
        if staged {
            vec![("STAGED", 1), ("LANES", rows * columns / 64), ("TILE_ROWS", rows), ("TILE_COLUMNS", columns)]
        } else {
            vec![("STAGED", 0), ("LANES", 64), ("ROWS", rows), ("COLUMNS_PER_LANE", columns)]
        }
    };
    // Every pair of channels on a small image and real layers, with every tile.
    type Own<'a> = &'a dyn Fn(u32, u32) -> Vec<(&'static str, u32)>;
    let conv2d = |real: &[(u32, u32)], own: Own<'_>| -> Vec<ShaderVariant> {
        let small = CHANNEL_PAIRS
            .iter()
            .flat_map(|&(a, b)| tiles.iter().map(move |&t| with(&CONV2D, &[own(a, b), tile(t)].concat())));
        let real =
            real.iter().flat_map(|&(a, b)| tiles.iter().map(move |&t| with(&YGNET, &[own(a, b), tile(t)].concat())));
        small.chain(real).collect()
    };
    Some(match name {
        "conv2d_forward" => {
            conv2d(&[(3, 96), (96, 96)], &|a, b| vec![("CHANNELS", a), ("COLUMNS", b), ("RELU", u32::from(b != 8))])
        }
        "conv2d_backward_input" => conv2d(&[(96, 96)], &|a, b| vec![("CHANNELS", a), ("COLUMNS", b)]),
        "conv2d_backward_weight" => {
            conv2d(&[(3, 96), (96, 96)], &|a, b| vec![("IN_C", a), ("OUT_C", b), ("MATRICES", 1)])
        }
        "winograd_product" => {
            tiles.iter().map(|&t| with(&[("CHANNELS", 96), ("COLUMNS", 96), ("MATRICES", 16)], &tile(t))).collect()
        }
        "winograd_transform_input" | "winograd_transform_cotangent" | "winograd_reduce_weight" => {
            [2, 4].map(|outputs| with(&[], &[("OUTPUTS", outputs)])).to_vec()
        }
        "winograd_transform_output" => [(2, 0), (2, 1), (4, 0), (4, 1)]
            .map(|(outputs, last)| with(&[], &[("OUTPUTS", outputs), ("BIAS", last), ("RELU", last)]))
            .to_vec(),
        "winograd_transform_weight" => [(2, 0), (2, 1), (4, 0), (4, 1)]
            .map(|(outputs, turn)| with(&[], &[("OUTPUTS", outputs), ("TURN", turn)]))
            .to_vec(),
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
