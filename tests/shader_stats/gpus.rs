//! The GPUs that kernels are compiled for, and where their drivers are.

use std::path::{Path, PathBuf};
use std::process::Command;

use cifar_gpu::gpu::Budget;

use super::compiler::Result;

/// Names a folder of drivers that `scripts/gpu-compilers` made.
const FOLDER_VARIABLE: &str = "CIFAR_GPU_COMPILERS";
/// Names the manifest of the system's driver for AMD.
const MANIFEST_VARIABLE: &str = "CIFAR_GPU_RADV";
const MANIFEST_FOLDERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
/// How to get the driver that is always asked.
pub const INSTALL: &str = "install it (Debian and its kin: apt install mesa-vulkan-drivers; scripts/check does), or name its \
                       manifest radeon_icd…json in CIFAR_GPU_RADV";
/// Libraries and manifests in a folder of drivers.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const MANIFESTS: &str = "usr/share/vulkan/icd.d";

/// Whose compiler it is: each tells other statistics and another assembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// Mesa's RADV.
    Amd,
    /// Mesa's NVK.
    Nvidia,
    /// Mesa's Honeykrisp.
    Apple,
    /// Mesa's Turnip.
    Qualcomm,
}

/// A GPU that is compiled for.
#[derive(Debug, Clone, Copy)]
pub struct Gpu {
    /// Its short name, in names of tests.
    pub name: &'static str,
    /// Its generation.
    pub generation: &'static str,
    /// Its vendor.
    pub vendor: Vendor,
    /// What the driver's stand-in for a GPU calls it.
    chip: &'static str,
}

/// All of them.
pub const GPUS: [Gpu; 8] = [
    Gpu { name: "navi21", generation: "AMD RDNA2", vendor: Vendor::Amd, chip: "navi21" },
    Gpu { name: "navi31", generation: "AMD RDNA3", vendor: Vendor::Amd, chip: "navi31" },
    Gpu { name: "gfx1201", generation: "AMD RDNA4", vendor: Vendor::Amd, chip: "gfx1201" },
    Gpu { name: "turing", generation: "NVIDIA Turing", vendor: Vendor::Nvidia, chip: "0x162" },
    Gpu { name: "ampere", generation: "NVIDIA Ampere", vendor: Vendor::Nvidia, chip: "0x172" },
    Gpu { name: "ada", generation: "NVIDIA Ada", vendor: Vendor::Nvidia, chip: "0x192" },
    Gpu { name: "apple-m1", generation: "Apple M1", vendor: Vendor::Apple, chip: "" },
    Gpu { name: "adreno750", generation: "Qualcomm Adreno 750", vendor: Vendor::Qualcomm, chip: "750" },
];

impl Gpu {
    /// What kernels are chosen for.
    pub fn budget(self) -> Budget {
        Budget::of_vendor(match self.vendor {
            Vendor::Amd => 0x1002,
            Vendor::Nvidia => 0x10de,
            Vendor::Apple => 0x106b,
            Vendor::Qualcomm => 0x5143,
        })
    }

    /// The GPU of this name.
    pub fn named(name: &str) -> Result<Self> {
        let names = || GPUS.map(|gpu| gpu.name).join(", ");
        GPUS.into_iter().find(|gpu| gpu.name == name).ok_or_else(|| format!("no GPU {name:?}, only {}", names()))
    }
}

/// Where the drivers are.
#[derive(Debug, Clone)]
pub enum Drivers {
    /// The system's driver for AMD, with its manifest; it compiles for GPUs that are not there by itself.
    System(PathBuf),
    /// A folder with the drivers of all vendors, with libraries that stand in for their GPUs, and with what both need.
    Folder(PathBuf),
}

impl Drivers {
    /// Those to use.
    ///
    /// # Errors
    /// If there are none, or those that a variable names.
    pub fn find() -> Result<Self> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from) {
            let missing = || {
                format!(
                    "{FOLDER_VARIABLE} names {}, which holds no drivers: scripts/gpu-compilers makes it",
                    folder.display()
                )
            };
            return folder.join(MANIFESTS).is_dir().then_some(Drivers::Folder(folder.clone())).ok_or_else(missing);
        }
        let usual = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("gpu-compilers");
        if usual.join(MANIFESTS).is_dir() {
            return Ok(Drivers::Folder(usual));
        }
        system_manifest().map(Drivers::System)
    }

    /// Whether there is a driver for a GPU.
    pub fn has(&self, gpu: Gpu) -> bool {
        matches!(self, Drivers::Folder(_)) || gpu.vendor == Vendor::Amd
    }

    /// A command that runs `program` with the driver for a GPU.
    ///
    /// # Errors
    /// If there is none for it.
    pub fn command(&self, gpu: Gpu, program: &Path) -> Result<Command> {
        let mut command;
        let manifest = match self {
            Drivers::System(_) if !self.has(gpu) => {
                return Err(format!("no driver for {}: scripts/gpu-compilers sets it up", gpu.generation));
            }
            Drivers::System(manifest) => {
                command = Command::new(program);
                command.env("RADV_FORCE_FAMILY", gpu.chip);
                manifest.clone()
            }
            Drivers::Folder(folder) => {
                // The drivers may need a newer C library than the system's: theirs runs the program.
                let libraries = folder.join(LIBRARIES);
                command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
                command.arg("--library-path").arg(&libraries).arg(program);
                let (driver, stand_in) = match gpu.vendor {
                    Vendor::Amd => ("radeon", "amdgpu"),
                    Vendor::Nvidia => ("nouveau", "nouveau"),
                    Vendor::Apple => ("asahi", "asahi"),
                    Vendor::Qualcomm => ("freedreno", "freedreno"),
                };
                command.env("LD_PRELOAD", libraries.join(format!("lib{stand_in}_noop_drm_shim.so")));
                match gpu.vendor {
                    Vendor::Amd => command.env("AMDGPU_GPU_ID", gpu.chip),
                    Vendor::Nvidia => {
                        command.env("NOUVEAU_CHIPSET", gpu.chip).env("NVK_I_WANT_A_BROKEN_VULKAN_DRIVER", "1")
                    }
                    Vendor::Qualcomm => command.env("FD_GPU_ID", gpu.chip),
                    Vendor::Apple => &mut command,
                };
                folder.join(MANIFESTS).join(format!("{driver}_icd.json"))
            }
        };
        // Older loaders know the second name. Codes from the driver's cache would come without statistics.
        command
            .env("VK_DRIVER_FILES", &manifest)
            .env("VK_ICD_FILENAMES", &manifest)
            .env("MESA_SHADER_CACHE_DISABLE", "true");
        Ok(command)
    }
}

/// The manifest of the system's driver for AMD.
fn system_manifest() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(MANIFEST_VARIABLE).map(PathBuf::from) {
        let missing = || format!("{MANIFEST_VARIABLE} names {}, which is no file", path.display());
        return path.is_file().then_some(path.clone()).ok_or_else(missing);
    }
    let is_manifest = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("radeon_icd") && name.ends_with(".json")
    };
    let mut found: Vec<_> = MANIFEST_FOLDERS
        .iter()
        .filter_map(|folder| Path::new(folder).read_dir().ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_manifest)
        .collect();
    found.sort();
    found.into_iter().next().ok_or_else(|| format!("Mesa's driver for AMD is not installed: {INSTALL}"))
}
