//! Waiting for a state, with an end.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a state may take to come about, unless a test says otherwise. Far above what it takes
/// on an idle machine, so that a test fails for what it tests and not for its neighbours' load.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Asks `probe` every 10 ms until it answers `Ok`, and returns its value and the time that it took.
///
/// Panics with the last `Err` after `limit`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return (value, start.elapsed()),
            Err(reason) if start.elapsed() > limit => {
                panic!("waited {limit:?} for {what}: {reason}")
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
