//! Moments and spans as people read them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
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

/// How long ago a member was, in words.
pub(crate) fn ago(item: &Value, member: &str, now: DateTime<Utc>) -> String {
    let Some(moment) = moment(item, member) else {
        return "an unknown time ago".to_owned();
    };
    let seconds = (now - moment).num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A moment as it is typed: an age such as `1h`, or a moment of the API, which is passed on as it is.
pub(crate) fn typed(text: &str) -> Result<String, String> {
    typed_at(text, now())
}

fn typed_at(text: &str, now: DateTime<Utc>) -> Result<String, String> {
    let age = || {
        let text = text.strip_suffix("ago").unwrap_or(text).trim();
        let digits = text.trim_end_matches(|found: char| found.is_ascii_alphabetic());
        let seconds = match text.strip_prefix(digits)? {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        let count: i64 = digits.trim_end().parse().ok().filter(|count| *count >= 0)?;
        let age = TimeDelta::try_seconds(count.checked_mul(seconds)?)?;
        now.checked_sub_signed(age)
    };
    if let Some(moment) = age() {
        return Ok(moment.to_rfc3339_opts(SecondsFormat::Millis, true));
    }
    if DateTime::parse_from_rfc3339(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(
        "an age such as 30m, 1h or 2d is expected, or a moment such as 2026-11-26T08:00:00Z"
            .to_owned(),
    )
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
    fn a_moment_can_be_typed_as_an_age() {
        let now = "2026-11-21T08:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("1h", "2026-11-21T07:00:00.000Z"),
            ("90 min", "2026-11-21T06:30:00.000Z"),
            ("2d", "2026-11-19T08:00:00.000Z"),
            ("1h ago", "2026-11-21T07:00:00.000Z"),
            ("2026-11-21T01:00:00+01:00", "2026-11-21T01:00:00+01:00"),
        ] {
            assert_eq!(typed_at(text, now).as_deref(), Ok(moment));
        }
        for text in ["", "h", "1", "-1h", "1y", "soon", "9223372036854775807w"] {
            assert!(typed_at(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_open_is_measured_to_now() {
        let item =
            json!({"a": "2026-11-21T08:00:00.000Z", "b": "2026-11-21T08:00:04.250Z", "c": null});
        let now = moment(&item, "a").unwrap() + TimeDelta::seconds(90);
        assert_eq!(span(&item, "a", "b", now), "4.2s");
        assert_eq!(span(&item, "a", "c", now), "1m30s");
        assert_eq!(span(&item, "c", "b", now), "-");
        assert_eq!(age(&item, "a", now), "1m");
        for (seconds, shown) in [
            (41, "41 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_200, "2 h ago"),
            (172_800, "2 days ago"),
        ] {
            let now = moment(&item, "a").unwrap() + TimeDelta::seconds(seconds);
            assert_eq!(ago(&item, "a", now), shown);
        }
        assert_eq!(ago(&item, "c", now), "an unknown time ago");
        // A clock that is behind.
        assert_eq!(age(&item, "b", moment(&item, "a").unwrap()), "0s");
    }
}
