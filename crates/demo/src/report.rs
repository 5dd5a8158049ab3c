//! The report of a demo: what it found, and whether that is what Drover promises.

use std::collections::BTreeMap;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::fleet::haproxy_server;
use crate::haproxy::is_in_use;
use crate::load::Tally;
use crate::watcher::Entry;

/// How many requests a demo must have made.
pub const REQUESTS_MIN: u64 = 5_000;

/// How many requests each second a demo must have made.
pub const RATE_MIN: f64 = 200.0;

/// The report as written by `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The load.
    pub requests: Requests,
    /// Every instance, sorted by server, then name.
    pub instances: Vec<InstanceReport>,
    /// The lowest number of servers that HAProxy had in use at one time.
    pub min_ready: usize,
    /// What HAProxy showed during the update.
    pub timeline: Vec<Entry>,
    /// How often HAProxy was reloaded, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reloads: Option<usize>,
    /// The task.
    pub task: TaskReport,
    /// Seconds from the request to the end of the rollout.
    pub duration_s: f64,
}

/// The load in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Requests {
    /// All that were sent.
    pub total: u64,
    /// Those without the right answer.
    pub failed: u64,
    /// How many were sent each second.
    pub rate_per_s: f64,
    /// Those that took long, besides, where HAProxy was reloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long: Option<u64>,
    /// The first reasons of those that failed, at most [`REASONS_MAX`](crate::load::REASONS_MAX) for each load.
    pub reasons: Vec<String>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceReport {
    /// Such as `jurws_1`.
    pub name: String,
    /// Full name of its server.
    pub server: String,
    /// `even` or `odd`; `all` or nothing where Drover made no halves.
    pub batch: Option<String>,
    /// The version that it answered with before the update.
    pub version_before: Option<String>,
    /// The version that it answered with after the update.
    pub version_after: Option<String>,
    /// Drover's word for what became of it.
    pub outcome: String,
}

impl InstanceReport {
    /// How HAProxy calls it.
    fn haproxy_server(&self) -> String {
        let short = self.server.split('.').next().unwrap_or_default();
        haproxy_server(short, &self.name)
    }
}

/// The task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskReport {
    /// Its id.
    pub id: String,
    /// Its last status.
    pub status: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// What is found beside the report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// The load in detail.
    pub tally: Tally,
    /// Drover's own version of each instance after the update, in the order of the report.
    pub drover_versions: Vec<Option<String>>,
    /// Servers that HAProxy shows in drain or maintenance at the end.
    pub left_drained: Vec<String>,
    /// How often HAProxy did not answer the watcher.
    pub looks_missed: u32,
}

impl Report {
    /// Everything in which the demo fell short of a lossless update to `version`; empty if nothing did.
    #[must_use]
    pub fn complaints(&self, findings: &Findings, version: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut ensure = |holds: bool, complaint: String| {
            if !holds {
                complaints.push(complaint);
            }
        };
        let status = &self.task.status;
        ensure(
            status == "completed",
            format!("the task ended as `{status}`"),
        );
        let Requests {
            total,
            failed,
            rate_per_s,
            long,
            ..
        } = self.requests;
        ensure(failed == 0, format!("{failed} of {total} requests failed"));
        ensure(
            total >= REQUESTS_MIN,
            format!("only {total} of {REQUESTS_MIN} requests were made"),
        );
        ensure(
            rate_per_s >= RATE_MIN,
            format!("only {rate_per_s:.0} requests/s were made"),
        );
        let versions = findings
            .drover_versions
            .iter()
            .chain(std::iter::repeat(&None));
        for (instance, drover_version) in self.instances.iter().zip(versions) {
            let name = instance.haproxy_server();
            let told = instance.version_after.as_deref().unwrap_or("no version");
            ensure(told == version, format!("{name} tells {told}"));
            let stored = drover_version.as_deref().unwrap_or("no version");
            ensure(
                stored == told,
                format!("Drover has {stored} of {name}, which tells {told}"),
            );
        }
        let half = self.instances.len() / 2;
        let ready = self.min_ready;
        ensure(
            ready >= half,
            format!("only {ready} servers were in use at one time, not {half}"),
        );
        let drained = &findings.left_drained;
        ensure(
            drained.is_empty(),
            format!("{} left drained", drained.join(", ")),
        );
        let looks_missed = findings.looks_missed;
        // While HAProxy reloads, its socket may be away for a look.
        ensure(
            looks_missed == 0 || self.reloads.is_some(),
            format!("HAProxy did not show its state {looks_missed} times"),
        );
        if let Some(reloads) = self.reloads {
            ensure(
                reloads == 2,
                format!("HAProxy was reloaded {reloads} times, not once in each half"),
            );
            ensure(
                long.is_some_and(|long| long > 0),
                "no long request was made".to_owned(),
            );
        }
        // An update that stopped has touched only some of them.
        if status == "completed" {
            complaints.extend(self.halves_apart());
        }
        complaints
    }

    /// Whether the timeline shows every server going out and coming back, and the last even one back before the first
    /// odd one out.
    fn halves_apart(&self) -> Vec<String> {
        let away = away(&self.timeline);
        let mut complaints = Vec::new();
        let mut even_back = None;
        let mut odd_out = None;
        for instance in &self.instances {
            let name = instance.haproxy_server();
            let Some(Away { out_ms, back_ms }) = away.get(name.as_str()).copied() else {
                complaints.push(format!("{name} was never out of use in HAProxy"));
                continue;
            };
            if back_ms.is_none() {
                complaints.push(format!("{name} did not come back into use"));
            }
            match instance.batch.as_deref() {
                Some("even") => even_back = even_back.max(back_ms.map(|back_ms| (back_ms, name))),
                Some("odd") => {
                    odd_out = Some(
                        odd_out.map_or((out_ms, name.clone()), |first| (out_ms, name).min(first)),
                    );
                }
                _ => complaints.push(format!("{name} was in no half")),
            }
        }
        if let (Some((back_ms, even)), Some((out_ms, odd))) = (even_back, odd_out)
            && back_ms > out_ms
        {
            complaints.push(format!(
                "{odd} of the odd half went out at {out_ms} ms, before {even} of the even half was back at {back_ms} ms"
            ));
        }
        complaints
    }

    /// The instances as a table.
    #[must_use]
    pub fn table(&self, findings: &Findings) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "instance",
            "server",
            "batch",
            "before",
            "after (itself)",
            "after (Drover)",
            "outcome",
        ]);
        let versions = findings
            .drover_versions
            .iter()
            .chain(std::iter::repeat(&None));
        for (instance, drover_version) in self.instances.iter().zip(versions) {
            let or_dash = |text: &Option<String>| text.as_deref().unwrap_or("-").to_owned();
            table.add_row([
                instance.name.clone(),
                instance.server.clone(),
                or_dash(&instance.batch),
                or_dash(&instance.version_before),
                or_dash(&instance.version_after),
                or_dash(drover_version),
                instance.outcome.clone(),
            ]);
        }
        table.to_string()
    }

    /// The timeline as a table.
    #[must_use]
    pub fn timeline_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "at",
            "server",
            "HAProxy says",
            "sessions",
        ]);
        for entry in &self.timeline {
            table.add_row([
                format!("{:>6} ms", entry.at_ms),
                entry.server.clone(),
                entry.state.clone(),
                entry.sessions.to_string(),
            ]);
        }
        table.to_string()
    }

    /// The numbers, one a line.
    #[must_use]
    pub fn figures(&self, findings: &Findings) -> String {
        let mut lines = vec![
            format!(
                "requests   {} total, {} failed, {:.0}/s",
                self.requests.total, self.requests.failed, self.requests.rate_per_s
            ),
            format!("answers    {}", answers(&findings.tally)),
            format!(
                "in use     never fewer than {} of {} servers",
                self.min_ready,
                self.instances.len()
            ),
            format!("duration   {:.1} s", self.duration_s),
            format!("task       {} {}", self.task.id, self.task.status),
        ];
        if let (Some(reloads), Some(long)) = (self.reloads, self.requests.long) {
            lines.push(format!("reloads    {reloads}, with {long} long requests"));
        }
        lines.extend(
            self.task
                .error
                .iter()
                .map(|error| format!("error      {error}")),
        );
        lines.extend(
            findings
                .tally
                .reasons
                .iter()
                .map(|reason| format!("failed     {reason}")),
        );
        lines.join("\n")
    }

    /// What is true after a failed update, one a line: who still serves what, and who is drained.
    #[must_use]
    pub fn aftermath(&self, findings: &Findings) -> String {
        let mut states = BTreeMap::new();
        for entry in &self.timeline {
            states.insert(entry.server.as_str(), entry.state.as_str());
        }
        let mut lines = Vec::new();
        for half in ["even", "odd"] {
            let members: Vec<String> = self
                .instances
                .iter()
                .filter(|instance| instance.batch.as_deref() == Some(half))
                .map(|instance| {
                    let version = instance.version_after.as_deref().unwrap_or("no answer");
                    let name = instance.haproxy_server();
                    let state = states.get(name.as_str()).copied().unwrap_or("not seen");
                    format!("{name} {version} {state}")
                })
                .collect();
            lines.push(format!("{half:<10} {}", members.join(", ")));
        }
        lines.push(if findings.left_drained.is_empty() {
            "drained    nothing is left drained in HAProxy".to_owned()
        } else {
            format!(
                "drained    left drained in HAProxy: {}",
                findings.left_drained.join(", ")
            )
        });
        lines.join("\n")
    }
}

fn answers(tally: &Tally) -> String {
    let versions: Vec<_> = tally
        .versions
        .iter()
        .map(|(version, count)| format!("{count} by {version}"))
        .collect();
    versions.join(", ")
}

/// When a server was out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Away {
    /// First seen out of use.
    out_ms: u64,
    /// Seen back in use for the last time; `None` if it was out at the end.
    back_ms: Option<u64>,
}

/// When each server was out of use; servers that never were are not in it.
fn away(timeline: &[Entry]) -> BTreeMap<&str, Away> {
    let mut away = BTreeMap::new();
    for entry in timeline {
        let at_ms = entry.at_ms;
        let in_use = is_in_use(&entry.state);
        match away.get_mut(entry.server.as_str()) {
            Some(Away { back_ms, .. }) if in_use => {
                back_ms.get_or_insert(at_ms);
            }
            Some(Away { back_ms, .. }) => *back_ms = None,
            None if in_use => {}
            None => {
                let out = Away {
                    out_ms: at_ms,
                    back_ms: None,
                };
                away.insert(entry.server.as_str(), out);
            }
        }
    }
    away
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: u64, server: &str, state: &str) -> Entry {
        Entry {
            at_ms,
            haproxy: "default",
            backend: "jurws",
            server: server.to_owned(),
            state: state.to_owned(),
            sessions: 0,
        }
    }

    fn instance(server: &str, name: &str, batch: &str) -> InstanceReport {
        InstanceReport {
            name: name.to_owned(),
            server: server.to_owned(),
            batch: Some(batch.to_owned()),
            version_before: Some("1.0.0".to_owned()),
            version_after: Some("1.1.0".to_owned()),
            outcome: "done".to_owned(),
        }
    }

    /// An update of two instances without a flaw.
    fn flawless() -> (Report, Findings) {
        let report = Report {
            requests: Requests {
                total: 5_000,
                failed: 0,
                rate_per_s: 400.0,
                long: None,
                reasons: Vec::new(),
            },
            instances: vec![
                instance("app01.demo", "jurws_1", "even"),
                instance("app02.demo", "jurws_1", "odd"),
            ],
            min_ready: 1,
            timeline: vec![
                entry(0, "app01_jurws_1", "UP"),
                entry(0, "app02_jurws_1", "UP"),
                entry(100, "app01_jurws_1", "DRAIN"),
                entry(300, "app01_jurws_1", "DOWN"),
                entry(900, "app01_jurws_1", "UP"),
                entry(900, "app02_jurws_1", "DRAIN"),
                entry(1_500, "app02_jurws_1", "UP 2/3"),
            ],
            reloads: None,
            task: TaskReport {
                id: "0190".to_owned(),
                status: "completed".to_owned(),
                error: None,
            },
            duration_s: 1.5,
        };
        let findings = Findings {
            drover_versions: vec![Some("1.1.0".to_owned()); 2],
            ..Findings::default()
        };
        (report, findings)
    }

    /// The only complaint after `spoil`.
    #[track_caller]
    fn complaint(spoil: impl FnOnce(&mut Report, &mut Findings)) -> String {
        let (mut report, mut findings) = flawless();
        spoil(&mut report, &mut findings);
        let complaints = report.complaints(&findings, "1.1.0");
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        complaints.concat()
    }

    #[test]
    fn a_flawless_update_has_no_complaint() {
        let (report, findings) = flawless();
        assert_eq!(report.complaints(&findings, "1.1.0"), Vec::<String>::new());
    }

    #[test]
    fn every_flaw_is_complained_of() {
        assert_eq!(
            complaint(|report, _| report.task.status = "failed".to_owned()),
            "the task ended as `failed`"
        );
        assert_eq!(
            complaint(|report, _| report.requests.failed = 1),
            "1 of 5000 requests failed"
        );
        assert_eq!(
            complaint(|report, _| report.requests.total = 4_999),
            "only 4999 of 5000 requests were made"
        );
        assert_eq!(
            complaint(|report, _| report.requests.rate_per_s = 150.0),
            "only 150 requests/s were made"
        );
        assert_eq!(
            complaint(|report, _| report.min_ready = 0),
            "only 0 servers were in use at one time, not 1"
        );
        assert_eq!(
            complaint(|_, findings| findings.left_drained.push("app01_jurws_1".to_owned())),
            "app01_jurws_1 left drained"
        );
        assert_eq!(
            complaint(|_, findings| findings.looks_missed = 2),
            "HAProxy did not show its state 2 times"
        );
        assert_eq!(
            complaint(|_, findings| findings.drover_versions = vec![Some("1.1.0".to_owned())]),
            "Drover has no version of app02_jurws_1, which tells 1.1.0"
        );
        assert_eq!(
            complaint(|report, findings| {
                report.instances[1].version_after = Some("1.0.0".to_owned());
                findings.drover_versions[1] = Some("1.0.0".to_owned());
            }),
            "app02_jurws_1 tells 1.0.0"
        );
    }

    #[test]
    fn halves_that_overlap_are_complained_of() {
        let text = complaint(|report, _| report.timeline[5].at_ms = 899);
        assert!(
            text.contains("app02_jurws_1 of the odd half went out at 899 ms"),
            "{text}"
        );
        let text =
            complaint(|report, _| report.timeline.push(entry(2_000, "app02_jurws_1", "DOWN")));
        assert_eq!(text, "app02_jurws_1 did not come back into use");
        let text = complaint(|report, _| report.timeline.truncate(5));
        assert_eq!(text, "app02_jurws_1 was never out of use in HAProxy");
        let text = complaint(|report, _| report.instances[1].batch = Some("all".to_owned()));
        assert_eq!(text, "app02_jurws_1 was in no half");
    }

    #[test]
    fn going_out_again_after_the_other_half_began_is_an_overlap() {
        let text = complaint(|report, _| {
            report.timeline.push(entry(1_000, "app01_jurws_1", "DOWN"));
            report.timeline.push(entry(1_200, "app01_jurws_1", "UP"));
        });
        assert!(text.contains("was back at 1200 ms"), "{text}");
    }

    #[test]
    fn the_json_has_the_promised_shape() {
        let (report, _) = flawless();
        let json = serde_json::to_value(report).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(
            keys(&json),
            [
                "duration_s",
                "instances",
                "min_ready",
                "requests",
                "task",
                "timeline"
            ]
        );
        assert_eq!(
            keys(&json["requests"]),
            ["failed", "rate_per_s", "reasons", "total"]
        );
        assert_eq!(
            keys(&json["instances"][0]),
            [
                "batch",
                "name",
                "outcome",
                "server",
                "version_after",
                "version_before"
            ]
        );
        assert_eq!(
            keys(&json["timeline"][0]),
            ["at_ms", "backend", "haproxy", "server", "sessions", "state"]
        );
        assert_eq!(keys(&json["task"]), ["error", "id", "status"]);
    }

    #[test]
    fn the_aftermath_names_who_serves_and_who_is_drained() {
        let (mut report, mut findings) = flawless();
        report.instances[1].version_after = Some("1.0.0".to_owned());
        let text = report.aftermath(&findings);
        assert!(
            text.contains("odd        app02_jurws_1 1.0.0 UP 2/3"),
            "{text}"
        );
        assert!(text.contains("nothing is left drained"), "{text}");
        findings.left_drained.push("app01_jurws_1".to_owned());
        let text = report.aftermath(&findings);
        assert!(
            text.contains("left drained in HAProxy: app01_jurws_1"),
            "{text}"
        );
        assert!(report.table(&findings).contains("app01.demo"));
        assert!(
            report
                .figures(&findings)
                .contains("5000 total, 0 failed, 400/s")
        );
    }
}
