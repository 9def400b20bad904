//! Runs that go on after their device is lost.

use std::path::Path;

use crate::error::{Error, Result};
use crate::run::observer::Outcome;

/// Losses one after the other without a new checkpoint between them, after which a run is given up.
const MOST_LOSSES: u32 = 3;

/// The outcome of a run that goes on whenever its device is lost or hangs. `begun` is what [`train`](crate::run::train) or
/// [`resume`](crate::run::resume) returned. `go_on` must open the device again, and then resume the run in the folder that it is
/// given, or begin it again if there is none. The bits are those of an undisturbed run.
///
/// # Errors
/// Those of `go_on`; the loss, if there were three without progress.
pub fn recover(
    begun: Result<Outcome>,
    mut go_on: impl FnMut(&Error, Option<&Path>) -> Result<Outcome>,
) -> Result<Outcome> {
    let mut result = begun;
    let (mut newest, mut losses) = (None, 0);
    loop {
        let loss = match result {
            Err(error) if error.is_device_loss() => error,
            other => return other,
        };
        let Error::RunGpu { run, step, .. } = &loss else { return Err(loss) };
        losses = if losses > 0 && newest == *step { losses + 1 } else { 1 };
        newest = *step;
        if losses == MOST_LOSSES {
            return Err(loss);
        }
        let run = run.exists().then_some(run.as_path());
        result = go_on(&loss, run);
    }
}
