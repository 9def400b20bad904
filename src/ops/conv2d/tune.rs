//! Finding out which plan computes a convolution's product fastest: each is held against the CPU first, then timed.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Algorithm, Conv2dGeometry, DeviceKind, Direction, Epilogue, Plan, Tiling};
use crate::error::{Error, Result};
use crate::gpu::GpuError;
use crate::ops::Gate;
use crate::ops::random::RandomStream;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Largest error of a result that may be used, relative to the largest magnitude in it.
///
/// Sums of a thousand products round to about 1e-6 of it, and Winograd's F(4×4, 3×3) to about 1e-5: with it, networks still
/// follow PyTorch's gradients to 1e-4.
pub const TOLERANCE: f32 = 2e-5;
/// The same for results of 16 bits, which round to 5e-4 of themselves.
pub const TOLERANCE_F16: f32 = 1e-3;

/// Random numbers that an operand holds at most, over and over.
const MOST_DRAWN: usize = 1 << 20;

/// What came of trying a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is right, and takes this long.
    Timed(Duration),
    /// Its result is wrong by this much of the largest magnitude: it must not be used.
    Wrong(f32),
    /// The device could not run it.
    Failed(String),
    /// There was no time left to try it.
    Untried,
}

/// Tries plans for one product of a convolution, until `deadline`.
///
/// A software adapter and the CPU are timed with fewer images than `g` has, and their times scaled.
///
/// # Errors
/// If the CPU cannot compute the product, for want of memory, or the device is lost or does not answer.
pub fn tune(
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
    let expected = Problem::new(&Device::cpu(), dtype, direction, &checked)?.run(reference)?;
    let (checked, timed) =
        (Problem::new(device, dtype, direction, &checked)?, Problem::new(device, dtype, direction, &timed)?);
    let tolerance = if dtype == DType::F16 { TOLERANCE_F16 } else { TOLERANCE };
    let scale = g.batch as f64 / timed.g.batch as f64;
    let attempt = |plan| -> Result<Verdict> {
        let wrong = largest_error(&checked.run(plan)?, &expected)?;
        if wrong.is_nan() || wrong > tolerance {
            return Ok(Verdict::Wrong(wrong));
        }
        Ok(Verdict::Timed(timed.time(device, plan)?.mul_f64(scale)))
    };
    plans
        .iter()
        .map(|&plan| {
            if Instant::now() > deadline {
                return Ok((plan, Verdict::Untried));
            }
            match attempt(plan) {
                Ok(verdict) => Ok((plan, verdict)),
                // Nothing else can be tried then.
                Err(Error::Gpu(e @ (GpuError::DeviceLost(_) | GpuError::Timeout { .. }))) => Err(e.into()),
                Err(e) => Ok((plan, Verdict::Failed(e.to_string()))),
            }
        })
        .collect()
}

/// Largest difference, relative to the largest expected magnitude.
fn largest_error(actual: &[Tensor], expected: &[Tensor]) -> Result<f32> {
    let mut worst = 0.0_f32;
    for (actual, expected) in actual.iter().zip(expected) {
        let (actual, expected) = (actual.to_vec()?, expected.to_vec()?);
        let magnitude = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (a, e) in actual.iter().zip(&expected) {
            let error = (a - e).abs() / magnitude;
            // `max` would pass over a NaN.
            if error.is_nan() {
                return Ok(error);
            }
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

/// One product of a convolution, with random operands.
struct Problem {
    g: Conv2dGeometry,
    direction: Direction,
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    d_output: Tensor,
}

impl Problem {
    fn new(device: &Device, dtype: DType, direction: Direction, g: &Conv2dGeometry) -> Result<Self> {
        let random = |shape: &[usize], stream, dtype| {
            let mut random = RandomStream::new(0x7_0e5, stream);
            // Drawing as many as a whole batch has would take as long as trying.
            let count = shape.iter().product::<usize>();
            let drawn: Vec<f32> = (0..count.min(MOST_DRAWN)).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
            let values: Vec<f32> = drawn.iter().copied().cycle().take(count).collect();
            let tensor = device.allocate(shape, dtype)?;
            tensor.write(&values)?;
            Ok::<_, Error>(tensor)
        };
        Ok(Problem {
            g: *g,
            direction,
            input: random(&g.input_shape(), 0, dtype)?,
            weight: random(&g.weight_shape(), 1, dtype)?,
            bias: random(&[g.out_c], 2, DType::F32)?,
            d_output: random(&g.output_shape(), 3, dtype)?,
        })
    }

    fn run(&self, plan: Plan) -> Result<Vec<Tensor>> {
        let g = &self.g;
        Ok(match self.direction {
            Direction::Forward => {
                vec![super::forward_by(plan, g, Epilogue::RELU, &self.input, &self.weight, Some(&self.bias))?]
            }
            Direction::BackwardInput => {
                let gate = Gate { output: &self.input, factor: 1.0 };
                vec![super::backward_input_by(plan, g, &self.d_output, &self.weight, Some(gate))?]
            }
            Direction::BackwardWeight => {
                let device = self.input.device();
                let (d_weight, d_bias) = (device.empty(&g.weight_shape())?, device.empty(&[g.out_c])?);
                super::backward_weight_by(plan, g, &self.input, &self.d_output, &d_weight, &d_bias)?;
                vec![d_weight, d_bias]
            }
        })
    }

    /// Time of a call: the best of three runs of several calls, each of at least a few milliseconds.
    fn time(&self, device: &Device, plan: Plan) -> Result<Duration> {
        const RUNS: usize = 3;
        const LEAST: Duration = Duration::from_millis(2);
        // As in training: captured, so that looking up pipelines and making bind groups is not timed with the device's part.
        let captured = match device {
            Device::Gpu(gpu) => Some((gpu, gpu.capture(|| self.run(plan))?)),
            Device::Cpu(_) => None,
        };
        let run = |calls: u32| -> Result<Duration> {
            let start = Instant::now();
            for _ in 0..calls {
                match &captured {
                    Some((gpu, (program, _))) => gpu.run(program)?,
                    None => drop(self.run(plan)?),
                }
            }
            device.synchronize()?;
            Ok(start.elapsed())
        };
        let first = run(1)?;
        let calls = (LEAST.as_nanos() / first.as_nanos().max(1) + 1).min(100) as u32;
        // What takes long is timed once more at most.
        let runs = if first > 10 * LEAST { 1 } else { RUNS };
        let mut best = if calls == 1 { first } else { Duration::MAX };
        for _ in 0..runs {
            best = best.min(run(calls)? / calls);
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_also_where_they_are_no_numbers() {
        let device = Device::cpu();
        let tensor = |values: &[f32]| vec![device.tensor(&[values.len()], values).unwrap()];
        let error = |values: &[f32]| largest_error(&tensor(values), &tensor(&[1.0, -4.0, 2.0])).unwrap();
        assert_eq!(error(&[1.0, -4.0, 2.0]), 0.0);
        assert_eq!(error(&[1.0, -4.0, 4.0]), 0.5);
        assert!(error(&[f32::NAN, -4.0, 2.0]).is_nan());
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
