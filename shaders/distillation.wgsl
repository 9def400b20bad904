// distillation: the divergence of a student's softened predictions from a teacher's, and its gradient, in one pass.
//
//     loss        = T² / rows · Σ_r Σ_c q[r, c] · (ln q[r, c] − ln p[r, c])     p = softmax(student / T), q = softmax(teacher / T)
//     d_student   = T / rows · (p[r, c] − q[r, c])
//
// student, teacher and d_student [rows, CLASSES], loss [1]. One workgroup: {{ LANES }} lanes take the rows in turn, then add up in a
// tree, so the order of the sum is fixed.
struct Params {
    rows: u32,
    temperature: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> student: array<f32>;
@group(0) @binding(2) var<storage, read> teacher: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_student: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;

{% include "shared/exp_log.wgsl" %}

{% include "shared/workgroup_sum.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(local_invocation_index) lane: u32) {
    let softening = 1.0 / params.temperature;
    let rows = f32(params.rows);
    var loss_sum = 0.0;
    for (var row = lane; row < params.rows; row += {{ LANES }}u) {
        let first = row * {{ CLASSES }}u;
        var student_most = student[first];
        var teacher_most = teacher[first];
        for (var c = 1u; c < {{ CLASSES }}u; c++) {
            student_most = max(student_most, student[first + c]);
            teacher_most = max(teacher_most, teacher[first + c]);
        }
        var student_total = 0.0;
        var teacher_total = 0.0;
        for (var c = 0u; c < {{ CLASSES }}u; c++) {
            student_total += exp_accurate((student[first + c] - student_most) * softening);
            teacher_total += exp_accurate((teacher[first + c] - teacher_most) * softening);
        }
        // ln of the totals, each of which has one summand of exactly 1.
        let log_totals = log_1p_accurate(student_total - 1.0) - log_1p_accurate(teacher_total - 1.0);
        for (var c = 0u; c < {{ CLASSES }}u; c++) {
            let student_log = (student[first + c] - student_most) * softening;
            let teacher_log = (teacher[first + c] - teacher_most) * softening;
            let p = exp_accurate(student_log) / student_total;
            let q = exp_accurate(teacher_log) / teacher_total;
            d_student[first + c] = params.temperature * (p - q) / rows;
            loss_sum += q * (teacher_log - student_log + log_totals);
        }
    }
    let losses = workgroup_sum(lane, loss_sum);
    if lane == 0u {
        loss[0] = params.temperature * params.temperature * losses / rows;
    }
}
