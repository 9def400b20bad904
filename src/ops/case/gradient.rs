//! The backward half of an operation against finite differences of its forward half.

use std::cell::Cell;

use super::fault;
use super::trial::{Mode, Outcome, Trial};
use crate::error::Result;
use crate::ops::{Context, Cotangents, Op, StepState, Upstream, Wanted};
use crate::tensor::Tensor;

/// Step of the central difference; piecewise linear operations have no other error than rounding within it.
const EPSILON: f32 = 1e-3;
/// Largest difference between a gradient and its difference quotient, relative to the gradient's norm.
const GRADIENT_TOLERANCE: f64 = 2e-3;

/// The output of an operation, and its backward half.
type Recorded<'a> = (Tensor, Box<dyn FnOnce(Upstream<'_>) -> Result<Cotangents> + 'a>);

impl Trial<'_> {
    /// Holds the backward half of an operation against finite differences of its forward half, for inputs of these shapes.
    ///
    /// The cotangent is random: a backward half that ignores it would not show under a uniform one. Elements of the inputs are
    /// at least 0.01 apart from each other and 0.005 from zero, so that no kink of a ReLU or maximum lies within the step.
    ///
    /// # Errors
    /// [`Error::Case`](crate::Error::Case) if they disagree, or a cotangent is missing; if the device fails.
    pub fn gradient<O: Op>(&mut self, op: &O, shapes: &[Vec<usize>]) -> Result<()> {
        self.gradient_of(op.name(), shapes, &|inputs, context| {
            let output = op.forward(inputs, context)?;
            Ok((output.tensor, Box::new(|upstream| op.backward(output.saved, upstream))))
        })
    }

    fn gradient_of<'a>(
        &mut self,
        what: &str,
        shapes: &[Vec<usize>],
        record: &dyn Fn(&[&Tensor], &Context<'_>) -> Result<Recorded<'a>>,
    ) -> Result<()> {
        let start: Vec<Vec<f32>> = shapes.iter().map(|shape| apart(shape.iter().product())).collect();
        let state = StepState::new(3, 5, 0.0).tensor(self.device)?;
        let wanted = vec![true; shapes.len()];
        let evaluate = |inputs: &[Vec<f32>]| {
            let tensors = inputs.iter().zip(shapes).map(|(values, shape)| self.device.tensor(shape, values));
            let tensors: Vec<Tensor> = tensors.collect::<Result<_>>()?;
            let streams = Cell::new(0);
            let context = Context {
                is_recording: true,
                wanted: &wanted,
                input_gate: None,
                step_state: Some(&state),
                streams: &streams,
            };
            record(&tensors.iter().collect::<Vec<_>>(), &context)
        };
        let (output, backward) = evaluate(&start)?;
        let weights = self.numbers(output.len(), 12);
        let cotangent = self.device.tensor(output.shape(), &weights)?;
        let values = vec![Wanted::Value; shapes.len()];
        let upstream = Upstream { cotangent: &cotangent, wanted: &values, is_gated: false, input_gate: None };
        let cotangents = backward(upstream)?.inputs;
        for (at, shape) in shapes.iter().enumerate() {
            let gradient = cotangents.get(at).cloned().flatten();
            let gradient = gradient.ok_or_else(|| fault(what, format!("input {at} has no cotangent")))?;
            if gradient.shape() != shape.as_slice() {
                let message = format!("input {at} has shape {shape:?}, its cotangent {:?}", gradient.shape());
                return Err(fault(what, message));
            }
            if self.mode == Mode::Run {
                continue;
            }
            let direction = self.numbers(gradient.len(), 13 + at as u32);
            let shifted = |sign: f32| {
                let mut moved = start.clone();
                moved[at].iter_mut().zip(&direction).for_each(|(x, d)| *x += sign * EPSILON * d);
                evaluate(&moved)
            };
            let [ahead, behind] = [shifted(1.0)?, shifted(-1.0)?].map(|(output, _)| output);
            let rise = dot(&self.read(&ahead)?, &weights) - dot(&self.read(&behind)?, &weights);
            let quotient = rise / (2.0 * f64::from(EPSILON));
            let gradient = self.read(&gradient)?;
            let along = dot(&gradient, &direction);
            let scale = dot(&gradient, &gradient).sqrt().max(quotient.abs());
            self.results.push((format!("{what}, input {at}"), Outcome::Numbers(vec![along])));
            if (along - quotient).abs() > GRADIENT_TOLERANCE * scale || scale.is_nan() {
                return Err(fault(what, format!("input {at}: gradient {along}, difference quotient {quotient}")));
            }
        }
        Ok(())
    }
}

/// So many numbers in a scattered order, evenly spaced around zero without it.
fn apart(count: usize) -> Vec<f32> {
    let step = (2.9 / count as f32).max(0.01);
    // A stride without a common divisor visits every place once.
    let stride = (count * 3 / 10..).find(|stride| gcd(*stride, count) == 1).unwrap_or(1);
    (0..count).map(|i| ((i * stride % count) as f32 - 0.5 * (count as f32 - 1.0) + 0.25) * step).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_apart() {
        for count in [1, 2, 10, 288, 1000] {
            let mut values = apart(count);
            values.sort_unstable_by(f32::total_cmp);
            assert!(values.windows(2).all(|pair| pair[1] - pair[0] > 0.9e-2 || count > 288), "{count}");
            assert!(values.iter().all(|value| value.abs() > 2e-3), "{count}");
        }
    }
}
