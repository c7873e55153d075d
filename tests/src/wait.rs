//! Waiting for a state, with an end.

use std::{
    env,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// How long a state may take to come about, unless a test says otherwise. Far above what it takes
/// on an idle machine, so that a test fails for what it tests and not for its neighbours' load.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How many times as long this machine may take for what a test waits for: `SHUNT_TEST_PATIENCE`, for
/// virtual machines whose instructions are translated. What a test claims about time it claims
/// there, too: this is for waits and deadlines alone.
pub fn patiently(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    limit
        * *FACTOR.get_or_init(|| match env::var("SHUNT_TEST_PATIENCE") {
            Ok(text) => text.parse().expect("SHUNT_TEST_PATIENCE is a number"),
            Err(_) => 1,
        })
}

/// Asks `probe` every 10 ms until it answers `Ok`, and returns its value and the time that it took.
///
/// Panics with the last `Err` after `limit`, where this machine is as quick as most.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let limit = patiently(limit);
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
