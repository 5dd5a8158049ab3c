//! Words for states; the exhaustive matches make a new state of the domain choose its word here.

use drover_domain::balancer::{AdminState, FetchStatus, Health};
use drover_domain::fleet::{
    ApplicationKind, ApplicationStatus, ChangeSource, ChangedBy, EventKind, EventStatus, ServerStatus,
};
use drover_domain::rollout::job::JobEventKind;
use drover_domain::rollout::task::{InstanceOutcome, RunStatus, UpdateMode};
use drover_domain::workflow::TaskStatus;
use drover_usecases::PollOutcome;
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident for $domain:ident { $($variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum $name { $($variant),+ }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$variant),+ }
            }
        }
    };
}

words! {
    /// Whether a server's agent answers.
    ServerStatusWord for ServerStatus { Unknown, Online, Offline }
}
words! {
    /// What kind of thing an application is.
    ApplicationType for ApplicationKind { Docker, Site, Service }
}
words! {
    /// What an application's agent says about it; `no_data`: the agent does not answer.
    ApplicationStatusWord for ApplicationStatus { Online, Offline, Unknown, Starting, Stopping, NoData }
}
words! {
    /// Who changed a version; `agent`: somebody else, the agent noticed.
    ChangedByWord for ChangedBy { User, Agent }
}
words! {
    /// How Drover learned of a change.
    ChangeSourceWord for ChangeSource { UpdateTask, Polling, Manual }
}
words! {
    /// What an event of the fleet is about.
    EventType for EventKind { Start, Stop, Restart, Update, Connect, Disconnect }
}
words! {
    /// How the thing an event tells of went.
    EventStatusWord for EventStatus { Pending, Success, Failed }
}
words! {
    /// How the last attempt to read something went.
    FetchStatusWord for FetchStatus { Unknown, Success, Failed }
}
words! {
    /// What HAProxy's status word tells of a server's health.
    HealthWord for Health { Up, GoingDown, Down, ComingUp, NoCheck, Unknown }
}
words! {
    /// What an operator asked of a server in HAProxy.
    AdminWord for AdminState { Ready, Drain, Maint }
}
words! {
    /// What became of an instance.
    Outcome for InstanceOutcome {
        Pending, Draining, Drained, Updating, Verifying, Returning, Done, Failed, Skipped, RolledBack, LeftDrained,
        Unknown,
    }
}
words! {
    /// Where a run of the orchestrator playbook stands.
    RunStatusWord for RunStatus { Pending, Running, Succeeded, Failed, Unknown }
}
words! {
    /// What an event of a play is about.
    PlayEventKind for JobEventKind {
        PlaybookStart, PlayStart, TaskStart, Ok, Changed, Failed, Ignored, Unreachable, Skipped, Retry, NoHosts, Stats,
        Truncated,
    }
}
words! {
    /// What the update playbook does with the artifact.
    ModeWord for UpdateMode { Update, Deliver }
}
words! {
    /// What a poll came to.
    PollOutcomeWord for PollOutcome { Stored, Unchanged, Suspect, Unreachable, Unreadable }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskStatusWord {
    /// Nobody works on it yet, or again.
    Pending,
    /// It is being worked on.
    Processing,
    /// Every instance is done.
    Completed,
    /// At least one instance is not done.
    Failed,
    /// It was given up before it did anything.
    Cancelled,
    /// Nobody knows what it did; somebody must look.
    Unknown,
}

impl TaskStatusWord {
    /// The words as a sentence.
    pub(crate) const LIST: &'static str = "pending, processing, completed, failed, cancelled, unknown";

    /// The statuses of the domain behind a word.
    pub(crate) fn statuses(word: &str) -> Option<Vec<TaskStatus>> {
        Some(match word {
            "pending" => vec![TaskStatus::Pending, TaskStatus::Queued, TaskStatus::Retrying],
            "processing" => vec![TaskStatus::Running, TaskStatus::Waiting],
            "completed" => vec![TaskStatus::Succeeded],
            "failed" => vec![TaskStatus::Failed, TaskStatus::TimedOut],
            "cancelled" => vec![TaskStatus::Cancelled, TaskStatus::Skipped],
            "unknown" => vec![TaskStatus::Unknown],
            _ => return None,
        })
    }
}

impl From<TaskStatus> for TaskStatusWord {
    fn from(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Pending | TaskStatus::Queued | TaskStatus::Retrying => Self::Pending,
            TaskStatus::Running | TaskStatus::Waiting => Self::Processing,
            TaskStatus::Succeeded => Self::Completed,
            TaskStatus::Failed | TaskStatus::TimedOut => Self::Failed,
            TaskStatus::Cancelled | TaskStatus::Skipped => Self::Cancelled,
            TaskStatus::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(value: impl Serialize) -> String {
        serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn the_words_are_those_of_the_domain() {
        for outcome in InstanceOutcome::ALL {
            assert_eq!(word(Outcome::from(outcome)), outcome.as_str());
        }
        for kind in JobEventKind::ALL {
            assert_eq!(word(PlayEventKind::from(kind)), kind.as_str());
        }
        for status in RunStatus::ALL {
            assert_eq!(word(RunStatusWord::from(status)), status.as_str());
        }
        for kind in EventKind::ALL {
            assert_eq!(word(EventType::from(kind)), kind.as_str());
        }
        for health in [Health::Up, Health::GoingDown, Health::Down, Health::ComingUp, Health::NoCheck, Health::Unknown] {
            assert_eq!(word(HealthWord::from(health)), health.as_str());
        }
        assert_eq!(word(ApplicationStatusWord::from(ApplicationStatus::NoData)), ApplicationStatus::NoData.as_str());
        assert_eq!(word(ChangeSourceWord::from(ChangeSource::UpdateTask)), ChangeSource::UpdateTask.as_str());
    }

    #[test]
    fn a_filter_finds_exactly_what_is_shown_under_its_word() {
        for status in TaskStatus::ALL {
            let shown = word(TaskStatusWord::from(status));
            for asked in TaskStatusWord::LIST.split(", ") {
                let found = TaskStatusWord::statuses(asked).unwrap().contains(&status);
                assert_eq!(found, asked == shown, "{status:?} under {asked}");
            }
        }
        assert_eq!(TaskStatusWord::statuses("done"), None);
    }
}
