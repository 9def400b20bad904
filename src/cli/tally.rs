//! Reports autotuning to the user: the number of trials, and kernels that are wrong on a device.

use std::time::Instant;

use cifar_gpu::ops::conv2d::tune::Verdict;
use cifar_gpu::train::Tuning;

use super::terminal::{say, warn};
use crate::words::counted;

/// Counts what was tuned.
pub struct Tally {
    started: Instant,
    tried: u64,
    remembered: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { started: Instant::now(), tried: 0, remembered: 0 }
    }
}

impl Tally {
    pub fn add(&mut self, tuning: &Tuning) {
        *(if tuning.trials.is_empty() { &mut self.remembered } else { &mut self.tried }) += 1;
        warn_of_wrong(tuning);
    }

    /// Prints the number of trials, if any.
    pub fn tell(&self) {
        if self.tried > 0 {
            say(format_args!(
                "autotune: {} tried in {:.1} s, {} remembered; `cifar-gpu tune` shows the figures",
                counted(self.tried, "product"),
                self.started.elapsed().as_secs_f64(),
                self.remembered,
            ));
        }
    }
}

/// Warns of kernels with wrong results.
pub fn warn_of_wrong(tuning: &Tuning) {
    for (plan, verdict) in &tuning.trials {
        if let Verdict::Wrong(error) = verdict {
            let Tuning { layer, direction, .. } = tuning;
            warn(format_args!("{} {plan} of {layer} is wrong here (error {error:e}): not used", direction.kernel()));
        }
    }
}
