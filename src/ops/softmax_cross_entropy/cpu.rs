//! CPU twin of the softmax cross-entropy kernel.

pub(super) fn softmax_cross_entropy(
    rows: usize,
    classes: usize,
    logits: &[f32],
    labels: &[u32],
    d_logits: &mut [f32],
    loss: &mut [f32],
    correct: &mut [f32],
) {
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
        let total: f32 = logits.iter().map(|&value| (value - largest).exp()).sum();
        for (c, (gradient, &value)) in d_logits.iter_mut().zip(logits).enumerate() {
            let probability = (value - largest).exp() / total;
            *gradient = (probability - if c == label { 1.0 } else { 0.0 }) / rows as f32;
        }
        loss_sum += f64::from(total.ln() + (largest - logits[label]));
        hits += if largest_at == label { 1.0 } else { 0.0 };
    }
    loss[0] = (loss_sum / rows as f64) as f32;
    correct[0] = hits;
}
