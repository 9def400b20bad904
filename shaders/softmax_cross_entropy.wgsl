// softmax_cross_entropy: mean loss, its gradient and the number of correct answers of a batch, in one pass.
//
//     loss     = 1/W · Σ_r (T_r · (ln Σ_c exp(logits[r, c] − m_r) + m_r) − Σ_c t[r, c] · logits[r, c])     m_r = max_c logits[r, c]
//     d_logits = 1/W · (T_r · softmax(logits[r])[c] − t[r, c])                                             T_r = Σ_c t[r, c]
//     t[r, c]  = w[c] · ((1 − smoothing) · [c = labels[r]] + smoothing / CLASSES)                          W = Σ_r w[labels[r]]
//     correct  = |{ r : the first of the largest logits is labels[r] }|
//
// w are class_weights if CLASS_WEIGHTS, else 1. With IGNORE rows whose label is `ignored` count nowhere; if all are, the loss is 0.
// logits and d_logits [rows, CLASSES], labels [rows] (one past the last class counts as the last), loss and correct [1],
// class_weights [CLASSES], whose mean is `mean_weight`.
// One workgroup: {{ LANES }} lanes take the rows in turn, then add up in a tree, so the order of the sum is fixed.
struct Params {
    rows: u32,
    smoothing: f32,
    mean_weight: f32,
    ignored: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> d_logits: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> correct: array<f32>;
{% if CLASS_WEIGHTS %}
@group(0) @binding(6) var<storage, read> class_weights: array<f32>;
{% endif %}

{% include "shared/exp_log.wgsl" %}

{% include "shared/workgroup_sum.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(local_invocation_index) lane: u32) {
{% if CLASS_WEIGHTS or IGNORE %}
    var weight_sum = 0.0;
    for (var row = lane; row < params.rows; row += {{ LANES }}u) {
        let weight = {% if CLASS_WEIGHTS %}class_weights[min(labels[row], {{ CLASSES - 1 }}u)]{% else %}1.0{% endif %};
        weight_sum += {% if IGNORE %}select(weight, 0.0, labels[row] == params.ignored){% else %}weight{% endif %};
    }
    workgroup_sum(lane, weight_sum);
    workgroupBarrier();
    let rows = sums[0];
{% else %}
    let rows = f32(params.rows);
{% endif %}
    var loss_sum = 0.0;
    var hit_sum = 0.0;
    for (var row = lane; row < params.rows; row += {{ LANES }}u) {
        let first = row * {{ CLASSES }}u;
{% if IGNORE %}
        if labels[row] == params.ignored {
            for (var c = 0u; c < {{ CLASSES }}u; c++) {
                d_logits[first + c] = 0.0;
            }
            continue;
        }
{% endif %}
        let label = min(labels[row], {{ CLASSES - 1 }}u);
        var largest = logits[first];
        var largest_at = 0u;
        for (var c = 1u; c < {{ CLASSES }}u; c++) {
            let value = logits[first + c];
            if value > largest {
                largest = value;
                largest_at = c;
            }
        }
        // All but the largest logit, whose power is 1, and all but the label's: for confident predictions, 1 + rest and 1 − p would
        // round off the remaining gradient.
        var rest = 0.0;
        var others = 0.0;
        for (var c = 0u; c < {{ CLASSES }}u; c++) {
            let power = exp_accurate(logits[first + c] - largest);
            rest += select(power, 0.0, c == largest_at);
            others += select(power, 0.0, c == label);
        }
        let total = 1.0 + rest;
        let share = params.smoothing / {{ CLASSES }}.0;
        let nearest = largest - logits[first + label];
        var below = 0.0;
{% if CLASS_WEIGHTS %}
        let weight = class_weights[label];
        let smoothed = params.smoothing * params.mean_weight;
        let target_sum = (1.0 - params.smoothing) * weight + smoothed;
        for (var c = 0u; c < {{ CLASSES }}u; c++) {
            let power = exp_accurate(logits[first + c] - largest);
            let moved = select(-share * class_weights[c], smoothed - share * weight, c == label);
            d_logits[first + c] = (select(power, -others, c == label) / total * target_sum + moved) / rows;
            below += class_weights[c] * (largest - logits[first + c]);
        }
        loss_sum += target_sum * log_1p_accurate(rest) + (1.0 - params.smoothing) * weight * nearest + share * below;
{% else %}
        for (var c = 0u; c < {{ CLASSES }}u; c++) {
            let power = exp_accurate(logits[first + c] - largest);
            let moved = select(-share, params.smoothing - share, c == label);
            d_logits[first + c] = (select(power, -others, c == label) / total + moved) / rows;
            below += largest - logits[first + c];
        }
        loss_sum += log_1p_accurate(rest) + nearest + params.smoothing * (below / {{ CLASSES }}.0 - nearest);
{% endif %}
        hit_sum += select(0.0, 1.0, largest_at == label);
    }
    let losses = workgroup_sum(lane, loss_sum);
    let hits = workgroup_sum(lane, hit_sum);
    if lane == 0u {
        loss[0] = {% if CLASS_WEIGHTS or IGNORE %}select(losses / max(rows, 1e-30), 0.0, rows == 0.0){% else %}losses / rows{% endif %};
        correct[0] = hits;
    }
}
