//! Durations as Go writes them.

use std::time::Duration;

/// A duration such as `1h30m`, `2.5s` or `250ms`; none where it is no such text.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
        let (number, behind) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let units = [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9)];
        let mut units = units.into_iter().chain([("h", 3600.0), ("m", 60.0), ("s", 1.0)]);
        let (unit, factor) = units.find(|(unit, _)| behind.starts_with(unit))?;
        seconds += number * factor;
        rest = behind.strip_prefix(unit)?;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_each_other() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("15m0s", 900_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("250ms", 250),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "30", "s", "1 s", "-1s", "1y"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
