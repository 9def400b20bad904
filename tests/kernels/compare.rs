//! The comparison of a kernel's result with the oracle's.

use cifar_gpu::tensor::DType;
use libtest_mimic::Failed;

use crate::Outcome;

/// A number, and the sum of the magnitudes that it was added up from: what rounding errors are measured against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditioned {
    pub value: f64,
    pub magnitude: f64,
}

impl Conditioned {
    /// A number that was not added up.
    pub fn exact(value: f64) -> Self {
        Conditioned { value, magnitude: value.abs() }
    }

    /// Adds a product.
    pub fn add(&mut self, product: f64) {
        self.value += product;
        self.magnitude += product.abs();
    }

    /// It times `factor`.
    pub fn scaled(self, factor: f64) -> Self {
        Conditioned { value: self.value * factor, magnitude: self.magnitude * factor.abs() }
    }
}

/// Largest error of a 32-bit sum, relative to the sum of its terms' magnitudes.
///
/// Rounding of a running sum of n terms is about √n half-units (6e-8) in the mean; the longest sums in the table have a
/// few thousand terms.
pub const TOLERANCE: f64 = 4e-6;
/// Error that is let pass whatever the magnitude: below this, floats lose digits.
const FLOOR: f64 = 1e-37;

/// The same where Winograd's F(4×4, 3×3) and F(2×2, 5×5) may compute: their transforms multiply by up to 8 and subtract what
/// is nearly equal.
pub const WINOGRAD_4_TOLERANCE: f64 = 1.6e-5;

/// The same for cooperative matrices, whose sums GPUs may truncate instead of rounding.
pub const COOPERATIVE_TOLERANCE: f64 = 2e-5;

/// Compares all elements, within [`TOLERANCE`].
pub fn compare(what: &str, actual: &[f32], expected: &[Conditioned]) -> Outcome {
    compare_within(Exactness::of(DType::F32), what, actual, expected)
}

/// How numbers are kept, and how far sums may be off before they are.
#[derive(Debug, Clone, Copy)]
pub struct Exactness {
    pub dtype: DType,
    pub tolerance: f64,
}

impl Exactness {
    /// [`TOLERANCE`], and the rounding to this type.
    pub fn of(dtype: DType) -> Self {
        Exactness { dtype, tolerance: TOLERANCE }
    }

    /// The error that is let pass.
    fn allows(self, expected: &Conditioned) -> f64 {
        let sum = self.tolerance * expected.magnitude + FLOOR;
        match self.dtype {
            // Half a unit in the last of eleven digits, and below the smallest normal number half of the last one.
            DType::F16 => sum + (expected.value.abs() + sum) / 2048.0 + 2_f64.powi(-25),
            _ => sum,
        }
    }
}

/// Compares all elements.
pub fn compare_within(exactness: Exactness, what: &str, actual: &[f32], expected: &[Conditioned]) -> Outcome {
    if actual.len() != expected.len() {
        return Err(Failed::from(format!("{what}: {} elements, expected {}", actual.len(), expected.len())));
    }
    for (i, (&actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(actual) - expected.value).abs();
        if error.is_nan() || error > exactness.allows(expected) {
            let Conditioned { value, magnitude } = expected;
            return Err(Failed::from(format!(
                "{what}: element {i} is {actual}, expected {value} (error {error:e} of magnitude {magnitude})"
            )));
        }
    }
    Ok(())
}

/// Compares elements that must be equal.
pub fn compare_exact<T: PartialEq + std::fmt::Debug>(what: &str, actual: &[T], expected: &[T]) -> Outcome {
    if actual.len() != expected.len() {
        return Err(Failed::from(format!("{what}: {} elements, expected {}", actual.len(), expected.len())));
    }
    match actual.iter().zip(expected).position(|(a, e)| a != e) {
        Some(i) => Err(Failed::from(format!("{what}: element {i} is {:?}, expected {:?}", actual[i], expected[i]))),
        None => Ok(()),
    }
}

pub fn finds_a_wrong_element() -> Outcome {
    let expected: Vec<_> = (0..100).map(|i| Conditioned::exact(f64::from(i) - 50.0)).collect();
    let mut actual: Vec<f32> = expected.iter().map(|e| e.value as f32).collect();
    compare("unchanged", &actual, &expected)?;
    actual[77] *= 1.0 + 1e-5;
    if compare("changed", &actual, &expected).is_ok() {
        return Err("a relative change of 1e-5 went unnoticed".into());
    }
    Ok(())
}

pub fn finds_an_unwritten_element() -> Outcome {
    let expected = [Conditioned::exact(1.0), Conditioned::exact(2.0)];
    if compare("poisoned", &[1.0, f32::from_bits(0x7fc0_dead)], &expected).is_ok() {
        return Err("a NaN went unnoticed".into());
    }
    if compare("short", &[1.0], &expected).is_ok() {
        return Err("a missing element went unnoticed".into());
    }
    Ok(())
}
