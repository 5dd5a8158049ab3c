//! What a play's events say about a run, put together.

use std::collections::{BTreeMap, BTreeSet};

use drover_domain::rollout::composite::short_server_name;
use drover_domain::rollout::job::{HostStats, JobEvent, JobEventKind};
use drover_domain::rollout::record::{RolloutTarget, TargetOutcome};

/// How many reasons of failures are kept; the first one is the one that counts.
const FAILURES_MAX: usize = 20;

/// A run as its events describe it, from the first one on.
///
/// A worker reads the events of a run from the beginning, also after a restart: nothing
/// here needs to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    instances: Vec<RolloutTarget>,
    hosts: BTreeMap<String, HostStats>,
    failures: Vec<String>,
    saw_no_hosts: bool,
    has_acted: bool,
    self_reported: BTreeSet<String>,
    current: Option<String>,
}

impl Track {
    /// A run that has said nothing yet, with its instances.
    pub(crate) const fn new(instances: Vec<RolloutTarget>) -> Self {
        Self {
            instances,
            hosts: BTreeMap::new(),
            failures: Vec::new(),
            saw_no_hosts: false,
            has_acted: false,
            self_reported: BTreeSet::new(),
            current: None,
        }
    }

    /// Takes in the next events and returns the instances they changed.
    pub(crate) fn absorb(&mut self, events: &[JobEvent]) -> Vec<RolloutTarget> {
        let mut changed = BTreeMap::new();
        for event in events {
            if let Some(index) = self.absorb_one(event)
                && let Some(instance) = self.instances.get(index)
            {
                changed.insert(index, instance.clone());
            }
        }
        changed.into_values().collect()
    }

    fn absorb_one(&mut self, event: &JobEvent) -> Option<usize> {
        self.has_acted |= event.host.is_some();
        match event.kind {
            JobEventKind::TaskStart => self.current.clone_from(&event.task),
            JobEventKind::NoHosts => self.saw_no_hosts = true,
            JobEventKind::Failed | JobEventKind::Unreachable => self.note_failure(event),
            JobEventKind::Stats => {
                for stats in &event.stats {
                    self.note_stats(stats);
                }
            }
            JobEventKind::PlaybookStart
            | JobEventKind::PlayStart
            | JobEventKind::Ok
            | JobEventKind::Changed
            | JobEventKind::Ignored
            | JobEventKind::Skipped
            | JobEventKind::Retry
            | JobEventKind::Truncated => {}
        }
        let report = event.report.as_ref()?;
        let index = self
            .instances
            .iter()
            .position(|instance| instance.composite == report.composite)?;
        let instance = self.instances.get_mut(index)?;
        if event.host.as_deref() == Some(short_server_name(&instance.server)) {
            self.self_reported.insert(report.composite.clone());
        }
        instance.outcome = report.outcome;
        if report.detail.is_some() {
            instance.detail.clone_from(&report.detail);
        }
        Some(index)
    }

    fn note_failure(&mut self, event: &JobEvent) {
        let Some(message) = event
            .message
            .as_deref()
            .filter(|_| self.failures.len() < FAILURES_MAX)
        else {
            return;
        };
        let reason = match (&event.host, &event.task) {
            (Some(host), Some(task)) => format!("{host}: {task}: {message}"),
            (Some(host), None) => format!("{host}: {message}"),
            (None, Some(task)) => format!("{task}: {message}"),
            (None, None) => message.to_owned(),
        };
        if !self.failures.contains(&reason) {
            self.failures.push(reason);
        }
    }

    // A host may have counts of several playbooks: the orchestrator's and those it runs itself.
    fn note_stats(&mut self, stats: &HostStats) {
        match self.hosts.get_mut(&stats.host) {
            Some(known) => {
                known.ok += stats.ok;
                known.changed += stats.changed;
                known.unreachable += stats.unreachable;
                known.failed += stats.failed;
                known.skipped += stats.skipped;
                known.rescued += stats.rescued;
                known.ignored += stats.ignored;
            }
            None => {
                self.hosts.insert(stats.host.clone(), stats.clone());
            }
        }
    }

    /// The instances as they are now.
    pub(crate) fn instances(&self) -> &[RolloutTarget] {
        &self.instances
    }

    /// The closing counts so far, by host.
    pub(crate) fn hosts(&self) -> Vec<HostStats> {
        self.hosts.values().cloned().collect()
    }

    /// The reasons of failures, first things first.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Whether any host has done, failed or skipped anything.
    pub(crate) const fn has_acted(&self) -> bool {
        self.has_acted
    }

    /// The composite names of instances that were reported from their own server.
    pub(crate) const fn self_reported(&self) -> &BTreeSet<String> {
        &self.self_reported
    }

    /// Whether a play found no host.
    pub(crate) const fn saw_no_hosts(&self) -> bool {
        self.saw_no_hosts
    }

    /// The play's current task.
    pub(crate) fn current(&self) -> Option<String> {
        self.current.clone()
    }
}

/// How far a rollout is, 0 to 100: each instance counts by the steps it has behind it.
pub(crate) fn progress(instances: &[RolloutTarget]) -> u8 {
    let steps: usize = instances
        .iter()
        .map(|instance| usize::from(steps_done(instance.outcome)))
        .sum();
    let all = instances.len().saturating_mul(usize::from(STEPS)).max(1);
    u8::try_from(steps.saturating_mul(100) / all).unwrap_or(100)
}

const STEPS: u8 = 6;

const fn steps_done(outcome: TargetOutcome) -> u8 {
    match outcome {
        TargetOutcome::Pending => 0,
        TargetOutcome::Draining => 1,
        TargetOutcome::Drained => 2,
        TargetOutcome::Updating => 3,
        TargetOutcome::Verifying => 4,
        TargetOutcome::Returning => 5,
        TargetOutcome::Done
        | TargetOutcome::Unverified
        | TargetOutcome::Failed
        | TargetOutcome::Skipped
        | TargetOutcome::RolledBack
        | TargetOutcome::LeftDrained
        | TargetOutcome::Unknown => STEPS,
    }
}

#[cfg(test)]
mod tests {
    use drover_domain::rollout::job::TargetReport;
    use drover_domain::{Key, Timestamp};

    use super::*;

    fn event(kind: JobEventKind) -> JobEvent {
        JobEvent {
            sequence: 0,
            at: Timestamp::EPOCH,
            kind,
            play: None,
            task: Some("get the artifact".to_owned()),
            host: Some("app01".to_owned()),
            message: Some("checksum mismatch".to_owned()),
            report: None,
            stats: Vec::new(),
        }
    }

    fn instance(composite: &str) -> RolloutTarget {
        RolloutTarget {
            application: Key::new(1),
            name: "a_1".to_owned(),
            server: "app01".to_owned(),
            composite: composite.to_owned(),
            run: 0,
            batch: "even".to_owned(),
            haproxy_server: None,
            outcome: TargetOutcome::Pending,
            detail: None,
            version_before: None,
            process_before: None,
            version_after: None,
        }
    }

    #[test]
    fn the_first_reason_of_a_failure_comes_first_and_once() {
        let mut track = Track::new(Vec::new());
        track.absorb(&[
            event(JobEventKind::Failed),
            event(JobEventKind::Failed),
            event(JobEventKind::Ignored),
        ]);
        assert_eq!(
            track.failures(),
            ["app01: get the artifact: checksum mismatch"]
        );
    }

    #[test]
    fn a_report_moves_its_instance_and_no_other() {
        let mut track = Track::new(vec![instance("app01::a_1"), instance("app02::a_1")]);
        let report = TargetReport {
            composite: "app02::a_1".to_owned(),
            outcome: TargetOutcome::Drained,
            detail: Some("0 sessions".to_owned()),
        };
        let changed = track.absorb(&[JobEvent {
            report: Some(report),
            ..event(JobEventKind::Ok)
        }]);
        assert_eq!(
            changed
                .iter()
                .map(|instance| instance.composite.as_str())
                .collect::<Vec<_>>(),
            ["app02::a_1"]
        );
        assert_eq!(progress(track.instances()), 16);
    }

    #[test]
    fn counts_of_several_playbooks_add_up_by_host() {
        let stats = HostStats {
            host: "app01".to_owned(),
            ok: 2,
            changed: 1,
            unreachable: 0,
            failed: 0,
            skipped: 0,
            rescued: 0,
            ignored: 0,
        };
        let mut track = Track::new(Vec::new());
        let event = JobEvent {
            stats: vec![stats],
            ..event(JobEventKind::Stats)
        };
        track.absorb(&[event.clone(), event]);
        assert_eq!(track.hosts().first().map(|host| host.ok), Some(4));
    }

    #[test]
    fn progress_of_nothing_is_nothing() {
        assert_eq!(progress(&[]), 0);
    }
}
