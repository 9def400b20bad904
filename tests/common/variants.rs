//! The variants of every kernel that tests compile: add a row here when you add a kernel.

use cifar_gpu::gpu::ShaderVariant;
use cifar_gpu::ops::conv2d::Tiling;

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
/// Input and output channels, with and without vectors of four.
const CHANNEL_PAIRS: [(u32, u32); 4] = [(4, 8), (3, 8), (4, 10), (3, 10)];
const POOL: [(&str, u32); 7] =
    [("KERNEL_H", 3), ("KERNEL_W", 2), ("STRIDE", 2), ("IN_H", 9), ("IN_W", 7), ("OUT_H", 4), ("OUT_W", 3)];
const PADDED_POOL: [(&str, u32); 3] = [("PAD_TOP", 1), ("PAD_LEFT", 1), ("PADDED", 1)];
const PLAIN_POOL: [(&str, u32); 3] = [("PAD_TOP", 0), ("PAD_LEFT", 0), ("PADDED", 0)];

/// Variants of a kernel that take every branch of its template.
pub struct Variants {
    /// As GPUs run them.
    pub gpu: Vec<ShaderVariant>,
    /// As GPUs with tensor cores run them, where that is something of its own.
    pub cooperative: Vec<ShaderVariant>,
    /// As software drivers run them.
    #[allow(dead_code, reason = "not every test compiles them")]
    pub software: Vec<ShaderVariant>,
}

/// The variants of a kernel; `None` for one that is not in the table.
pub fn variants(name: &'static str) -> Option<Variants> {
    let half = |variant: &ShaderVariant| variant.constants.contains(&("HALF", 1));
    let of = |wanted: fn(&Tiling) -> bool| variants_with(name, &Tiling::all().filter(wanted).collect::<Vec<_>>());
    let cooperative = of(|tiling| matches!(tiling, Tiling::Cooperative { .. }))?;
    Some(Variants {
        gpu: of(|tiling| matches!(tiling, Tiling::Staged { .. }))?,
        cooperative: if name.starts_with("conv2d") {
            cooperative.into_iter().filter(half).collect()
        } else {
            Vec::new()
        },
        software: of(|tiling| matches!(tiling, Tiling::Direct { .. } | Tiling::Broadcast { .. }))?,
    })
}

fn variants_with(name: &'static str, tiles: &[Tiling]) -> Option<Vec<ShaderVariant>> {
    let with =
        |shared: &[(&'static str, u32)], own: &[(&'static str, u32)]| ShaderVariant::new(name, &[shared, own].concat());
    let tile = |tiling: Tiling| -> Vec<(&'static str, u32)> {
        let own: &[(&'static str, usize)] = match tiling {
            Tiling::Direct { rows, columns } => {
                &[("TILING", 0), ("LANES", 8), ("ROWS", rows), ("COLUMNS_PER_LANE", columns)]
            }
            Tiling::Broadcast { rows, columns } => {
                &[("TILING", 1), ("LANES", 8), ("ROWS", rows), ("COLUMNS_PER_LANE", columns)]
            }
            Tiling::Staged { rows, columns } => {
                &[("TILING", 2), ("LANES", rows * columns / 64), ("TILE_ROWS", rows), ("TILE_COLUMNS", columns)]
            }
            Tiling::Cooperative { rows, columns } => &[
                ("TILING", 3),
                ("LANES", 128),
                ("SUBGROUPS", 4),
                ("SIDE", 16),
                ("TILE_ROWS", rows),
                ("TILE_COLUMNS", columns),
            ],
        };
        own.iter().map(|&(name, value)| (name, value as u32)).collect()
    };
    // Every pair of channels on a small image and real layers, with every tile.
    type Own<'a> = &'a dyn Fn(u32, u32) -> Vec<(&'static str, u32)>;
    let conv2d = |real: &[(u32, u32)], own: Own<'_>| -> Vec<ShaderVariant> {
        let small = CHANNEL_PAIRS.iter().map(|&pair| (CONV2D, pair));
        let layers: Vec<_> = small.chain(real.iter().map(|&pair| (YGNET, pair))).collect();
        let mut variants = Vec::new();
        for &t in tiles {
            for (shape, (a, b)) in &layers {
                // Cooperative matrices are loaded four channels at a time.
                if !matches!(t, Tiling::Cooperative { .. }) || a % 4 == 0 && b % 4 == 0 {
                    variants
                        .extend([0, 1].map(|half| with(shape, &[own(*a, *b), vec![("HALF", half)], tile(t)].concat())));
                }
            }
        }
        variants
    };
    // 32-bit and 16-bit activations.
    let real = |own: &[(&'static str, u32)]| [0, 1].map(|half| with(own, &[("HALF", half)])).to_vec();
    let winograd = |own: &[(&'static str, u32)]| {
        [(2, 3), (4, 3), (2, 5)]
            .map(|(outputs, kernel)| with(&[("OUTPUTS", outputs), ("KERNEL", kernel)], own))
            .to_vec()
    };
    Some(match name {
        "conv2d_forward" => {
            // Dropout after the first layer and, of odd channels, after others.
            conv2d(&[(3, 96), (96, 96)], &|a, b| {
                let dropout = ("DROPOUT", u32::from(a == 3 || b % 2 == 1));
                vec![("CHANNELS", a), ("COLUMNS", b), ("BIAS", u32::from(a != 4)), ("RELU", u32::from(b != 8)), dropout]
            })
        }
        "conv2d_backward_input" => {
            let phase = [("FIRST_Y", 0), ("FIRST_X", 0), ("FIRST_KY", 1), ("FIRST_KX", 0), ("WEIGHT_W", 3)];
            conv2d(&[(96, 96)], &|a, b| {
                [&[("CHANNELS", a), ("COLUMNS", b), ("GATE", u32::from(a != 3))], &phase[..]].concat()
            })
        }
        "conv2d_backward_weight" => {
            conv2d(&[(3, 96), (96, 96)], &|a, b| vec![("IN_C", a), ("OUT_C", b), ("MATRICES", 1)])
        }
        "winograd_product" => {
            tiles.iter().map(|&t| with(&[("CHANNELS", 96), ("COLUMNS", 96), ("MATRICES", 16)], &tile(t))).collect()
        }
        "winograd_transform_input" | "winograd_transform_cotangent" | "winograd_reduce_weight" => winograd(&[]),
        "winograd_transform_output" => [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
            .iter()
            .flat_map(|kinds| {
                winograd(&["BIAS", "RELU", "DROPOUT", "GATE"].iter().copied().zip(*kinds).collect::<Vec<_>>())
            })
            .collect(),
        "winograd_transform_weight" => [0, 1].iter().flat_map(|&turn| winograd(&[("TURN", turn)])).collect(),
        "conv2d_transpose_weight" => real(&[("IN_C", 3), ("OUT_C", 5)]),
        "max_pool2d_forward" | "max_pool2d_backward" | "avg_pool2d_forward" | "avg_pool2d_backward" => [5, 8]
            .iter()
            .flat_map(|&channels| [PLAIN_POOL, PADDED_POOL].map(|pads| (channels, pads)))
            .flat_map(|(channels, pads)| real(&[&POOL[..], &pads, &[("CHANNELS", channels)]].concat()))
            .collect(),
        "pad_channels_forward" | "pad_channels_backward" => real(&[("IN_C", 3), ("OUT_C", 8), ("BEFORE", 2)]),
        "softmax_forward" | "softmax_backward" => vec![with(&[], &[("CLASSES", 10)])],
        "global_avg_pool_forward" | "global_avg_pool_backward" => real(&[("PIXELS", 36), ("CHANNELS", 10)]),
        "batch_assembly" => [(3, 0, 0), (3, 1, 0), (3, 1, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)]
            .iter()
            .flat_map(|&(channels, augment, interpolate)| {
                real(&[
                    ("HEIGHT", 32),
                    ("WIDTH", if channels == 3 { 32 } else { 41 }),
                    ("CHANNELS", channels),
                    ("AUGMENT", augment),
                    ("INTERPOLATE", interpolate),
                    ("STREAM", 1 << 30),
                    ("DRAWS", 4),
                ])
            })
            .collect(),
        "batch_norm_partial" => real(&[("CHANNELS", 5)]),
        "batch_norm_statistics" => {
            [0, 1].map(|training| with(&[], &[("LANES", 64), ("CHANNELS", 5), ("TRAINING", training)])).to_vec()
        }
        "batch_norm_forward" => [0, 1].iter().flat_map(|&relu| real(&[("CHANNELS", 5), ("RELU", relu)])).collect(),
        "batch_norm_backward_partial" | "batch_norm_backward_input" => {
            [0, 1].iter().flat_map(|&mask| real(&[("CHANNELS", 5), ("MASK", mask)])).collect()
        }
        "batch_norm_backward_weight" => vec![with(&[], &[("LANES", 64), ("CHANNELS", 5)])],
        "softmax_cross_entropy" => [[0, 0], [0, 1], [1, 0], [1, 1]]
            .map(|[weights, ignore]| {
                with(&[("CLASSES", 10), ("LANES", 256)], &[("CLASS_WEIGHTS", weights), ("IGNORE", ignore)])
            })
            .to_vec(),
        "convert" => [0, 1].map(|to_half| with(&[], &[("TO_HALF", to_half)])).to_vec(),
        "sum_of_squares" | "gradient_clipping" => vec![with(&[], &[("LANES", 256)])],
        "loss_scaling" => vec![with(&[], &[("LANES", 256), ("GROWTH_INTERVAL", 2000), ("LARGEST", 1 << 24)])],
        "add" => [0, 1].iter().flat_map(|&relu| real(&[("RELU", relu)])).collect(),
        "dropout" | "relu_backward" | "relu_forward" => real(&[]),
        "adam_step" | "count_iterations" | "fill" | "record_metrics" | "scale" | "sgd_step" | "split_k_reduce"
        | "weight_average" => vec![with(&[], &[])],
        _ => return None,
    })
}
