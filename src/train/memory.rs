//! Memory needs of training and inference, and the kernels of a step, found by a dry run ("rehearsal").

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::gpu::{GpuDevice, Launched, RehearsedAdapter};
use crate::nn::{Architecture, Network};
use crate::ops::conv2d::DeviceKind;
use crate::tensor::Device;
use crate::tensor::Precision;
use crate::tensor::cpu::available_memory_bytes;
use crate::train::dataset::DeviceDataset;
use crate::train::evaluate::{Inference, TestTimeAugmentation};
use crate::train::stepper::Stepper;
use crate::train::teacher::{Teacher, TeacherSettings};
use crate::train::{ClassWeighting, TrainConfig};

/// Host bytes per parameter while a network is created: its values in both orders, their positions, and the complete tensor.
const PARAMETER_BYTES: u64 = 24;

/// Peak memory in bytes of training as in `config` on a kind of device with batches of `batch` images, without the data set:
/// parameters, gradients, optimizer state, and activations of a step.
///
/// A step is run on a [`GpuDevice::rehearsal`], so the figure comes from the code that trains.
///
/// # Errors
/// [`Error::Setting`] if a tensor of this batch has more elements than kernels can count;
/// [`DescriptionError`](crate::nn::DescriptionError) if the architecture's layers do not fit together; [`Error::HostMemory`] if its
/// parameters do not fit into memory.
pub fn training_bytes(
    kind: DeviceKind,
    architecture: &Architecture,
    config: &TrainConfig,
    batch: usize,
) -> Result<u64> {
    rehearse(kind, config.precision, architecture, batch, |network, images| {
        stepper(config, network, images)?.step(&vec![0; batch], 0, 0.0)
    })
}

/// The kernels of a training step as in `config` on an adapter with these abilities, with batches of `batch` images.
///
/// # Errors
/// As for [`training_bytes`].
pub fn training_launches(
    adapter: RehearsedAdapter,
    architecture: &Architecture,
    config: &TrainConfig,
    batch: usize,
) -> Result<Vec<Launched>> {
    let gpu = GpuDevice::rehearsal_of(adapter)?;
    let mut before = 0;
    rehearse_on(&gpu, config.precision, architecture, batch, |network, images| {
        let mut stepper = stepper(config, network, images)?;
        before = gpu.launched().len();
        stepper.step(&vec![0; batch], 0, 0.0)
    })?;
    Ok(gpu.launched().split_off(before))
}

/// Peak memory in bytes of a run as in `config` on a kind of device, without the data sets of `train_images` and `test_images`:
/// steps and evaluations, for full batches and for the last ones of an epoch. Found as in [`training_bytes`].
///
/// # Errors
/// As for [`training_bytes`].
pub fn run_bytes(
    kind: DeviceKind,
    architecture: &Architecture,
    config: &TrainConfig,
    train_images: usize,
    test_images: usize,
) -> Result<u64> {
    if train_images == 0 || test_images == 0 {
        return Err(Error::Setting(format!(
            "{train_images} training and {test_images} test images are too few for a run"
        )));
    }
    let batch = config.training_batch(train_images);
    let evaluation_batch = config.evaluation_batch(architecture.input, train_images).min(test_images);
    if kind == DeviceKind::Cpu {
        // The CPU releases the memory of one batch size before it works on another.
        let (precision, tta) = (config.precision, config.tta);
        let inference = evaluation_bytes(kind, precision, architecture, test_images, evaluation_batch, tta)?;
        return Ok(training_bytes(kind, architecture, config, batch)?.max(inference));
    }
    rehearse(kind, config.precision, architecture, batch.max(evaluation_batch), |network, images| {
        let mut stepper = stepper(config, network, images)?;
        for size in sizes(train_images, batch) {
            stepper.step(&vec![0; size], 0, 0.0)?;
        }
        let mut inference = Inference::new(stepper.result(), images, evaluation_batch, config.tta)?;
        for size in sizes(test_images, evaluation_batch) {
            inference.logits(&vec![0; size])?;
        }
        Ok(())
    })
}

/// Peak device memory in bytes of inference with batches of `batch` images, without the data set; found as in [`training_bytes`].
///
/// # Errors
/// As for [`training_bytes`].
pub fn inference_bytes(
    kind: DeviceKind,
    precision: Precision,
    architecture: &Architecture,
    batch: usize,
) -> Result<u64> {
    rehearse(kind, precision, architecture, batch, |network, images| {
        Inference::new(network, images, batch, TestTimeAugmentation::None)?.logits(&vec![0; batch]).map(|_| ())
    })
}

/// Peak memory in bytes of an evaluation of `images` images in batches of `batch`, without the data set;
/// found as in [`training_bytes`].
///
/// # Errors
/// As for [`training_bytes`].
pub fn evaluation_bytes(
    kind: DeviceKind,
    precision: Precision,
    architecture: &Architecture,
    images: usize,
    batch: usize,
    tta: TestTimeAugmentation,
) -> Result<u64> {
    let batch = batch.min(images);
    rehearse(kind, precision, architecture, batch, |network, on_device| {
        let mut inference = Inference::new(network, on_device, batch, tta)?;
        // The CPU releases the memory of one batch size before it works on another.
        let kept = if kind == DeviceKind::Cpu { 1 } else { 2 };
        sizes(images, batch).take(kept).try_for_each(|size| inference.logits(&vec![0; size]).map(|_| ()))
    })
}

/// The stepper of a rehearsal: the values of class weights and of a teacher's weights do not affect memory.
fn stepper<'a>(config: &TrainConfig, network: &'a Network, images: &'a DeviceDataset) -> Result<Stepper<'a>> {
    let classes = network.architecture().num_classes()?;
    let class_weights = (config.class_weights != ClassWeighting::None).then(|| vec![1.0; classes]);
    let unloaded = |settings: &TeacherSettings| -> Result<Teacher> {
        Ok(settings.teacher(network.sibling(settings.architecture()?)?))
    };
    let teacher = config.teacher.as_ref().map(unloaded).transpose()?;
    config.stepper(network, images, class_weights, teacher)
}

/// The sizes of batches: a full one, and the last one if it is smaller.
fn sizes(images: usize, batch: usize) -> impl Iterator<Item = usize> {
    let last = images.checked_rem(batch).unwrap_or(0);
    [batch, last].into_iter().filter(|&size| size > 0)
}

/// Peak bytes in use on a kind of device while `work` runs on a network and a data set of one image, which is not counted.
fn rehearse(
    kind: DeviceKind,
    precision: Precision,
    architecture: &Architecture,
    batch: usize,
    work: impl FnOnce(&Network, &DeviceDataset) -> Result<()>,
) -> Result<u64> {
    // The CPU saves the same tensors as a GPU, and widens 16-bit floats before computing with them.
    let precision = if kind == DeviceKind::Cpu { Precision::F32 } else { precision };
    rehearse_on(&GpuDevice::rehearsal(kind == DeviceKind::SoftwareGpu)?, precision, architecture, batch, work)
}

/// The same on a rehearsal.
fn rehearse_on(
    gpu: &GpuDevice,
    precision: Precision,
    architecture: &Architecture,
    batch: usize,
    work: impl FnOnce(&Network, &DeviceDataset) -> Result<()>,
) -> Result<u64> {
    let too_large = |e: Error| match e {
        Error::Shape { message, .. } => Error::Setting(format!("batches of {batch} images are too large: {message}")),
        other => other,
    };
    // Fail before the image indices are allocated.
    let elements = architecture.input.bytes().saturating_mul(batch);
    if i32::try_from(elements).is_err() {
        return Err(too_large(Error::shape("batch", format!("{elements} elements are too many"))));
    }
    // Initial parameters are drawn on the host for every device.
    let parameters: u64 = architecture
        .parameter_layouts()?
        .iter()
        .map(|(_, layout)| layout.outer_shape().iter().map(|&side| side as u64).product::<u64>())
        .sum();
    let what =
        format!("drawing the {parameters} parameters of {} for images of {}", architecture.name, architecture.input);
    check_memory(&Device::cpu(), PARAMETER_BYTES.saturating_mul(parameters), what)?;
    let device = Device::Gpu(gpu.clone());
    let input = architecture.input;
    let image = Dataset::new(input, vec![0; input.bytes()], vec![0], vec!["one".into(), "two".into()])?;
    let images = DeviceDataset::new(&device, &image, &architecture.normalization)?;
    let data_set = gpu.memory().in_use_bytes;
    let mut network = Network::new(architecture.clone(), &device, 0)?;
    network.set_precision(precision)?;
    work(&network, &images).map_err(too_large)?;
    Ok(gpu.memory().peak_bytes - data_set)
}

/// Fails if the work needs more memory than is available. The free memory of a real GPU cannot be queried and is not checked.
///
/// # Errors
/// [`Error::HostMemory`], naming `what`.
pub fn check_memory(device: &Device, needed: u64, what: impl Into<String>) -> Result<()> {
    let on_host = match device {
        Device::Cpu(_) => true,
        Device::Gpu(gpu) => gpu.is_software(),
    };
    let available = available_memory_bytes();
    if on_host && needed > available {
        let (needed_mib, available_mib) = (needed >> 20, available >> 20);
        return Err(Error::HostMemory { what: what.into(), needed_mib, available_mib, largest_batch: None });
    }
    Ok(())
}

/// The largest even number of images below `batch` whose work takes no more than `available` bytes, as `bytes` says: by bisection.
///
/// # Errors
/// Those of `bytes`.
pub(crate) fn largest_batch(
    batch: usize,
    available: u64,
    bytes: impl Fn(usize) -> Result<u64>,
) -> Result<Option<usize>> {
    let (mut fits, mut too_many) = (0, batch.div_ceil(2));
    while too_many - fits > 1 {
        let pairs = fits.midpoint(too_many);
        match bytes(2 * pairs)? <= available {
            true => fits = pairs,
            false => too_many = pairs,
        }
    }
    Ok((fits > 0).then_some(2 * fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ImageShape;

    #[test]
    fn only_what_does_not_fit_the_host_is_refused() {
        let cpu = Device::cpu();
        check_memory(&cpu, 1 << 20, "a test").unwrap();
        let message = check_memory(&cpu, u64::MAX, "a test").unwrap_err().to_string();
        assert!(message.starts_with("a test needs") && message.contains("MiB of memory"), "{message}");
    }

    #[test]
    fn the_largest_batch_that_fits_is_found() {
        let lenet5 = Architecture::by_name("lenet5", 10).unwrap();
        let config = TrainConfig { batch_size: 512, ..TrainConfig::published("lenet5").unwrap() };
        let bytes = |images| {
            let config = TrainConfig { batch_size: images, ..config.clone() };
            run_bytes(DeviceKind::Cpu, &lenet5, &config, 1000, 10)
        };
        for images in [2, 34, 500] {
            let available = bytes(images).unwrap();
            assert_eq!(largest_batch(512, available, bytes).unwrap(), Some(images));
            assert!(bytes(images + 2).unwrap() > available);
        }
        assert_eq!(largest_batch(512, 1 << 20, bytes).unwrap(), None);
        assert_eq!(largest_batch(1, 1 << 20, bytes).unwrap(), None);
    }

    #[test]
    fn the_cpu_widens_halves_and_a_gpu_does_not() {
        let lenet5 = Architecture::by_name("lenet5", 10).unwrap();
        let bytes = |kind, precision| inference_bytes(kind, precision, &lenet5, 100).unwrap();
        assert_eq!(bytes(DeviceKind::Cpu, Precision::F16), bytes(DeviceKind::Cpu, Precision::F32));
        assert!(bytes(DeviceKind::Gpu, Precision::F16) < bytes(DeviceKind::Gpu, Precision::F32));
    }

    #[test]
    fn a_run_holds_its_last_batch_too() {
        let lenet5 = Architecture::by_name("lenet5", 10).unwrap();
        let config = TrainConfig { batch_size: 100, ..TrainConfig::published("lenet5").unwrap() };
        let bytes = |kind, images| run_bytes(kind, &lenet5, &config, images, 1).unwrap();
        let (whole, with_last) = (bytes(DeviceKind::Gpu, 200), bytes(DeviceKind::Gpu, 199));
        assert!(with_last as f64 > 1.5 * whole as f64, "{whole}, {with_last}");
        assert_eq!(bytes(DeviceKind::Cpu, 200), bytes(DeviceKind::Cpu, 199));
    }

    #[test]
    fn memory_grows_with_the_image() {
        let lenet5 = |size| {
            let input = ImageShape::new(size, size, 3).unwrap();
            Architecture::by_name("lenet5", 10).unwrap().with_input(input).unwrap()
        };
        let [small, large] =
            [64, 128].map(|size| inference_bytes(DeviceKind::Gpu, Precision::F32, &lenet5(size), 1000).unwrap());
        assert!((3.5..5.0).contains(&(large as f64 / small as f64)), "{small}, {large}");
        let message = inference_bytes(DeviceKind::Gpu, Precision::F32, &lenet5(800), 2000).unwrap_err().to_string();
        assert!(message.contains("are too many"), "{message}");
    }

    #[test]
    fn memory_grows_with_the_batch() {
        let lenet5 = Architecture::by_name("lenet5", 10).unwrap();
        let [one, two] =
            [1000, 2000].map(|batch| inference_bytes(DeviceKind::Gpu, Precision::F32, &lenet5, batch).unwrap());
        assert!((1.8..2.0).contains(&(two as f64 / one as f64)), "{one}, {two}");
        for batch in [500_000, usize::MAX] {
            let message = inference_bytes(DeviceKind::Gpu, Precision::F32, &lenet5, batch).unwrap_err().to_string();
            assert!(message.contains("are too many"), "{message}");
        }
    }
}
