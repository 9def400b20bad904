//! Device checks: compares every kernel with its CPU twin, and looks for known driver bugs.
//!
//! The checks test whether *this* adapter and driver compute correctly, on small odd shapes; the test suite is more thorough.

use rand::RngExt;

use crate::error::Result;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::nn::{Architecture, Network};
use crate::ops::case::Case;
use crate::ops::count_iterations::count_iterations;
use crate::ops::random::RandomStream;
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::ops::{self, StepState};
use crate::tape::Tape;
use crate::tensor::{DType, Device};

/// Maximum difference that passes, relative to the largest expected magnitude.
const TOLERANCE: f64 = 2e-5;
/// The same for 16-bit floats and for Winograd's larger tiles.
const ROUGH_TOLERANCE: f64 = 2e-3;
/// Networks whose losses and gradients are checked.
const NETWORKS: [&str; 3] = ["lenet5", "ygnet-bn", "resnet20"];
/// A few iterations more than the limit at which some drivers end an invocation's loops.
const MANY_ITERATIONS: u32 = 70_000;

/// Result of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    /// Name of the kernels or of the driver bug.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
}

impl CheckResult {
    /// It as a line of a report on this device.
    pub fn report(&self, device: String) -> CheckReport {
        let (verdict, detail) = match &self.verdict {
            Verdict::Pass(0.0) => ("PASS", String::new()),
            Verdict::Pass(difference) => ("PASS", format!("differs by {difference:.1e}")),
            Verdict::Fail(difference) => ("FAIL", format!("differs by {difference:.1e}")),
            Verdict::Refused(reason) => ("FAIL", reason.clone()),
            Verdict::Fault(what) => ("FAULT", what.clone()),
            Verdict::Absent(what) => ("ABSENT", what.clone()),
        };
        CheckReport { device, check: self.name.clone(), verdict, detail }
    }
}

/// A line of a report, as text and as JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// The device.
    pub device: String,
    /// Name of the kernels or of the driver bug.
    pub check: String,
    /// PASS, FAIL, FAULT (a bug that the kernels work around) or ABSENT (an optional feature).
    pub verdict: &'static str,
    /// What is behind it.
    pub detail: String,
}

impl std::fmt::Display for CheckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<7} {:<34} {}", self.verdict, self.check, self.detail)
    }
}

/// Verdict of a check.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Both devices agree; the largest relative difference.
    Pass(f64),
    /// They disagree; the largest relative difference.
    Fail(f64),
    /// The driver refused; its reason.
    Refused(String),
    /// A known bug that the kernels work around.
    Fault(String),
    /// An optional feature that the adapter lacks.
    Absent(String),
}

impl Verdict {
    /// Whether the device can still be trusted.
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Pass(_) | Verdict::Fault(_) | Verdict::Absent(_))
    }
}

/// Checks a device; `hear` is called with each result.
///
/// # Errors
/// If the CPU itself fails, or the device is lost.
#[cfg(not(target_family = "wasm"))]
pub fn check(device: &Device, hear: &mut dyn FnMut(&CheckResult)) -> Result<()> {
    block_on(check_async(device, async |result| hear(result)))
}

/// [`check`] where the thread must not block. What `hear` does is waited for.
///
/// # Errors
/// As for [`check`].
pub async fn check_async(device: &Device, mut hear: impl AsyncFnMut(&CheckResult)) -> Result<()> {
    let cpu = Device::cpu();
    for case in ops::cases().iter().filter(|case| case.is_check_of(device)) {
        let tolerance = if case.is_rough || case.dtype == DType::F16 { ROUGH_TOLERANCE } else { TOLERANCE };
        let values = async |device: &Device| {
            let results = case.results_async(device).await?;
            Ok(results.into_iter().map(|(_, values)| values).collect())
        };
        let verdict = compare(tolerance, values(&cpu).await?, values(device).await);
        hear(&CheckResult { name: words(case), verdict }).await;
    }
    for name in NETWORKS {
        let verdict = compare(ROUGH_TOLERANCE, network(&cpu, name).await?, network(device, name).await);
        hear(&CheckResult { name: format!("{name}: loss and gradients"), verdict }).await;
    }
    let verdict = long_loops(device).await?;
    hear(&CheckResult { name: format!("loops of {MANY_ITERATIONS} iterations"), verdict }).await;
    if let Device::Gpu(gpu) = device {
        for (name, has, need) in [
            ("16-bit floats", gpu.has_f16(), "16-bit activations"),
            ("subgroups of one size", gpu.subgroup().is_some(), "broadcast tiles, for software drivers"),
            ("cooperative matrices", gpu.cooperative_matrix().is_some(), "tensor cores with 16-bit activations"),
            ("timestamps", gpu.has_timestamps(), "times of single kernels"),
        ] {
            let verdict = if has { Verdict::Pass(0.0) } else { Verdict::Absent(format!("no {need}")) };
            hear(&CheckResult { name: name.into(), verdict }).await;
        }
    }
    Ok(())
}

/// Whether loops run to their end.
async fn long_loops(device: &Device) -> Result<Verdict> {
    let counted = async |device: &Device| count_iterations(device, MANY_ITERATIONS)?.to_vec_u32_async().await;
    let (actual, expected) = (counted(device).await?, counted(&Device::cpu()).await?);
    Ok(if actual == expected {
        Verdict::Pass(0.0)
    } else {
        Verdict::Fault(format!("this driver ends them after {}; all kernels stay far below", actual[0]))
    })
}

/// A case's display name: the operation and its variant.
fn words(case: &Case) -> String {
    match case.name.split_once('/') {
        Some((operation, what)) => format!("{operation}, {}", what.replace('_', " ")),
        None => case.name.clone(),
    }
}

/// Compares a device's results with the CPU's.
fn compare(tolerance: f64, expected: Vec<Vec<f64>>, actual: Result<Vec<Vec<f64>>>) -> Verdict {
    match actual {
        Ok(actual) => match largest_difference(&actual, &expected) {
            difference if difference <= tolerance => Verdict::Pass(difference),
            difference => Verdict::Fail(difference),
        },
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

/// The largest relative difference over all tensors, each by its own magnitude; infinite if their number or lengths differ.
fn largest_difference(actual: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    if actual.iter().map(Vec::len).ne(expected.iter().map(Vec::len)) {
        return f64::INFINITY;
    }
    actual.iter().zip(expected).map(|(actual, expected)| difference(actual, expected)).fold(0.0, f64::max)
}

/// Largest difference over the largest finite magnitude; infinite if there is a NaN, or an infinity on one side only.
fn difference(actual: &[f64], expected: &[f64]) -> f64 {
    let finite = expected.iter().filter(|v| v.is_finite());
    let magnitude = finite.fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let mut largest = 0.0_f64;
    for (a, e) in actual.iter().zip(expected) {
        let difference = if a == e { 0.0 } else { (a - e).abs() };
        if !difference.is_finite() {
            return f64::INFINITY;
        }
        largest = largest.max(difference);
    }
    largest / magnitude
}

/// The loss of a network, and the gradient of its last layer: gradients of earlier layers depend on near-ties of max-pooling.
async fn network(device: &Device, name: &str) -> Result<Vec<Vec<f64>>> {
    let network = Network::new(Architecture::by_name(name, 10)?, device, 5)?;
    let shape = network.architecture().input.batch(4);
    let mut random = RandomStream::new(0xc4ec, 1);
    let pixels: Vec<f32> = (0..shape.iter().product()).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
    let tape = Tape::recording(Some(StepState::new(7, 8, 0.0).tensor(device)?));
    let logits = network.forward(&tape, &tape.constant(&device.tensor(&shape, &pixels)?))?;
    let loss = logits.apply(SoftmaxCrossEntropy::new(&device.tensor_u32(&[4], &[1, 9, 3, 0])?)?)?;
    let gradients = loss.backward()?;
    let last = network.parameters().last().map(|p| gradients.parameter(&p.name)).transpose()?;
    let mut values = Vec::new();
    for tensor in std::iter::once(loss.tensor()).chain(last) {
        values.push(tensor.to_vec_async().await?.into_iter().map(f64::from).collect());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gpu::{GpuDevice, RehearsedAdapter, shaders};

    #[test]
    fn every_kernel_is_checked_on_every_kind_of_adapter() {
        for software in [false, true] {
            let adapter = RehearsedAdapter { software, subgroup: software.then_some(8), ..Default::default() };
            let gpu = GpuDevice::rehearsal_of(adapter).unwrap();
            let device = Device::Gpu(gpu.clone());
            ops::cases().iter().filter(|case| case.is_check_of(&device)).for_each(|case| case.run(&device).unwrap());
            let launched: BTreeSet<_> = gpu.launched_variants().iter().map(|variant| variant.name).collect();
            assert_eq!(launched, shaders::kernel_names().into_iter().collect(), "software: {software}");
        }
    }

    #[test]
    fn names_are_for_people() {
        let names: Vec<_> = ops::cases().iter().filter(|case| case.is_check_of(&Device::cpu())).map(words).collect();
        assert!(names.contains(&"conv2d, stride 2".to_owned()), "{names:?}");
        assert!(names.contains(&"relu, 1009 f16".to_owned()), "{names:?}");
    }

    /// Once, errors in a tensor with small values passed next to another with large values.
    #[test]
    fn each_tensor_counts_by_its_own_magnitude() {
        let expected = vec![vec![1024.0], vec![5e-5, 0.0]];
        assert_eq!(largest_difference(&expected, &expected), 0.0);
        for wrong in [vec![vec![1024.0], vec![0.0, 0.0]], vec![vec![1024.0], vec![5e-5]], vec![vec![1024.0]]] {
            assert!(largest_difference(&wrong, &expected) >= 1.0, "{wrong:?}");
        }
        assert_eq!(largest_difference(&[vec![f64::NAN]], &[vec![1.0]]), f64::INFINITY);
        // Numbers of 16 bits may overflow, alike on both devices.
        let overflown = [vec![f64::INFINITY, 1.0]];
        assert_eq!(largest_difference(&overflown, &overflown), 0.0);
        for wrong in [[vec![1.0, 1.0]], [vec![f64::INFINITY, 3.0]]] {
            assert!(largest_difference(&wrong, &overflown) >= 1.0, "{wrong:?}");
        }
    }
}
