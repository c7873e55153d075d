//! Ctrl-C and SIGTERM: noted, and acted upon where the demo can still remove what it made.
//!
//! The signals are blocked in every thread and waited for on one of their own, so that nothing runs
//! in the middle of another thread's work and no `unsafe` handler is needed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

use crate::process::say;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes note of signals from now on. To be called before other threads are started.
pub(super) fn watch() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("blocking signals")?;
    thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if !INTERRUPTED.swap(true, Ordering::Relaxed) {
                say(&format!("{signal}: removing what the demo made"));
            }
        }
    });
    Ok(())
}

/// Whether a signal came.
pub(super) fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails once a signal came.
pub(super) fn check() -> Result<()> {
    if came() {
        bail!("interrupted");
    }
    Ok(())
}
