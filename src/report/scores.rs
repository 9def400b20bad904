//! Recall and precision by class.

use crate::train::Evaluation;

/// Recall and precision of one class.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ClassScore {
    /// Name of the class.
    pub class: String,
    /// Images of it.
    pub images: usize,
    /// Correctly classified images of it.
    pub correct: usize,
    /// Share of its images that were recognized; `None` without images. Of a single class this is the recall.
    pub accuracy: Option<f64>,
    /// Precision; `None` if no image was predicted as this class.
    pub precision: Option<f64>,
    /// Share of its images that were recognized; `None` without images.
    pub recall: Option<f64>,
}

/// The figures of every class.
pub fn class_scores(evaluation: &Evaluation, names: &[String]) -> Vec<ClassScore> {
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    names
        .iter()
        .zip(&evaluation.confusion)
        .enumerate()
        .map(|(class, (name, row))| {
            let correct = row[class];
            let images = row.iter().sum();
            let taken_for_it = evaluation.confusion.iter().map(|row| row[class]).sum();
            let recall = share(correct, images);
            let precision = share(correct, taken_for_it);
            ClassScore { class: name.clone(), images, correct, accuracy: recall, precision, recall }
        })
        .collect()
}

/// Share of images whose class is among the five most probable; `None` where five are all there are.
pub fn top_5_accuracy(evaluation: &Evaluation) -> Option<f64> {
    (evaluation.confusion.len() > 5).then(|| evaluation.correct_in_top_5 as f64 / evaluation.images as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_goes_down_a_column_and_recall_along_a_row() {
        let confusion = vec![vec![3, 1, 0], vec![2, 2, 0], vec![0, 0, 0]];
        let evaluation =
            Evaluation { loss: 0.0, images: 8, correct: 5, correct_in_top_5: 8, confusion, guesses: Vec::new() };
        let names = ["a", "b", "c"].map(String::from);
        let scores = class_scores(&evaluation, &names);
        assert_eq!((scores[0].precision, scores[0].recall), (Some(0.6), Some(0.75)));
        assert_eq!((scores[1].precision, scores[1].recall), (Some(2.0 / 3.0), Some(0.5)));
        assert_eq!((scores[2].precision, scores[2].recall, scores[2].accuracy), (None, None, None));
        assert_eq!(top_5_accuracy(&evaluation), None);
    }
}
