//! The largest batches that kernels can count: 32 bits hold every offset and every invocation's number, and the next batch is refused.
//!
//! Training steps are rehearsed, so that no memory of that size is needed.

use cifar_gpu::Error;
use cifar_gpu::gpu::{CooperativeMatrix, Launched, RehearsedAdapter, shaders};
use cifar_gpu::nn::{ARCHITECTURES, Architecture};
use cifar_gpu::tensor::Precision;
use cifar_gpu::train::{TrainConfig, training_launches};
use libtest_mimic::{Failed, Trial};

use crate::Outcome;

/// Kernels compute with signed offsets: most elements of a tensor.
const MOST_ELEMENTS: u64 = i32::MAX as u64;
/// WebGPU's limit on the workgroups of a dimension, of which launches use two.
const MOST_WORKGROUPS: u64 = 65_535 * 65_535;

struct Adapter {
    name: &'static str,
    precision: Precision,
    rehearsed: RehearsedAdapter,
}

fn adapters() -> Vec<Adapter> {
    let usual = RehearsedAdapter::default();
    let cooperative = Some(CooperativeMatrix { side: 16, subgroup: 32 });
    vec![
        Adapter { name: "gpu", precision: Precision::F32, rehearsed: usual },
        Adapter {
            name: "tensor-cores-f16",
            precision: Precision::F16,
            rehearsed: RehearsedAdapter { subgroup: Some(32), cooperative, ..usual },
        },
        Adapter {
            name: "software-gpu",
            precision: Precision::F32,
            rehearsed: RehearsedAdapter { software: true, subgroup: Some(8), ..usual },
        },
    ]
}

pub fn all() -> Vec<Trial> {
    let trial = |network: &'static str| {
        let adapters = adapters().into_iter();
        adapters.map(move |adapter| {
            Trial::test(format!("edges/{}/{network}", adapter.name), move || edge(network, &adapter))
        })
    };
    ARCHITECTURES.into_iter().filter(|network| *network != "ygnet-final-relu").flat_map(trial).collect()
}

fn edge(network: &str, adapter: &Adapter) -> Outcome {
    let architecture = Architecture::by_name(network, 10)?;
    let config = TrainConfig::published(network)?.with(|config| config.precision = adapter.precision);
    let launches = |batch: usize| match training_launches(adapter.rehearsed, &architecture, &config, batch) {
        Ok(launches) => Ok(Some(launches)),
        Err(Error::Setting(message)) if message.contains("too many") => Ok(None),
        Err(other) => Err(Failed::from(other)),
    };
    // More images than that are too many elements already.
    let (mut most, mut too_many) = (1, MOST_ELEMENTS as usize / architecture.input.bytes() + 1);
    while too_many - most > 1 {
        let batch = most.midpoint(too_many);
        match launches(batch)?.is_some() {
            true => most = batch,
            false => too_many = batch,
        }
    }
    let Some(launches) = launches(most)? else { return Err(format!("a batch of {most} is refused").into()) };
    let element_bytes = adapter.precision.dtype().bytes() as u64;
    let largest = launches.iter().map(|launched| launched.largest_buffer_bytes / element_bytes).max().unwrap_or(0);
    // A tensor is as much larger as the batch, or by a line of tiles.
    if largest > MOST_ELEMENTS || largest + largest / most as u64 * 2 < MOST_ELEMENTS {
        return Err(format!("batches of {too_many} are refused, of {most} have tensors of {largest} elements").into());
    }
    for Launched { variant, workgroups, .. } in &launches {
        let source = shaders::build(variant)?.source;
        let module = naga::front::wgsl::parse_str(&source)?;
        let size: u64 = module.entry_points[0].workgroup_size.iter().map(|&side| u64::from(side)).product();
        if *workgroups > MOST_WORKGROUPS || workgroups * size > u64::from(u32::MAX) {
            return Err(format!("{variant:?}: {workgroups} workgroups of {size} invocations").into());
        }
    }
    Ok(())
}
