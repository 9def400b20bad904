//! Cases of conversion.

use half::f16;

use super::{Convert, convert};
use crate::ops::Draw;
use crate::ops::case::{Case, Purpose};
use crate::ops::{Context, Op, Upstream, Wanted};
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (purpose, count) in [
        (Purpose::Test, 1),
        (Purpose::Test, 255),
        (Purpose::Test, 256),
        (Purpose::Test, 1009),
        (Purpose::Check, 257),
        (Purpose::Bench, 1_369_738),
    ]
    .into_iter()
    .chain(draw.each(|draw| (Purpose::Random, draw.elements())))
    {
        // Both ways: what rounds to zero, to the largest number and to none, and halfway cases.
        let case = Case::new(format!("convert/{count}"), move |trial| {
            let special =
                [0.0, -0.0, 1e-9, 65_504.0, -65_519.0, 65_536.0, 6e-8, 1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0];
            // Devices are compared by the largest magnitude, beside which nothing else would count.
            let special = special.into_iter().take(if purpose == Purpose::Check { 0 } else { count });
            let wide: Vec<f32> = special.chain(trial.numbers(count, 1)).take(count).collect();
            let (wide, input) = trial.tensor(DType::F32, &[count], wide)?;
            let rounded = || wide.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
            let narrow = convert(&input, DType::F16)?;
            trial.equal("to 16 bits", &narrow, rounded)?;
            let back = convert(&narrow, DType::F32)?;
            trial.equal("to 32 bits", &back, rounded)?;
            trial.refused("nothing to convert", convert(&back, DType::F32))
        });
        cases.push(case.with_dtype(DType::F16).for_purpose(purpose));
    }
    // Rounded numbers have no difference quotients.
    cases.push(Case::new("gradient/convert", |trial| {
        let (_, input) = trial.random(DType::F32, &[77], 1)?;
        let (d, d_output) = trial.random(DType::F16, &[77], 2)?;
        let op = Convert { dtype: DType::F16 };
        let streams = std::cell::Cell::new(0);
        let context =
            Context { is_recording: true, wanted: &[true], input_gate: None, step_state: None, streams: &streams };
        let saved = op.forward(&[&input], &context)?.saved;
        let wanted = [Wanted::Value];
        let upstream = Upstream { cotangent: &d_output, wanted: &wanted, is_gated: false, input_gate: None };
        for d_input in op.backward(saved, upstream)?.inputs.into_iter().flatten() {
            trial.equal_values("bytes of the cotangent", [d_input.dtype().bytes() as f64], || vec![4.0])?;
            trial.equal("the cotangent", &d_input, || d.clone())?;
        }
        Ok(())
    }));
    cases
}
