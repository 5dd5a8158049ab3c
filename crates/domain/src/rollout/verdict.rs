//! What a run came to, judged by evidence: neither its exit code nor the play's own word is one.
//!
//! Evidence is Ansible's counts of the server, what the agent shows after the run, and what HAProxy shows. The absence of a
//! report is no report that nothing was done.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{ApplicationKey, ApplicationKind, Process, known_version};
use crate::haproxy::{Health, ServerWord};

use super::artifact::{artifact_version, shows_version};
use super::composite::short_server_name;
use super::job::HostStats;
use super::record::{RolloutTarget, RunStatus, TargetOutcome, UpdateMode};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunVerdict {
    /// Its final status.
    pub status: RunStatus,
    /// Its instances, all with final outcomes.
    pub instances: Vec<RolloutTarget>,
    /// Why it did not succeed: Ansible's own first reason where it gave one.
    pub error: Option<String>,
}

/// What is known of a run that is over.
#[derive(Debug, Clone)]
pub struct RunFacts<'a> {
    /// What the update playbook was to do.
    pub mode: UpdateMode,
    /// `None` when its process is gone without one.
    pub exit_code: Option<i32>,
    /// The closing counts; none means that no host matched or that it was killed.
    pub stats: &'a [HostStats],
    /// Whether a play found no host.
    pub saw_no_hosts: bool,
    /// Whether any host has done anything.
    pub has_acted: bool,
    /// The instances that the update playbook reported from their own server.
    pub self_reported: &'a BTreeSet<String>,
    /// The reasons of failures, first things first.
    pub failures: &'a [String],
    /// What was seen of the instances after the run.
    pub seen: &'a BTreeMap<ApplicationKey, Sighting>,
}

/// What was seen of an instance after its run, by others than the play.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sighting {
    /// In HAProxy.
    pub haproxy: HaproxySight,
    /// By its agent.
    pub agent: AgentSight,
    /// The version that its agent shows, if it shows one.
    pub version: Option<String>,
    /// The status that its agent shows, if it says that the instance does not run.
    pub down: Option<String>,
}

/// What HAProxy shows of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HaproxySight {
    /// The instance has no server there that the run could drain.
    #[default]
    NotBehind,
    /// HAProxy could not be asked.
    Unknown,
    /// It gets requests, or would if its checks passed.
    InUse {
        /// HAProxy's status word.
        word: String,
    },
    /// Another owner pinned it.
    PinnedByOther {
        /// Who.
        owner: String,
    },
    /// It is drained or in maintenance.
    OutOfUse {
        /// HAProxy's status word.
        word: String,
        /// The command that returns it.
        remedy: String,
    },
}

/// What an agent shows of an instance, compared with before the update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AgentSight {
    /// It shows neither a version nor a process, before and after, or nothing had to change.
    #[default]
    Silent,
    /// It did not answer after the run.
    Unanswered {
        /// Why, a sentence.
        reason: String,
    },
    /// It shows what it showed before.
    Same {
        /// What that is.
        what: String,
    },
    /// What it shows speaks against the update: another version than that of the artifact, or nothing where it showed
    /// something before.
    Against {
        /// What it does, as in "the agent shows no version".
        what: String,
    },
    /// It shows something else.
    Changed {
        /// What it shows now.
        what: String,
    },
}

/// What an agent shows of an instance at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shown<'a> {
    /// The version.
    pub version: Option<&'a str>,
    /// The process.
    pub process: Process,
}

impl AgentSight {
    /// Compares what an agent showed before and after an update to the artifact at this address.
    #[must_use]
    pub fn compare(
        kind: ApplicationKind,
        before: Shown<'_>,
        after: Shown<'_>,
        artifact: &str,
    ) -> Self {
        let restarted = before.process.was_restarted(after.process);
        let old = before.version.and_then(known_version);
        let same = |what: String| Self::Same { what };
        let against = |what: String| Self::Against { what };
        let changed = |what: String| Self::Changed { what };
        let Some(new) = after.version.and_then(known_version) else {
            return match restarted {
                Some(true) => changed("that it was restarted".to_owned()),
                Some(false) if old.is_some() => {
                    against("shows no version, and that it was not restarted".to_owned())
                }
                Some(false) => same("that it was not restarted".to_owned()),
                None if old.is_some() => against("shows no version".to_owned()),
                None if before.process.is_known() && !after.process.is_known() => {
                    against("shows no process".to_owned())
                }
                None => Self::Silent,
            };
        };
        let wanted = artifact_version(kind, artifact);
        let agrees = shows_version(kind, artifact, new);
        if let (Some(false), Some(wanted)) = (agrees, wanted)
            && (old != Some(new) || restarted == Some(true))
        {
            return against(format!("shows {new}, the artifact is {wanted}"));
        }
        match (old, restarted) {
            (Some(old), _) if old != new => changed(format!("version {new}")),
            // What it showed before is unknown, so it is the artifact's version that counts.
            (None, _) if agrees == Some(true) => changed(format!("version {new}")),
            (_, Some(true)) => changed(format!("version {new}, restarted")),
            (Some(_), Some(false)) => same(format!("version {new}, not restarted")),
            (None, Some(false)) => same("that it was not restarted".to_owned()),
            // It had this version before, and nothing shows a restart.
            (Some(_), None) if agrees == Some(true) => Self::Silent,
            (Some(_), None) => same(format!("version {new}")),
            (None, None) => Self::Silent,
        }
    }
}

/// The most characters of a reason.
const REASON_MAX: usize = 500;
/// How many instances a sentence names.
const NAMED_MAX: usize = 5;

/// Judges a run that is over; `instances` are as the play's reports left them.
///
/// It succeeded only if it exited with 0, no host failed or was unreachable, some host matched, and every instance is
/// done. An instance is done where the play did work on its server and, if the agent shows a version or a process, that
/// has changed. The play's word without that is `unverified`; where the play said nothing, it is `unknown` unless HAProxy
/// or the agent show more. A server is `left_drained` only where HAProxy shows it.
#[must_use]
pub fn judge(instances: &[RolloutTarget], facts: &RunFacts<'_>) -> RunVerdict {
    let is_reporting = instances
        .iter()
        .any(|instance| instance.outcome != TargetOutcome::Pending);
    let instances: Vec<RolloutTarget> = instances
        .iter()
        .map(|instance| facts.close(instance, is_reporting))
        .collect();
    let all_done = instances
        .iter()
        .all(|instance| instance.outcome == TargetOutcome::Done);
    if all_done && facts.has_ended_well() {
        return RunVerdict {
            status: RunStatus::Succeeded,
            instances,
            error: None,
        };
    }
    let error = facts.error(&instances);
    RunVerdict {
        status: if facts.exit_code.is_some() {
            RunStatus::Failed
        } else {
            RunStatus::Unknown
        },
        instances,
        error: Some(error),
    }
}

impl RunFacts<'_> {
    fn has_ended_well(&self) -> bool {
        let is_clean = self.stats.iter().all(HostStats::is_clean);
        self.exit_code == Some(0) && is_clean && !self.stats.is_empty()
    }

    fn seen(&self, instance: &RolloutTarget) -> Sighting {
        self.seen
            .get(&instance.application)
            .cloned()
            .unwrap_or_default()
    }

    fn close(&self, instance: &RolloutTarget, is_reporting: bool) -> RolloutTarget {
        let sighting = self.seen(instance);
        let closed = self.conclude(instance, is_reporting, &sighting);
        let is_shown = self.mode == UpdateMode::Update && closed.outcome != TargetOutcome::Skipped;
        RolloutTarget {
            version_after: sighting.version.filter(|_| is_shown),
            ..closed
        }
    }

    fn conclude(
        &self,
        instance: &RolloutTarget,
        is_reporting: bool,
        sighting: &Sighting,
    ) -> RolloutTarget {
        let Sighting { haproxy, agent, .. } = sighting;
        let shows_change = self.shows_change(agent);
        let (mut outcome, mut detail) = match instance.outcome {
            TargetOutcome::Done => match self.proof(instance, agent) {
                Ok(()) => (TargetOutcome::Done, String::new()),
                Err(reason) => (TargetOutcome::Unverified, reason),
            },
            // A play may say of an instance that it left it alone; what the agent shows weighs more.
            TargetOutcome::Skipped if shows_change => {
                self.unreported("the play calls it skipped", haproxy, agent)
            }
            TargetOutcome::Failed
            | TargetOutcome::Unverified
            | TargetOutcome::Skipped
            | TargetOutcome::RolledBack
            | TargetOutcome::Unknown => return instance.clone(),
            TargetOutcome::LeftDrained => match haproxy {
                HaproxySight::OutOfUse { .. } => (TargetOutcome::LeftDrained, shown(haproxy)),
                HaproxySight::InUse { .. } | HaproxySight::PinnedByOther { .. } => {
                    (TargetOutcome::Failed, shown(haproxy))
                }
                HaproxySight::NotBehind | HaproxySight::Unknown => {
                    (TargetOutcome::Unknown, shown(haproxy))
                }
            },
            TargetOutcome::Pending if !self.has_acted => (
                TargetOutcome::Skipped,
                "the play did nothing on any host".to_owned(),
            ),
            TargetOutcome::Pending if is_reporting && !self.has_ended_well() && !shows_change => (
                TargetOutcome::Skipped,
                "the run ended before its turn".to_owned(),
            ),
            TargetOutcome::Pending => {
                let said = "the play reported nothing about it";
                self.unreported(said, haproxy, agent)
            }
            TargetOutcome::Draining
            | TargetOutcome::Drained
            | TargetOutcome::Updating
            | TargetOutcome::Verifying
            | TargetOutcome::Returning => self.interrupted(instance.outcome, haproxy, agent),
        };
        // Neither a new version nor the word of the play counts for something that does not run.
        let is_up = self.mode != UpdateMode::Update || sighting.down.is_none();
        let is_claimed = instance.outcome == TargetOutcome::Done || outcome == TargetOutcome::Done;
        if let Some(status) = sighting.down.as_ref().filter(|_| is_claimed && !is_up) {
            outcome = TargetOutcome::Failed;
            let seen = format!("the agent shows it as `{status}` after the update");
            detail = if detail.is_empty() {
                seen
            } else {
                format!("{seen}; {detail}")
            };
        }
        let detail = match &instance.detail {
            Some(known) if !detail.is_empty() => format!("{detail}; before that: {known}"),
            Some(known) => known.clone(),
            None => detail,
        };
        RolloutTarget {
            outcome,
            detail: Some(detail).filter(|detail| !detail.is_empty()),
            ..instance.clone()
        }
    }

    /// Whether the agent shows what an update changes. A delivery changes nothing that an agent shows.
    fn shows_change(&self, agent: &AgentSight) -> bool {
        self.mode == UpdateMode::Update && matches!(agent, AgentSight::Changed { .. })
    }

    /// Whether others than the play show that the instance is done, or why they do not.
    fn proof(&self, instance: &RolloutTarget, agent: &AgentSight) -> Result<(), String> {
        if self.mode == UpdateMode::Update {
            match agent {
                AgentSight::Changed { .. } => return Ok(()),
                AgentSight::Same { what } => {
                    return Err(format!(
                        "the play calls it done, and the agent still shows {what}"
                    ));
                }
                AgentSight::Unanswered { reason } => {
                    return Err(format!(
                        "the play calls it done, and the agent does not show it: {reason}"
                    ));
                }
                AgentSight::Against { what } => {
                    return Err(format!("the play calls it done, and the agent {what}"));
                }
                AgentSight::Silent => {}
            }
        }
        let host = short_server_name(&instance.server);
        let counts = self.stats.iter().find(|counts| counts.host == host);
        let Some(counts) = counts.filter(|counts| counts.ok > 0) else {
            return Err(format!(
                "the play calls it done, and Ansible did no task on `{host}`"
            ));
        };
        if counts.unreachable > 0 {
            return Err(format!(
                "the play calls it done, and `{host}` was unreachable"
            ));
        }
        if counts.ignored > 0 {
            return Err(format!(
                "the play calls it done, and {} failures on `{host}` were ignored",
                counts.ignored
            ));
        }
        if counts.changed == 0 && !self.self_reported.contains(&instance.composite) {
            return Err(format!(
                "the play calls it done, and changed nothing on `{host}`"
            ));
        }
        Ok(())
    }

    fn unreported(
        &self,
        said: &str,
        haproxy: &HaproxySight,
        agent: &AgentSight,
    ) -> (TargetOutcome, String) {
        let is_changed = self.shows_change(agent);
        let outcome = match haproxy {
            HaproxySight::OutOfUse { .. } => TargetOutcome::LeftDrained,
            HaproxySight::NotBehind | HaproxySight::InUse { .. }
                if is_changed && self.has_ended_well() =>
            {
                TargetOutcome::Done
            }
            HaproxySight::NotBehind
            | HaproxySight::Unknown
            | HaproxySight::InUse { .. }
            | HaproxySight::PinnedByOther { .. } => TargetOutcome::Unknown,
        };
        let told = match agent {
            AgentSight::Silent => String::new(),
            AgentSight::Unanswered { reason } => format!("; the agent: {reason}"),
            AgentSight::Same { what } => format!("; the agent still shows {what}"),
            AgentSight::Against { what } => format!("; the agent {what}"),
            AgentSight::Changed { what } => format!("; the agent shows {what}"),
        };
        let shown = match shown(haproxy) {
            text if text.is_empty() => text,
            text => format!("; {text}"),
        };
        (outcome, format!("{said}{told}{shown}"))
    }

    /// An instance that was being worked on when the run ended.
    fn interrupted(
        &self,
        was: TargetOutcome,
        haproxy: &HaproxySight,
        agent: &AgentSight,
    ) -> (TargetOutcome, String) {
        let said = format!("the run ended while it was {}", was.as_str());
        if self.has_ended_well() {
            return self.unreported(&said, haproxy, agent);
        }
        let is_changed = self.shows_change(agent);
        let (_, detail) = self.unreported(&said, haproxy, agent);
        let was_updated = matches!(was, TargetOutcome::Verifying | TargetOutcome::Returning);
        let was_untouched = matches!(was, TargetOutcome::Draining | TargetOutcome::Drained);
        let outcome = match haproxy {
            HaproxySight::OutOfUse { .. } => TargetOutcome::LeftDrained,
            HaproxySight::Unknown => TargetOutcome::Unknown,
            HaproxySight::InUse { .. } if was_updated && is_changed => TargetOutcome::Done,
            HaproxySight::InUse { .. }
                if was_untouched && !is_changed && self.exit_code.is_some() =>
            {
                TargetOutcome::Skipped
            }
            // The play says that it had not come to the work yet, and the agent shows a change.
            HaproxySight::InUse { .. } if was_untouched => TargetOutcome::Unknown,
            // Its process is gone, and nothing shows what it still did.
            HaproxySight::NotBehind
            | HaproxySight::InUse { .. }
            | HaproxySight::PinnedByOther { .. }
                if self.exit_code.is_none() =>
            {
                TargetOutcome::Unknown
            }
            HaproxySight::NotBehind
            | HaproxySight::InUse { .. }
            | HaproxySight::PinnedByOther { .. } => TargetOutcome::Failed,
        };
        (outcome, detail)
    }

    fn error(&self, instances: &[RolloutTarget]) -> String {
        // What failed was rescued or ignored.
        if self.has_ended_well() && !self.saw_no_hosts {
            return unproven(instances);
        }
        let is_nothing = self.exit_code == Some(0) && self.stats.is_empty();
        reason(self.failures)
            .or_else(|| self.saw_no_hosts.then(no_hosts))
            .or_else(|| is_nothing.then(no_tasks))
            .or_else(|| {
                let mut hosts = self.stats.iter();
                hosts.find(|host| !host.is_clean()).map(unclean)
            })
            .unwrap_or_else(|| match self.exit_code {
                Some(0) => unproven(instances),
                Some(code) => exit_sentence(code),
                None => "the play's process is gone and left no exit code; what it did is unknown"
                    .to_owned(),
            })
    }
}

/// What HAProxy shows, as a part of a sentence.
fn shown(haproxy: &HaproxySight) -> String {
    match haproxy {
        HaproxySight::NotBehind => String::new(),
        HaproxySight::Unknown => "HAProxy could not be asked".to_owned(),
        HaproxySight::InUse { word } => format!("HAProxy shows `{word}`"),
        HaproxySight::PinnedByOther { owner } => format!("{owner} pinned it out of use in HAProxy"),
        HaproxySight::OutOfUse { word, remedy } => {
            // Of a server that is drained and down HAProxy shows the word of its checks.
            if ServerWord::new(word).health() == Health::Down {
                format!(
                    "HAProxy shows `{word}`: its checks fail; mend the application, then `{remedy}` returns it"
                )
            } else {
                format!("HAProxy shows `{word}`; `{remedy}` returns it")
            }
        }
    }
}

fn reason(failures: &[String]) -> Option<String> {
    let first = failures.first()?;
    let mut text: String = first.chars().take(REASON_MAX).collect();
    if first.chars().nth(REASON_MAX).is_some() {
        text.push('…');
    }
    Some(text)
}

fn no_hosts() -> String {
    "no host matched the `hosts:` of a play among the targets, so nothing was done; look at the playbook's `hosts:` and at the inventory"
        .to_owned()
}

fn no_tasks() -> String {
    "the play ended with exit code 0 and did no task on any host; look at its `meta: end_play`, `when` and tags"
        .to_owned()
}

fn unclean(host: &HostStats) -> String {
    format!(
        "on {}: {} tasks failed, {} times unreachable",
        host.host, host.failed, host.unreachable
    )
}

fn unproven(instances: &[RolloutTarget]) -> String {
    let open: Vec<&RolloutTarget> = instances
        .iter()
        .filter(|instance| instance.outcome != TargetOutcome::Done)
        .collect();
    let named: Vec<String> = open
        .iter()
        .take(NAMED_MAX)
        .map(|instance| {
            let (name, server) = (&instance.name, &instance.server);
            let detail = instance.detail.as_deref().unwrap_or_default();
            format!(
                "{name} on {server} is {}: {detail}",
                instance.outcome.as_str()
            )
        })
        .collect();
    let more = match open.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!(
        "the play ended with exit code 0, but not every instance is proven to be done: {}{more}",
        named.join("; ")
    )
}

// Measured on ansible-core 2.14: 4 stands for unreachable hosts and for what cannot be parsed alike.
fn exit_sentence(code: i32) -> String {
    match code {
        1 => "ansible-playbook could not start: it cannot read a playbook, a variables file, the inventory or its settings (exit code 1)"
            .to_owned(),
        2 => "tasks failed, or the command line was wrong (exit code 2)".to_owned(),
        4 => "hosts were unreachable, or the playbook could not be parsed (exit code 4)".to_owned(),
        8 => "a play was broken (exit code 8)".to_owned(),
        99 => "the play was interrupted (exit code 99)".to_owned(),
        250 => "ansible-playbook met an unexpected error of its own (exit code 250)".to_owned(),
        code if code < 0 => format!("the play was ended by signal {}", -code),
        code => format!("the play ended with exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    use TargetOutcome as O;

    fn instance(outcome: TargetOutcome) -> RolloutTarget {
        RolloutTarget {
            application: Key::new(1),
            name: "a_1".to_owned(),
            server: "s1.example".to_owned(),
            composite: "s1::a_1".to_owned(),
            run: 0,
            batch: "even".to_owned(),
            haproxy_server: None,
            outcome,
            detail: None,
            version_before: None,
            process_before: None,
            version_after: None,
        }
    }

    fn stats(host: &str, ok: u32, changed: u32) -> HostStats {
        HostStats {
            host: host.to_owned(),
            ok,
            changed,
            unreachable: 0,
            failed: 0,
            skipped: 0,
            rescued: 0,
            ignored: 0,
        }
    }

    /// What a case differs in from a run that went well on `s1`.
    struct Case {
        mode: UpdateMode,
        exit_code: Option<i32>,
        stats: Vec<HostStats>,
        saw_no_hosts: bool,
        has_acted: bool,
        self_reported: bool,
        failures: Vec<String>,
        haproxy: HaproxySight,
        agent: AgentSight,
        version: Option<&'static str>,
        down: Option<&'static str>,
    }

    impl Default for Case {
        fn default() -> Self {
            Self {
                mode: UpdateMode::Update,
                exit_code: Some(0),
                stats: vec![stats("localhost", 5, 1), stats("s1", 2, 1)],
                saw_no_hosts: false,
                has_acted: true,
                self_reported: false,
                failures: Vec::new(),
                haproxy: HaproxySight::NotBehind,
                agent: AgentSight::Silent,
                version: None,
                down: None,
            }
        }
    }

    impl Case {
        fn judge(self, instances: &[RolloutTarget]) -> RunVerdict {
            let sighting = Sighting {
                haproxy: self.haproxy,
                agent: self.agent,
                version: self.version.map(str::to_owned),
                down: self.down.map(str::to_owned),
            };
            let reported = BTreeSet::from(["s1::a_1".to_owned()]);
            let none = BTreeSet::new();
            judge(
                instances,
                &RunFacts {
                    mode: self.mode,
                    exit_code: self.exit_code,
                    stats: &self.stats,
                    saw_no_hosts: self.saw_no_hosts,
                    has_acted: self.has_acted,
                    self_reported: if self.self_reported { &reported } else { &none },
                    failures: &self.failures,
                    seen: &BTreeMap::from([(Key::new(1), sighting)]),
                },
            )
        }

        /// What becomes of one instance that the play left as `outcome`.
        fn one(self, outcome: TargetOutcome) -> (TargetOutcome, String) {
            let verdict = self.judge(&[instance(outcome)]);
            let found = &verdict.instances[0];
            (found.outcome, found.detail.clone().unwrap_or_default())
        }
    }

    fn same() -> AgentSight {
        AgentSight::Same {
            what: "version 1.0.0".to_owned(),
        }
    }

    fn changed() -> AgentSight {
        AgentSight::Changed {
            what: "version 1.1.0".to_owned(),
        }
    }

    fn in_use() -> HaproxySight {
        HaproxySight::InUse {
            word: "UP".to_owned(),
        }
    }

    fn out_of_use() -> HaproxySight {
        HaproxySight::OutOfUse {
            word: "DRAIN".to_owned(),
            remedy: "drover haproxy ready 7".to_owned(),
        }
    }

    #[test]
    fn a_server_that_is_down_is_mended_before_it_is_returned() {
        for (word, mends) in [
            ("DRAIN", false),
            ("MAINT", false),
            ("DOWN", true),
            ("DOWN 1/2", false),
        ] {
            let sight = HaproxySight::OutOfUse {
                word: word.to_owned(),
                remedy: "drover haproxy ready 7".to_owned(),
            };
            let sentence = shown(&sight);
            assert!(sentence.contains("drover haproxy ready 7"), "{sentence}");
            assert_eq!(
                sentence.contains("mend the application"),
                mends,
                "{sentence}"
            );
        }
    }

    #[test]
    fn work_on_the_server_and_a_silent_or_changed_agent_are_success() {
        for case in [
            Case::default(),
            Case {
                agent: changed(),
                stats: vec![stats("localhost", 5, 1)],
                ..Case::default()
            },
            Case {
                stats: vec![stats("s1", 1, 0)],
                self_reported: true,
                ..Case::default()
            },
            // A delivery changes neither version nor process.
            Case {
                mode: UpdateMode::Deliver,
                agent: same(),
                ..Case::default()
            },
        ] {
            let verdict = case.judge(&[instance(O::Done)]);
            assert_eq!(
                (verdict.status, verdict.error),
                (RunStatus::Succeeded, None)
            );
        }
    }

    #[test]
    fn the_plays_own_word_is_no_evidence() {
        for (case, part) in [
            (
                Case {
                    agent: same(),
                    ..Case::default()
                },
                "the agent still shows version 1.0.0",
            ),
            (
                Case {
                    agent: AgentSight::Unanswered {
                        reason: "refused".to_owned(),
                    },
                    ..Case::default()
                },
                "the agent does not show it: refused",
            ),
            (
                Case {
                    stats: vec![stats("localhost", 5, 1)],
                    ..Case::default()
                },
                "did no task on `s1`",
            ),
            (
                Case {
                    stats: vec![stats("s1", 0, 0), stats("s2", 3, 3)],
                    ..Case::default()
                },
                "did no task on `s1`",
            ),
            (
                Case {
                    stats: vec![stats("s1", 2, 0)],
                    ..Case::default()
                },
                "changed nothing on `s1`",
            ),
            (
                Case {
                    stats: vec![HostStats {
                        ignored: 1,
                        ..stats("s1", 2, 1)
                    }],
                    ..Case::default()
                },
                "1 failures on `s1` were ignored",
            ),
            (
                Case {
                    mode: UpdateMode::Deliver,
                    stats: vec![stats("localhost", 5, 1)],
                    ..Case::default()
                },
                "did no task on `s1`",
            ),
        ] {
            let verdict = case.judge(&[instance(O::Done)]);
            assert_eq!(verdict.status, RunStatus::Failed, "{part}");
            let found = &verdict.instances[0];
            assert_eq!(found.outcome, O::Unverified, "{part}");
            assert!(
                found
                    .detail
                    .as_deref()
                    .is_some_and(|detail| detail.contains(part)),
                "{found:?}"
            );
            assert!(
                verdict
                    .error
                    .as_deref()
                    .is_some_and(|error| error.contains("a_1 on s1.example is unverified")),
                "{:?}",
                verdict.error
            );
        }
        // A host that was unreachable makes the run itself unclean.
        let unreachable = Case {
            stats: vec![HostStats {
                unreachable: 1,
                ..stats("s1", 1, 1)
            }],
            ..Case::default()
        };
        assert_eq!(unreachable.one(O::Done).0, O::Unverified);
    }

    #[test]
    fn exit_code_0_alone_proves_nothing() {
        let failed = HostStats {
            failed: 1,
            ..stats("localhost", 1, 0)
        };
        for (outcome, stats, saw_no_hosts, part) in [
            (O::Done, vec![], false, "did no task on any host"),
            (O::Done, vec![], true, "no host matched the `hosts:`"),
            (
                O::Pending,
                vec![stats("localhost", 1, 0)],
                true,
                "no host matched the `hosts:`",
            ),
            (O::Done, vec![failed], false, "on localhost: 1 tasks failed"),
            (
                O::Pending,
                vec![stats("localhost", 1, 0)],
                false,
                "a_1 on s1.example",
            ),
        ] {
            let case = Case {
                stats,
                saw_no_hosts,
                ..Case::default()
            };
            let verdict = case.judge(&[instance(outcome)]);
            assert_eq!(verdict.status, RunStatus::Failed);
            assert!(
                verdict
                    .error
                    .as_deref()
                    .is_some_and(|error| error.contains(part)),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn what_the_play_did_not_report_is_unknown_unless_others_show_it() {
        let failed = |haproxy, agent| Case {
            exit_code: Some(2),
            haproxy,
            agent,
            ..Case::default()
        };
        let ended = |haproxy, agent| Case {
            haproxy,
            agent,
            ..Case::default()
        };
        for (case, expected, part) in [
            (
                ended(HaproxySight::NotBehind, AgentSight::Silent),
                O::Unknown,
                "reported nothing",
            ),
            (
                ended(in_use(), same()),
                O::Unknown,
                "still shows version 1.0.0; HAProxy shows `UP`",
            ),
            (ended(in_use(), changed()), O::Done, "shows version 1.1.0"),
            (
                ended(HaproxySight::NotBehind, changed()),
                O::Done,
                "shows version 1.1.0",
            ),
            (
                ended(out_of_use(), changed()),
                O::LeftDrained,
                "`drover haproxy ready 7` returns it",
            ),
            (
                ended(HaproxySight::Unknown, changed()),
                O::Unknown,
                "could not be asked",
            ),
            (failed(in_use(), same()), O::Unknown, "HAProxy shows `UP`"),
            (
                failed(in_use(), changed()),
                O::Unknown,
                "shows version 1.1.0",
            ),
            (
                failed(out_of_use(), AgentSight::Silent),
                O::LeftDrained,
                "HAProxy shows `DRAIN`",
            ),
        ] {
            let (outcome, detail) = case.one(O::Pending);
            assert_eq!(outcome, expected, "{detail}");
            assert!(detail.contains(part), "{detail}");
        }
    }

    #[test]
    fn what_the_play_cannot_have_reached_is_skipped() {
        let nothing = Case {
            has_acted: false,
            exit_code: Some(4),
            stats: Vec::new(),
            ..Case::default()
        };
        assert_eq!(nothing.one(O::Pending).0, O::Skipped);
        // A play that reports its instances reports each one before it touches it.
        let reporting = Case {
            exit_code: Some(99),
            ..Case::default()
        };
        let other = RolloutTarget {
            application: Key::new(2),
            ..instance(O::Done)
        };
        let verdict = reporting.judge(&[instance(O::Pending), other]);
        assert_eq!(verdict.instances[0].outcome, O::Skipped);
    }

    #[test]
    fn what_was_being_worked_on_is_what_haproxy_shows() {
        let case = |exit_code, haproxy, agent| Case {
            exit_code,
            haproxy,
            agent,
            ..Case::default()
        };
        for (exit_code, was, haproxy, agent, expected) in [
            (
                Some(99),
                O::Updating,
                out_of_use(),
                AgentSight::Silent,
                O::LeftDrained,
            ),
            (Some(99), O::Updating, in_use(), same(), O::Failed),
            (Some(99), O::Draining, in_use(), same(), O::Skipped),
            (Some(99), O::Drained, in_use(), same(), O::Skipped),
            (Some(99), O::Returning, in_use(), changed(), O::Done),
            (Some(99), O::Verifying, in_use(), same(), O::Failed),
            (
                Some(99),
                O::Updating,
                HaproxySight::NotBehind,
                AgentSight::Silent,
                O::Failed,
            ),
            (
                Some(99),
                O::Updating,
                HaproxySight::Unknown,
                AgentSight::Silent,
                O::Unknown,
            ),
            (None, O::Updating, in_use(), same(), O::Unknown),
            (None, O::Drained, in_use(), same(), O::Unknown),
            (
                None,
                O::Draining,
                HaproxySight::NotBehind,
                AgentSight::Silent,
                O::Unknown,
            ),
            (
                None,
                O::Drained,
                out_of_use(),
                AgentSight::Silent,
                O::LeftDrained,
            ),
            // The play's word about HAProxy is none.
            (
                Some(2),
                O::LeftDrained,
                in_use(),
                AgentSight::Silent,
                O::Failed,
            ),
            (
                Some(2),
                O::LeftDrained,
                out_of_use(),
                AgentSight::Silent,
                O::LeftDrained,
            ),
            (
                Some(2),
                O::LeftDrained,
                HaproxySight::Unknown,
                AgentSight::Silent,
                O::Unknown,
            ),
        ] {
            let (outcome, detail) = case(exit_code, haproxy, agent).one(was);
            assert_eq!(outcome, expected, "{was:?}: {detail}");
        }
        let lost = case(None, in_use(), same()).judge(&[instance(O::Updating)]);
        assert_eq!(lost.status, RunStatus::Unknown);
    }

    #[test]
    fn ansibles_own_first_reason_is_the_error() {
        let case = Case {
            exit_code: Some(2),
            failures: vec![
                "s1: get: checksum mismatch".to_owned(),
                "localhost: batch failed".to_owned(),
            ],
            ..Case::default()
        };
        let verdict = case.judge(&[instance(O::Failed)]);
        assert_eq!(verdict.error.as_deref(), Some("s1: get: checksum mismatch"));
    }

    #[test]
    fn signals_are_named() {
        let case = Case {
            exit_code: Some(-9),
            stats: Vec::new(),
            ..Case::default()
        };
        assert_eq!(
            case.judge(&[]).error.as_deref(),
            Some("the play was ended by signal 9")
        );
    }

    fn compare(
        (version, start, pid): (Option<&str>, &str, Option<u32>),
        (new_version, new_start, new_pid): (Option<&str>, &str, Option<u32>),
        artifact: Option<&str>,
    ) -> AgentSight {
        let shown = |version, start, pid| Shown {
            version,
            process: Process::new(Some(start), pid),
        };
        let (before, after) = (
            shown(version, start, pid),
            shown(new_version, new_start, new_pid),
        );
        AgentSight::compare(
            ApplicationKind::Site,
            before,
            after,
            artifact.unwrap_or("http://x/app.war"),
        )
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn an_agent_shows_a_change_of_version_or_process() {
        const START: &str = "2026-11-01T00:00:00Z";
        const LATER: &str = "2026-12-01T00:00:00Z";
        let (old, new) = (Some("1.0.0"), Some("1.1.0"));
        let changed = |what: &str| AgentSight::Changed {
            what: what.to_owned(),
        };
        let same = |what: &str| AgentSight::Same {
            what: what.to_owned(),
        };
        let against = |what: &str| AgentSight::Against {
            what: what.to_owned(),
        };
        for (before, after, artifact, expected) in [
            (
                (old, "", None),
                (new, "", None),
                new,
                changed("version 1.1.0"),
            ),
            (
                (None, "", None),
                (new, "", None),
                new,
                changed("version 1.1.0"),
            ),
            (
                (Some("unknown-no-match"), "", None),
                (new, "", None),
                new,
                changed("version 1.1.0"),
            ),
            (
                (old, "", None),
                (Some("1.5"), "", None),
                None,
                changed("version 1.5"),
            ),
            // The same version again: only a restart shows it.
            (
                (new, START, None),
                (new, LATER, None),
                new,
                changed("version 1.1.0, restarted"),
            ),
            (
                (new, START, None),
                (new, START, None),
                new,
                same("version 1.1.0, not restarted"),
            ),
            (
                (new, START, Some(7)),
                (new, "Unknown", Some(7)),
                new,
                same("version 1.1.0, not restarted"),
            ),
            ((new, "", None), (new, "", None), new, AgentSight::Silent),
            ((old, "", None), (old, "", None), new, same("version 1.0.0")),
            (
                (old, START, None),
                (old, START, None),
                new,
                same("version 1.0.0, not restarted"),
            ),
            (
                (None, START, None),
                (None, START, None),
                None,
                same("that it was not restarted"),
            ),
            (
                (None, START, None),
                (None, LATER, None),
                None,
                changed("that it was restarted"),
            ),
            (
                (None, "", Some(7)),
                (None, "", Some(8)),
                new,
                changed("that it was restarted"),
            ),
            ((None, "", None), (None, "", None), new, AgentSight::Silent),
            // What it showed before is unknown: a version proves nothing unless it is the artifact's.
            (
                (None, "", None),
                (Some("1.5"), "", None),
                None,
                AgentSight::Silent,
            ),
            (
                (Some("Unknown"), "", None),
                (Some("release-7"), "", None),
                new,
                AgentSight::Silent,
            ),
            // Another version than the artifact's, with or without a restart.
            (
                (old, START, Some(7)),
                (old, LATER, Some(8)),
                Some("2.0"),
                against("shows 1.0.0, the artifact is 2.0"),
            ),
            (
                (old, "", Some(7)),
                (old, "", Some(8)),
                Some("2.0"),
                against("shows 1.0.0, the artifact is 2.0"),
            ),
            (
                (old, START, None),
                (Some("0.9.0"), LATER, None),
                Some("2.0"),
                against("shows 0.9.0, the artifact is 2.0"),
            ),
            (
                (old, "", None),
                (Some("1.5"), "", None),
                Some("2.0"),
                against("shows 1.5, the artifact is 2.0"),
            ),
            (
                (None, "", None),
                (Some("1.5"), "", None),
                Some("2.0"),
                against("shows 1.5, the artifact is 2.0"),
            ),
            // What it no longer shows.
            (
                (old, "", None),
                (None, "", None),
                new,
                against("shows no version"),
            ),
            (
                (old, "", None),
                (Some("unknown-no-match"), "", None),
                new,
                against("shows no version"),
            ),
            (
                (old, "", None),
                (Some("N/A"), "", None),
                new,
                against("shows no version"),
            ),
            (
                (old, START, None),
                (None, START, None),
                new,
                against("shows no version, and that it was not restarted"),
            ),
            (
                (old, START, None),
                (None, LATER, None),
                new,
                changed("that it was restarted"),
            ),
            (
                (None, "", Some(7)),
                (None, "", None),
                new,
                against("shows no process"),
            ),
        ] {
            assert_eq!(
                compare(before, after, artifact),
                expected,
                "{before:?} {after:?} {artifact:?}"
            );
        }
    }

    #[test]
    fn what_speaks_against_an_update_keeps_it_from_being_done() {
        for what in [
            "shows 1.0.0, the artifact is 2.0",
            "shows no version",
            "no longer lists it",
        ] {
            let case = |exit_code| Case {
                agent: AgentSight::Against {
                    what: what.to_owned(),
                },
                haproxy: in_use(),
                exit_code,
                ..Case::default()
            };
            for (was, expected) in [
                (O::Done, O::Unverified),
                (O::Pending, O::Unknown),
                (O::Returning, O::Unknown),
                (O::Skipped, O::Skipped),
            ] {
                let (outcome, detail) = case(Some(0)).one(was);
                assert_eq!(outcome, expected, "{was:?}: {detail}");
                assert_eq!(
                    detail.contains(&format!("the agent {what}")),
                    was != O::Skipped,
                    "{detail}"
                );
                assert!(!detail.contains("still"), "{detail}");
            }
            assert_eq!(case(Some(99)).one(O::Returning).0, O::Failed);
        }
    }

    #[test]
    fn what_does_not_run_after_the_update_has_failed() {
        for status in ["offline", "restarting", "maintenance", "starting"] {
            let case = |agent| Case {
                agent,
                haproxy: in_use(),
                down: Some(status),
                ..Case::default()
            };
            for (was, agent) in [
                (O::Done, changed()),
                (O::Done, AgentSight::Silent),
                (O::Done, same()),
                (O::Pending, changed()),
                (O::Returning, changed()),
                (O::Skipped, changed()),
            ] {
                let (outcome, detail) = case(agent).one(was);
                assert_eq!(outcome, O::Failed, "{was:?}: {detail}");
                let part = format!("the agent shows it as `{status}` after the update");
                assert!(detail.starts_with(&part), "{detail}");
            }
            let verdict = case(changed()).judge(&[instance(O::Done)]);
            assert_eq!(verdict.status, RunStatus::Failed);
            assert!(verdict.error.is_some_and(|error| error.contains(status)));
            // A delivery starts nothing.
            let delivery = Case {
                mode: UpdateMode::Deliver,
                ..case(same())
            };
            assert_eq!(delivery.one(O::Done).0, O::Done);
        }
    }

    #[test]
    fn the_version_afterwards_is_the_one_that_the_agent_shows() {
        for (mode, was, version, expected) in [
            (UpdateMode::Update, O::Done, Some("1.1.0"), Some("1.1.0")),
            (UpdateMode::Update, O::Done, None, None),
            (UpdateMode::Update, O::Failed, Some("1.0.0"), Some("1.0.0")),
            (UpdateMode::Update, O::Skipped, Some("1.0.0"), None),
            (UpdateMode::Deliver, O::Done, Some("1.0.0"), None),
        ] {
            let case = Case {
                mode,
                version,
                ..Case::default()
            };
            let verdict = case.judge(&[instance(was)]);
            assert_eq!(
                verdict.instances[0].version_after.as_deref(),
                expected,
                "{was:?}"
            );
        }
    }

    #[test]
    fn the_plays_word_that_it_left_an_instance_alone_is_weighed_against_the_agent() {
        let case = |exit_code, haproxy, agent| Case {
            exit_code: Some(exit_code),
            haproxy,
            agent,
            ..Case::default()
        };
        for (exit_code, haproxy, agent, was, expected) in [
            (0, in_use(), changed(), O::Skipped, O::Done),
            (0, HaproxySight::NotBehind, changed(), O::Skipped, O::Done),
            (0, out_of_use(), changed(), O::Skipped, O::LeftDrained),
            (2, in_use(), changed(), O::Skipped, O::Unknown),
            (0, in_use(), same(), O::Skipped, O::Skipped),
            (2, in_use(), changed(), O::Draining, O::Unknown),
            (2, in_use(), changed(), O::Drained, O::Unknown),
        ] {
            let (outcome, detail) = case(exit_code, haproxy, agent).one(was);
            assert_eq!(outcome, expected, "{was:?}: {detail}");
        }
        // Of two instances the play reported only the other one.
        let other = RolloutTarget {
            application: Key::new(2),
            ..instance(O::Done)
        };
        let verdict = case(2, in_use(), changed()).judge(&[instance(O::Pending), other]);
        assert_eq!(verdict.instances[0].outcome, O::Unknown);
    }

    #[test]
    fn a_rescued_failure_is_not_the_error() {
        let case = Case {
            agent: same(),
            failures: vec!["s1: command: non-zero return code".to_owned()],
            ..Case::default()
        };
        let error = case.judge(&[instance(O::Done)]).error.unwrap();
        assert!(error.contains("a_1 on s1.example is unverified"), "{error}");
    }
}
