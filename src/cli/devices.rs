//! `cifar-gpu devices`

use cifar_gpu::gpu::{Backend, list_adapters};
use cifar_gpu::{Device, Result};

use super::common::{print, print_json};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu devices
  cifar-gpu devices --json")]
pub struct Devices {
    /// List what OpenGL reaches instead of Vulkan, Metal and DX12
    #[arg(long)]
    opengl: bool,
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
        if self.json {
            let reports: Vec<_> = adapters
                .into_iter()
                .map(|a| DeviceReport {
                    device: format!("gpu:{}", a.index),
                    software: a.is_software(),
                    backend: format!("{:?}", a.info.backend),
                    driver: format!("{} {}", a.info.driver, a.info.driver_info),
                    name: a.info.name,
                    max_buffer_bytes: a.limits.max_buffer_size,
                    max_binding_bytes: a.limits.max_storage_buffer_binding_size,
                    workgroup_memory_bytes: a.limits.max_compute_workgroup_storage_size,
                    invocations_per_workgroup: a.limits.max_compute_invocations_per_workgroup,
                })
                .collect();
            return print_json(&reports);
        }
        print(format_args!("cpu    {}", Device::cpu().description()))?;
        for adapter in &adapters {
            print(format_args!("gpu:{}  {adapter}", adapter.index))?;
            print(format_args!(
                "       largest binding {} MiB, workgroup memory {} KiB, {} invocations a workgroup",
                adapter.limits.max_storage_buffer_binding_size >> 20,
                adapter.limits.max_compute_workgroup_storage_size >> 10,
                adapter.limits.max_compute_invocations_per_workgroup,
            ))?;
        }
        let choice = match adapters.first() {
            Some(adapter) if !adapter.is_software() => "gpu:0",
            Some(_) => "cpu: the only adapters are software",
            None => "cpu: there is no GPU adapter",
        };
        print(format_args!("\n--device auto takes {choice}"))
    }
}
