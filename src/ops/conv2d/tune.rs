//! Finds the fastest plan for a convolution's product: compares each candidate's result with the CPU's, then times it.

use std::time::Duration;

use crate::clock::Instant;

pub(crate) use super::operands::Operands;
use super::{Algorithm, Conv2dGeometry, DeviceKind, Direction, Plan, Tiling};
use crate::error::{Error, Result};
use crate::gpu::GpuError;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::{GpuDevice, Launched, RehearsedAdapter, block_on};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Maximum error of a usable result, relative to its largest magnitude.
///
/// Sums of a thousand products round to about 1e-6 of it, and Winograd's F(4×4, 3×3) to about 1e-5: with it, networks still
/// follow PyTorch's gradients to 1e-4.
pub const TOLERANCE: f32 = 2e-5;
/// The same for 16-bit results, whose relative rounding error is 5e-4.
pub const TOLERANCE_F16: f32 = 1e-3;

/// The outcome of a plan's trial.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The result is correct and takes this long.
    Timed(Duration),
    /// The result has this error relative to the largest magnitude: the plan must not be used.
    Wrong(f32),
    /// The device could not run it.
    Failed(String),
    /// The time was up before its trial.
    Untried,
}

/// Computes a product by a plan; tests replace it with faulty ones.
pub(crate) type RunPlan<'a> = &'a dyn Fn(&Operands, Direction, Plan) -> Result<Vec<Tensor>>;

/// Computes a product by a plan.
pub(crate) fn run_plan(operands: &Operands, direction: Direction, plan: Plan) -> Result<Vec<Tensor>> {
    operands.product(direction, plan)
}

/// The kernel calls of a product by a plan, on an adapter with these abilities; nothing is computed.
///
/// # Errors
/// If the plan does not suit the convolution or the adapter.
#[cfg(not(target_family = "wasm"))]
pub fn launches(
    adapter: RehearsedAdapter,
    dtype: DType,
    direction: Direction,
    g: &Conv2dGeometry,
    plan: Plan,
) -> Result<Vec<Launched>> {
    let gpu = GpuDevice::rehearsal_of(adapter)?;
    let operands = Operands::random(&Device::Gpu(gpu.clone()), dtype, g, true)?;
    let before = gpu.launched().len();
    operands.product(direction, plan)?;
    Ok(gpu.launched().split_off(before))
}

/// Tries plans for one product of a convolution, until `deadline`.
///
/// Software renderers and the CPU are timed with fewer images than `g` has, and their times scaled.
///
/// # Errors
/// If the CPU cannot compute the product, for lack of memory, or the device is lost or does not respond.
#[cfg(not(target_family = "wasm"))]
pub fn tune(
    device: &Device,
    dtype: DType,
    direction: Direction,
    g: &Conv2dGeometry,
    plans: &[Plan],
    deadline: Instant,
) -> Result<Vec<(Plan, Verdict)>> {
    block_on(tune_by(&run_plan, device, dtype, direction, g, plans, deadline))
}

/// Tries plans for one product, as `tune` does, with products that `run` computes.
pub(crate) async fn tune_by(
    run: RunPlan<'_>,
    device: &Device,
    dtype: DType,
    direction: Direction,
    g: &Conv2dGeometry,
    plans: &[Plan],
    deadline: Instant,
) -> Result<Vec<(Plan, Verdict)>> {
    if Instant::now() > deadline {
        return Ok(plans.iter().map(|&plan| (plan, Verdict::Untried)).collect());
    }
    let images = |pixels: usize| (pixels / (g.out_h * g.out_w).max(g.in_h * g.in_w)).clamp(1, g.batch);
    let checked = Conv2dGeometry { batch: images(2_048), ..*g };
    let timed = match DeviceKind::of(device) {
        DeviceKind::Gpu => *g,
        DeviceKind::Cpu => Conv2dGeometry { batch: images(16_384), ..*g },
        DeviceKind::SoftwareGpu => Conv2dGeometry { batch: images(4_096), ..*g },
    };
    let reference = Plan { algorithm: Algorithm::ImplicitGemm, tiling: Tiling::Direct { rows: 8, columns: 8 } };
    let expected = Operands::random(&Device::cpu(), dtype, &checked, true)?.product(direction, reference)?;
    let scale = g.batch as f64 / timed.batch as f64;
    let checked = Operands::random(device, dtype, &checked, true)?;
    let timed = Operands::random(device, dtype, &timed, true)?;
    let tolerance = if dtype == DType::F16 { TOLERANCE_F16 } else { TOLERANCE };
    let attempt = async |plan| -> Result<Verdict> {
        let wrong = largest_error(&run(&checked, direction, plan)?, &expected).await?;
        if wrong.is_nan() || wrong > tolerance {
            return Ok(Verdict::Wrong(wrong));
        }
        Ok(Verdict::Timed(time(device, || run(&timed, direction, plan)).await?.mul_f64(scale)))
    };
    let mut trials = Vec::with_capacity(plans.len());
    for &plan in plans {
        if Instant::now() > deadline {
            trials.push((plan, Verdict::Untried));
            continue;
        }
        let verdict = match attempt(plan).await {
            Ok(verdict) => verdict,
            // No further trial is possible then.
            Err(Error::Gpu(e @ (GpuError::DeviceLost(_) | GpuError::Timeout { .. }))) => return Err(e.into()),
            Err(e) => {
                if let Device::Gpu(gpu) = device {
                    gpu.forgive_kernel();
                }
                Verdict::Failed(e.to_string())
            }
        };
        trials.push((plan, verdict));
    }
    Ok(trials)
}

/// Largest difference, relative to the largest expected magnitude.
async fn largest_error(actual: &[Tensor], expected: &[Tensor]) -> Result<f32> {
    let mut worst = 0.0_f32;
    for (actual, expected) in actual.iter().zip(expected) {
        let (actual, expected) = (actual.to_vec_async().await?, expected.to_vec_async().await?);
        let magnitude = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (a, e) in actual.iter().zip(&expected) {
            let error = (a - e).abs() / magnitude;
            // `max` would ignore a NaN.
            if error.is_nan() {
                return Ok(error);
            }
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

/// Time of a call: the best of three runs of several calls, each of at least a few milliseconds.
async fn time(device: &Device, call: impl Fn() -> Result<Vec<Tensor>>) -> Result<Duration> {
    const RUNS: usize = 3;
    const LEAST: Duration = Duration::from_millis(2);
    // As in training: captured, so that looking up pipelines and making bind groups is not timed with the device's part.
    let captured = match device {
        Device::Gpu(gpu) => Some((gpu, gpu.capture(&call)?)),
        Device::Cpu(_) => None,
    };
    let run = async |calls: u32| -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..calls {
            match &captured {
                Some((gpu, (program, _))) => gpu.run(program)?,
                None => drop(call()?),
            }
        }
        device.synchronize_async().await?;
        Ok(start.elapsed())
    };
    let first = run(1).await?;
    let calls = (LEAST.as_nanos() / first.as_nanos().max(1) + 1).min(100) as u32;
    // Long calls are timed at most once more.
    let runs = if first > 10 * LEAST { 1 } else { RUNS };
    let mut best = if calls == 1 { first } else { Duration::MAX };
    for _ in 0..runs {
        best = best.min(run(calls).await? / calls);
    }
    Ok(best)
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_also_where_they_are_no_numbers() {
        let device = Device::cpu();
        let tensor = |values: &[f32]| vec![device.tensor(&[values.len()], values).unwrap()];
        let error = |values: &[f32]| block_on(largest_error(&tensor(values), &tensor(&[1.0, -4.0, 2.0]))).unwrap();
        assert_eq!(error(&[1.0, -4.0, 2.0]), 0.0);
        assert_eq!(error(&[1.0, -4.0, 4.0]), 0.5);
        assert!(error(&[f32::NAN, -4.0, 2.0]).is_nan());
    }

    /// The results of one plan are off by a thousandth of their largest magnitude, those of another are NaN.
    #[test]
    fn a_plan_that_computes_wrong_is_named_with_its_error() {
        let g = Conv2dGeometry::new(&[2, 8, 8, 8], &[3, 3, 8, 12], 1, crate::ops::Padding::Same).unwrap();
        let [right, wrong, broken] =
            ["direct-8x8", "direct-4x16", "direct-4x8"].map(|name| name.parse::<Plan>().unwrap());
        let run = |operands: &Operands, direction: Direction, plan: Plan| {
            let results = run_plan(operands, direction, plan)?;
            // The last result: of the gradients the bias's.
            let last = results.last().unwrap();
            let mut values = last.to_vec()?;
            let magnitude = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            if plan != right {
                values[3] = if plan == wrong { values[3] + 1e-3 * magnitude } else { f32::NAN };
                last.write(&values)?;
            }
            Ok(results)
        };
        for direction in Direction::ALL {
            let deadline = Instant::now() + Duration::from_secs(60);
            let plans = [right, wrong, broken];
            let verdicts =
                block_on(tune_by(&run, &Device::cpu(), DType::F32, direction, &g, &plans, deadline)).unwrap();
            assert!(
                matches!(
                    verdicts[..],
                    [(a, Verdict::Timed(_)), (b, Verdict::Wrong(error)), (c, Verdict::Wrong(nan))]
                        if [a, b, c] == [right, wrong, broken] && (0.9e-3..1.1e-3).contains(&error) && nan.is_nan()
                ),
                "{direction:?}: {verdicts:?}"
            );
        }
    }

    #[test]
    fn what_the_device_cannot_compute_fails_and_late_plans_are_not_tried() {
        let g = Conv2dGeometry::new(&[1, 4, 4, 2], &[4, 4, 2, 3], 1, crate::ops::Padding::Same).unwrap();
        let plans: Vec<Plan> = ["winograd-2 direct-8x8", "direct-8x8"].iter().map(|p| p.parse().unwrap()).collect();
        let tune = |deadline| tune(&Device::cpu(), DType::F32, Direction::Forward, &g, &plans, deadline).unwrap();
        let verdicts = tune(Instant::now() + Duration::from_secs(60));
        assert!(matches!(&verdicts[0].1, Verdict::Failed(reason) if reason.contains("Winograd")), "{verdicts:?}");
        assert!(matches!(verdicts[1].1, Verdict::Timed(_)), "{verdicts:?}");
        let past = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(tune(past).iter().all(|(_, verdict)| *verdict == Verdict::Untried));
    }
}
