//! `cifar-gpu devices`

use cifar_gpu::diagnose::check::{CheckResult, Verdict, check};
use cifar_gpu::gpu::{AdapterSummary, Backend, GpuError, list_adapters};
use cifar_gpu::{Device, DeviceChoice, Error, Result};

use super::terminal::{print, print_json};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu devices
  cifar-gpu devices --json")]
pub struct Devices {
    /// List the adapters of OpenGL instead of Vulkan, Metal and DX12
    #[arg(long)]
    opengl: bool,
    /// Compare every kernel with its CPU twin on each adapter, and look for known driver bugs
    #[arg(long)]
    check: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// What `devices --json` prints for each.
#[derive(serde::Serialize)]
struct DeviceReport {
    device: String,
    name: String,
    software: bool,
    backend: String,
    driver: String,
    max_buffer_bytes: u64,
    max_binding_bytes: u64,
    workgroup_memory_bytes: u32,
    invocations_per_workgroup: u32,
}

impl Devices {
    pub fn run(self) -> Result<()> {
        let backend = if self.opengl { Backend::OpenGl } else { Backend::Primary };
        let adapters = list_adapters(backend);
        if self.check {
            return self.check(backend, &adapters);
        }
        if self.json {
            let reports: Vec<_> = adapters
                .into_iter()
                .map(|a| DeviceReport {
                    device: format!("gpu:{}", a.index),
                    software: a.is_software(),
                    backend: a.interface,
                    driver: a.driver,
                    name: a.name,
                    max_buffer_bytes: a.limits.max_buffer_bytes,
                    max_binding_bytes: a.limits.max_binding_bytes,
                    workgroup_memory_bytes: a.limits.max_workgroup_bytes,
                    invocations_per_workgroup: a.limits.max_invocations_per_workgroup,
                })
                .collect();
            return print_json(&reports);
        }
        print(format_args!("cpu    {}", Device::cpu().description()))?;
        for adapter in &adapters {
            print(format_args!("gpu:{}  {adapter}", adapter.index))?;
            print_limits(adapter)?;
        }
        let choice = match adapters.first() {
            Some(adapter) if !adapter.is_software() => "gpu:0",
            Some(_) => "cpu: the only adapters are software",
            None => "cpu: there is no GPU adapter",
        };
        print(format_args!("\n--device auto takes {choice}"))
    }

    /// Checks every adapter and prints one line per check.
    fn check(&self, backend: Backend, adapters: &[AdapterSummary]) -> Result<()> {
        if adapters.is_empty() {
            return Err(Error::Gpu(GpuError::NoAdapter("there is nothing to check".into())));
        }
        let (mut reports, mut failed) = (Vec::new(), 0);
        for adapter in adapters {
            let index = adapter.index;
            if !self.json {
                print(format_args!("gpu:{index}  {adapter}"))?;
                print_limits(adapter)?;
            }
            let mut printed = Ok(());
            let opened = Device::open(DeviceChoice::GpuIndex(index), backend).map(|(device, _)| device);
            check_opened(opened, &mut |result| {
                failed += usize::from(!result.verdict.is_good());
                let report = result.report(format!("gpu:{index}"));
                if !self.json && printed.is_ok() {
                    printed = print(format_args!("{report}"));
                }
                reports.push(report);
            });
            printed?;
        }
        if self.json {
            print_json(&reports)?;
        }
        match failed {
            0 => Ok(()),
            _ => Err(Error::Gpu(GpuError::FailedCheck { failed, checks: reports.len() })),
        }
    }
}

/// Checks a device. A device that cannot be opened, or is lost, fails a check; the other devices are still checked.
fn check_opened(opened: Result<Device>, hear: &mut dyn FnMut(&CheckResult)) {
    let refused =
        |name: &str, error: Error| CheckResult { name: name.into(), verdict: Verdict::Refused(error.to_string()) };
    match opened {
        Ok(device) => {
            if let Err(error) = check(&device, hear) {
                hear(&refused("to go on", error));
            }
        }
        Err(error) => hear(&refused("to open it", error)),
    }
}

fn print_limits(adapter: &AdapterSummary) -> Result<()> {
    print(format_args!(
        "       largest binding {} MiB, workgroup memory {} KiB, {} invocations a workgroup",
        adapter.limits.max_binding_bytes >> 20,
        adapter.limits.max_workgroup_bytes >> 10,
        adapter.limits.max_invocations_per_workgroup,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lost device once ended the checks of all later adapters, too.
    #[test]
    fn an_adapter_that_does_not_open_has_failed_one_check() {
        let mut heard = Vec::new();
        let lost = Error::Gpu(GpuError::NoAdapter("it is lost".into()));
        check_opened(Err(lost), &mut |result| heard.push(result.clone()));
        let [CheckResult { name, verdict: Verdict::Refused(reason) }] = &heard[..] else {
            unreachable!("{heard:?}");
        };
        assert!(name == "to open it" && reason.contains("it is lost"), "{heard:?}");
    }
}
