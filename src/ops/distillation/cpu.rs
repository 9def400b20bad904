//! CPU twin of the distillation kernel.

use crate::profile;

pub(super) fn distillation(
    classes: usize,
    temperature: f32,
    student: &[f32],
    teacher: &[f32],
    d_student: &mut [f32],
    loss: &mut [f32],
) {
    let bytes = size_of_val(student) + size_of_val(teacher) + size_of_val(d_student) + size_of_val(loss);
    let _timed = profile::twin("distillation", 0, bytes);
    let (softening, rows) = (1.0 / temperature, (student.len() / classes) as f32);
    let most = |logits: &[f32]| logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut loss_sum = 0.0;
    for ((student, teacher), d_student) in
        student.chunks_exact(classes).zip(teacher.chunks_exact(classes)).zip(d_student.chunks_exact_mut(classes))
    {
        let (student_most, teacher_most) = (most(student), most(teacher));
        let total = |logits: &[f32], most: f32| logits.iter().map(|v| ((v - most) * softening).exp()).sum::<f32>();
        let (student_total, teacher_total) = (total(student, student_most), total(teacher, teacher_most));
        let log_totals = student_total.ln() - teacher_total.ln();
        for ((student, teacher), gradient) in student.iter().zip(teacher).zip(d_student) {
            let student_log = (student - student_most) * softening;
            let teacher_log = (teacher - teacher_most) * softening;
            let (p, q) = (student_log.exp() / student_total, teacher_log.exp() / teacher_total);
            *gradient = temperature * (p - q) / rows;
            loss_sum += f64::from(q * (teacher_log - student_log + log_totals));
        }
    }
    loss[0] = (f64::from(temperature * temperature) * loss_sum / f64::from(rows)) as f32;
}
