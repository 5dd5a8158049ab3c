//! When a workflow starts by itself.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono_tz::Tz;

use super::{DefinitionName, Json};
use crate::Timestamp;
use crate::text::{TextError, check_name};

/// What a schedule is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleName(Arc<str>);

impl ScheduleName {
    /// The most characters.
    pub const LENGTH_MAX: usize = 128;

    /// Accepts letters, digits and `_ . : -`, not starting with `-` or `.`.
    ///
    /// # Errors
    ///
    /// [`TextError`], naming the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        check_name("the name of the schedule", text, Self::LENGTH_MAX)?;
        Ok(Self(Arc::from(text)))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Moments in a time zone, as a crontab line says them: minute, hour, day of month, month, day of week.
///
/// In a night in which clocks go forward, what falls into the missing hour happens after it; where
/// they go back, what has a fixed time happens once.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    pattern: croner::Cron,
    text: Arc<str>,
    zone: Tz,
}

/// A crontab line or a time zone that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The line.
    #[error(
        "`{text}` is not a crontab line of five fields (minute, hour, day of month, month, day of week): {reason}"
    )]
    Pattern {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The zone.
    #[error("`{text}` is not a time zone; use a name such as `Europe/Berlin` or `UTC`")]
    Zone {
        /// What was given.
        text: String,
    },
    /// The line never comes true.
    #[error("`{text}` never comes true")]
    Never {
        /// What was given.
        text: String,
    },
}

impl Cron {
    /// The most characters of a crontab line.
    pub const LENGTH_MAX: usize = 256;

    /// A crontab line in a time zone of the IANA database.
    ///
    /// # Errors
    ///
    /// [`CronError`].
    pub fn parse(line: &str, zone: &str) -> Result<Self, CronError> {
        let shown = || line.chars().take(Self::LENGTH_MAX).collect::<String>();
        let refused = |reason: String| CronError::Pattern {
            text: shown(),
            reason,
        };
        if line.len() > Self::LENGTH_MAX || line.split_whitespace().count() != 5 {
            return Err(refused("it must have five fields".to_owned()));
        }
        let zone = Tz::from_str(zone).map_err(|_| CronError::Zone {
            text: zone.chars().take(64).collect(),
        })?;
        let pattern = croner::Cron::from_str(line).map_err(|error| refused(error.to_string()))?;
        let cron = Self {
            pattern,
            text: Arc::from(line),
            zone,
        };
        // February the 30th.
        if cron.next(Timestamp::EPOCH).is_none() {
            return Err(CronError::Never { text: shown() });
        }
        Ok(cron)
    }

    /// The line as it was given.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.text
    }

    /// The name of the time zone.
    #[must_use]
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The first moment after `after`; `None` if there is none before the end of the calendar.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let local = after.to_datetime().with_timezone(&self.zone);
        let next = self.pattern.find_next_occurrence(&local, false).ok()?;
        Some(Timestamp::from_datetime(next.to_utc()))
    }
}

/// What happens to moments that passed while nobody was there to start them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissedRuns {
    /// They are left out; the next one is the next in the future.
    Skip,
    /// One run for all of them, at once.
    RunOnce,
}

impl MissedRuns {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::RunOnce => "run_once",
        }
    }

    /// The policy with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Skip, Self::RunOnce]
            .into_iter()
            .find(|policy| policy.as_str() == word)
    }
}

/// A definition that is started again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// What is started.
    pub definition: DefinitionName,
    /// Which version; the newest one where there is none.
    pub version: Option<u32>,
    /// The input of each run.
    pub input: Json,
    /// When.
    pub cron: Cron,
    /// What happens to missed moments.
    pub missed: MissedRuns,
    /// Whether it is left alone.
    pub is_paused: bool,
    /// The next moment.
    pub next_at: Timestamp,
}

/// How late a moment may be taken up and still count as kept: nodes look once per second, and may be
/// busy.
const LATE: std::time::Duration = std::time::Duration::from_mins(1);

impl Schedule {
    /// Whether the due moment is to be started now, and which moment comes after `now`. Of several
    /// missed moments at most one is ever started.
    #[must_use]
    pub fn fire(&self, now: Timestamp) -> (bool, Option<Timestamp>) {
        let is_late = now.since(self.next_at) > LATE;
        let starts = match self.missed {
            MissedRuns::RunOnce => true,
            MissedRuns::Skip => !is_late,
        };
        (starts, self.cron.next(now))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_datetime(text.parse::<DateTime<Utc>>().unwrap())
    }

    fn next(cron: &Cron, after: &str) -> String {
        cron.next(at(after)).unwrap().to_string()
    }

    #[test]
    fn a_line_is_read_in_its_zone() {
        let cron = Cron::parse("30 6 * * 1-5", "Europe/Berlin").unwrap();
        assert_eq!(
            next(&cron, "2026-11-27T05:30:00Z"),
            "2026-11-30T05:30:00.000Z"
        );
        assert_eq!(
            next(&cron, "2026-07-01T00:00:00Z"),
            "2026-07-01T04:30:00.000Z"
        );
    }

    #[test]
    fn the_missing_hour_and_the_doubled_hour_fire_once() {
        let cron = Cron::parse("30 2 * * *", "Europe/Berlin").unwrap();
        // 2026-03-29: 02:30 does not exist, the clock goes from 02:00 to 03:00.
        assert_eq!(
            next(&cron, "2026-03-28T12:00:00Z"),
            "2026-03-29T01:00:00.000Z"
        );
        assert_eq!(
            next(&cron, "2026-03-29T01:00:00Z"),
            "2026-03-30T00:30:00.000Z"
        );
        // 2026-10-25: 02:30 exists twice.
        assert_eq!(
            next(&cron, "2026-10-24T12:00:00Z"),
            "2026-10-25T00:30:00.000Z"
        );
        assert_eq!(
            next(&cron, "2026-10-25T00:30:00Z"),
            "2026-10-26T01:30:00.000Z"
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (line, zone, part) in [
            ("* * * *", "UTC", "five fields"),
            ("* * * * * *", "UTC", "five fields"),
            ("61 * * * *", "UTC", "crontab line"),
            ("0 0 30 2 *", "UTC", "never comes true"),
            ("0 0 * * *", "Europe/Atlantis", "not a time zone"),
        ] {
            let refusal = Cron::parse(line, zone).unwrap_err().to_string();
            assert!(refusal.contains(part), "{line}: {refusal}");
        }
    }

    fn schedule(missed: MissedRuns) -> Schedule {
        Schedule {
            name: ScheduleName::parse("nightly").unwrap(),
            definition: DefinitionName::parse("backup").unwrap(),
            version: None,
            input: Json::null(),
            cron: Cron::parse("0 * * * *", "UTC").unwrap(),
            missed,
            is_paused: false,
            next_at: at("2026-11-25T10:00:00Z"),
        }
    }

    #[test]
    fn missed_moments_are_left_out_or_run_once() {
        let in_time = at("2026-11-25T10:00:30Z");
        let late = at("2026-11-25T13:20:00Z");
        let after_late = Some(at("2026-11-25T14:00:00Z"));
        assert!(schedule(MissedRuns::Skip).fire(in_time).0);
        assert_eq!(schedule(MissedRuns::Skip).fire(late), (false, after_late));
        assert_eq!(schedule(MissedRuns::RunOnce).fire(late), (true, after_late));
    }
}
