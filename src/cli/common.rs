//! Options shared by several commands: device, shape of images, weights.

use std::path::{Path, PathBuf};

use cifar_gpu::gpu::Backend;
use cifar_gpu::nn::{ARCHITECTURES, Architecture};
use cifar_gpu::ops::batch_assembly::Normalization;
use cifar_gpu::run::SavedRun;
use cifar_gpu::tensor::ImageSize;
use cifar_gpu::train::{TestTimeAugmentation, TrainConfig};
use cifar_gpu::weights::{Naming, WeightsFile};
use cifar_gpu::{Device, DeviceChoice, Error, ImageShape, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::terminal::{say, warn};

#[derive(Clone, Copy, clap::ValueEnum)]
enum TtaName {
    None,
    /// Average the logits of an image and its mirror image
    Mirror,
    /// Average over six views: as it is and moved by one pixel in two directions, each also mirrored
    MirrorShift,
}

/// Test-time augmentation.
#[derive(clap::Args)]
pub struct TtaArguments {
    /// Evaluate the final weights a second time, with test-time augmentation [default: none; without a value: mirror-shift]
    #[arg(long, value_enum, value_name = "VIEWS", num_args = 0..=1, require_equals = true, default_missing_value = "mirror-shift")]
    tta: Option<TtaName>,
}

impl TtaArguments {
    /// The requested augmentation.
    pub fn choice(&self) -> Option<TestTimeAugmentation> {
        self.tta.map(|name| match name {
            TtaName::None => TestTimeAugmentation::None,
            TtaName::Mirror => TestTimeAugmentation::Mirror,
            TtaName::MirrorShift => TestTimeAugmentation::MirrorShift,
        })
    }
}

/// The device to use.
#[derive(clap::Args)]
pub struct DeviceArguments {
    /// Device: auto (a real GPU, else the CPU), cpu, gpu (a software renderer if there is no other), or gpu:N [default: auto]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Reach the GPU through OpenGL instead of Vulkan, Metal or DX12
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    opengl: Option<bool>,
}

impl DeviceArguments {
    pub fn backend(&self) -> Backend {
        self.opengl.map_or(Backend::Primary, backend_of)
    }

    /// Opens the device, reports it with the reason on standard error, and warns if it is slow.
    pub fn open(&self) -> Result<Device> {
        let choice = self.choice()?;
        open(choice.unwrap_or(DeviceChoice::Auto), self.backend())
    }

    /// The same for a new run, whose settings already include the flags.
    pub fn open_for(&self, config: &TrainConfig) -> Result<Device> {
        open(config.device.unwrap_or(DeviceChoice::Auto), config.backend)
    }

    /// The same for a resumed run: the device of the flag, or else the one it was started on, or one of the same kind.
    pub fn open_again(&self, run: &SavedRun) -> Result<Device> {
        let backend = run.config.backend;
        let choice = self.choice()?;
        open(choice.unwrap_or_else(|| DeviceChoice::like(&run.ran_on, backend)), backend)
    }

    /// Applies the flags to a run's settings.
    pub fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        config.device = self.choice()?.or(config.device);
        config.backend = self.opengl.map_or(config.backend, backend_of);
        Ok(())
    }

    fn choice(&self) -> Result<Option<DeviceChoice>> {
        self.device.as_deref().map(str::parse).transpose()
    }
}

fn backend_of(opengl: bool) -> Backend {
    if opengl { Backend::OpenGl } else { Backend::Primary }
}

fn open(choice: DeviceChoice, backend: Backend) -> Result<Device> {
    if (choice, backend) == (DeviceChoice::Cpu, Backend::OpenGl) {
        let message = "OpenGL is an interface to GPUs and has no effect on the CPU: omit --opengl, \
                       or add --opengl=false if the run's settings ask for it";
        return Err(Error::Setting(message.into()));
    }
    let (device, reason) = Device::open(choice, backend)?;
    say(format_args!("device: {} ({reason})", device.description()));
    if let Device::Gpu(gpu) = &device
        && gpu.is_software()
    {
        warn("this adapter is a software renderer, for tests: --device cpu is faster");
    }
    if cfg!(debug_assertions) {
        warn("this is a debug build, many times slower: build with `cargo build --release`");
    }
    Ok(device)
}

/// The shape of images in words: "32×32 pixels in color".
pub fn pixels(shape: ImageShape) -> String {
    let color = if shape.is_gray() { "gray" } else { "color" };
    format!("{}×{} pixels in {color}", shape.height(), shape.width())
}

/// The shape of images.
#[derive(clap::Args)]
pub struct ShapeArguments {
    /// Height and width in pixels that images are scaled to: 64, or 48x40 for 48 rows of 40 pixels [default: the network's own,
    /// 32]
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<ImageSize>,
    /// Make images gray, with one channel instead of three
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub gray: Option<bool>,
}

impl ShapeArguments {
    /// A shape with the requested changes.
    pub fn of(&self, usual: ImageShape) -> Result<ImageShape> {
        Ok(usual.changed(self.image_size, self.gray)?)
    }

    /// An architecture for images of the requested shape.
    pub fn network(&self, architecture: Architecture) -> Result<Architecture> {
        let input = self.of(architecture.input)?;
        architecture.with_input(input)
    }

    /// Applies the flags to a run's settings.
    pub fn apply(&self, config: &mut TrainConfig) {
        config.image_size = self.image_size.or(config.image_size);
        config.gray = self.gray.or(config.gray);
    }
}

/// Weights to use, and data that their file may lack.
#[derive(clap::Args)]
pub struct WeightsArguments {
    /// Weights: safetensors, or those of PyTorch (.pth), NumPy (.npz) and Keras (.h5, .keras)
    #[arg(long = "weights", value_name = "FILE")]
    pub path: PathBuf,
    #[command(flatten)]
    pub missing: MissingArguments,
}

/// What a weights file may lack.
#[derive(clap::Args)]
pub struct MissingArguments {
    /// Architecture or FILE.toml that describes one, for weights files without this information
    #[arg(long, value_parser = architecture_names())]
    arch: Option<String>,
    /// Mean subtracted from pixels in 0 to 1, for weights files without this information
    #[arg(long, value_name = "R,G,B", value_parser = colors, requires = "std")]
    mean: Option<[f64; 3]>,
    /// Standard deviation by which pixels are then divided
    #[arg(long, value_name = "R,G,B", value_parser = colors, requires = "mean")]
    std: Option<[f64; 3]>,
}

impl WeightsArguments {
    /// The file, and the network of its weights. Says so if tensors have other names than the network's parameters.
    pub fn read(&self) -> Result<(WeightsFile, Architecture)> {
        let MissingArguments { arch, mean, std } = &self.missing;
        let file = WeightsFile::read(&self.path)?;
        let mut architecture = file.architecture(arch.as_deref()).map_err(|error| match error {
            Error::Weights { path, message, .. } if arch.is_none() && file.metadata().is_none() => {
                Error::Weights { path, message, hint: "name it with --arch".into() }
            }
            other => other,
        })?;
        match (file.normalization(), mean.zip(*std)) {
            (Some(_), Some(_)) => {
                return Err(Error::Weights {
                    path: self.path.clone(),
                    message: "the file already gives the normalization of pixels".into(),
                    hint: "omit --mean and --std".into(),
                });
            }
            (None, Some((mean, std))) if std.iter().all(|&std| std > 1e-6) => {
                architecture.normalization = Normalization::new(mean, std);
            }
            (None, Some(_)) => return Err(Error::Setting("--std must be positive".into())),
            (None, None) => warn_of_normalization(&self.path, &architecture, "--mean and --std say otherwise"),
            (Some(_), None) => {}
        }
        if file.metadata().is_none() && arch.is_none() {
            say(format_args!("{}: {} of {}", self.path.display(), file.format(), architecture.name));
        }
        say_naming(&file, &architecture)?;
        Ok((file, architecture))
    }
}

/// Says how the names of a file become those of a network, if they are others, and warns of other layers.
///
/// # Errors
/// As [`WeightsFile::mapping`].
pub fn say_naming(file: &WeightsFile, architecture: &Architecture) -> Result<()> {
    match file.mapping(architecture)?.naming {
        Naming::Same => {}
        Naming::Prefix(prefix) => {
            say(format_args!("the names of all tensors begin with `{prefix}`, which is taken off"))
        }
        Naming::Aliases => say("the tensors have the published names of layers, such as convLayer1 and fullyc1"),
        Naming::Order => say("the layers have no names of this network: they are matched in their order"),
        other => say(format_args!("names of tensors: {other:?}")),
    }
    if file.layers_differ(architecture) {
        warn(format_args!(
            "the model in the file has other convolutions, poolings or ReLUs than {}",
            architecture.name
        ));
    }
    Ok(())
}

/// Warns that weights do not give the normalization of pixels, and which one is assumed.
pub fn warn_of_normalization(weights: &Path, architecture: &Architecture, remedy: &str) {
    let Normalization { mean, std } = &architecture.normalization;
    warn(format_args!(
        "{} does not give the normalization of pixels: (pixel − {mean:?}) / {std:?} is assumed; {remedy}",
        weights.display()
    ));
}

/// A built-in architecture's name, or a TOML file that describes one, as the value of a flag.
pub fn architecture_names() -> impl TypedValueParser<Value = String> {
    ArchitectureParser
}

/// Completes and checks names; a file is read later, when needed.
#[derive(Clone)]
struct ArchitectureParser;

impl TypedValueParser for ArchitectureParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        flag: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> std::result::Result<String, clap::Error> {
        match value.to_str() {
            Some(path) if Architecture::is_file(path) => Ok(path.to_owned()),
            Some(path) if Path::new(path).exists() && !ARCHITECTURES.contains(&path) => {
                let message = format!("{path} is a file, but a network's description ends in .toml\n");
                Err(clap::Error::raw(clap::error::ErrorKind::InvalidValue, message).with_cmd(command))
            }
            _ => PossibleValuesParser::new(ARCHITECTURES).parse_ref(command, flag, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(ARCHITECTURES.into_iter().map(PossibleValue::new)))
    }
}

fn colors(text: &str) -> std::result::Result<[f64; 3], String> {
    let numbers = text.split(',').map(|number| number.trim().parse()).collect::<std::result::Result<Vec<f64>, _>>();
    let colors = numbers.ok().and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
    colors
        .filter(|colors| colors.iter().all(|c| c.is_finite()))
        .ok_or_else(|| "expected three numbers separated by commas".to_owned())
}

/// A path for JSON, which must be UTF-8.
pub fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
