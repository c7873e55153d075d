//! What was measured.

use std::time::Duration;

use serde::Serialize;

use crate::Source;

/// All that was measured of one size.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    services: u32,
    source: &'static str,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    what: String,
    value: f64,
    unit: &'static str,
}

impl Measured {
    pub(crate) fn of(services: u32, source: Source) -> Self {
        let source = match source {
            Source::Manifests => "manifests",
            Source::ApiServer if tests::control_plane::is_real() => "API server",
            Source::ApiServer => "API server, a double",
        };
        Self { services, source, lines: Vec::new() }
    }

    pub(crate) fn time(&mut self, what: &str, time: Duration) {
        self.note(what, time.as_secs_f64() * 1e3, "ms");
    }

    /// Some of the times, from the shortest to the longest.
    pub(crate) fn times(&mut self, what: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        for (name, percent) in [("p50", 50), ("p99", 99), ("longest", 100)] {
            if let Some(time) = times.get(times.len().saturating_sub(1) * percent / 100) {
                self.time(&format!("{what}, {name}"), *time);
            }
        }
    }

    pub(crate) fn kibibytes(&mut self, what: &str, kibibytes: u64) {
        self.note(what, whole(kibibytes) / 1024.0, "MiB");
    }

    pub(crate) fn note(&mut self, what: &str, value: f64, unit: &'static str) {
        self.lines.push(Line { what: what.to_owned(), value, unit });
    }
}

fn whole(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
