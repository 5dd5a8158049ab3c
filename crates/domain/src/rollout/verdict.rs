//! What a run came to, judged by its own reports and counts, never by its exit code alone.

use super::executor::PreparedPlaybook;
use super::job::HostStats;
use super::task::{InstanceOutcome, RunStatus, TaskInstance};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunVerdict {
    /// Its final status.
    pub status: RunStatus,
    /// Its instances, all with final outcomes.
    pub instances: Vec<TaskInstance>,
    /// Why it did not succeed: Ansible's own first reason where it gave one.
    pub error: Option<String>,
}

/// The most characters of a reason.
const REASON_MAX: usize = 500;

/// Judges a run that is over.
///
/// * `instances` — as the play's reports left them.
/// * `exit_code` — `None` when its process is gone without one.
/// * `stats` — the closing counts; none means that no host matched or that it was killed.
/// * `failures` — the reasons it gave, first things first.
///
/// It succeeded only if it exited with 0, no host failed or was unreachable, some host
/// matched, and every instance was reported done. A play of several that matched no host explains a
/// failure; by itself it is none. An instance that was being worked on when the
/// run ended is left drained, or failed where there is nothing to drain; one nobody touched is skipped.
#[must_use]
pub fn judge(
    prepared: &PreparedPlaybook,
    instances: &[TaskInstance],
    exit_code: Option<i32>,
    stats: &[HostStats],
    saw_no_hosts: bool,
    failures: &[String],
) -> RunVerdict {
    let all_done = instances
        .iter()
        .all(|instance| instance.outcome == InstanceOutcome::Done);
    let clean = stats.iter().all(HostStats::is_clean);
    if exit_code == Some(0) && all_done && clean && !stats.is_empty() {
        return RunVerdict {
            status: RunStatus::Succeeded,
            instances: instances.to_vec(),
            error: None,
        };
    }
    let ended = if exit_code.is_some() {
        RunStatus::Failed
    } else {
        RunStatus::Unknown
    };
    let instances = instances
        .iter()
        .map(|instance| close(instance, ended, prepared.backend.is_some()))
        .collect::<Vec<_>>();
    let error = reason(failures)
        .or_else(|| (saw_no_hosts || (exit_code == Some(0) && stats.is_empty())).then(no_hosts))
        .or_else(|| stats.iter().find(|host| !host.is_clean()).map(unclean))
        .unwrap_or_else(|| match exit_code {
            Some(0) => unreported(&instances),
            Some(code) => exit_sentence(code),
            None => "the play's process is gone and left no exit code; nobody knows what it did"
                .to_owned(),
        });
    RunVerdict {
        status: ended,
        instances,
        error: Some(error),
    }
}

fn close(instance: &TaskInstance, status: RunStatus, has_backend: bool) -> TaskInstance {
    let (outcome, detail) = match instance.outcome {
        InstanceOutcome::Done
        | InstanceOutcome::Failed
        | InstanceOutcome::Skipped
        | InstanceOutcome::RolledBack
        | InstanceOutcome::LeftDrained
        | InstanceOutcome::Unknown => return instance.clone(),
        InstanceOutcome::Pending => (
            InstanceOutcome::Skipped,
            "the run ended before its turn".to_owned(),
        ),
        InstanceOutcome::Draining
        | InstanceOutcome::Drained
        | InstanceOutcome::Updating
        | InstanceOutcome::Verifying
        | InstanceOutcome::Returning => {
            let outcome = match (status, has_backend) {
                (RunStatus::Unknown, _) => InstanceOutcome::Unknown,
                (_, true) => InstanceOutcome::LeftDrained,
                (_, false) => InstanceOutcome::Failed,
            };
            (
                outcome,
                format!("the run ended while it was {}", instance.outcome.as_str()),
            )
        }
    };
    let detail = match &instance.detail {
        Some(known) => format!("{detail}; before that: {known}"),
        None => detail,
    };
    TaskInstance {
        outcome,
        detail: Some(detail),
        ..instance.clone()
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
    "no host matched the play, so nothing was done; look at the inventory".to_owned()
}

fn unclean(host: &HostStats) -> String {
    format!(
        "on {}: {} tasks failed, {} times unreachable",
        host.host, host.failed, host.unreachable
    )
}

fn unreported(instances: &[TaskInstance]) -> String {
    let names: Vec<&str> = instances
        .iter()
        .filter(|instance| instance.outcome != InstanceOutcome::Done)
        .map(|instance| instance.composite.as_str())
        .take(5)
        .collect();
    format!(
        "the play ended well, but did not report these instances as done: {}",
        names.join(", ")
    )
}

// Measured on ansible-core 2.14: 4 stands for unreachable hosts and for what cannot be parsed alike.
fn exit_sentence(code: i32) -> String {
    match code {
        1 => "ansible-playbook could not start: a playbook or variables file was not found (exit code 1)".to_owned(),
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::Key;
    use crate::rollout::executor::PreparedBackend;

    fn prepared(has_backend: bool) -> PreparedPlaybook {
        let backend = has_backend.then(|| PreparedBackend {
            instance: Key::new(1),
            instance_name: "default".to_owned(),
            backend: Key::new(1),
            backend_name: "be".to_owned(),
            api_url: String::new(),
        });
        PreparedPlaybook {
            playbook: "o.yml".to_owned(),
            playbook_path: "o.yml".to_owned(),
            extra_params: BTreeMap::new(),
            batches: Vec::new(),
            backend,
        }
    }

    fn instance(outcome: InstanceOutcome) -> TaskInstance {
        TaskInstance {
            application: Key::new(1),
            name: "a_1".to_owned(),
            server: "s1".to_owned(),
            composite: "s1::a_1".to_owned(),
            run: 0,
            batch: "even".to_owned(),
            haproxy_server: None,
            outcome,
            detail: None,
            version_before: None,
            version_after: None,
        }
    }

    fn stats(failed: u32) -> HostStats {
        HostStats {
            host: "localhost".to_owned(),
            ok: 1,
            changed: 0,
            unreachable: 0,
            failed,
            skipped: 0,
            rescued: 0,
            ignored: 0,
        }
    }

    fn outcomes(verdict: &RunVerdict) -> Vec<InstanceOutcome> {
        verdict
            .instances
            .iter()
            .map(|instance| instance.outcome)
            .collect()
    }

    #[test]
    fn all_done_is_success() {
        let verdict = judge(
            &prepared(true),
            &[instance(InstanceOutcome::Done)],
            Some(0),
            &[stats(0)],
            false,
            &[],
        );
        assert_eq!(
            (verdict.status, verdict.error),
            (RunStatus::Succeeded, None)
        );
    }

    #[test]
    fn exit_code_0_alone_proves_nothing() {
        let done = [instance(InstanceOutcome::Done)];
        for (instances, stats, saw_no_hosts, part) in [
            (&done, vec![], false, "no host matched"),
            (
                &[instance(InstanceOutcome::Pending)],
                vec![stats(0)],
                true,
                "no host matched",
            ),
            (&done, vec![stats(1)], false, "on localhost: 1 tasks failed"),
            (
                &[instance(InstanceOutcome::Pending)],
                vec![stats(0)],
                false,
                "s1::a_1",
            ),
        ] {
            let verdict = judge(
                &prepared(true),
                instances,
                Some(0),
                &stats,
                saw_no_hosts,
                &[],
            );
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
    fn ansibles_own_first_reason_is_the_error() {
        let failures = [
            "s1: get: checksum mismatch".to_owned(),
            "localhost: batch failed".to_owned(),
        ];
        let verdict = judge(
            &prepared(true),
            &[instance(InstanceOutcome::Failed)],
            Some(2),
            &[stats(1)],
            false,
            &failures,
        );
        assert_eq!(verdict.error.as_deref(), Some("s1: get: checksum mismatch"));
    }

    #[test]
    fn what_was_being_worked_on_is_left_drained_and_the_untouched_skipped() {
        let instances = [
            InstanceOutcome::Done,
            InstanceOutcome::Updating,
            InstanceOutcome::Pending,
        ]
        .map(instance);
        let with = judge(&prepared(true), &instances, Some(99), &[], false, &[]);
        assert_eq!(
            outcomes(&with),
            [
                InstanceOutcome::Done,
                InstanceOutcome::LeftDrained,
                InstanceOutcome::Skipped
            ]
        );
        let without = judge(&prepared(false), &instances, Some(99), &[], false, &[]);
        assert_eq!(
            outcomes(&without),
            [
                InstanceOutcome::Done,
                InstanceOutcome::Failed,
                InstanceOutcome::Skipped
            ]
        );
    }

    #[test]
    fn a_lost_run_is_unknown() {
        let verdict = judge(
            &prepared(true),
            &[instance(InstanceOutcome::Draining)],
            None,
            &[],
            false,
            &[],
        );
        assert_eq!(verdict.status, RunStatus::Unknown);
        assert_eq!(outcomes(&verdict), [InstanceOutcome::Unknown]);
    }

    #[test]
    fn signals_are_named() {
        let verdict = judge(&prepared(true), &[], Some(-9), &[], false, &[]);
        assert_eq!(
            verdict.error.as_deref(),
            Some("the play was ended by signal 9")
        );
    }
}
