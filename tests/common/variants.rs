//! The variants of every kernel that tests compile: those that the operations' cases and training steps of the networks launch.
//! Nobody lists them: the launchers are rehearsed on devices that compute nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cifar_gpu::Device;
use cifar_gpu::gpu::{CooperativeMatrix, GpuDevice, RehearsedAdapter, ShaderVariant};
use cifar_gpu::nn::{ARCHITECTURES, Architecture, Network};
use cifar_gpu::ops::case::Purpose;
use cifar_gpu::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use cifar_gpu::ops::{self, StepState};
use cifar_gpu::tape::Tape;
use cifar_gpu::tensor::{DType, Precision};

/// Channels, of which four are read at a time where there are so many: shaders differ by whether they are one, or a multiple of
/// four.
const CHANNELS: [&str; 6] = ["CHANNELS", "COLUMNS", "IN_C", "OUT_C", "PIXELS", "CLASSES"];
/// Pixels, by which shaders differ only in numbers.
const PIXELS: [&str; 13] = [
    "IN_H", "IN_W", "OUT_H", "OUT_W", "HEIGHT", "WIDTH", "PAD_TOP", "PAD_LEFT", "FIRST_Y", "FIRST_X", "FIRST_KY",
    "FIRST_KX", "WEIGHT_W",
];

/// Variants of a kernel that take every branch of its template.
#[derive(Debug, Default)]
pub struct Variants {
    /// As GPUs run them.
    pub gpu: Vec<ShaderVariant>,
    /// As GPUs with tensor cores run them, where that is something of its own.
    pub cooperative: Vec<ShaderVariant>,
    /// As software drivers run them, where that is something of its own.
    #[allow(dead_code, reason = "not every test compiles them")]
    pub software: Vec<ShaderVariant>,
}

static VARIANTS: LazyLock<Result<BTreeMap<&'static str, Variants>, String>> =
    LazyLock::new(|| sorted().map_err(|e| e.to_string()));

/// The variants of a kernel.
///
/// # Errors
/// If there are none, or none with some kind of tiles: nothing would be tested.
pub fn variants(name: &'static str) -> Result<&'static Variants, String> {
    let all = VARIANTS.as_ref().map_err(Clone::clone)?;
    let variants = all.get(name).ok_or_else(|| format!("no case of any operation launches the kernel {name}"))?;
    let has = |constant| variants.gpu.iter().any(|v| v.constants.iter().any(|(name, _)| *name == constant));
    let is_missing = |needed: bool, list: &[ShaderVariant]| needed && list.is_empty();
    if is_missing(true, &variants.gpu)
        || is_missing(has("TILING"), &variants.software)
        || is_missing(has("TILING") && has("HALF"), &variants.cooperative)
    {
        return Err(format!("the kernel {name} is not launched with every kind of tiles: {variants:?}"));
    }
    Ok(variants)
}

fn sorted() -> cifar_gpu::Result<BTreeMap<&'static str, Variants>> {
    let mut classes = BTreeSet::new();
    let mut all: BTreeMap<_, Variants> = BTreeMap::new();
    for variant in launched()? {
        if !classes.insert(class(&variant)) {
            continue;
        }
        let tiling = variant.constants.iter().find(|(name, _)| *name == "TILING").map(|&(_, tiling)| tiling);
        let of_kernel = all.entry(variant.name).or_default();
        match tiling {
            Some(0 | 1) => of_kernel.software.push(variant),
            Some(3) => of_kernel.cooperative.push(variant),
            // Staged tiles, or none at all: the same everywhere.
            _ => of_kernel.gpu.push(variant),
        }
    }
    Ok(all)
}

/// What of a variant decides how its template is rendered, as far as one can tell: of a class one is compiled.
fn class(variant: &ShaderVariant) -> ShaderVariant {
    let coarse = |&(name, value): &(&'static str, u32)| match value {
        2.. if CHANNELS.contains(&name) => (name, if value % 4 == 0 { 4 } else { 3 }),
        1.. if PIXELS.contains(&name) => (name, 1),
        _ => (name, value),
    };
    ShaderVariant::new(variant.name, &variant.constants.iter().map(coarse).collect::<Vec<_>>())
}

/// What all cases and the networks launch, on every kind of adapter.
fn launched() -> cifar_gpu::Result<BTreeSet<ShaderVariant>> {
    let cooperative = Some(CooperativeMatrix { side: 16, subgroup: 32 });
    let mut launched = BTreeSet::new();
    // The registers decide which tiles are taken.
    for (software, registers) in [(false, Some(255)), (false, Some(128)), (false, Some(64)), (true, None)] {
        let gpu = GpuDevice::rehearsal_of(RehearsedAdapter {
            software,
            subgroup: Some(8),
            cooperative,
            registers,
            ..RehearsedAdapter::default()
        })?;
        let device = Device::Gpu(gpu.clone());
        if registers.is_none_or(|registers| registers == 255) {
            ops::cases().iter().try_for_each(|case| case.run(&device))?;
        }
        for name in ARCHITECTURES {
            train(name, &device)?;
        }
        launched.extend(gpu.launched_variants());
    }
    // Some software drivers have no subgroups.
    let gpu = GpuDevice::rehearsal_of(RehearsedAdapter { software: true, ..RehearsedAdapter::default() })?;
    // Cases of all plans need some.
    let usual = |case: &&ops::case::Case| case.purpose == Purpose::Bench;
    ops::cases().iter().filter(usual).try_for_each(|case| case.run(&Device::Gpu(gpu.clone())))?;
    launched.extend(gpu.launched_variants());
    Ok(launched)
}

/// The forward and backward half of a training step, of either precision.
fn train(name: &str, device: &Device) -> cifar_gpu::Result<()> {
    let mut network = Network::new(Architecture::by_name(name, 10)?, device, 1)?;
    for precision in [Precision::F32, Precision::F16] {
        network.set_precision(precision)?;
        let tape = Tape::recording(Some(StepState::new(1, 0, 0.0).tensor(device)?));
        let images = device.allocate(&network.architecture().input.batch(64), network.dtype())?;
        let logits = network.forward(&tape, &tape.constant(&images))?;
        let labels = device.allocate(&[64], DType::U32)?;
        logits.apply(SoftmaxCrossEntropy::new(&labels)?)?.backward()?;
    }
    Ok(())
}
