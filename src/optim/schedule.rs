//! Learning-rate schedules.

use crate::error::{Error, Result};

/// How the learning rate changes from step to step.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Schedule {
    /// Constant.
    Constant,
    /// `base / (1 + decay · step)`, as in Keras.
    TimeDecay {
        /// Decay per step.
        #[serde(default = "usual_decay")]
        decay: f64,
    },
    /// Multiplied by `factor` at each of these fractions of the run.
    Step {
        /// Fractions of the run in (0, 1), in order.
        #[serde(default = "usual_milestones")]
        milestones: Vec<f64>,
        /// Factor of the rate.
        #[serde(default = "usual_factor")]
        factor: f64,
    },
    /// Half a cosine from the base rate to zero (Loshchilov and Hutter, 2017).
    Cosine,
    /// Linear from base/10 up to the base rate, then linear down to base/10,000: the cycle of Smith and Topin (2019).
    OneCycle {
        /// Fraction of the run, in (0, 1), at which the rate is highest.
        #[serde(default = "usual_peak")]
        peak_at: f64,
    },
}

fn usual_decay() -> f64 {
    5e-5
}

fn usual_milestones() -> Vec<f64> {
    vec![4.0 / 7.0, 5.0 / 7.0, 6.0 / 7.0]
}

fn usual_factor() -> f64 {
    0.1
}

fn usual_peak() -> f64 {
    0.25
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Schedule::Constant => write!(f, "constant"),
            Schedule::TimeDecay { decay } => write!(f, "time decay {decay}"),
            Schedule::Step { factor, .. } => write!(f, "steps of {factor}"),
            Schedule::Cosine => write!(f, "cosine"),
            Schedule::OneCycle { .. } => write!(f, "one cycle"),
        }
    }
}

impl Schedule {
    /// Keras's decay, with the factor of the published networks.
    pub fn usual_time_decay() -> Self {
        Schedule::TimeDecay { decay: usual_decay() }
    }

    /// A tenth of the rate after four, five and six sevenths of the run.
    pub fn usual_step() -> Self {
        Schedule::Step { milestones: usual_milestones(), factor: usual_factor() }
    }

    /// One cycle with its peak at a quarter of the run.
    pub fn usual_one_cycle() -> Self {
        Schedule::OneCycle { peak_at: usual_peak() }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn validate(&self) -> Result<()> {
        let fail = |field, message| Err(Error::field(field, message));
        let inside = |share: f64| share > 0.0 && share < 1.0;
        match self {
            Schedule::TimeDecay { decay } if !(decay.is_finite() && *decay >= 0.0) => {
                fail("decay", format!("{decay} must not be negative"))
            }
            Schedule::Step { milestones, .. }
                if !milestones.iter().all(|&m| inside(m)) || !milestones.is_sorted() || milestones.is_empty() =>
            {
                fail("milestones", format!("{milestones:?} must be shares of the run between 0 and 1, in order"))
            }
            Schedule::Step { factor, .. } if !(inside(*factor)) => {
                fail("factor", format!("{factor} must be between 0 and 1"))
            }
            Schedule::OneCycle { peak_at } if !inside(*peak_at) => {
                fail("peak_at", format!("{peak_at} must be a share of the run between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// Learning rate of step `step` of `total`, both counted in steps from 0, for base rate `base`.
    pub fn rate(&self, base: f64, step: u64, total: u64) -> f64 {
        let progress = step as f64 / total.max(1) as f64;
        match self {
            Schedule::Constant => base,
            &Schedule::TimeDecay { decay } => base / (1.0 + decay * step as f64),
            Schedule::Step { milestones, factor } => {
                base * factor.powi(milestones.iter().filter(|&&milestone| progress >= milestone).count() as i32)
            }
            Schedule::Cosine => base * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            &Schedule::OneCycle { peak_at } => {
                let (first, last) = (base / 10.0, base / 10_000.0);
                if progress < peak_at {
                    first + (base - first) * progress / peak_at
                } else {
                    base + (last - base) * (progress - peak_at) / (1.0 - peak_at)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn rates_at_known_points() {
        close(Schedule::Constant.rate(0.1, 99, 100), 0.1);
        close(Schedule::TimeDecay { decay: 5e-5 }.rate(0.01, 20_000, 0), 0.005);
        let step = Schedule::Step { milestones: vec![0.5, 0.75, 0.9], factor: 0.1 };
        close(step.rate(1.0, 49, 100), 1.0);
        close(step.rate(1.0, 50, 100), 0.1);
        close(step.rate(1.0, 90, 100), 1e-3);
        close(Schedule::Cosine.rate(2.0, 50, 100), 1.0);
        close(Schedule::Cosine.rate(2.0, 100, 100), 0.0);
        let cycle = Schedule::OneCycle { peak_at: 0.25 };
        close(cycle.rate(1.0, 0, 100), 0.1);
        close(cycle.rate(1.0, 25, 100), 1.0);
        close(cycle.rate(1.0, 100, 100), 1e-4);
    }
}
