//! Signals that end a run: it saves its work first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cifar_gpu::{Error, Result};

use super::live;
use super::terminal::{complain, say};

/// The exit code of a run that was ended before it could save.
const NOT_SAVED: i32 = 1;

/// A flag that the first signal sets. Further signals change nothing, whatever their pattern, except a second interrupt (Ctrl-C)
/// where somebody sits at a terminal: it ends the program at once.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let mut interrupts = 0;
    watch(move |is_interrupt| {
        interrupts += u32::from(is_interrupt);
        let is_at_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        match flag.swap(true, Ordering::Relaxed) {
            false if is_at_terminal => say("stopping soon; interrupt again to stop at once, without saving"),
            false => say("stopping soon"),
            true if is_interrupt && interrupts > 1 && is_at_terminal => {
                live::leave();
                complain("stopped at once: what is saved is the newest checkpoint, from which --resume goes on");
                std::process::exit(NOT_SAVED);
            }
            true => {}
        }
    })?;
    Ok(stop)
}

/// Calls `on_signal` for each signal, with whether it is an interrupt.
#[cfg(unix)]
fn watch(mut on_signal: impl FnMut(bool) + Send + 'static) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let failed = |e: std::io::Error| Error::Setting(format!("cannot catch signals: {e}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let thread = std::thread::Builder::new().name("signals".into());
    let watching = thread.spawn(move || signals.forever().for_each(|signal| on_signal(signal == SIGINT)));
    watching.map(|_| ()).map_err(failed)
}

/// The same on Windows, where Ctrl-C, Ctrl-Break and the closing of the console are not told apart.
#[cfg(not(unix))]
fn watch(mut on_signal: impl FnMut(bool) + Send + 'static) -> Result<()> {
    ctrlc::set_handler(move || on_signal(true)).map_err(|e| Error::Setting(format!("cannot catch interrupts: {e}")))
}
