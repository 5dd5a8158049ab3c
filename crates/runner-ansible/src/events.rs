//! Lines of a job's event file, read.

use drover_domain::Timestamp;
use drover_domain::rollout::job::{HostStats, JobEvent, JobEventKind, TargetReport};
use drover_domain::rollout::record::TargetOutcome;
use drover_domain::text::{visible, without_lone_surrogates};
use serde::Deserialize;

/// Most characters of a name.
const NAME_MAX: usize = 200;

/// Most characters of a composite name.
const COMPOSITE_MAX: usize = 512;

/// The events of `lines`, the first of them numbered `sequence`: one event per line, so that the
/// numbers are the same whenever and from wherever the file is read.
pub(crate) fn read(lines: &[String], sequence: u64) -> Vec<JobEvent> {
    lines
        .iter()
        .zip(sequence..)
        .map(|(line, sequence)| event(line, sequence))
        .collect()
}

fn event(line: &str, sequence: u64) -> JobEvent {
    let found = serde_json::from_str::<Line>(&without_lone_surrogates(line))
        .ok()
        .and_then(|line| Some((JobEventKind::parse(&line.kind)?, line)));
    let Some((kind, line)) = found else {
        return JobEvent {
            sequence,
            at: Timestamp::EPOCH,
            kind: JobEventKind::Truncated,
            play: None,
            task: None,
            host: None,
            message: Some("an unreadable line of the play was left out".to_owned()),
            report: None,
            stats: Vec::new(),
        };
    };
    let name = |text: Option<String>| {
        text.filter(|text| !text.is_empty())
            .map(|text| shown(&text, NAME_MAX))
    };
    JobEvent {
        sequence,
        at: Timestamp::from_micros(line.at),
        kind,
        play: name(line.play),
        task: name(line.task),
        host: name(line.host),
        message: message(line.message),
        report: line.report.and_then(report),
        stats: line
            .stats
            .unwrap_or_default()
            .into_iter()
            .map(HostStats::from)
            .collect(),
    }
}

/// A report with an unknown outcome is ignored.
fn report(found: Report) -> Option<TargetReport> {
    let outcome = TargetOutcome::parse(&found.outcome)?;
    Some(TargetReport {
        composite: shown(&found.composite, COMPOSITE_MAX),
        outcome,
        detail: message(found.detail),
    })
}

fn message(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
        .map(|text| shown(&text, JobEvent::MESSAGE_MAX))
}

/// Escapes make a text longer, hence the second cut.
fn shown(text: &str, most: usize) -> String {
    visible(text, most).chars().take(most).collect()
}

#[derive(Debug, Deserialize)]
struct Line {
    at: i64,
    kind: String,
    play: Option<String>,
    task: Option<String>,
    host: Option<String>,
    message: Option<String>,
    report: Option<Report>,
    stats: Option<Vec<Stats>>,
}

#[derive(Debug, Deserialize)]
struct Report {
    composite: String,
    outcome: String,
    detail: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stats {
    host: String,
    ok: u32,
    changed: u32,
    unreachable: u32,
    failed: u32,
    skipped: u32,
    rescued: u32,
    ignored: u32,
}

impl From<Stats> for HostStats {
    fn from(stats: Stats) -> Self {
        Self {
            host: shown(&stats.host, NAME_MAX),
            ok: stats.ok,
            changed: stats.changed,
            unreachable: stats.unreachable,
            failed: stats.failed,
            skipped: stats.skipped,
            rescued: stats.rescued,
            ignored: stats.ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_one_event() {
        let lines = [
            r#"{"at":5,"kind":"ok","play":"p","task":"t","host":"h","message":"a\u001b[1mb"}"#,
            "garbage",
            r#"{"at":5,"kind":"no such kind"}"#,
            r#"{"at":6,"kind":"ok","report":{"composite":"w::a","outcome":"done","detail":"1.1.0"}}"#,
        ]
        .map(str::to_owned);
        let events = read(&lines, 7);
        assert_eq!(
            events
                .iter()
                .map(|event| event.sequence)
                .collect::<Vec<_>>(),
            [7, 8, 9, 10]
        );
        assert_eq!(events[0].message.as_deref(), Some("a\\u{1b}[1mb"));
        assert_eq!(events[1].kind, JobEventKind::Truncated);
        assert_eq!(events[2].kind, JobEventKind::Truncated);
        let report = TargetReport {
            composite: "w::a".to_owned(),
            outcome: TargetOutcome::Done,
            detail: Some("1.1.0".to_owned()),
        };
        assert_eq!(events[3].report, Some(report));
    }

    #[test]
    fn bytes_that_are_no_utf_8_cost_one_character_only() {
        let lines = [
            r#"{"at":5,"kind":"failed","host":"h\udce9","task":"\udcff","message":"gar\udce7on"}"#,
            r#"{"at":6,"kind":"ok","report":{"composite":"w::a","outcome":"done","detail":"\udce7 1.1.0"}}"#,
            r#"{"at":7,"kind":"stats","stats":[{"host":"h\udce9","ok":1,"changed":0,"unreachable":0,"failed":0,"skipped":0,"rescued":0,"ignored":0}]}"#,
        ]
        .map(str::to_owned);
        let events = read(&lines, 0);
        assert_eq!(events[0].kind, JobEventKind::Failed);
        assert_eq!(events[0].message.as_deref(), Some("gar\u{fffd}on"));
        assert_eq!(events[0].host.as_deref(), Some("h\u{fffd}"));
        let report = events[1].report.as_ref().unwrap();
        assert_eq!(report.outcome, TargetOutcome::Done);
        assert_eq!(report.detail.as_deref(), Some("\u{fffd} 1.1.0"));
        assert_eq!(events[2].stats[0].host, "h\u{fffd}");
    }

    #[test]
    fn an_outcome_nobody_knows_is_no_report() {
        let line =
            r#"{"at":6,"kind":"ok","message":"m","report":{"composite":"w::a","outcome":"great"}}"#
                .to_owned();
        let events = read(&[line], 0);
        assert_eq!(
            (events[0].kind, events[0].report.as_ref()),
            (JobEventKind::Ok, None)
        );
    }
}
