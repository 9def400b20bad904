//! Cases of the cross-entropy of a softmax.

use super::{ClassWeights, SoftmaxCrossEntropy};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial};
use crate::ops::random::RandomStream;
use crate::ops::{Context, Op};
use crate::tensor::{DType, Device};
use rand::RngExt;

/// What the loss is of, besides logits and labels.
#[derive(Debug, Clone, Copy)]
struct Variant {
    smoothing: f32,
    has_weights: bool,
    ignored: Option<u32>,
}

impl Variant {
    const PLAIN: Variant = Variant { smoothing: 0.0, has_weights: false, ignored: None };

    fn weight(self, class: usize) -> f32 {
        if self.has_weights { 0.25 + class as f32 * 0.5 } else { 1.0 }
    }

    fn criterion(self, device: &Device, labels: &[u32], classes: usize) -> Result<SoftmaxCrossEntropy> {
        let weights: Vec<f32> = (0..classes).map(|class| self.weight(class)).collect();
        let weights = self.has_weights.then(|| ClassWeights::new(device, &weights)).transpose()?;
        let labels = device.tensor_u32(&[labels.len()], labels)?;
        let criterion = SoftmaxCrossEntropy::new(&labels)?.smoothing(self.smoothing).class_weights(weights.as_ref());
        Ok(self.ignored.map_or(criterion.clone(), |label| criterion.ignoring(label)))
    }
}

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, classes, largest) in [(1, 2, 1.0), (7, 10, 5.0), (300, 3, 1.0), (5, 1000, 3.0), (16, 10, 1e4)] {
        for smoothing in [0.0, 0.1, 1.0] {
            let purpose = if batch == 7 && smoothing == 0.1 { Purpose::Check } else { Purpose::Test };
            let variant = Variant { smoothing, ..Variant::PLAIN };
            let name = format!("softmax_cross_entropy/{batch}x{classes}_logits_to_{largest}_smoothing_{smoothing}");
            cases.push(
                Case::new(name, move |trial| verify(trial, [batch, classes], largest, variant)).for_purpose(purpose),
            );
        }
    }
    for (purpose, what, variant) in [
        (Purpose::Test, "class_weights", Variant { has_weights: true, ..Variant::PLAIN }),
        (Purpose::Test, "ignoring_a_label", Variant { ignored: Some(3), ..Variant::PLAIN }),
        (Purpose::Check, "all_together", Variant { smoothing: 0.1, has_weights: true, ignored: Some(3) }),
    ] {
        let case = move |trial: &mut Trial<'_>| verify(trial, [70, 10], 5.0, variant);
        cases.push(Case::new(format!("softmax_cross_entropy/70x10_{what}"), case).for_purpose(purpose));
    }
    cases.extend(draw.each(|draw| {
        let shape = [draw.count(300), 3 + draw.count(300)];
        let has_weights = draw.one_of(&[true, false]);
        let variant = Variant { smoothing: 0.1, has_weights, ignored: draw.one_of(&[None, Some(3)]) };
        let [batch, classes] = shape;
        let case = move |trial: &mut Trial<'_>| verify(trial, shape, 5.0, variant);
        let name = format!("softmax_cross_entropy/{batch}x{classes}_{variant:?}");
        Case::new(name, case).for_purpose(Purpose::Random)
    }));
    cases.push(Case::new("softmax_cross_entropy/all_labels_ignored", |trial| {
        let variant = Variant { ignored: Some(1), ..Variant::PLAIN };
        verify_labels(trial, &[1, 1, 1], 4, 2.0, variant)
    }));
    for classes in [10, 1000] {
        let case = move |trial: &mut Trial<'_>| verify(trial, [64, classes], 5.0, Variant::PLAIN);
        let case = Case::new(format!("softmax_cross_entropy/64x{classes}"), case);
        cases.push(case.for_purpose(Purpose::Bench));
    }
    for (what, variant) in [
        ("", Variant::PLAIN),
        ("_smoothing", Variant { smoothing: 0.2, ..Variant::PLAIN }),
        ("_ignoring", Variant { ignored: Some(3), ..Variant::PLAIN }),
        ("_class_weights", Variant { smoothing: 0.2, has_weights: true, ..Variant::PLAIN }),
        ("_all_together", Variant { smoothing: 0.1, has_weights: true, ignored: Some(9) }),
    ] {
        let name = format!("softmax_cross_entropy{what}");
        cases.push(Case::gradient(&name, &[&[5, 10]], move |device| variant.criterion(device, &[0, 9, 3, 3, 7], 10)));
    }
    cases
}

fn verify(trial: &mut Trial<'_>, [batch, classes]: [usize; 2], largest: f32, variant: Variant) -> Result<()> {
    let mut random = RandomStream::new(5, 0);
    let labels: Vec<u32> = (0..batch).map(|_| random.random_range(..classes as u32)).collect();
    verify_labels(trial, &labels, classes, largest, variant)
}

fn verify_labels(trial: &mut Trial<'_>, labels: &[u32], classes: usize, largest: f32, variant: Variant) -> Result<()> {
    let mut logits: Vec<f32> = trial.numbers(labels.len() * classes, 1).iter().map(|v| v * largest).collect();
    // Two equal largest logits: the first counts.
    logits[0] = largest * 2.0;
    logits[1] = largest * 2.0;
    let (logits, input) = trial.tensor(DType::F32, &[labels.len(), classes], logits)?;
    let criterion = variant.criterion(trial.device(), labels, classes)?;
    let streams = std::cell::Cell::new(0);
    let context =
        Context { is_recording: true, wanted: &[true], input_gate: None, step_state: None, streams: &streams };
    let output = criterion.forward(&[&input], &context)?;
    let expected = Expected::of(variant, classes, &logits, labels);
    trial.close(Exactness::WIDE, "loss", &output.tensor, || vec![expected.loss])?;
    trial.equal("correct", criterion.correct(), || vec![expected.correct])?;
    trial.close(Exactness::WIDE, "d_logits", &output.saved, || expected.d_logits)
}

struct Expected {
    loss: Conditioned,
    correct: f64,
    d_logits: Vec<Conditioned>,
}

impl Expected {
    /// By the words of PyTorch's documentation.
    fn of(variant: Variant, classes: usize, logits: &[f32], labels: &[u32]) -> Self {
        let smoothing = f64::from(variant.smoothing);
        let weight = |class: usize| f64::from(variant.weight(class));
        let counts = |label: u32| Some(label) != variant.ignored;
        let total: f64 = labels.iter().filter(|&&label| counts(label)).map(|&label| weight(label as usize)).sum();
        let mut result = Expected { loss: Conditioned::default(), correct: 0.0, d_logits: Vec::new() };
        for (logits, &label) in logits.chunks(classes).zip(labels) {
            if !counts(label) {
                result.d_logits.extend(vec![Conditioned::default(); classes]);
                continue;
            }
            let logits: Vec<f64> = logits.iter().map(|&v| f64::from(v)).collect();
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|v| (v - largest).exp()).sum();
            // Each class's share of the label, times its weight.
            let share = |class: usize| {
                let hit = if class == label as usize { 1.0 - smoothing } else { 0.0 };
                weight(class) * (hit + smoothing / classes as f64) / total
            };
            let shares: f64 = (0..classes).map(share).sum();
            result.loss.add(logits.iter().enumerate().map(|(class, v)| share(class) * (sum.ln() + largest - v)).sum());
            // Subtracting the largest logit rounds; so does 1 − p.
            result.loss.magnitude += shares * largest.abs();
            if logits.iter().position(|&v| v == largest) == Some(label as usize) {
                result.correct += 1.0;
            }
            for (class, value) in logits.iter().enumerate() {
                let probability = (value - largest).exp() / sum;
                let magnitude = shares.max(weight(label as usize) / total);
                result.d_logits.push(Conditioned { value: shares * probability - share(class), magnitude });
            }
        }
        result
    }
}
