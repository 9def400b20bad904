//! `cifar-gpu weights`: weights files of this and other programs.

use std::path::{Path, PathBuf};

use cifar_gpu::nn::{Architecture, Network};
use cifar_gpu::weights::{self, Format, Mapping, OnnxInput, WeightsFile, Width};
use cifar_gpu::{Device, Error, Result};
use clap::{Subcommand, ValueEnum};

use super::common::{MissingArguments, WeightsArguments, lossy};
use super::terminal::{aligned, print, print_json};
use crate::words::grouped;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu weights inspect model.pth
  cifar-gpu weights import ygnet.h5 ygnet.safetensors --arch ygnet-final-relu
  cifar-gpu weights export runs/lenet5-1/weights.safetensors lenet5.onnx")]
pub struct Weights {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the tensors of a weights file of any known format
    Inspect(Inspect),
    /// Convert weights of PyTorch, Keras or NumPy into a safetensors file that describes its network
    Import(Import),
    /// Write weights for other programs: PyTorch, NumPy, ONNX
    Export(Export),
}

impl Weights {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Inspect(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Export(command) => command.run(),
        }
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cifar-gpu weights inspect runs/lenet5-1/weights.safetensors --json")]
struct Inspect {
    /// Weights: safetensors, .pth or .pt, .npz, .h5 or .keras
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `weights inspect --json` prints.
#[derive(serde::Serialize)]
struct Inspection {
    #[serde(serialize_with = "lossy")]
    file: PathBuf,
    format: Format,
    /// The architecture, if the file names one or fits one built-in network only.
    arch: Option<String>,
    classes: Option<Vec<String>>,
    normalization: Option<cifar_gpu::ops::batch_assembly::Normalization>,
    tensors: Vec<TensorLine>,
}

#[derive(serde::Serialize)]
struct TensorLine {
    name: String,
    shape: Vec<usize>,
    min: f32,
    max: f32,
    mean: f64,
}

impl Inspect {
    fn run(self) -> Result<()> {
        let file = WeightsFile::read(&self.file)?;
        let line = |tensor: &weights::NamedTensor| {
            let values = &tensor.values;
            TensorLine {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                min: values.iter().copied().reduce(f32::min).unwrap_or(0.0),
                max: values.iter().copied().reduce(f32::max).unwrap_or(0.0),
                mean: values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64,
            }
        };
        let inspection = Inspection {
            format: file.format(),
            arch: file.architecture(None).ok().map(|architecture| architecture.name),
            classes: file.known_class_names().map(<[String]>::to_vec),
            normalization: file.normalization().cloned(),
            tensors: file.tensors().iter().map(line).collect(),
            file: self.file,
        };
        if self.json { print_json(&inspection) } else { print(inspection.table()) }
    }
}

impl Inspection {
    fn table(&self) -> String {
        let mut rows = vec![["tensor", "shape", "min", "mean", "max"].map(str::to_owned)];
        for TensorLine { name, shape, min, max, mean } in &self.tensors {
            let [min, mean, max] = [f64::from(*min), *mean, f64::from(*max)].map(|value| format!("{value:.4}"));
            rows.push([name.clone(), sides(shape), min, mean, max]);
        }
        let numbers: usize = self.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        let network = match &self.arch {
            Some(arch) => format!("weights of {arch}"),
            None => "weights of an unnamed network".to_owned(),
        };
        let file = self.file.display();
        let mut text = format!("{file}: {}, {network}, {} numbers\n", self.format, grouped(numbers as u64));
        if let Some(classes) = &self.classes {
            text += &format!("classes: {}\n", classes.join(", "));
        }
        if let Some(normalization) = &self.normalization {
            text += &format!("normalization: (pixel − {:?}) / {:?}\n", normalization.mean, normalization.std);
        }
        text + "\n" + &aligned(&rows, 2)
    }
}

fn sides(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu weights import ygnet.h5 ygnet.safetensors --arch ygnet-final-relu
  cifar-gpu weights import model.pth model.safetensors --arch net.toml --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26")]
struct Import {
    #[command(flatten)]
    source: SourceArguments,
    /// The safetensors file to write
    #[arg(value_name = "DST")]
    to: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// The file to convert, and what it may lack.
#[derive(clap::Args)]
struct SourceArguments {
    /// Weights: safetensors, .pth or .pt, .npz, .h5 or .keras
    #[arg(value_name = "SRC")]
    from: PathBuf,
    #[command(flatten)]
    missing: MissingArguments,
}

impl SourceArguments {
    /// The network with its weights, the names of its classes, and how the file's tensors became its parameters.
    fn network(self) -> Result<(Network, Vec<String>, WeightsFile, Mapping)> {
        let (file, architecture) = WeightsArguments { path: self.from, missing: self.missing }.read()?;
        let mapping = file.mapping(&architecture)?;
        let classes = file.class_names(architecture.num_classes()?);
        let network = Network::new(architecture, &Device::cpu(), 0)?;
        file.load_into(&network)?;
        Ok((network, classes, file, mapping))
    }
}

impl Import {
    fn run(self) -> Result<()> {
        check_free(&self.to, self.force)?;
        let (network, classes, file, mapping) = self.source.network()?;
        weights::save(&self.to, &network, &classes)?;
        print(table(&file, network.architecture(), &mapping)?)?;
        print(format_args!("{}: weights of {}", self.to.display(), network.architecture().name))
    }
}

/// Which tensor became which parameter.
fn table(file: &WeightsFile, architecture: &Architecture, mapping: &Mapping) -> Result<String> {
    let mut rows = vec![["tensor", "shape", "parameter", "shape"].map(str::to_owned)];
    for ((name, spec), &source) in architecture.parameters()?.iter().zip(&mapping.sources) {
        let tensor = &file.tensors()[source];
        rows.push([tensor.name.clone(), sides(&tensor.shape), name.clone(), sides(&spec.layout.outer_shape())]);
    }
    let mut text = aligned(&rows, usize::MAX);
    for &unused in &mapping.unused {
        text += &format!("\nnot part of the network: {}", file.tensors()[unused].name);
    }
    Ok(text)
}

/// A format to write.
#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Safetensors,
    /// A state dictionary for torch.load
    Pth,
    /// Arrays for numpy.load
    Npz,
    /// A model for onnxruntime and other runtimes, with operator set 13
    Onnx,
}

impl FormatName {
    /// The format of a file with this ending.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "safetensors" => Some(FormatName::Safetensors),
            "pth" | "pt" => Some(FormatName::Pth),
            "npz" => Some(FormatName::Npz),
            "onnx" => Some(FormatName::Onnx),
            _ => None,
        }
    }

    fn value(self) -> Format {
        match self {
            FormatName::Safetensors => Format::Safetensors,
            FormatName::Pth => Format::Torch,
            FormatName::Npz => Format::Npz,
            FormatName::Onnx => Format::Onnx,
        }
    }
}

/// Width of the numbers in a safetensors file.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum WidthName {
    F32,
    /// Half the size, rounded to 11 binary digits
    F16,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu weights export runs/lenet5-1/weights.safetensors lenet5.onnx
  cifar-gpu weights export runs/lenet5-1/weights.safetensors small.safetensors --width f16")]
struct Export {
    #[command(flatten)]
    source: SourceArguments,
    /// The file to write
    #[arg(value_name = "DST")]
    to: PathBuf,
    /// Format [default: by the file's ending]
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Width of the numbers (safetensors)
    #[arg(long, value_enum)]
    width: Option<WidthName>,
    /// Take normalized images instead of bytes from 0 to 255 (ONNX)
    #[arg(long)]
    normalized_input: bool,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

impl Export {
    fn run(self) -> Result<()> {
        let format = self.format.or_else(|| FormatName::of(&self.to)).map(FormatName::value).ok_or_else(|| {
            let to = self.to.display();
            Error::Setting(format!("{to} has none of the endings .safetensors, .pth, .npz and .onnx: give --format"))
        })?;
        if self.width == Some(WidthName::F16) && format != Format::Safetensors {
            return Err(Error::Setting(format!("--width f16 applies to safetensors only; this is a {format}")));
        }
        if self.normalized_input && format != Format::Onnx {
            return Err(Error::Setting(format!("--normalized-input applies to ONNX only; this is a {format}")));
        }
        check_free(&self.to, self.force)?;
        let (network, classes, _, _) = self.source.network()?;
        let width = if self.width == Some(WidthName::F16) { Width::F16 } else { Width::F32 };
        let input = if self.normalized_input { OnnxInput::Normalized } else { OnnxInput::Pixels };
        weights::export(&self.to, &network, &classes, format, width, input)?;
        print(format_args!("{}: {format} of {}", self.to.display(), network.architecture().name))
    }
}

/// Fails if the file exists and must not be replaced.
fn check_free(path: &Path, force: bool) -> Result<()> {
    match path.exists() && !force {
        true => {
            Err(Error::Setting(format!("{} exists: choose another name, or replace it with --force", path.display())))
        }
        false => Ok(()),
    }
}
