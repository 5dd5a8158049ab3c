//! When a workflow starts by itself.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::parser::CronParser;

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

/// Moments in a time zone, as a crontab line says them: minute, hour, day of month, month, day of week. Where the day of
/// month or the day of week begins with `*`, both must fit; else one of them is enough, as crontab(5) says.
///
/// A line with fixed hours (every line whose hours are not all 24) means times of the local clock, each once a day: where
/// clocks go forward, all that falls into the missing time happens once, at its end; where they go back, the first of two
/// equal times counts. A line for every hour means moments: nothing happens for the missing time, and both of two equal
/// times count.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    pattern: croner::Cron,
    text: Arc<str>,
    zone: Tz,
    is_hourly: bool,
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
        let mut fields = line.split_whitespace();
        let is_open = |field: Option<&str>| field.is_some_and(|field| field.starts_with('*'));
        let is_hourly = fields.nth(1).is_some_and(is_every_hour);
        let both_days = is_open(fields.next()) | is_open(fields.nth(1));
        let parser = CronParser::builder().dom_and_dow(both_days).build();
        let pattern = parser.parse(line);
        let pattern = pattern.map_err(|error| refused(error.to_string()))?;
        let cron = Self {
            pattern,
            text: Arc::from(line),
            zone,
            is_hourly,
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
        let after = after.to_datetime();
        let local = after.with_timezone(&self.zone).naive_local();
        // A time of the local clock before this one may still come, where clocks go back.
        let mut time = local.checked_sub_signed(BACK_MAX)?;
        let mut first: Option<DateTime<Utc>> = None;
        loop {
            // The line is read on a clock that never changes.
            let next = self.pattern.find_next_occurrence(&time.and_utc(), false);
            let Some(next) = next.ok().map(|next| next.naive_utc()) else {
                break;
            };
            if first.is_some_and(|first| {
                first.with_timezone(&self.zone).naive_local() + BACK_MAX < next
            }) {
                break;
            }
            let moments = self.moments(next).into_iter().flatten();
            first = moments.filter(|moment| *moment > after).chain(first).min();
            time = next;
        }
        first.map(Timestamp::from_datetime)
    }

    /// When a time of the local clock happens.
    fn moments(&self, time: NaiveDateTime) -> [Option<DateTime<Utc>>; 2] {
        match self.zone.from_local_datetime(&time) {
            LocalResult::Single(moment) => [Some(moment.to_utc()), None],
            LocalResult::Ambiguous(first, second) => {
                let second = Some(second.to_utc()).filter(|_| self.is_hourly);
                [Some(first.to_utc()), second]
            }
            LocalResult::None if self.is_hourly => [None, None],
            LocalResult::None => [self.end_of_gap(time), None],
        }
    }

    /// The first moment after a time that the local clock passes over.
    fn end_of_gap(&self, time: NaiveDateTime) -> Option<DateTime<Utc>> {
        let minutes = (1..=GAP_MAX.num_minutes()).map(|minutes| time + TimeDelta::minutes(minutes));
        let mut moments =
            minutes.filter_map(|time| self.zone.from_local_datetime(&time).earliest());
        moments.next().map(|moment| moment.to_utc())
    }
}

/// The longest time by which local clocks go back.
const BACK_MAX: TimeDelta = TimeDelta::hours(3);
/// The longest time over which local clocks pass: a day, where the date line moves.
const GAP_MAX: TimeDelta = TimeDelta::hours(25);

/// Whether an hour field names all hours.
fn is_every_hour(field: &str) -> bool {
    matches!(field, "*" | "?" | "*/1" | "0-23" | "0-23/1")
}

/// What happens to moments that passed while no node ran.
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
    /// The most schedules.
    pub const COUNT_MAX: u32 = 1_000;

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

    /// Line, zone, from when, and the moments that follow, as the tz database and a count of all minutes say.
    const NIGHTS: [(&str, &str, &str, &str); 40] = [
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            "2027-03-27T11:00:00Z",
            "03-28T01:00 03-29T00:00 03-29T00:30 03-30T00:00 03-30T00:30",
        ),
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            "2027-10-30T10:00:00Z",
            "10-31T00:00 10-31T00:30 11-01T01:00 11-01T01:30 11-02T01:00",
        ),
        (
            "30 2,14 * * *",
            "Europe/Berlin",
            "2027-03-27T11:00:00Z",
            "03-27T13:30 03-28T01:00 03-28T12:30 03-29T00:30 03-29T12:30",
        ),
        (
            "30 2,14 * * *",
            "Europe/Berlin",
            "2027-10-30T10:00:00Z",
            "10-30T12:30 10-31T00:30 10-31T13:30 11-01T01:30 11-01T13:30",
        ),
        (
            "*/15 2 * * *",
            "Europe/Berlin",
            "2027-03-27T11:00:00Z",
            "03-28T01:00 03-29T00:00 03-29T00:15 03-29T00:30 03-29T00:45",
        ),
        (
            "*/15 2 * * *",
            "Europe/Berlin",
            "2027-10-30T10:00:00Z",
            "10-31T00:00 10-31T00:15 10-31T00:30 10-31T00:45 11-01T01:00",
        ),
        (
            "0 1,2 * * *",
            "Europe/Berlin",
            "2027-03-27T11:00:00Z",
            "03-28T00:00 03-28T01:00 03-28T23:00 03-29T00:00 03-29T23:00",
        ),
        (
            "0 1,2 * * *",
            "Europe/Berlin",
            "2027-10-30T10:00:00Z",
            "10-30T23:00 10-31T00:00 11-01T00:00 11-01T01:00 11-02T00:00",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-03-27T11:00:00Z",
            "03-28T01:00 03-29T00:30 03-30T00:30 03-31T00:30 04-01T00:30",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-10-30T10:00:00Z",
            "10-31T00:30 11-01T01:30 11-02T01:30 11-03T01:30 11-04T01:30",
        ),
        (
            "0-10/5 2-3 * * *",
            "Europe/Berlin",
            "2027-03-27T11:00:00Z",
            "03-28T01:00 03-28T01:05 03-28T01:10 03-29T00:00 03-29T00:05",
        ),
        (
            "0-10/5 2-3 * * *",
            "Europe/Berlin",
            "2027-10-30T21:00:00Z",
            "10-31T00:00 10-31T00:05 10-31T00:10 10-31T02:00 10-31T02:05 10-31T02:10 11-01T01:00 11-01T01:05 11-01T01:10",
        ),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2027-03-27T22:00:00Z",
            "03-27T22:30 03-27T23:30 03-28T00:30 03-28T01:30 03-28T02:30 03-28T03:30 03-28T04:30 03-28T05:30 03-28T06:30",
        ),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2027-10-30T21:00:00Z",
            "10-30T21:30 10-30T22:30 10-30T23:30 10-31T00:30 10-31T01:30 10-31T02:30 10-31T03:30 10-31T04:30 10-31T05:30",
        ),
        (
            "0,30 2 * * *",
            "America/New_York",
            "2027-03-13T17:00:00Z",
            "03-14T07:00 03-15T06:00 03-15T06:30 03-16T06:00 03-16T06:30",
        ),
        (
            "0,30 2 * * *",
            "America/New_York",
            "2027-11-06T16:00:00Z",
            "11-07T07:00 11-07T07:30 11-08T07:00 11-08T07:30 11-09T07:00",
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2027-03-13T17:00:00Z",
            "03-14T06:30 03-15T05:30 03-16T05:30 03-17T05:30 03-18T05:30",
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2027-11-06T16:00:00Z",
            "11-07T05:30 11-08T06:30 11-09T06:30 11-10T06:30 11-11T06:30",
        ),
        (
            "*/20 1 * * *",
            "America/New_York",
            "2027-03-13T17:00:00Z",
            "03-14T06:00 03-14T06:20 03-14T06:40 03-15T05:00 03-15T05:20",
        ),
        (
            "*/20 1 * * *",
            "America/New_York",
            "2027-11-06T16:00:00Z",
            "11-07T05:00 11-07T05:20 11-07T05:40 11-08T06:00 11-08T06:20",
        ),
        (
            "0 1,2,3 * * *",
            "America/New_York",
            "2027-03-13T17:00:00Z",
            "03-14T06:00 03-14T07:00 03-15T05:00 03-15T06:00 03-15T07:00",
        ),
        (
            "0 1,2,3 * * *",
            "America/New_York",
            "2027-11-06T16:00:00Z",
            "11-07T05:00 11-07T07:00 11-07T08:00 11-08T06:00 11-08T07:00",
        ),
        (
            "15 0-3 * * *",
            "America/New_York",
            "2027-03-13T17:00:00Z",
            "03-14T05:15 03-14T06:15 03-14T07:00 03-14T07:15 03-15T04:15",
        ),
        (
            "15 0-3 * * *",
            "America/New_York",
            "2027-11-06T16:00:00Z",
            "11-07T04:15 11-07T05:15 11-07T07:15 11-07T08:15 11-08T05:15",
        ),
        (
            "30 */2 * * *",
            "America/New_York",
            "2027-03-14T04:00:00Z",
            "03-14T05:30 03-14T07:00 03-14T08:30 03-14T10:30 03-14T12:30 03-14T14:30 03-14T16:30 03-14T18:30 03-14T20:30",
        ),
        (
            "30 */2 * * *",
            "America/New_York",
            "2027-11-07T03:00:00Z",
            "11-07T04:30 11-07T07:30 11-07T09:30 11-07T11:30 11-07T13:30 11-07T15:30 11-07T17:30 11-07T19:30 11-07T21:30",
        ),
        (
            "*/30 * * * *",
            "America/New_York",
            "2027-03-14T04:00:00Z",
            "03-14T04:30 03-14T05:00 03-14T05:30 03-14T06:00 03-14T06:30 03-14T07:00 03-14T07:30 03-14T08:00 03-14T08:30",
        ),
        (
            "*/30 * * * *",
            "America/New_York",
            "2027-11-07T03:00:00Z",
            "11-07T03:30 11-07T04:00 11-07T04:30 11-07T05:00 11-07T05:30 11-07T06:00 11-07T06:30 11-07T07:00 11-07T07:30",
        ),
        (
            "0,15 2 * * *",
            "Australia/Lord_Howe",
            "2027-10-02T01:30:00Z",
            "10-02T15:30 10-03T15:00 10-03T15:15 10-04T15:00 10-04T15:15",
        ),
        (
            "0,15 2 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T01:00:00Z",
            "04-03T15:30 04-03T15:45 04-04T15:30 04-04T15:45 04-05T15:30",
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2027-10-02T01:30:00Z",
            "10-02T15:15 10-03T14:45 10-04T14:45 10-05T14:45 10-06T14:45",
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T01:00:00Z",
            "04-03T14:45 04-04T15:15 04-05T15:15 04-06T15:15 04-07T15:15",
        ),
        (
            "*/10 1-2 * * *",
            "Australia/Lord_Howe",
            "2027-10-02T14:00:00Z",
            "10-02T14:30 10-02T14:40 10-02T14:50 10-02T15:00 10-02T15:10 10-02T15:20 10-02T15:30 10-02T15:40 10-02T15:50",
        ),
        (
            "*/10 1-2 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T13:30:00Z",
            "04-03T14:00 04-03T14:10 04-03T14:20 04-03T14:30 04-03T14:40 04-03T14:50 04-03T15:30 04-03T15:40 04-03T15:50",
        ),
        (
            "15 2 * * 0",
            "Australia/Lord_Howe",
            "2027-10-02T01:30:00Z",
            "10-02T15:30 10-09T15:15",
        ),
        (
            "15 2 * * 0",
            "Australia/Lord_Howe",
            "2027-04-03T01:00:00Z",
            "04-03T15:45 04-10T15:45",
        ),
        (
            "0 2 * * *",
            "Australia/Lord_Howe",
            "2027-10-02T01:30:00Z",
            "10-02T15:30 10-03T15:00 10-04T15:00 10-05T15:00 10-06T15:00",
        ),
        (
            "0 2 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T01:00:00Z",
            "04-03T15:30 04-04T15:30 04-05T15:30 04-06T15:30 04-07T15:30",
        ),
        (
            "45 * * * *",
            "Australia/Lord_Howe",
            "2027-10-02T14:00:00Z",
            "10-02T14:15 10-02T15:15 10-02T15:45 10-02T16:45 10-02T17:45 10-02T18:45 10-02T19:45 10-02T20:45 10-02T21:45",
        ),
        (
            "45 * * * *",
            "Australia/Lord_Howe",
            "2027-04-03T13:30:00Z",
            "04-03T13:45 04-03T14:45 04-03T15:15 04-03T16:15 04-03T17:15 04-03T18:15 04-03T19:15 04-03T20:15 04-03T21:15",
        ),
    ];

    #[test]
    fn clocks_that_change_lose_and_double_nothing() {
        for (line, zone, from, expected) in NIGHTS {
            let cron = Cron::parse(line, zone).unwrap();
            let all: Vec<&str> = expected.split(' ').collect();
            let moments = std::iter::successors(Some(at(from)), |moment| cron.next(*moment));
            let found: Vec<String> = moments
                .skip(1)
                .take(all.len())
                .map(|moment| moment.to_string().chars().skip(5).take(11).collect())
                .collect();
            assert_eq!(found, all, "{line} in {zone} from {from}");
        }
    }

    #[test]
    fn days_fit_together_as_in_crontab() {
        for (line, expected) in [
            // The first Sunday of a month: the day of the week begins with `*`, so both must fit.
            ("0 3 1-7 * */7", ["2027-01-03", "2027-02-07", "2027-03-07"]),
            ("0 3 */10 * 1", ["2027-01-11", "2027-02-01", "2027-03-01"]),
            // Both are restricted: one is enough.
            ("0 3 1 * 1", ["2027-01-01", "2027-01-04", "2027-01-11"]),
            ("0 3 13 * *", ["2027-01-13", "2027-02-13", "2027-03-13"]),
            ("0 3 * * 7", ["2027-01-03", "2027-01-10", "2027-01-17"]),
        ] {
            let cron = Cron::parse(line, "UTC").unwrap();
            let from = at("2026-12-31T12:00:00Z");
            let moments = std::iter::successors(Some(from), |moment| cron.next(*moment));
            let days: Vec<String> = moments
                .skip(1)
                .take(3)
                .map(|moment| moment.to_string().chars().take(10).collect())
                .collect();
            assert_eq!(days, expected, "{line}");
        }
    }

    #[test]
    fn a_day_that_is_left_out_happens_once_after_it() {
        // Samoa had no 30 December 2011.
        let cron = Cron::parse("0 9,15 30 12 *", "Pacific/Apia").unwrap();
        assert_eq!(
            next(&cron, "2011-12-01T00:00:00Z"),
            "2011-12-30T10:00:00.000Z"
        );
        assert_eq!(
            next(&cron, "2011-12-30T10:00:00Z"),
            "2012-12-29T19:00:00.000Z"
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
