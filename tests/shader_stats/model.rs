//! What a training step takes on a GPU, as far as the compilers of its kernels and a few numbers of the GPU tell.
//!
//! Of each kernel call, the longest of these counts, and the gap between two calls is added:
//! - issue: the cycles in which the instructions of a core's subgroups are issued. In the busiest loop they are as many as its
//!   multiply-adds need, those of parts of tiles beyond the edge among them; other loops run until all bytes have been loaded.
//! - bandwidth: the bytes of all its buffers, each once, from memory, or from the last cache where they fit into half of it.
//! - latency: how often an invocation waits for memory, where no products hide it, for as many subgroups as a core keeps at a time.
//!
//! Clocks are what the vendor calls boost; cores never wait for one another, and caches are perfect: the truth is slower.

use std::collections::{BTreeMap, BTreeSet};

use cifar_gpu::Device;
use cifar_gpu::gpu::{CooperativeMatrix, GpuDevice, Launched, RehearsedAdapter, ShaderVariant, shaders};
use cifar_gpu::nn::Architecture;
use cifar_gpu::ops::Padding;
use cifar_gpu::ops::conv2d::{Algorithm, Conv2dGeometry, Direction, Plan, Target, tune};
use cifar_gpu::tensor::{DType, Precision};
use cifar_gpu::train::{TrainConfig, training_launches};

use super::assembly::Assembly;
use super::compiler::Result;
use super::figures::Figures;
use super::gpus::{Drivers, Gpu, Vendor};
use super::{Answer, Constants, Wanted, ask_variants};

/// Waiting for memory once, in seconds.
const LATENCY: f64 = 0.6e-6;
/// Between two kernel calls, of which the second uses what the first one wrote, in seconds.
const GAP: f64 = 2.5e-6;

/// A GPU as its vendor describes it.
struct Chip {
    name: &'static str,
    title: &'static str,
    /// The GPU that the compilers know and that is of its kind.
    compiled_for: &'static str,
    cores: u64,
    /// Instructions that a core issues in a cycle, each for a subgroup.
    schedulers: u64,
    /// Invocations of a subgroup.
    subgroup: u64,
    clock_hz: f64,
    /// Bytes a second from memory, and from the last cache.
    bandwidth: f64,
    cache_bandwidth: f64,
    cache_bytes: u64,
}

const CHIPS: [Chip; 5] = [
    Chip {
        name: "h200",
        title: "NVIDIA H200",
        compiled_for: "ampere",
        cores: 132,
        schedulers: 4,
        subgroup: 32,
        clock_hz: 1.98e9,
        bandwidth: 4.8e12,
        cache_bandwidth: 5.5e12,
        cache_bytes: 50 << 20,
    },
    Chip {
        name: "rtx4090",
        title: "NVIDIA RTX 4090",
        compiled_for: "ada",
        cores: 128,
        schedulers: 4,
        subgroup: 32,
        clock_hz: 2.52e9,
        bandwidth: 1.008e12,
        cache_bandwidth: 5e12,
        cache_bytes: 72 << 20,
    },
    Chip {
        name: "rx7900xtx",
        title: "AMD RX 7900 XTX",
        compiled_for: "navi31",
        cores: 96,
        schedulers: 2,
        subgroup: 32,
        clock_hz: 2.5e9,
        bandwidth: 0.96e12,
        cache_bandwidth: 3.5e12,
        cache_bytes: 96 << 20,
    },
    Chip {
        name: "m1",
        title: "Apple M1, 8 cores",
        compiled_for: "apple-m1",
        cores: 8,
        schedulers: 4,
        subgroup: 32,
        clock_hz: 1.278e9,
        bandwidth: 68e9,
        cache_bandwidth: 100e9,
        cache_bytes: 8 << 20,
    },
    Chip {
        name: "adreno750",
        title: "Qualcomm Adreno 750",
        compiled_for: "adreno750",
        cores: 6,
        schedulers: 2,
        subgroup: 128,
        clock_hz: 0.903e9,
        bandwidth: 77e9,
        cache_bandwidth: 150e9,
        cache_bytes: 2 << 20,
    },
];

/// Why a kernel call is not faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Issue,
    Bandwidth,
    Latency,
    Gap,
}

impl Bound {
    fn name(self) -> &'static str {
        match self {
            Bound::Issue => "issue",
            Bound::Bandwidth => "bandwidth",
            Bound::Latency => "latency",
            Bound::Gap => "gap",
        }
    }
}

/// What is known of a compiled variant.
struct Kernel {
    assembly: Assembly,
    figures: Figures,
    /// Invocations of a workgroup.
    invocations: u64,
}

/// What the calls of a kernel take in a step.
#[derive(Default)]
struct Total {
    calls: u64,
    seconds: f64,
    flops: u64,
    bytes: u64,
    by_bound: BTreeMap<Bound, f64>,
}

/// Prints a table of what the kernels of a network's training step take on a GPU; `settings` are the network and, if wanted, the batch
/// and `f16`.
pub fn print(chip: &str, settings: &[&str]) -> Result<()> {
    let chip = Chip::named(chip)?;
    let [network, settings @ ..] = settings else { return Err("which network?".into()) };
    let batch = settings.iter().find_map(|word| word.parse().ok()).unwrap_or(64);
    let precision = if settings.contains(&"f16") { Precision::F16 } else { Precision::F32 };
    let gpu = Gpu::named(chip.compiled_for)?;
    let launched = launches(gpu, network, precision, batch)?;
    let kernels = compile(gpu, &launched)?;
    let mut totals: BTreeMap<&str, Total> = BTreeMap::new();
    for call in &launched {
        let kernel = kernels.get(&call.variant).ok_or_else(|| format!("{} was not compiled", call.variant.name))?;
        let (seconds, bound) = chip.seconds(gpu.vendor, call, kernel);
        let total = totals.entry(call.variant.name).or_default();
        total.calls += 1;
        total.seconds += seconds;
        total.flops += call.flops;
        total.bytes += call.bytes;
        *total.by_bound.entry(bound).or_default() += seconds;
    }
    let step: f64 = totals.values().map(|total| total.seconds).sum();
    println!(
        "\n{network}, {batch} images, {precision:?}, {} (compiled for {}): {:.2} ms a step, {:.0} images/s\n",
        chip.title,
        gpu.generation,
        step * 1e3,
        batch as f64 / step
    );
    println!("| kernel | calls | ms | share | TFLOP/s | GB/s | bound by |\n|---|---:|---:|---:|---:|---:|---|");
    let mut rows: Vec<_> = totals.into_iter().collect();
    rows.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    for (name, Total { calls, seconds, flops, bytes, by_bound }) in rows {
        let bound = by_bound.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or("", |(bound, _)| bound.name());
        println!(
            "| {name} | {calls} | {:.3} | {:.1} % | {:.1} | {:.0} | {bound} |",
            seconds * 1e3,
            100.0 * seconds / step,
            flops as f64 / seconds / 1e12,
            bytes as f64 / seconds / 1e9,
        );
    }
    Ok(())
}

/// The convolutions of which Winograd's algorithm is asked: those of 3×3 windows, 64 images at a time.
const LAYERS: [(&str, [usize; 4], usize, Padding); 9] = [
    ("ygnet 96→96, 32×32", [64, 32, 32, 96], 96, Padding::Same),
    ("ygnet 96→192, 15×15", [64, 15, 15, 96], 192, Padding::Same),
    ("ygnet 192→192, 15×15 to 13×13", [64, 15, 15, 192], 192, Padding::Valid),
    ("ygnet 192→192, 13×13", [64, 13, 13, 192], 192, Padding::Same),
    ("ygnet 192→192, 6×6", [64, 6, 6, 192], 192, Padding::Same),
    ("all-cnn-c 192→192, 16×16", [64, 16, 16, 192], 192, Padding::Same),
    ("resnet20 16→16, 32×32", [64, 32, 32, 16], 16, Padding::Same),
    ("resnet20 32→32, 16×16", [64, 16, 16, 32], 32, Padding::Same),
    ("resnet20 64→64, 8×8", [64, 8, 8, 64], 64, Padding::Same),
];

/// Prints what the three products of each convolution take on a GPU directly, and how much faster Winograd's algorithm is.
pub fn print_winograd(chip: &str) -> Result<()> {
    let chip = Chip::named(chip)?;
    let gpu = Gpu::named(chip.compiled_for)?;
    let adapter = RehearsedAdapter { budget: Some(gpu.budget()), ..RehearsedAdapter::default() };
    let error = |e: cifar_gpu::Error| e.to_string();
    println!("\n{}\n", chip.title);
    println!("| convolution | direct, µs: forward, input, weight | F(2×2), times as fast | F(4×4), times as fast |");
    println!("|---|---:|---:|---:|");
    for (name, input, columns, padding) in LAYERS {
        let g = Conv2dGeometry::new(&input, &[3, 3, input[3], columns], 1, padding).map_err(error)?;
        let device = GpuDevice::rehearsal_of(adapter).map_err(|e| e.to_string())?;
        let target = Target::new(&Device::Gpu(device), DType::F32);
        let mut seconds = [[0.0; 3]; 3];
        for (direction, of) in Direction::ALL.into_iter().zip(0..) {
            let tiling = Plan::usual(target, direction, &g).tiling;
            let algorithms =
                [Algorithm::ImplicitGemm, Algorithm::Winograd { outputs: 2 }, Algorithm::Winograd { outputs: 4 }];
            for (algorithm, seconds) in algorithms.into_iter().zip(&mut seconds) {
                let plan = Plan { algorithm, tiling };
                let launched = tune::launches(adapter, DType::F32, direction, &g, plan).map_err(error)?;
                let kernels = compile(gpu, &launched)?;
                let of_call = |call: &Launched| Some(chip.seconds(gpu.vendor, call, kernels.get(&call.variant)?).0);
                seconds[of] = launched.iter().filter_map(of_call).sum();
            }
        }
        let [direct, two, four] = seconds;
        let ratios = |other: [f64; 3]| {
            let ratios: Vec<_> =
                direct.iter().zip(other).map(|(direct, other)| format!("{:.2}", direct / other)).collect();
            ratios.join(", ")
        };
        let microseconds: Vec<_> = direct.iter().map(|seconds| format!("{:.0}", seconds * 1e6)).collect();
        println!("| {name} | {} | {} | {} |", microseconds.join(", "), ratios(two), ratios(four));
    }
    Ok(())
}

/// The kernel calls of a training step.
fn launches(gpu: Gpu, network: &str, precision: Precision, batch: usize) -> Result<Vec<Launched>> {
    let error = |e: cifar_gpu::Error| e.to_string();
    let architecture = Architecture::by_name(network, 10).map_err(|e| e.to_string())?;
    let config = TrainConfig::published(network).map_err(error)?.with(|config| config.precision = precision);
    let cooperative = (gpu.vendor == Vendor::Nvidia).then_some(CooperativeMatrix { side: 16, subgroup: 32 });
    let adapter = RehearsedAdapter { cooperative, budget: Some(gpu.budget()), ..RehearsedAdapter::default() };
    training_launches(adapter, &architecture, &config, batch).map_err(error)
}

/// Compiles each variant once.
fn compile(gpu: Gpu, launched: &[Launched]) -> Result<BTreeMap<ShaderVariant, Kernel>> {
    let drivers = Drivers::find()?;
    let variants: BTreeSet<_> = launched.iter().map(|call| &call.variant).collect();
    let names: BTreeSet<_> = variants.iter().map(|variant| variant.name).collect();
    let mut kernels = BTreeMap::new();
    for name in names {
        let of_kernel: Vec<_> = variants.iter().filter(|variant| variant.name == name).collect();
        let told = |variant: &ShaderVariant| -> Constants {
            variant.constants.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
        };
        let is_cooperative = |variant: &ShaderVariant| variant.constants.contains(&("TILING", 3));
        let usual = of_kernel.iter().filter(|v| !is_cooperative(v)).map(|v| told(v)).collect();
        let cooperative = of_kernel.iter().filter(|v| is_cooperative(v)).map(|v| told(v)).collect();
        let answer = ask_variants(&drivers, gpu, name, &[usual, cooperative], Wanted::Assembly)?;
        let Answer::Known(_, compiled) = answer else { return Err(format!("the driver does not know {}", gpu.name)) };
        for compiled in compiled {
            let has_constants = |variant: &&&&ShaderVariant| {
                let all = variant.constants.iter().map(|(name, value)| format!("{name}={value}"));
                all.collect::<Vec<_>>().join(" ") == compiled.constants
            };
            let Some(variant) = of_kernel.iter().find(has_constants) else { continue };
            let shader = shaders::build(variant).map_err(|e| e.to_string())?;
            let kernel = Kernel {
                assembly: Assembly::parse(gpu.vendor, &compiled.assembly),
                figures: Figures::of(gpu.vendor, &compiled.statistics)?,
                invocations: shader.workgroup_size.iter().map(|&n| u64::from(n)).product(),
            };
            kernels.insert((**variant).clone(), kernel);
        }
    }
    Ok(kernels)
}

impl Chip {
    /// The GPU of this name.
    fn named(name: &str) -> Result<&'static Self> {
        let names = || CHIPS.iter().map(|chip| chip.name).collect::<Vec<_>>().join(", ");
        CHIPS.iter().find(|chip| chip.name == name).ok_or_else(|| format!("no GPU {name:?}, only {}", names()))
    }

    /// What a call takes, and why.
    fn seconds(&self, vendor: Vendor, call: &Launched, kernel: &Kernel) -> (f64, Bound) {
        let Kernel { assembly, figures, invocations } = kernel;
        let subgroups_of_workgroup = invocations.div_ceil(self.subgroup);
        let lanes = (call.workgroups * invocations) as f64;
        // Calls with fewer workgroups than cores leave some idle.
        let subgroups_of_core = call.workgroups.div_ceil(self.cores) * subgroups_of_workgroup;
        let (cycles, waits) = match assembly.inner_loop.filter(|part| call.flops > 0 && part.multiply_adds > 0) {
            Some(inner_loop) => {
                let multiply_adds = call.flops as f64 / 2.0 * waste(&call.variant, call.flops) / lanes;
                // The first slab is waited for, and the result is stored.
                let rounds = multiply_adds / inner_loop.multiply_adds as f64;
                (rounds * inner_loop.round_cycles() as f64 + assembly.outside.cycles as f64, 2.0)
            }
            None => {
                let bytes = call.bytes as f64 / lanes - assembly.outside.storage_bytes as f64;
                let of_loops: u64 = assembly.loops.iter().map(|part| part.storage_bytes).sum();
                let rounds = if of_loops > 0 { (bytes / of_loops as f64).max(1.0) } else { 1.0 };
                let loops: u64 = assembly.loops.iter().map(|part| part.cycles).sum();
                (assembly.outside.cycles as f64 + rounds * loops as f64, if of_loops > 0 { 1.0 + rounds } else { 2.0 })
            }
        };
        let issue = subgroups_of_core.div_ceil(self.schedulers) as f64 * cycles / self.clock_hz;
        let is_cached = call.bytes <= self.cache_bytes / 2;
        let bandwidth = call.bytes as f64 / if is_cached { self.cache_bandwidth } else { self.bandwidth };
        let at_a_time = match vendor {
            Vendor::Amd => figures.occupancy * self.schedulers,
            Vendor::Nvidia | Vendor::Qualcomm => figures.occupancy,
            Vendor::Apple => figures.occupancy / self.subgroup,
        };
        let latency = waits * LATENCY * subgroups_of_core.div_ceil(at_a_time.max(1)) as f64;
        let all = [(issue, Bound::Issue), (bandwidth, Bound::Bandwidth), (latency, Bound::Latency)];
        let (longest, bound) = all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, Bound::Gap));
        (longest + GAP, if longest < GAP { Bound::Gap } else { bound })
    }
}

/// How many products a kernel multiplies for each that is wanted: tiles and slabs reach beyond the edges.
fn waste(variant: &ShaderVariant, flops: u64) -> f64 {
    let value = |name: &str| variant.constants.iter().find(|(known, _)| *known == name).map(|&(_, value)| value as f64);
    let (Some(tile_rows), Some(tile_columns)) = (value("TILE_ROWS"), value("TILE_COLUMNS")) else { return 1.0 };
    let up = |size: f64, unit: f64| (size / unit).ceil() * unit / size;
    let window = value("KERNEL_H").unwrap_or(1.0) * value("KERNEL_W").unwrap_or(1.0);
    match (value("CHANNELS"), value("COLUMNS"), value("IN_C"), value("OUT_C")) {
        (Some(channels), Some(columns), ..) => {
            let depth = match (value("TILING"), value("DEEP")) {
                (Some(3.0), _) => 32.0,
                (_, Some(1.0)) if channels % 24.0 == 0.0 => 24.0,
                _ => 16.0,
            };
            // The first layer's channels share slabs.
            let slabs = if channels % 4.0 == 0.0 { up(channels, depth) } else { up(window * channels, depth) };
            let rows = (flops as f64 / 2.0 / (window * channels * columns)).max(1.0);
            slabs * up(columns, tile_columns) * up(rows, tile_rows)
        }
        (_, _, Some(in_c), Some(out_c)) => up(window * in_c + 1.0, tile_rows) * up(out_c, tile_columns),
        _ => 1.0,
    }
}
