//! Which process serves: when it was started, and its number.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::Timestamp;

/// A process as an agent describes it; what the agent leaves out is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    /// When it was started.
    pub started: Option<Timestamp>,
    /// Its number.
    pub pid: Option<u32>,
}

/// Agents that compute a start time from the uptime of the machine are up to this much off.
const JITTER: Duration = Duration::from_secs(1);

impl Process {
    /// The process with this start time, in the agent's words, and this number.
    #[must_use]
    pub fn new(start_time: Option<&str>, pid: Option<u32>) -> Self {
        Self {
            started: start_time.and_then(moment),
            pid,
        }
    }

    /// Reads what is stored of a process: its start time in the agent's words, `process` and its number, or one of them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.rsplit_once("process ") {
            Some((before, pid)) => Self::new(Some(before), pid.trim().parse().ok()),
            None => Self::new(Some(text), None),
        }
    }

    /// Whether anything is known of it.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.started.is_some() || self.pid.is_some()
    }

    /// Whether `after` is a process that was started later than this one: it has a later start time or another number.
    /// `None` where the two have nothing in common to compare. An earlier start time is a clock that was set, not a restart.
    #[must_use]
    pub fn was_restarted(self, after: Self) -> Option<bool> {
        let later = self
            .started
            .zip(after.started)
            .map(|(old, new)| new.since(old) > JITTER);
        let other = self.pid.zip(after.pid).map(|(old, new)| old != new);
        match (later, other) {
            (None, None) => None,
            (later, other) => Some(later == Some(true) || other == Some(true)),
        }
    }
}

/// Start time and number, for people.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.started, self.pid) {
            (Some(started), Some(pid)) => write!(f, "{started} process {pid}"),
            (Some(started), None) => started.fmt(f),
            (None, Some(pid)) => write!(f, "process {pid}"),
            (None, None) => Ok(()),
        }
    }
}

/// The moment that a text says; without a time zone it counts as UTC. Docker's year 1 is no moment.
fn moment(text: &str) -> Option<Timestamp> {
    const ZONED: [&str; 3] = [
        "%Y-%m-%d %H:%M:%S%.f %z",
        "%Y-%m-%d %H:%M:%S%.f%:z",
        "%Y-%m-%dT%H:%M:%S%.f%z",
    ];
    const LOCAL: [&str; 5] = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f UTC",
        "%a %b %e %H:%M:%S %Y",
        "%a %Y-%m-%d %H:%M:%S UTC",
    ];
    let text = text.trim();
    let zoned = || {
        let known =
            DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc2822(text));
        let known = known.ok();
        let other = || {
            ZONED
                .iter()
                .find_map(|format| DateTime::parse_from_str(text, format).ok())
        };
        known.or_else(other).map(|at| at.with_timezone(&Utc))
    };
    let local = || {
        LOCAL
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
            .map(|at| at.and_utc())
    };
    let seconds = || {
        let seconds: i64 = text.parse().ok()?;
        DateTime::from_timestamp(seconds, 0)
    };
    zoned()
        .or_else(local)
        .or_else(seconds)
        .map(Timestamp::from_datetime)
        .filter(|at| *at > Timestamp::EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "2026-11-01T00:00:00Z";

    fn restarted(before: (&str, Option<u32>), after: (&str, Option<u32>)) -> Option<bool> {
        let process = |(start, pid): (&str, Option<u32>)| Process::new(Some(start), pid);
        process(before).was_restarted(process(after))
    }

    #[test]
    fn start_times_are_compared_as_moments() {
        for same in [
            "2026-11-01T00:00:00.000000Z",
            "2026-11-01T00:00:00+00:00",
            "2026-11-01T03:00:00+03:00",
            "2026-11-01T03:00:00+0300",
            "2026-11-01t00:00:00z",
            "2026-11-01 00:00:00",
            "2026-11-01T00:00:00",
            "2026-11-01 00:00:00 +0000",
            "2026-11-01 00:00:00 UTC",
            "Sun Nov  1 00:00:00 2026",
            "Sun, 1 Nov 2026 00:00:00 +0000",
            "1793491200",
            " 2026-11-01T00:00:00Z ",
            // The agent's clock, or its arithmetic.
            "2026-11-01T00:00:00.9Z",
            "2026-10-31T23:59:59Z",
            "2020-01-01T00:00:00Z",
        ] {
            assert_eq!(
                restarted((START, None), (same, None)),
                Some(false),
                "{same}"
            );
            assert_eq!(
                restarted((START, Some(7)), (same, Some(7))),
                Some(false),
                "{same}"
            );
            assert_eq!(
                restarted((START, Some(7)), (same, None)),
                Some(false),
                "{same}"
            );
        }
        for later in [
            "2026-11-01T00:00:02Z",
            "2026-12-01 00:00:00",
            "Tue Dec  1 00:00:00 2026",
        ] {
            assert_eq!(
                restarted((START, None), (later, None)),
                Some(true),
                "{later}"
            );
        }
    }

    #[test]
    fn a_text_without_a_moment_is_no_start_time() {
        for none in [
            "Unknown",
            "",
            "-",
            "N/A",
            "null",
            "yesterday",
            "0",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(restarted((START, None), (none, None)), None, "{none}");
            assert_eq!(restarted((none, None), (START, None)), None, "{none}");
            assert_eq!(
                restarted((START, Some(7)), (none, Some(7))),
                Some(false),
                "{none}"
            );
            assert_eq!(
                restarted((START, Some(7)), (none, Some(8))),
                Some(true),
                "{none}"
            );
        }
    }

    #[test]
    fn another_number_is_another_process() {
        assert_eq!(restarted(("", Some(7)), ("", Some(8))), Some(true));
        assert_eq!(restarted(("", Some(7)), ("", Some(7))), Some(false));
        assert_eq!(restarted(("", Some(7)), ("", None)), None);
        assert_eq!(restarted(("", None), ("", Some(7))), None);
        assert_eq!(restarted((START, Some(7)), (START, Some(8))), Some(true));
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for text in [
            "2026-11-01T00:00:00.000Z process 7",
            "2026-11-01T00:00:00.000Z",
            "process 7",
            "",
        ] {
            assert_eq!(Process::parse(text).to_string(), text);
        }
        assert_eq!(
            Process::parse("2026-11-01T00:00:00Z process 7"),
            Process::new(Some(START), Some(7))
        );
        assert_eq!(
            Process::parse("Unknown process 7"),
            Process::new(None, Some(7))
        );
    }
}
