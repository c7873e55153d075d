//! Ctrl-C and SIGTERM: noted, and acted upon where a verb can still remove what it made.
//!
//! They are not blocked and waited for: the agent and the servers would inherit that, and never hear
//! the SIGTERM that is to end them.

use std::{
    panic,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::process::say;

/// How long it may take from a signal until it is noted here.
const UNTIL_NOTED: Duration = Duration::from_millis(50);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes note of signals from now on; `then` is what will be said to happen.
pub(crate) fn watch(then: &'static str) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catching signals")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            if !INTERRUPTED.swap(true, Ordering::Relaxed) {
                say(&format!("interrupted: {then}"));
            }
        }
    });
    // A signal also breaks what the verb was doing; what that has to say is no news.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        thread::sleep(UNTIL_NOTED);
        if !came() {
            usual(panic);
        }
    }));
    Ok(())
}

/// Whether a signal came.
pub(crate) fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails once a signal came.
pub(crate) fn check() -> Result<()> {
    if came() {
        bail!("interrupted");
    }
    Ok(())
}
