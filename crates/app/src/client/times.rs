//! Moments and spans as people read them.

use chrono::{DateTime, Utc};
use drover_ports::Clock as _;
use serde_json::Value;

use super::output::{NOTHING, text};
use crate::clock::SystemClock;

/// The time of this machine; spans that are still open are measured with it.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(SystemClock::default().now().as_micros()).unwrap_or_default()
}

/// A member of an object that is a moment.
pub(crate) fn moment(item: &Value, member: &str) -> Option<DateTime<Utc>> {
    let moment = DateTime::parse_from_rfc3339(text(item, member)).ok()?;
    Some(moment.with_timezone(&Utc))
}

/// How long it was between two members, or has been since the first; `-` when it has not begun.
pub(crate) fn span(item: &Value, from: &str, to: &str, now: DateTime<Utc>) -> String {
    let Some(from) = moment(item, from) else {
        return NOTHING.to_owned();
    };
    let to = moment(item, to).unwrap_or(now);
    // Clocks of two machines may differ.
    short((to - from).num_milliseconds().max(0))
}

/// How long ago a member was, in one unit.
pub(crate) fn age(item: &Value, member: &str, now: DateTime<Utc>) -> String {
    let Some(moment) = moment(item, member) else {
        return NOTHING.to_owned();
    };
    let seconds = (now - moment).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds in at most six characters, up to 99 days.
fn short(millis: i64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{}s", millis % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_are_short() {
        for (millis, shown) in [
            (0, "0.0s"),
            (850, "0.8s"),
            (59_999, "59.9s"),
            (65_000, "1m05s"),
            (7_380_000, "2h03m"),
            (86_400_000, "1d00h"),
        ] {
            assert_eq!(short(millis), shown);
        }
    }

    #[test]
    fn what_is_open_is_measured_to_now() {
        let item =
            json!({"a": "2026-11-21T08:00:00.000Z", "b": "2026-11-21T08:00:04.250Z", "c": null});
        let now = moment(&item, "a").unwrap() + chrono::TimeDelta::seconds(90);
        assert_eq!(span(&item, "a", "b", now), "4.2s");
        assert_eq!(span(&item, "a", "c", now), "1m30s");
        assert_eq!(span(&item, "c", "b", now), "-");
        assert_eq!(age(&item, "a", now), "1m");
        // A clock that is behind.
        assert_eq!(age(&item, "b", moment(&item, "a").unwrap()), "0s");
    }
}
