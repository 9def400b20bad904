//! What follows steps whose numbers are not finite: their updates were called off on the device.

use crate::error::{Error, Result};
use crate::train::{NonFinite, OnNonFinite, StepMetrics, Stepper};

/// Steps in a row that are skipped before training stops.
const MOST_IN_A_ROW: u64 = 100;
/// Steps in a row whose scaled gradients overflow before training stops: far more than bring the scale from its largest value to 1.
const MOST_OVERFLOWS: u64 = 60;

/// Counts the steps that were skipped one after the other.
#[derive(Debug, Default)]
pub(super) struct Skipping {
    in_a_row: u64,
    overflows: u64,
}

impl Skipping {
    /// Why a step was skipped, if it was. `indices_of` returns the images of a step.
    ///
    /// # Errors
    /// [`Error::Diverged`] if training must stop.
    pub(super) async fn of(
        &mut self,
        step: &StepMetrics,
        mode: OnNonFinite,
        epoch: u32,
        stepper: &Stepper<'_>,
        indices_of: impl Fn(u64) -> Vec<u32>,
    ) -> Result<Option<NonFinite>> {
        self.overflows = if step.gradient_norm.is_finite() { 0 } else { self.overflows + 1 };
        let stop = async |what: String| {
            // The device's own troubles would hide what happened.
            let place = stepper.locate_async(step.step, &indices_of(step.step), epoch - 1).await.ok().flatten();
            Err(Error::Diverged { step: step.step, what, place })
        };
        let Some(what) = step.fault() else {
            self.in_a_row = 0;
            return match self.overflows {
                MOST_OVERFLOWS.. => {
                    stop(format!("the gradients overflowed in {MOST_OVERFLOWS} steps one after the other")).await
                }
                _ => Ok(None),
            };
        };
        if mode == OnNonFinite::Stop || matches!(what, NonFinite::Weights(_)) {
            return stop(what.to_string()).await;
        }
        self.in_a_row += 1;
        if self.in_a_row == MOST_IN_A_ROW {
            return stop(format!("{what} in the last of {MOST_IN_A_ROW} skipped steps one after the other")).await;
        }
        Ok(Some(what))
    }
}
