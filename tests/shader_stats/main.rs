//! Every kernel through the compilers of real GPUs' drivers, on machines that have no such GPUs.
//!
//! Mesa's drivers compile for GPUs that are not there. A kernel that spills registers or puts arrays into scratch memory there is slow:
//! its test fails. AMD's driver is always asked; those of NVIDIA, Apple and Qualcomm wherever `scripts/gpu-compilers` has set them up.
//! A test's name is `gpu/kernel`. To see the figures of every variant on a GPU, or of one kernel's, or its assembly:
//!
//! ```sh
//! cargo test --release --test shader_stats -- --table ampere
//! cargo test --release --test shader_stats -- --table ampere conv2d_forward
//! cargo test --release --test shader_stats -- --assembly navi31 conv2d_forward
//! ```
//!
//! What a training step would take on a GPU, kernel by kernel, and why (`model.rs` says how that is found):
//!
//! ```sh
//! cargo test --release --test shader_stats -- --model h200 ygnet
//! cargo test --release --test shader_stats -- --model m1 resnet20 256 f16
//! ```
//!
//! And by the same model, what each convolution of the networks takes directly and with Winograd's algorithm:
//!
//! ```sh
//! cargo test --release --test shader_stats -- --winograd m1
//! ```
//!
//! Constants after the kernel, such as `HALF=0 TILE_ROWS=128`, choose among all variants that are launched; without them, one of each
//! kind is shown.
//!
//! `--wgsl` prints the WGSL of every variant that may run in a browser, for `scripts/tint`.
//!
//! `CIFAR_GPU_COMPILERS` names the folder of drivers if it is not `target/gpu-compilers`; `CIFAR_GPU_RADV` names the system's driver for
//! AMD by its manifest (`radeon_icd…json`) if it is not in a usual place. Variants are those that the operations' cases and the
//! networks launch (`tests/common/variants.rs`).

mod assembly;
mod compiler;
mod figures;
mod gpus;
mod model;
mod reader_tests;
#[path = "../common/variants.rs"]
mod variants;

use std::io::{Read, Write};
use std::process::{ExitCode, Stdio};

use cifar_gpu::gpu::shaders::{self, BindingKind};
use cifar_gpu::gpu::{Budget, ShaderVariant};
use cifar_gpu::ops::conv2d::{Direction, Sums, Tiling};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::{Deserialize, Serialize};

use assembly::{Assembly, Part, widths};
use compiler::{Compiler, Result, Statistics};
use figures::Figures;
use gpus::{Drivers, GPUS, Gpu, Vendor};

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

/// What is asked of a compiler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Statistics,
    /// And the code as text, which takes longer.
    Assembly,
}

/// What a process that compiles answers for one variant.
#[derive(Serialize, Deserialize)]
struct Compiled {
    /// Constants of the variant: `KERNEL_H=3 …`.
    constants: String,
    statistics: Statistics,
    /// The driver's text, if it was wanted.
    assembly: String,
}

/// What a process that compiles answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    /// The driver does not know this GPU.
    UnknownGpu,
    /// GPU and driver, and the kernel's variants.
    Known(String, Vec<Compiled>),
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [COMPILE, kernel, wanted, access] => {
            let wanted = if wanted == "assembly" { Wanted::Assembly } else { Wanted::Statistics };
            compile(kernel, wanted, access == "robust").and_then(|answer| {
                let answer = serde_json::to_string(&answer).map_err(|e| e.to_string())?;
                writeln!(std::io::stdout(), "\n{ANSWER}{answer}").map_err(|e| e.to_string())
            })
        }
        ["--table", gpu] => shaders::kernel_names().into_iter().try_for_each(|kernel| print_rows(gpu, kernel, &[])),
        ["--table", gpu, kernel, ref with @ ..] => print_rows(gpu, kernel, with),
        ["--model", chip, ref settings @ ..] => model::print(chip, settings),
        ["--winograd", chip] => model::print_winograd(chip),
        ["--assembly", gpu, kernel, ref with @ ..] => print_assembly(gpu, kernel, with),
        ["--wgsl"] => print_wgsl(),
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

/// What stands before the answer on standard output, where some drivers print, too.
const ANSWER: &str = "answer: ";

/// A variant's constants as processes tell one another of them.
type Constants = Vec<(String, u32)>;

/// The variants of a kernel for all GPUs, and those for tensor cores. Constants select among all launched variants; without constants,
/// there is one variant of each kind.
fn constants(kernel: &str, with: &[&str]) -> Result<[Vec<Constants>; 2]> {
    let Some(name) = shaders::kernel_names().into_iter().find(|name| *name == kernel) else {
        return Ok(Default::default());
    };
    let launched;
    let variants = if with.is_empty() {
        variants::variants(name)?
    } else {
        launched = variants::launched_variants(name)?;
        &launched
    };
    let of = |variants: &[ShaderVariant]| {
        let constants = variants.iter().map(|v| v.constants.iter().map(|&(name, value)| (name.to_owned(), value)));
        let is_wanted = |constants: &Constants| {
            let has = |wanted: &&str| constants.iter().any(|(name, value)| *wanted == format!("{name}={value}"));
            with.iter().all(has)
        };
        constants.map(Iterator::collect).filter(is_wanted).collect()
    };
    Ok([of(&variants.gpu), of(&variants.cooperative)])
}

/// Compiles a kernel's variants with these constants for a GPU.
fn ask(drivers: &Drivers, gpu: Gpu, kernel: &str, with: &[&str], wanted: Wanted) -> Result<Answer> {
    ask_variants(drivers, gpu, kernel, &constants(kernel, with)?, wanted)
}

/// Compiles these variants of a kernel, and those for tensor cores, for a GPU.
fn ask_variants(
    drivers: &Drivers,
    gpu: Gpu,
    kernel: &str,
    variants: &[Vec<Constants>; 2],
    wanted: Wanted,
) -> Result<Answer> {
    // Apple's driver prints its code, which tells of one variant only if there is one.
    if gpu.vendor != Vendor::Apple || wanted == Wanted::Statistics {
        return ask_for(drivers, gpu, kernel, variants, wanted).map(|(answer, _)| answer);
    }
    let mut all = Vec::new();
    let mut gpu_name = String::new();
    for variant in &variants[0] {
        let (answer, printed) = ask_for(drivers, gpu, kernel, &[vec![variant.clone()], Vec::new()], wanted)?;
        let Answer::Known(name, compiled) = answer else { return Ok(Answer::UnknownGpu) };
        gpu_name = name;
        all.extend(compiled.into_iter().map(|compiled| Compiled { assembly: printed.clone(), ..compiled }));
    }
    Ok(Answer::Known(gpu_name, all))
}

/// Compiles variants in a process of its own, since drivers read for which GPU when they are loaded; what it printed beside the answer.
fn ask_for(
    drivers: &Drivers,
    gpu: Gpu,
    kernel: &str,
    variants: &[Vec<Constants>; 2],
    wanted: Wanted,
) -> Result<(Answer, String)> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let told = serde_json::to_vec(variants).map_err(|e| e.to_string())?;
    let mut command = drivers.command(gpu, &program)?;
    if wanted == Wanted::Assembly {
        command.env("AGX_MESA_DEBUG", "shaders");
    }
    let mut process = command
        .args([COMPILE, kernel, if wanted == Wanted::Assembly { "assembly" } else { "statistics" }])
        // On Apple's GPUs wgpu usually goes through Metal.
        .arg(if gpu.vendor == Vendor::Apple { "plain" } else { "robust" })
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
        return Ok((Answer::UnknownGpu, String::new()));
    }
    let failed = |reason: String| format!("compiling {kernel} for {}: {reason}: {}", gpu.name, stderr.trim());
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer =
        printed.lines().find_map(|line| line.strip_prefix(ANSWER)).ok_or_else(|| failed("no answer".into()))?;
    let answer = serde_json::from_str(answer).map_err(|e| failed(e.to_string()))?;
    Ok((answer, printed))
}

/// What the process that compiles does.
fn compile(kernel: &str, wanted: Wanted, is_robust: bool) -> Result<Answer> {
    let Some(compiler) = Compiler::open(wanted == Wanted::Assembly, is_robust)? else { return Ok(Answer::UnknownGpu) };
    let mut compiled = Vec::new();
    if kernel == SCRATCH.0 {
        let report = compiler.compile(SCRATCH.1, &[BindingKind::ReadWrite])?;
        compiled.push(Compiled { constants: String::new(), statistics: report.statistics, assembly: report.assembly });
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
            compiled.push(Compiled { constants, statistics: report.statistics, assembly: report.assembly });
        }
    } else if !kernel.is_empty() {
        return Err(format!("there is no kernel `{kernel}`"));
    }
    Ok(Answer::Known(compiler.name, compiled))
}

/// The GPUs whose drivers are there and know them; says which do not. None is an error.
fn known_gpus() -> Result<(Drivers, Vec<Gpu>)> {
    let drivers = Drivers::find()?;
    let mut known = Vec::new();
    for gpu in GPUS.into_iter().filter(|&gpu| drivers.has(gpu)) {
        match ask(&drivers, gpu, "", &[], Wanted::Statistics)? {
            Answer::Known(name, _) => {
                eprintln!("compiling for {}: {name}", gpu.generation);
                known.push(gpu);
            }
            Answer::UnknownGpu => eprintln!("this driver does not know {} ({}): left out", gpu.name, gpu.generation),
        }
    }
    if known.is_empty() {
        return Err(format!("Mesa's driver for AMD knows none of the GPUs: {}", gpus::INSTALL));
    }
    Ok((drivers, known))
}

fn trials() -> Vec<Trial> {
    let mut trials = reader_tests::trials();
    let (drivers, known) = match known_gpus() {
        Ok(known) => known,
        // If AMD's driver is missing, each of its tests fails.
        Err(message) => {
            for gpu in GPUS.into_iter().filter(|gpu| gpu.vendor == Vendor::Amd) {
                trials.extend(shaders::kernel_names().into_iter().map(|kernel| {
                    let message = message.clone();
                    Trial::test(format!("{}/{kernel}", gpu.name), move || Err(message.into()))
                }));
            }
            return trials;
        }
    };
    for gpu in known {
        let test = |name: &str, run: fn(&Drivers, Gpu, &str) -> std::result::Result<(), Failed>| {
            let (drivers, kernel) = (drivers.clone(), name.to_owned());
            Trial::test(format!("{}/{name}", gpu.name), move || run(&drivers, gpu, &kernel))
        };
        trials.push(test("scratch memory is found", |drivers, gpu, _| finds_scratch_memory(drivers, gpu)));
        trials.extend(shaders::kernel_names().into_iter().map(|kernel| test(kernel, check)));
    }
    trials
}

/// Whether a variant may be chosen on a GPU, by the default or by the tuner: tiles that need more registers or workgroup memory than it
/// should use are not.
fn is_chosen(gpu: Gpu, kernel: &str, constants: &str) -> bool {
    let value = |name: &str| {
        let values = constants.split(' ').filter_map(|constant| constant.split_once('='));
        values.into_iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let (Some(rows), Some(columns), Some(lane_rows), Some(lane_columns)) =
        (value("TILE_ROWS"), value("TILE_COLUMNS"), value("LANE_ROWS"), value("LANE_COLUMNS"))
    else {
        return true;
    };
    let sums = Sums::ALL.into_iter().find(|sums| (sums.rows(), sums.columns()) == (lane_rows, lane_columns));
    let budget = gpu.budget();
    let direction =
        Direction::ALL.into_iter().find(|direction| direction.kernel() == kernel).unwrap_or(Direction::Forward);
    sums.is_none_or(|sums| {
        let tiling = Tiling::Staged { rows, columns, sums };
        let is_deep = value("DEEP") == Some(1);
        tiling.registers(direction) <= budget.registers && is_deep == tiling.is_deep(budget.workgroup_bytes)
    })
}

fn check(drivers: &Drivers, gpu: Gpu, kernel: &str) -> std::result::Result<(), Failed> {
    let Answer::Known(_, compiled) = ask(drivers, gpu, kernel, &[], Wanted::Statistics)? else {
        return Err("the driver forgot the GPU".into());
    };
    let mut faults = Vec::new();
    for Compiled { constants, statistics, .. } in
        compiled.iter().filter(|compiled| is_chosen(gpu, kernel, &compiled.constants))
    {
        faults.extend(Figures::of(gpu.vendor, statistics)?.fault().map(|fault| format!("{constants}: {fault}")));
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{kernel} on {}:\n{}", gpu.name, faults.join("\n")).into()) }
}

fn finds_scratch_memory(drivers: &Drivers, gpu: Gpu) -> std::result::Result<(), Failed> {
    match check(drivers, gpu, SCRATCH.0) {
        Err(failed) if failed.message().is_some_and(|message| message.contains("of scratch memory")) => Ok(()),
        Err(failed) => Err(failed),
        Ok(()) => Err("a shader that needs scratch memory passed".into()),
    }
}

fn print_assembly(gpu: &str, kernel: &str, with: &[&str]) -> Result<()> {
    let Answer::Known(_, compiled) = ask(&Drivers::find()?, Gpu::named(gpu)?, kernel, with, Wanted::Assembly)? else {
        return Err(format!("the driver does not know {gpu}"));
    };
    let mut out = std::io::stdout().lock();
    compiled.iter().try_for_each(|Compiled { constants, statistics, assembly }| {
        let statistics: Vec<_> = statistics.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        writeln!(out, "{kernel} {constants}\n{}\n{assembly}\n", statistics.join(", ")).map_err(|e| e.to_string())
    })
}

/// A variant in WebGPU's terms.
#[derive(Serialize)]
struct Wgsl {
    kernel: &'static str,
    /// Constants of the variant: `KERNEL_H=3 …`.
    constants: String,
    source: String,
    /// Types of the buffers that are bound.
    bindings: Vec<&'static str>,
}

/// Prints all variants as JSON but those with cooperative matrices, which WebGPU does not have.
fn print_wgsl() -> Result<()> {
    let mut all = Vec::new();
    for kernel in shaders::kernel_names() {
        let variants = variants::variants(kernel)?;
        for variant in variants.gpu.iter().chain(&variants.software) {
            let shader = shaders::build(variant).map_err(|e| e.to_string())?;
            // Browsers do not tell the vendor, so that tiles that want more memory than all have are not taken there.
            if shader.workgroup_bytes > Budget::default().workgroup_bytes {
                continue;
            }
            let binding = |kind: &BindingKind| match kind {
                BindingKind::Uniform { .. } => "uniform",
                BindingKind::Read => "read-only-storage",
                BindingKind::ReadWrite => "storage",
            };
            let constants: Vec<_> = variant.constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
            // WebGPU wants it said; naga knows no such extension.
            let enable = if shader.source.contains("subgroup") { "enable subgroups;\n" } else { "" };
            all.push(Wgsl {
                kernel,
                constants: constants.join(" "),
                source: format!("{enable}{}", shader.source),
                bindings: shader.bindings.iter().map(binding).collect(),
            });
        }
    }
    serde_json::to_writer(std::io::stdout().lock(), &all).map_err(|e| e.to_string())
}

/// Prints a Markdown table of a kernel's variants on a GPU. Constants in which they agree are left out.
fn print_rows(gpu: &str, kernel: &str, with: &[&str]) -> Result<()> {
    let gpu = Gpu::named(gpu)?;
    let Answer::Known(name, compiled) = ask(&Drivers::find()?, gpu, kernel, with, Wanted::Assembly)? else {
        return Err(format!("the driver does not know {}", gpu.name));
    };
    println!("\n`{kernel}`, {} ({name})\n", gpu.generation);
    println!(
        "| variant | registers | spilled | scratch, bytes | {} | multiply-adds of cycles, busiest block | busiest loop | \
         workgroup-memory loads, bits |",
        figures::occupancy_unit(gpu.vendor)
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---|");
    for variant in &compiled {
        let differs = |constant: &&str| compiled.iter().any(|c| !c.constants.split(' ').any(|k| k == *constant));
        let own: Vec<_> = variant.constants.split(' ').filter(differs).collect();
        let Figures { registers, spilled, scratch_bytes, occupancy } = Figures::of(gpu.vendor, &variant.statistics)?;
        let assembly = Assembly::parse(gpu.vendor, &variant.assembly);
        let share = |part: Option<Part>| {
            let text =
                |part: Part| format!("{} of {} ({:.0} %)", part.multiply_add_cycles, part.cycles, 100.0 * part.share());
            part.map_or_else(|| "–".to_owned(), text)
        };
        let own = own.join(" ") + if is_chosen(gpu, kernel, &variant.constants) { "" } else { " (not chosen here)" };
        println!(
            "| {own} | {registers} | {spilled} | {scratch_bytes} | {occupancy} | {} | {} | {} |",
            share(assembly.block),
            share(assembly.inner_loop),
            widths(&assembly.workgroup_loads),
        );
    }
    Ok(())
}
