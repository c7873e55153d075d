//! How long ago something was, as kubectl says it.

use jiff::Timestamp;

/// The time since an object was created, as kubectl's column AGE has it; `<unknown>` where the
/// object does not say.
pub(super) fn age(created: Option<&str>, now: Timestamp) -> String {
    match created.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(created) => duration(now.as_second() - created.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A duration with two or three figures: `HumanDuration` of `k8s.io/apimachinery/pkg/util/duration`.
/// Clocks of two machines may differ by a second.
pub(super) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let and = |large: String, small: i64, unit: char| match small {
        0 => large,
        small => format!("{large}{small}{unit}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => and(format!("{minutes}m"), seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => and(format!("{hours}h"), minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => and(format!("{days}d"), hours % 24, 'h'),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => and(format!("{years}y"), days % 365, 'd'),
        () => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_kubectl() {
        let (minute, hour, day) = (60, 3600, 86_400);
        // The table of kubectl's own test, `TestHumanDuration`.
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (1, "1s"),
            (70, "70s"),
            (190, "3m10s"),
            (70 * minute, "70m"),
            (47 * hour, "47h"),
            (49 * hour, "2d1h"),
            (8 * day + 2 * hour, "8d"),
            (367 * day, "367d"),
            ((365 * 2 + 25) * day, "2y25d"),
            ((365 * 8 + 2) * day, "8y"),
            // Where one form ends and the next begins.
            (119, "119s"),
            (120, "2m"),
            (9 * minute + 59, "9m59s"),
            (10 * minute + 1, "10m"),
            (179 * minute + 59, "179m"),
            (3 * hour, "3h"),
            (7 * hour + 59 * minute, "7h59m"),
            (8 * hour + 59 * minute, "8h"),
            (2 * day, "2d"),
            (8 * day - 1, "7d23h"),
            (2 * 365 * day, "2y"),
            (8 * 365 * day, "8y"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn an_age_is_from_the_creation_on() {
        let now = "2026-03-01T00:01:40Z".parse().unwrap();
        assert_eq!(age(Some("2026-03-01T00:00:00Z"), now), "100s");
        assert_eq!(age(None, now), "<unknown>");
    }
}
