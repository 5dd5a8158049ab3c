//! Words for states; the exhaustive matches make a new state of the domain choose its word here.

use drover_domain::webhook;
use drover_domain::{fleet, haproxy, rollout::job, rollout::record, workflow};
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident for $($domain:ident)::+ { $($variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum $name { $($variant),+ }

        impl From<$($domain)::+> for $name {
            fn from(value: $($domain)::+) -> Self {
                use $($domain)::+ as Domain;
                match value { $(Domain::$variant => Self::$variant),+ }
            }
        }
    };
}

words! {
    /// Whether a server's agent answers.
    ServerStatus for fleet::ServerStatus { Unknown, Online, Offline }
}
words! {
    /// What kind of thing an application is.
    ApplicationType for fleet::ApplicationKind { Docker, Site, Service }
}
words! {
    /// What an application's agent says about it; `no_data`: the agent does not answer.
    ApplicationStatus for fleet::ApplicationStatus { Online, Offline, Unknown, Starting, Stopping, NoData }
}
words! {
    /// Who changed a version; `agent`: changed outside of Drover, and reported by the agent.
    ChangedBy for fleet::ChangedBy { User, Agent }
}
words! {
    /// How Drover learned of a change.
    ChangeSource for fleet::ChangeSource { UpdateTask, Polling, Manual }
}
words! {
    /// What an event of the fleet is about.
    EventType for fleet::EventKind { Start, Stop, Restart, Update, Connect, Disconnect }
}
words! {
    /// The result of the event.
    EventStatus for fleet::EventStatus { Pending, Success, Failed }
}
words! {
    /// How the last attempt to read something went; `partial`: not all of it could be read.
    FetchStatus for haproxy::FetchStatus { Unknown, Success, Partial, Failed }
}
words! {
    /// A server's health by HAProxy's status word.
    ServerHealth for haproxy::Health { Up, GoingDown, Down, ComingUp, NoCheck, Unknown }
}
words! {
    /// What an operator asked of a server in HAProxy.
    AdminState for haproxy::AdminState { Ready, Drain, Maint }
}
words! {
    /// Why an HAProxy server maps to an application: the same address and port, the name, or a manual
    /// mapping.
    MappingBasis for haproxy::MappingBasis { Address, Name, Manual }
}
words! {
    /// What became of a mapping; `updated`: it has another basis, `activated`: it had ended before.
    MappingAction for haproxy::MappingAction { Created, Updated, Activated, Deactivated }
}
words! {
    /// Whether an HAProxy is asked (`closed`), is not, or is by one for all (`half_open`).
    BreakerState for haproxy::BreakerState { Closed, Open, HalfOpen }
}
words! {
    /// Where an action stands; `success`: HAProxy was seen to be as wanted.
    ActionStatus for haproxy::action::ActionStatus { Pending, Running, Success, Failed }
}
words! {
    /// The status of a delivery to a webhook; `failed`: no further attempt is made.
    DeliveryStatus for webhook::DeliveryStatus { Pending, Delivered, Failed }
}
words! {
    /// What became of an instance.
    Outcome for record::TargetOutcome {
        Pending, Draining, Drained, Updating, Verifying, Returning, Done, Unverified, Failed, Skipped, RolledBack,
        LeftDrained,
        Unknown,
    }
}
words! {
    /// Where a run of the orchestrator playbook stands.
    RunStatus for record::RunStatus { Pending, Running, Succeeded, Failed, Unknown }
}
words! {
    /// What an event of a play is about.
    PlayEventKind for job::JobEventKind {
        PlaybookStart, PlayStart, TaskStart, Ok, Changed, Failed, Ignored, Unreachable, Skipped, Retry, NoHosts, Stats,
        Truncated,
    }
}
words! {
    /// What the update playbook does with the artifact.
    UpdateMode for record::UpdateMode { Update, Deliver }
}
words! {
    /// Where a workflow stands.
    WorkflowStatus for workflow::WorkflowStatus {
        Draft, Pending, Running, Paused, Succeeded, Failed, Cancelling, Cancelled, Compensating, Compensated,
        NeedsHuman,
    }
}
words! {
    /// Where a task of a workflow stands.
    WorkflowTaskStatus for workflow::TaskStatus {
        Pending, Queued, Running, Retrying, Waiting, Succeeded, Failed, TimedOut, Cancelled, Skipped, Unknown,
    }
}
words! {
    /// In which order the tasks of a workflow may run.
    ExecutionMode for workflow::ExecutionMode { Sequential, Parallel, Dag }
}
words! {
    /// How the waits between attempts grow.
    RetryStrategy for workflow::RetryStrategy { None, Fixed, Linear, Exponential }
}
words! {
    /// What a kind promises about its effect: `g0` exactly once; `g1` its peer honours our key; `g2` looked at
    /// before it is done again; `g3` at least once; `g4` never started twice.
    GuaranteeClass for workflow::Guarantee { G0, G1, G2, G3, G4 }
}
words! {
    /// What happens to missed moments of a schedule.
    MissedRuns for workflow::MissedRuns { Skip, RunOnce }
}
words! {
    /// What happened to a workflow or a task.
    WorkflowEventKind for workflow::EventKind {
        WorkflowCreated, WorkflowStarted, WorkflowPaused, WorkflowResumed, WorkflowCompleted, WorkflowFailed,
        WorkflowCancelling, WorkflowCancelled, WorkflowCompensating, WorkflowCompensated, WorkflowNeedsHuman,
        WorkflowReopened, SignalReceived, TaskQueued, TaskStarted, TaskCompleted, TaskRetrying, TaskWaiting,
        TaskFailed, TaskTimedOut, TaskCancelled, TaskSkipped, TaskUnknown, TaskLost, TaskReleased, TaskReopened,
    }
}
words! {
    /// What a poll came to.
    PollOutcome for drover_usecases::PollOutcome { Stored, Unchanged, Suspect, Unreachable, Unreadable, NotAsked }
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskStatus {
    /// Not claimed by a worker.
    Pending,
    /// It is being worked on.
    Processing,
    /// Every instance is done.
    Completed,
    /// At least one instance is not done.
    Failed,
    /// It was given up before it did anything.
    Cancelled,
    /// The result is unknown; a person must check it.
    Unknown,
}

impl TaskStatus {
    /// The words as a sentence.
    pub(crate) const LIST: &'static str =
        "pending, processing, completed, failed, cancelled, unknown";

    /// The statuses of the domain behind a word.
    pub(crate) fn statuses(word: &str) -> Option<Vec<workflow::TaskStatus>> {
        Some(match word {
            "pending" => vec![
                workflow::TaskStatus::Pending,
                workflow::TaskStatus::Queued,
                workflow::TaskStatus::Retrying,
            ],
            "processing" => vec![workflow::TaskStatus::Running, workflow::TaskStatus::Waiting],
            "completed" => vec![workflow::TaskStatus::Succeeded],
            "failed" => vec![workflow::TaskStatus::Failed, workflow::TaskStatus::TimedOut],
            "cancelled" => vec![
                workflow::TaskStatus::Cancelled,
                workflow::TaskStatus::Skipped,
            ],
            "unknown" => vec![workflow::TaskStatus::Unknown],
            _ => return None,
        })
    }
}

impl From<workflow::TaskStatus> for TaskStatus {
    fn from(status: workflow::TaskStatus) -> Self {
        match status {
            workflow::TaskStatus::Pending
            | workflow::TaskStatus::Queued
            | workflow::TaskStatus::Retrying => Self::Pending,
            workflow::TaskStatus::Running | workflow::TaskStatus::Waiting => Self::Processing,
            workflow::TaskStatus::Succeeded => Self::Completed,
            workflow::TaskStatus::Failed | workflow::TaskStatus::TimedOut => Self::Failed,
            workflow::TaskStatus::Cancelled | workflow::TaskStatus::Skipped => Self::Cancelled,
            workflow::TaskStatus::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(value: impl Serialize) -> String {
        serde_json::to_value(value)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_words_are_those_of_the_domain() {
        for outcome in record::TargetOutcome::ALL {
            assert_eq!(word(Outcome::from(outcome)), outcome.as_str());
        }
        for kind in job::JobEventKind::ALL {
            assert_eq!(word(PlayEventKind::from(kind)), kind.as_str());
        }
        for status in record::RunStatus::ALL {
            assert_eq!(word(RunStatus::from(status)), status.as_str());
        }
        for kind in fleet::EventKind::ALL {
            assert_eq!(word(EventType::from(kind)), kind.as_str());
        }
        for health in ["UP", "UP 1/3", "DOWN", "DOWN 1/2", "no check", "?"]
            .map(|word| haproxy::ServerWord::new(word).health())
        {
            assert_eq!(word(ServerHealth::from(health)), health.as_str());
        }
        for status in haproxy::action::ActionStatus::ALL {
            assert_eq!(word(ActionStatus::from(status)), status.as_str());
        }
        for status in workflow::WorkflowStatus::ALL {
            assert_eq!(word(WorkflowStatus::from(status)), status.as_str());
        }
        for status in workflow::TaskStatus::ALL {
            assert_eq!(word(WorkflowTaskStatus::from(status)), status.as_str());
        }
        for class in workflow::Guarantee::ALL {
            assert_eq!(word(GuaranteeClass::from(class)), class.as_str());
        }
        for kind in workflow::EventKind::ALL.iter().copied() {
            assert_eq!(word(WorkflowEventKind::from(kind)), kind.as_str());
        }
        assert_eq!(
            word(ApplicationStatus::from(fleet::ApplicationStatus::NoData)),
            fleet::ApplicationStatus::NoData.as_str()
        );
        assert_eq!(
            word(ChangeSource::from(fleet::ChangeSource::UpdateTask)),
            fleet::ChangeSource::UpdateTask.as_str()
        );
    }

    #[test]
    fn a_filter_finds_exactly_what_is_shown_under_its_word() {
        for status in workflow::TaskStatus::ALL {
            let shown = word(TaskStatus::from(status));
            for asked in TaskStatus::LIST.split(", ") {
                let found = TaskStatus::statuses(asked).unwrap().contains(&status);
                assert_eq!(found, asked == shown, "{status:?} under {asked}");
            }
        }
        assert_eq!(TaskStatus::statuses("done"), None);
    }
}
