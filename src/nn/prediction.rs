//! Predictions from logits.

/// A network's prediction for one image.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The class with the largest logit; ties go to the first.
    pub class: usize,
    /// Softmax of the logits; they sum to 1.
    pub probabilities: Vec<f64>,
    /// The network's outputs.
    pub logits: Vec<f32>,
}

impl Prediction {
    /// The prediction of these logits.
    pub fn new(logits: Vec<f32>) -> Self {
        let class = (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        let largest = f64::from(logits.get(class).copied().unwrap_or_default());
        let powers: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).collect();
        let total: f64 = powers.iter().sum();
        Prediction { class, probabilities: powers.into_iter().map(|power| power / total).collect(), logits }
    }

    /// Cross-entropy with a label in nats, computed from the logits to avoid the rounding error of the probability's logarithm.
    pub fn cross_entropy(&self, label: usize) -> f64 {
        let largest = f64::from(self.logits[self.class]);
        let total: f64 = self.logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
        total.ln() + largest - f64::from(self.logits[label])
    }

    /// The classes, the most probable first; ties in order of class.
    pub fn ranked(&self) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..self.logits.len()).collect();
        classes.sort_by(|&a, &b| self.logits[b].total_cmp(&self.logits[a]));
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_and_the_first_of_equals_is_taken() {
        let prediction = Prediction::new(vec![1.0, 3.0, 3.0, -200.0]);
        assert_eq!((prediction.class, prediction.ranked()), (1, vec![1, 2, 0, 3]));
        assert!((prediction.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(prediction.probabilities[1] == prediction.probabilities[2] && prediction.probabilities[3] < 1e-80);
    }
}
