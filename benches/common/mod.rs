//! What the benchmarks share: the devices, and how often they measure.

use std::time::Duration;

use cifar_gpu::gpu::Backend;
use cifar_gpu::{Device, DeviceChoice, Result};
use criterion::Criterion;

/// Times a benchmark is measured.
pub const SAMPLES: usize = 10;

/// Benchmarks on one device.
pub struct Suite {
    /// Times, compares and reports.
    pub criterion: Criterion,
    /// `cpu` or `gpu`.
    pub device_name: &'static str,
    /// The device.
    pub device: Device,
}

impl Suite {
    /// Runs `benchmarks` on the CPU, and on the GPU if one opens.
    pub fn run(benchmarks: impl Fn(&mut Suite) -> Result<()>) -> Result<()> {
        let mut criterion = Criterion::default()
            .without_plots()
            .sample_size(SAMPLES)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .configure_from_args();
        for (device_name, choice) in [("cpu", DeviceChoice::Cpu), ("gpu", DeviceChoice::Gpu)] {
            let device = match Device::open(choice, Backend::Primary) {
                Ok((device, _)) => device,
                Err(reason) => {
                    eprintln!("{device_name}: left out: {reason}");
                    continue;
                }
            };
            eprintln!("{device_name}: {}", device.description());
            let mut suite = Suite { criterion, device_name, device };
            benchmarks(&mut suite)?;
            criterion = suite.criterion;
        }
        criterion.final_summary();
        Ok(())
    }
}
