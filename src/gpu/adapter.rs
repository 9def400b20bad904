//! Choice of the adapter, with the reason for it.

use std::fmt;

use super::GpuError;
use super::budget::Budget;
#[cfg(not(target_family = "wasm"))]
use super::wait;

/// The graphics API to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// Vulkan, Metal or DX12, whichever the platform has; OpenGL only if wgpu's environment variable `WGPU_BACKEND` names it, which
    /// chooses among all of them: `vulkan`, `metal`, `dx12`, `gl`, or several with commas.
    #[default]
    Primary,
    /// OpenGL, which is only used when asked for: its compute support is patchy.
    OpenGl,
}

/// What [`Backend::Primary`] means where nothing else is asked for.
const PRIMARY: wgpu::Backends = wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

impl Backend {
    fn backends(self) -> wgpu::Backends {
        if cfg!(target_family = "wasm") {
            return wgpu::Backends::BROWSER_WEBGPU;
        }
        match self {
            // A variable without a name chooses nothing.
            Backend::Primary => wgpu::Backends::from_env()
                .map(|named| named & PRIMARY.union(wgpu::Backends::GL))
                .filter(|named| !named.is_empty())
                .unwrap_or(PRIMARY),
            Backend::OpenGl => wgpu::Backends::GL,
        }
    }

    /// Why there may be no adapter.
    fn without_driver(self) -> String {
        let names = [
            (wgpu::Backends::VULKAN, "Vulkan"),
            (wgpu::Backends::METAL, "Metal"),
            (wgpu::Backends::DX12, "DX12"),
            (wgpu::Backends::GL, "OpenGL"),
            (wgpu::Backends::BROWSER_WEBGPU, "WebGPU"),
        ];
        let backends = self.backends();
        let names: Vec<_> = names.into_iter().filter(|&(b, _)| backends.contains(b)).map(|(_, name)| name).collect();
        format!("no driver for {}", names.join(", "))
    }
}

/// The requested adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterRequest {
    /// The best real GPU; no software renderer.
    RealGpu,
    /// The best adapter, a software renderer if there is no other.
    Best,
    /// The adapter with this number in [`list_adapters`].
    Index(usize),
}

/// Information on an adapter that is not yet open.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Number by which `gpu:N` names it.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its kind of GPU.
    pub kind: AdapterKind,
    /// The interface to it: Vulkan, Metal, DX12 or OpenGL.
    pub interface: String,
    /// Its driver, with the version.
    pub driver: String,
    /// Its limits.
    pub limits: GpuLimits,
}

/// Kind of an adapter's GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A card with separate memory.
    Discrete,
    /// A part of the processor.
    Integrated,
    /// A GPU provided by a virtual machine.
    Virtual,
    /// A renderer that runs on the CPU.
    Software,
    /// Not reported by the driver.
    Unknown,
}

impl AdapterKind {
    fn of(info: &wgpu::AdapterInfo) -> Self {
        match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Unknown,
        }
    }
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete GPU",
            AdapterKind::Integrated => "integrated GPU",
            AdapterKind::Virtual => "virtual GPU",
            AdapterKind::Software => "software",
            AdapterKind::Unknown => "unknown kind",
        })
    }
}

/// An adapter's limits that matter to kernels and tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct GpuLimits {
    /// Largest buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Largest part of a buffer that a kernel may bind, in bytes.
    pub max_binding_bytes: u64,
    /// Workgroups along one dimension of a dispatch.
    pub max_workgroups_per_dimension: u32,
    /// Invocations of a workgroup.
    pub max_invocations_per_workgroup: u32,
    /// Memory that the invocations of a workgroup share, in bytes.
    pub max_workgroup_bytes: u32,
    /// Storage buffers that a kernel may bind.
    pub max_storage_buffers: u32,
}

impl GpuLimits {
    pub(super) fn of(limits: &wgpu::Limits) -> Self {
        GpuLimits {
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            max_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        }
    }
}

impl AdapterSummary {
    /// Whether this is a software renderer.
    pub fn is_software(&self) -> bool {
        self.kind == AdapterKind::Software
    }
}

impl fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.interface, self.driver)
    }
}

/// Whether the adapter is a software renderer.
pub(super) fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

/// Name, kind, interface and driver in one line.
pub(super) fn describe(info: &wgpu::AdapterInfo, limits: &wgpu::Limits) -> String {
    summary(0, info, limits).to_string()
}

fn summary(index: usize, info: &wgpu::AdapterInfo, limits: &wgpu::Limits) -> AdapterSummary {
    AdapterSummary {
        index,
        name: info.name.clone(),
        kind: AdapterKind::of(info),
        interface: format!("{:?}", info.backend),
        driver: [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned(),
        limits: GpuLimits::of(limits),
    }
}

/// Products of small square matrices that the invocations of a subgroup compute together: 16-bit floats, with sums of 32
/// bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CooperativeMatrix {
    /// Rows and columns: 8 or 16.
    pub side: u32,
    /// Invocations of a subgroup.
    pub subgroup: u32,
}

/// Optional features of an adapter, used if present.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    pub(super) features: wgpu::Features,
    pub(super) cooperative: Option<CooperativeMatrix>,
    /// Invocations of a subgroup, where kernels may rely on it.
    pub(super) subgroup: Option<u32>,
    /// What kernels should use at most.
    pub(super) budget: Budget,
}

impl Abilities {
    /// Those of an adapter, whose vendor has this number if wgpu does not report it.
    pub(super) fn of(adapter: &wgpu::Adapter, vendor: Option<u32>) -> Self {
        const NEEDED: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            .union(wgpu::Features::SUBGROUP)
            .union(wgpu::Features::SHADER_F16);
        let (available, info) = (adapter.features(), adapter.get_info());
        // Kernels must know the size of a subgroup before they are compiled.
        let subgroup = Some(info.subgroup_min_size)
            .filter(|&size| size == info.subgroup_max_size && available.contains(wgpu::Features::SUBGROUP));
        let matrices = adapter.cooperative_matrix_properties();
        let side = [16, 8].into_iter().find(|&side| {
            matrices.iter().any(|m| {
                [m.m_size, m.n_size, m.k_size] == [side; 3]
                    && m.ab_type == wgpu::CooperativeScalarType::F16
                    && m.cr_type == wgpu::CooperativeScalarType::F32
            })
        });
        let cooperative = side
            .zip(subgroup)
            .filter(|_| available.contains(NEEDED))
            .map(|(side, subgroup)| CooperativeMatrix { side, subgroup });
        let used = if cooperative.is_some() { NEEDED } else { wgpu::Features::SHADER_F16 };
        // Timestamps are for profiles.
        let used = used | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        let vendor = vendor.unwrap_or(info.vendor);
        // A browser's fallback is SwiftShader where nothing else is said.
        let is_fallback = info.backend == wgpu::Backend::BrowserWebGpu && is_software(&info) && vendor == 0;
        let budget = match is_fallback {
            true => Budget::of_vendor(Budget::SWIFT_SHADER),
            false => Budget::of_vendor(vendor),
        };
        let most = adapter.limits().max_compute_workgroup_storage_size;
        let budget = Budget { workgroup_bytes: budget.workgroup_bytes.min(most), ..budget };
        Abilities { features: available & used, cooperative, subgroup, budget }
    }
}

/// All adapters of a backend, best first, in the order of the numbers in `gpu:N`.
#[cfg(not(target_family = "wasm"))]
pub fn list_adapters(backend: Backend) -> Vec<AdapterSummary> {
    wait::block_on(enumerate(backend))
        .iter()
        .enumerate()
        .map(|(index, adapter)| summary(index, &adapter.get_info(), &adapter.limits()))
        .collect()
}

#[cfg(not(target_family = "wasm"))]
async fn enumerate(backend: Backend) -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backend.backends();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = instance.enumerate_adapters(backend.backends()).await;
    // A stable sort keeps the driver's order among equals, so that numbers do not move between runs.
    adapters.sort_by_key(|a| match a.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

/// The adapter that the browser offers, if any.
#[cfg(target_family = "wasm")]
async fn enumerate(_backend: Backend) -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::BROWSER_WEBGPU;
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    wgpu::Instance::new(descriptor).request_adapter(&options).await.into_iter().collect()
}

/// wgpu's stand-in for a driver, which computes nothing.
#[cfg(not(target_family = "wasm"))]
pub(super) fn noop() -> Result<wgpu::Adapter, GpuError> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = wait::block_on(instance.enumerate_adapters(wgpu::Backends::NOOP));
    adapters.into_iter().next().ok_or_else(|| GpuError::NoAdapter("wgpu was built without its no-op backend".into()))
}

/// Chooses an adapter and gives the reason.
pub(super) async fn choose(request: AdapterRequest, backend: Backend) -> Result<(wgpu::Adapter, String), GpuError> {
    let mut adapters = enumerate(backend).await;
    let count = adapters.len();
    if count == 0 {
        return Err(GpuError::NoAdapter(backend.without_driver()));
    }
    let software = is_software(&adapters[0].get_info());
    let (index, reason) = match request {
        AdapterRequest::Index(index) if index < count => (index, format!("gpu:{index} requested")),
        AdapterRequest::Index(index) => return Err(GpuError::NoSuchAdapter { index, count }),
        AdapterRequest::RealGpu if software => {
            return Err(GpuError::NoAdapter("only a software renderer was found".into()));
        }
        AdapterRequest::Best if software => (0, "no real GPU found: a software renderer, slower than the CPU".into()),
        AdapterRequest::RealGpu | AdapterRequest::Best => (0, format!("best of {count} found")),
    };
    Ok((adapters.swap_remove(index), reason))
}
