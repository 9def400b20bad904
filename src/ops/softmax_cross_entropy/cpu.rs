//! CPU twin of the softmax cross-entropy kernel.

use crate::profile;

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn softmax_cross_entropy(
    rows: usize,
    classes: usize,
    smoothing: f32,
    logits: &[f32],
    labels: &[u32],
    d_logits: &mut [f32],
    loss: &mut [f32],
    correct: &mut [f32],
) {
    let _timed = profile::twin(
        "softmax_cross_entropy",
        0,
        size_of_val(logits) + size_of_val(labels) + size_of_val(d_logits) + size_of_val(loss) + size_of_val(correct),
    );
    let (mut loss_sum, mut hits) = (0.0, 0.0);
    for ((logits, d_logits), &label) in
        logits.chunks_exact(classes).zip(d_logits.chunks_exact_mut(classes)).zip(labels).take(rows)
    {
        let label = (label as usize).min(classes - 1);
        let (mut largest, mut largest_at) = (logits[0], 0);
        for (c, &value) in logits.iter().enumerate() {
            if value > largest {
                (largest, largest_at) = (value, c);
            }
        }
        // All but the largest logit, whose power is 1, and all but the label's: where a network is sure, 1 + rest and
        // 1 − p would round away what is left to learn.
        let (mut rest, mut others) = (0.0_f32, 0.0_f32);
        for (c, (power, &value)) in d_logits.iter_mut().zip(logits).enumerate() {
            *power = (value - largest).exp();
            rest += if c == largest_at { 0.0 } else { *power };
            others += if c == label { 0.0 } else { *power };
        }
        d_logits[label] = -others;
        let (total, share) = (1.0 + rest, smoothing / classes as f32);
        let mut below = 0.0;
        for (c, (gradient, &value)) in d_logits.iter_mut().zip(logits).enumerate() {
            let moved = if c == label { smoothing - share } else { -share };
            *gradient = (*gradient / total + moved) / rows as f32;
            below += largest - value;
        }
        let nearest = largest - logits[label];
        loss_sum += f64::from(rest.ln_1p() + nearest + smoothing * (below / classes as f32 - nearest));
        hits += if largest_at == label { 1.0 } else { 0.0 };
    }
    loss[0] = (loss_sum / rows as f64) as f32;
    correct[0] = hits;
}
