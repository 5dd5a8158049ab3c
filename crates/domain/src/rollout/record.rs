//! The rollout: what was asked, how far it is, what became of every instance.

use std::fmt;

use crate::Timestamp;
use crate::fleet::{ApplicationKey, NewEvent, VersionChange};
use crate::secret::without_secrets;
use crate::text::{TextError, check_line};
use crate::workflow::{TaskId, TaskStatus};

use super::drain::DrainWait;
use super::executor::PreparedPlaybook;
use super::job::{HostStats, JobEvent, JobId};

/// The identifier of a rollout: that of the only task of its workflow.
pub type RolloutId = TaskId;

/// The most applications one request may name.
pub const APPLICATIONS_MAX: usize = 1_000;

/// Where the new version comes from: a URL or a docker image. Taken literally everywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ArtifactUrl(String);

impl ArtifactUrl {
    /// The most characters.
    pub const LENGTH_MAX: usize = 2_048;

    /// Accepts any printable text that cannot be mistaken for an option.
    ///
    /// # Errors
    ///
    /// [`TextError`] when it is empty, too long, starts with `-`, or holds a control or hidden character.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        check_line("the artifact URL", text, Self::LENGTH_MAX)?;
        if text.starts_with('-') {
            let allowed = "anything but - as the first character";
            return Err(TextError::BadCharacter {
                what: "the artifact URL",
                found: '-',
                at: 1,
                allowed,
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The text as it was given. It may hold a password or a token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shows it without secrets: for logs, events and sentences.
impl fmt::Display for ArtifactUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl fmt::Debug for ArtifactUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the update playbook does with the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// Deliver it and switch to it.
    Update,
    /// Only deliver it.
    Deliver,
}

impl UpdateMode {
    /// The word used in storage, JSON and playbooks.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Deliver => "deliver",
        }
    }

    /// The mode with this word; `immediate` is the seed's other word for `update`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "update" | "immediate" => Some(Self::Update),
            "deliver" => Some(Self::Deliver),
            _ => None,
        }
    }
}

/// A request for a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutRequest {
    /// The applications, 1 to [`APPLICATIONS_MAX`], each once.
    pub applications: Vec<ApplicationKey>,
    /// The artifact.
    pub artifact: ArtifactUrl,
    /// What to do with it.
    pub mode: UpdateMode,
    /// The orchestrator playbook's file name.
    pub orchestrator: String,
    /// How long a drained server is waited for.
    pub drain_wait: DrainWait,
    /// Whether applications that should stand behind HAProxy, and have no mapping, may be updated without a drain.
    pub allow_undrained: bool,
}

/// Who asked, and in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The actor's name.
    pub actor: String,
    /// The request's identifier, as in the log.
    pub request_id: String,
}

/// One rollout. Where it stands is what the engine says about the workflow's only task.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Its identifier: that of the workflow's only task.
    pub id: RolloutId,
    /// What was asked, narrowed to the applications of this rollout.
    pub request: RolloutRequest,
    /// The update playbook with its parameters, as the settings gave it.
    pub playbook_path: String,
    /// Who asked.
    pub origin: Origin,
    /// Where it stands.
    pub status: TaskStatus,
    /// How often it was claimed; the fencing token of every write about it.
    pub attempt: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its first worker began.
    pub started_at: Option<Timestamp>,
    /// When it ended; also if its result is unknown.
    pub finished_at: Option<Timestamp>,
    /// 0 to 100.
    pub progress: u8,
    /// What it does at the moment: the play's current task.
    pub current: Option<String>,
    /// How it ended, in a sentence.
    pub result: Option<String>,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
}

impl Rollout {
    /// A rollout that waits to be claimed.
    #[must_use]
    pub const fn queued(
        id: RolloutId,
        request: RolloutRequest,
        playbook_path: String,
        origin: Origin,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            request,
            playbook_path,
            origin,
            status: TaskStatus::Queued,
            attempt: 0,
            created_at: now,
            started_at: None,
            finished_at: None,
            progress: 0,
            current: None,
            result: None,
            error: None,
        }
    }
}

/// What the engine says about the rollout of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub status: TaskStatus,
    /// How often it was claimed.
    pub attempt: u32,
    /// Since when a worker has it.
    pub claimed_at: Option<Timestamp>,
    /// When it ended for good.
    pub finished_at: Option<Timestamp>,
    /// Why it did not succeed.
    pub error: Option<String>,
}

impl Rollout {
    /// The rollout with the state of its task in the engine. A rollout with an unknown end has ended, while its task waits
    /// for a decision of a person.
    #[must_use]
    pub fn standing(self, standing: Standing) -> Self {
        let Standing {
            status,
            attempt,
            claimed_at,
            finished_at,
            error,
        } = standing;
        let finished_at = if status == TaskStatus::Unknown {
            self.finished_at
        } else {
            finished_at.filter(|_| status.is_terminal())
        };
        Self {
            status,
            attempt,
            started_at: self.started_at.or(claimed_at),
            finished_at,
            current: self.current.filter(|_| finished_at.is_none()),
            // A person may know better than the play.
            error: self
                .error
                .or(error)
                .filter(|_| status != TaskStatus::Succeeded),
            ..self
        }
    }
}

/// What became of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetOutcome {
    /// Nothing was done to it yet.
    Pending,
    /// It gets no new requests; the running ones are waited for.
    Draining,
    /// It serves no request.
    Drained,
    /// The update playbook works on it.
    Updating,
    /// Its health is looked at.
    Verifying,
    /// It is being put back behind HAProxy.
    Returning,
    /// It runs the new version and serves, with evidence from outside the play.
    Done,
    /// The play says that it is done, and nothing outside the play shows it.
    Unverified,
    /// Its update failed; it is not drained.
    Failed,
    /// It was left alone.
    Skipped,
    /// It runs the old version again and serves.
    RolledBack,
    /// Its update failed and it still gets no requests: a person must check it.
    LeftDrained,
    /// The result is unknown.
    Unknown,
}

impl TargetOutcome {
    /// Every outcome.
    pub const ALL: [Self; 13] = [
        Self::Pending,
        Self::Draining,
        Self::Drained,
        Self::Updating,
        Self::Verifying,
        Self::Returning,
        Self::Done,
        Self::Unverified,
        Self::Failed,
        Self::Skipped,
        Self::RolledBack,
        Self::LeftDrained,
        Self::Unknown,
    ];

    /// The word used in storage, JSON and playbooks.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Updating => "updating",
            Self::Verifying => "verifying",
            Self::Returning => "returning",
            Self::Done => "done",
            Self::Unverified => "unverified",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::RolledBack => "rolled_back",
            Self::LeftDrained => "left_drained",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }

    /// Whether it is final.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Done
            | Self::Unverified
            | Self::Failed
            | Self::Skipped
            | Self::RolledBack
            | Self::LeftDrained
            | Self::Unknown => true,
            Self::Pending
            | Self::Draining
            | Self::Drained
            | Self::Updating
            | Self::Verifying
            | Self::Returning => false,
        }
    }

    /// Whether it may be out of HAProxy's rotation right now.
    #[must_use]
    pub const fn may_be_drained(self) -> bool {
        match self {
            Self::Draining
            | Self::Drained
            | Self::Updating
            | Self::Verifying
            | Self::Returning
            | Self::LeftDrained
            | Self::Unknown => true,
            Self::Pending
            | Self::Done
            | Self::Unverified
            | Self::Failed
            | Self::Skipped
            | Self::RolledBack => false,
        }
    }
}

/// One application of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutTarget {
    /// The application.
    pub application: ApplicationKey,
    /// Its instance name.
    pub name: String,
    /// The server's full name.
    pub server: String,
    /// The composite name the playbook knows it by.
    pub composite: String,
    /// Which run of the rollout updates it, from 0.
    pub run: u32,
    /// The batch it is in: `even`, `odd` or `all`.
    pub batch: String,
    /// Its name in HAProxy.
    pub haproxy_server: Option<String>,
    /// What became of it.
    pub outcome: TargetOutcome,
    /// Evidence or reason.
    pub detail: Option<String>,
    /// The version before the rollout.
    pub version_before: Option<String>,
    /// Which process served before the rollout: its start time and its number, where the agent reports them.
    pub process_before: Option<String>,
    /// The version that the agent shows after it.
    pub version_after: Option<String>,
}

/// Where one run of a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// Not started yet.
    Pending,
    /// Started; perhaps by a worker that is gone.
    Running,
    /// Every instance done.
    Succeeded,
    /// At least one instance not done.
    Failed,
    /// Its process is gone and its effect is unknown.
    Unknown,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Unknown,
    ];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// One run of the orchestrator playbook, for one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRun {
    /// Its place in the rollout, from 0.
    pub index: u32,
    /// The job on the control host.
    pub job: JobId,
    /// What runs.
    pub prepared: PreparedPlaybook,
    /// Where it stands.
    pub status: RunStatus,
    /// The exit code of `ansible-playbook`, once it ended.
    pub exit_code: Option<i32>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The closing counts.
    pub hosts: Vec<HostStats>,
}

/// What the work of a rollout came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndStatus {
    /// Every instance is done.
    Succeeded,
    /// At least one instance is not.
    Failed,
    /// It was called off before it could come to its end.
    Cancelled,
    /// The effect of its play is unknown.
    Unknown,
}

impl EndStatus {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// The word used in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// A rollout with all its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutDetail {
    /// The rollout.
    pub rollout: Rollout,
    /// Its runs in order; empty until it is planned.
    pub runs: Vec<RolloutRun>,
    /// Its instances in the order of the update; empty until it is planned.
    pub targets: Vec<RolloutTarget>,
}

/// What one step of following a run brought; stored as one fact.
#[derive(Debug, Clone, PartialEq)]
pub struct RunProgress {
    /// The run as it is now.
    pub run: RolloutRun,
    /// New events; those already stored are ignored.
    pub events: Vec<JobEvent>,
    /// The instances that changed.
    pub targets: Vec<RolloutTarget>,
    /// The rollout's progress, 0 to 100.
    pub progress: u8,
    /// What the play does at the moment.
    pub current: Option<String>,
}

/// How the work of a rollout ended; stored as one fact.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutEnd {
    /// What it came to.
    pub status: EndStatus,
    /// How far it came, 0 to 100.
    pub progress: u8,
    /// How it ended, in a sentence.
    pub result: Option<String>,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
    /// The instances that changed with the end.
    pub targets: Vec<RolloutTarget>,
    /// The versions that the rollout changed.
    pub versions: Vec<(ApplicationKey, VersionChange)>,
    /// Entries for the fleet's event log.
    pub events: Vec<NewEvent>,
}

/// A stored event of a rollout's run, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutEvent {
    /// Its position among all stored events; ascending.
    pub position: i64,
    /// The run it belongs to.
    pub run: u32,
    /// The event.
    pub event: JobEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for outcome in TargetOutcome::ALL {
            assert_eq!(TargetOutcome::parse(outcome.as_str()), Some(outcome));
        }
        for status in RunStatus::ALL {
            assert_eq!(RunStatus::parse(status.as_str()), Some(status));
        }
        for status in EndStatus::ALL {
            assert_eq!(EndStatus::parse(status.as_str()), Some(status));
        }
    }

    #[test]
    fn an_artifact_url_is_literal_or_refused() {
        for text in [
            "http://nexus/a'b\"c.zip",
            "http://nexus/$(id);{{ x }}",
            "nexus:5000/app:1.2",
        ] {
            assert_eq!(
                ArtifactUrl::parse(text).map(|url| url.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", " ", "-o=x", "http://a\nb", "http://a\u{0}b"] {
            assert!(ArtifactUrl::parse(text).is_err(), "{text:?}");
        }
    }
}
