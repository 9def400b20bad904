//! Every kernel through the compiler of a real GPU's driver, on machines that have no such GPU.
//!
//! Mesa's driver for AMD compiles for any of its GPUs without one when `RADV_FORCE_FAMILY` names it. A kernel that spills
//! registers or puts arrays into scratch memory there is slow on every GPU: its test fails. A test's name is
//! `family/kernel`. To see the figures of every variant, or one kernel's assembly:
//!
//! ```sh
//! cargo test --release --test shader_stats -- --table
//! cargo test --release --test shader_stats -- --assembly navi31 conv2d_forward
//! ```
//!
//! `CIFAR_GPU_RADV` names the driver's manifest (`radeon_icd…json`) where it is not in a usual place. Variants are those that the
//! operations' cases and the networks launch (`tests/common/variants.rs`).

mod assembly;
mod compiler;
#[path = "../common/variants.rs"]
mod variants;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use cifar_gpu::gpu::ShaderVariant;
use cifar_gpu::gpu::shaders::{self, BindingKind};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::{Deserialize, Serialize};

use assembly::{Assembly, widths};
use compiler::{Compiler, Report, Result};

/// GPUs that kernels are compiled for: the driver's name and ours.
const FAMILIES: [(&str, &str); 2] = [("navi21", "RDNA2"), ("navi31", "RDNA3")];
const MANIFEST_VARIABLE: &str = "CIFAR_GPU_RADV";
const MANIFEST_FOLDERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
const INSTALL: &str = "install it (Debian and its kin: apt install mesa-vulkan-drivers; scripts/check does), or name its \
                       manifest radeon_icd…json in CIFAR_GPU_RADV";
/// The first argument of the processes that compile.
const COMPILE: &str = "--compile";
/// A shader that cannot do without scratch memory: an array that is indexed by data.
const SCRATCH: (&str, &str) = (
    "(scratch)",
    "@group(0) @binding(0) var<storage, read_write> data: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        var kept: array<u32, 400>;
        for (var i = 0u; i < 400u; i++) { kept[i ^ data[i]] = data[i + id.x]; }
        data[id.x] = kept[data[id.x]];
    }",
);

/// What a process that compiles answers for one variant.
#[derive(Serialize, Deserialize)]
struct Compiled {
    /// Constants of the variant: `KERNEL_H=3 …`.
    constants: String,
    vgprs: u64,
    sgprs: u64,
    spilled_vgprs: u64,
    spilled_sgprs: u64,
    scratch_bytes: u64,
    workgroup_bytes: u64,
    subgroups_per_simd: u64,
    assembly: Assembly,
    /// The driver's text.
    text: String,
}

impl Compiled {
    fn new(constants: String, report: Report) -> Result<Self> {
        let get = |name: &str| {
            let known = || format!("the driver tells no `{name}`, only {:?}", report.statistics.keys());
            report.statistics.get(name).copied().ok_or_else(known)
        };
        Ok(Compiled {
            constants,
            vgprs: get("VGPRs")?,
            sgprs: get("SGPRs")?,
            spilled_vgprs: get("Spilled VGPRs")?,
            spilled_sgprs: get("Spilled SGPRs")?,
            scratch_bytes: get("Scratch size")?,
            workgroup_bytes: get("LDS size")?,
            subgroups_per_simd: get("Subgroups per SIMD")?,
            assembly: Assembly::parse(&report.assembly),
            text: report.assembly,
        })
    }

    /// What no kernel may need, if it does.
    fn fault(&self) -> Option<String> {
        (self.spilled_vgprs + self.spilled_sgprs + self.scratch_bytes > 0).then(|| {
            format!(
                "{}: {} vector and {} scalar registers spilled, {} bytes of scratch memory",
                self.constants, self.spilled_vgprs, self.spilled_sgprs, self.scratch_bytes
            )
        })
    }
}

/// What a process that compiles answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    /// The driver does not know this family.
    UnknownFamily,
    /// GPU and driver, and the kernel's variants.
    Known(String, Vec<Compiled>),
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [COMPILE, kernel] => compile(kernel).and_then(|answer| {
            let answer = serde_json::to_string(&answer).map_err(|e| e.to_string())?;
            writeln!(std::io::stdout(), "{answer}").map_err(|e| e.to_string())
        }),
        ["--table"] => table(),
        ["--assembly", family, kernel] => print_assembly(family, kernel),
        _ => return libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The manifest of Mesa's driver for AMD.
fn manifest() -> Result<PathBuf> {
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

/// A variant's constants as processes tell one another of them.
type Constants = Vec<(String, u32)>;

/// The variants of a kernel: those for all GPUs, and those for tensor cores.
fn constants(kernel: &str) -> Result<[Vec<Constants>; 2]> {
    let Some(name) = shaders::kernel_names().into_iter().find(|name| *name == kernel) else {
        return Ok(Default::default());
    };
    let variants = variants::variants(name)?;
    let of = |variants: &[ShaderVariant]| {
        let constants = variants.iter().map(|v| v.constants.iter().map(|&(name, value)| (name.to_owned(), value)));
        constants.map(Iterator::collect).collect()
    };
    Ok([of(&variants.gpu), of(&variants.cooperative)])
}

/// Compiles a kernel's variants for a family, in a process of its own: drivers read the family when they are loaded.
fn ask(family: &str, kernel: &str) -> Result<Answer> {
    let manifest = manifest()?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let told = serde_json::to_vec(&constants(kernel)?).map_err(|e| e.to_string())?;
    let mut process = Command::new(program)
        .args([COMPILE, kernel])
        .env("RADV_FORCE_FAMILY", family)
        .env("VK_DRIVER_FILES", &manifest)
        // Older loaders know this name.
        .env("VK_ICD_FILENAMES", &manifest)
        // Codes from the driver's cache would come without statistics.
        .env("MESA_SHADER_CACHE_DISABLE", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    // A process that ends before it has heard all says why by other means.
    let _ = process.stdin.take().map(|mut stdin| stdin.write_all(&told));
    let output = process.wait_with_output().map_err(|e| e.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Some versions end the process.
    if stderr.contains("Unknown family") {
        return Ok(Answer::UnknownFamily);
    }
    if !output.status.success() {
        return Err(format!("compiling {kernel} for {family}: {}: {}", output.status, stderr.trim()));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("compiling {kernel} for {family}: {e}: {}", stderr.trim()))
}

/// What the process that compiles does.
fn compile(kernel: &str) -> Result<Answer> {
    let Some(compiler) = Compiler::open()? else { return Ok(Answer::UnknownFamily) };
    let mut compiled = Vec::new();
    if kernel == SCRATCH.0 {
        let report = compiler.compile(SCRATCH.1, &[BindingKind::ReadWrite])?;
        compiled.push(Compiled::new(String::new(), report)?);
    } else if let Some(name) = shaders::kernel_names().into_iter().find(|name| *name == kernel) {
        let mut told = String::new();
        std::io::stdin().read_to_string(&mut told).map_err(|e| e.to_string())?;
        let [usual, cooperative]: [Vec<Constants>; 2] = serde_json::from_str(&told).map_err(|e| e.to_string())?;
        let cooperative = cooperative.into_iter().filter(|_| compiler.has_cooperative_matrices);
        for variant in usual.into_iter().chain(cooperative) {
            let constants: Vec<_> = variant.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let constants = constants.join(" ");
            // Names of constants live as long as the program; this one ends soon.
            let variant: Vec<_> = variant.into_iter().map(|(name, value)| (&*name.leak(), value)).collect();
            let shader = shaders::build(&ShaderVariant::new(name, &variant)).map_err(|e| e.to_string())?;
            let report = compiler.compile(&shader.source, &shader.bindings).map_err(|e| format!("{constants}: {e}"))?;
            compiled.push(Compiled::new(constants, report)?);
        }
    } else if !kernel.is_empty() {
        return Err(format!("there is no kernel `{kernel}`"));
    }
    Ok(Answer::Known(compiler.name, compiled))
}

/// The families that the driver knows, with its names for them; says which it does not. None is an error.
fn known_families() -> Result<Vec<(&'static str, String)>> {
    let mut known = Vec::new();
    for (family, generation) in FAMILIES {
        match ask(family, "")? {
            Answer::Known(name, _) => known.push((family, name)),
            Answer::UnknownFamily => eprintln!("this driver does not know {family} ({generation}): left out"),
        }
    }
    if known.is_empty() {
        let names: Vec<_> = FAMILIES.iter().map(|(family, _)| *family).collect();
        return Err(format!("Mesa's driver for AMD knows none of {}: {INSTALL}", names.join(", ")));
    }
    eprintln!("compiling for {}", known.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join("; "));
    Ok(known)
}

fn trials() -> Vec<Trial> {
    let (families, fault) = match known_families() {
        Ok(known) => (known.into_iter().map(|(family, _)| family).collect(), None),
        // Nothing is left out for want of the driver: every test fails.
        Err(message) => (FAMILIES.map(|(family, _)| family).to_vec(), Some(message)),
    };
    let mut trials = vec![
        Trial::test("reader/a loop's instructions and the widths of loads", reads_assembly),
        Trial::test("reader/the innermost loop with the most multiply-adds counts", finds_the_innermost_loop),
    ];
    for family in families {
        let trial = |name: &str, run: Box<dyn FnOnce() -> std::result::Result<(), Failed> + Send>| {
            let fault = fault.clone();
            Trial::test(format!("{family}/{name}"), move || fault.map_or_else(run, |message| Err(message.into())))
        };
        trials.push(trial("scratch memory is found", Box::new(move || finds_scratch_memory(family))));
        for kernel in shaders::kernel_names() {
            trials.push(trial(kernel, Box::new(move || check(family, kernel))));
        }
    }
    trials
}

fn check(family: &str, kernel: &str) -> std::result::Result<(), Failed> {
    let Answer::Known(_, compiled) = ask(family, kernel)? else { return Err("the driver forgot the family".into()) };
    let faults: Vec<_> = compiled.iter().filter_map(Compiled::fault).collect();
    if faults.is_empty() { Ok(()) } else { Err(format!("{kernel} on {family}:\n{}", faults.join("\n")).into()) }
}

fn finds_scratch_memory(family: &str) -> std::result::Result<(), Failed> {
    match check(family, SCRATCH.0) {
        Err(failed) if failed.message().is_some_and(|message| message.contains("bytes of scratch")) => Ok(()),
        Err(failed) => Err(failed),
        Ok(()) => Err("a shader that needs scratch memory passed".into()),
    }
}

fn reads_assembly() -> std::result::Result<(), Failed> {
    let text = "
BB0:
\ts_load_dwordx4 s[0:3], s[2:3], null   ; F40A0001
\tbuffer_load_dwordx4 v[0:3], v0, s[0:3], 0 offen ; E0381000
\tbuffer_load_b32 v4, v0, s[0:3], 0 offen
\ts_buffer_load_b256 s[0:7], s[0:3], null
BB1:
\tds_load_2addr_b64 v[0:3], v5 offset1:1
\tds_read_b128 v[0:3], v5
\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_mul_f32 v4, v5, v6
\tv_fma_f32 v0, v1, v2, v3
\ts_cbranch_scc1 BB1
\ts_endpgm";
    let parsed = Assembly::parse(text);
    let expected = Assembly {
        multiply_adds: Some((2, 6)),
        global_loads: [(128, 1), (32, 1)].into(),
        scalar_loads: [(256, 1)].into(),
        workgroup_loads: [(128, 2)].into(),
    };
    if parsed == expected { Ok(()) } else { Err(format!("{parsed:?}").into()) }
}

fn finds_the_innermost_loop() -> std::result::Result<(), Failed> {
    let text = "
BB1:
\tv_fma_f32 a
BB2:
\tv_fma_f32 a
\tv_fma_f32 a
\ts_cbranch_vccz BB4
\ts_cbranch_scc0 BB2
BB3:
\ts_add_i32 a
\ts_branch BB3
BB4:
\ts_branch BB1";
    match Assembly::parse(text).multiply_adds {
        Some((2, 4)) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn print_assembly(family: &str, kernel: &str) -> Result<()> {
    let Answer::Known(_, compiled) = ask(family, kernel)? else { return Err(format!("no family {family}")) };
    let texts = compiled.iter().map(|c| format!("{kernel} {}\n{}\n", c.constants, c.text));
    writeln!(std::io::stdout(), "{}", texts.collect::<String>()).map_err(|e| e.to_string())
}

/// Prints a Markdown table a family, a row a variant. Constants in which a kernel's variants agree are left out.
fn table() -> Result<()> {
    for (family, name) in known_families()? {
        println!("\n{name}\n");
        println!(
            "| kernel | VGPRs | SGPRs | spilled | scratch, bytes | workgroup memory, bytes | subgroups a SIMD | \
             multiply-adds in the innermost loop | loads a lane | loads shared by lanes | workgroup-memory loads |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|---|---|---|");
        for kernel in shaders::kernel_names() {
            let Answer::Known(_, compiled) = ask(family, kernel)? else { continue };
            for variant in &compiled {
                let differs =
                    |constant: &&str| compiled.iter().any(|c| !c.constants.split(' ').any(|k| k == *constant));
                let own: Vec<_> = variant.constants.split(' ').filter(differs).collect();
                let share = variant.assembly.multiply_adds.map_or("–".into(), |(part, all)| {
                    format!("{part} of {all} ({:.0} %)", 100.0 * part as f64 / all as f64)
                });
                println!(
                    "| `{kernel}` {} | {} | {} | {} | {} | {} | {} | {share} | {} | {} | {} |",
                    own.join(" "),
                    variant.vgprs,
                    variant.sgprs,
                    variant.spilled_vgprs + variant.spilled_sgprs,
                    variant.scratch_bytes,
                    variant.workgroup_bytes,
                    variant.subgroups_per_simd,
                    widths(&variant.assembly.global_loads),
                    widths(&variant.assembly.scalar_loads),
                    widths(&variant.assembly.workgroup_loads),
                );
            }
        }
    }
    Ok(())
}
