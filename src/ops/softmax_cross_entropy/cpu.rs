//! CPU twin of the softmax cross-entropy kernel.

use super::Criterion;
use crate::profile;

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn softmax_cross_entropy(
    rows: usize,
    classes: usize,
    criterion: &Criterion,
    logits: &[f32],
    labels: &[u32],
    class_weights: Option<&[f32]>,
    d_logits: &mut [f32],
    loss: &mut [f32],
    correct: &mut [f32],
) {
    let _timed = profile::twin(
        "softmax_cross_entropy",
        0,
        size_of_val(logits) + size_of_val(labels) + size_of_val(d_logits) + size_of_val(loss) + size_of_val(correct),
    );
    let smoothing = criterion.smoothing;
    let is_ignored = |label: u32| criterion.ignored == Some(label);
    let weight_of = |class: usize| class_weights.map_or(1.0, |weights| weights[class]);
    let weight_of_label = |label: &u32| weight_of((*label as usize).min(classes - 1));
    let total_weight: f32 = match class_weights.is_some() || criterion.ignored.is_some() {
        true => labels[..rows].iter().filter(|&&label| !is_ignored(label)).map(weight_of_label).sum(),
        false => rows as f32,
    };
    let (mut loss_sum, mut hits) = (0.0, 0.0);
    for ((logits, d_logits), &label) in
        logits.chunks_exact(classes).zip(d_logits.chunks_exact_mut(classes)).zip(labels).take(rows)
    {
        if is_ignored(label) {
            d_logits.fill(0.0);
            continue;
        }
        let label = (label as usize).min(classes - 1);
        let (mut largest, mut largest_at) = (logits[0], 0);
        for (c, &value) in logits.iter().enumerate() {
            if value > largest {
                (largest, largest_at) = (value, c);
            }
        }
        // All but the largest logit, whose power is 1, and all but the label's: for confident predictions, 1 + rest and 1 − p would
        // round off the remaining gradient.
        let (mut rest, mut others) = (0.0_f32, 0.0_f32);
        for (c, (power, &value)) in d_logits.iter_mut().zip(logits).enumerate() {
            *power = (value - largest).exp();
            rest += if c == largest_at { 0.0 } else { *power };
            others += if c == label { 0.0 } else { *power };
        }
        d_logits[label] = -others;
        let (total, share) = (1.0 + rest, smoothing / classes as f32);
        let (weight, smoothed) = (weight_of(label), smoothing * criterion.mean_weight);
        let target_sum = if class_weights.is_some() { (1.0 - smoothing) * weight + smoothed } else { 1.0 };
        let mut below = 0.0;
        for (c, (gradient, &value)) in d_logits.iter_mut().zip(logits).enumerate() {
            let moved = if c == label { smoothed - share * weight } else { -share * weight_of(c) };
            *gradient = (*gradient / total * target_sum + moved) / total_weight;
            below += weight_of(c) * (largest - value);
        }
        let nearest = largest - logits[label];
        loss_sum += f64::from(match class_weights {
            Some(_) => target_sum * rest.ln_1p() + (1.0 - smoothing) * weight * nearest + share * below,
            None => rest.ln_1p() + nearest + smoothing * (below / classes as f32 - nearest),
        });
        hits += if largest_at == label { 1.0 } else { 0.0 };
    }
    loss[0] = if total_weight == 0.0 { 0.0 } else { (loss_sum / f64::from(total_weight)) as f32 };
    correct[0] = hits;
}
