//! Playbooks as durable jobs.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::rollout::artifact::ArtifactSight;
use drover_domain::rollout::job::{JobEvent, JobId, JobStatus, PlaybookFile, PlaybookJob};
use drover_domain::rollout::record::ArtifactUrl;
use drover_domain::rollout::request::{PlayRequest, StepAnswer};

use crate::{BoxError, Fault};

/// Up to where a job was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The byte offset behind the last event.
    pub offset: u64,
    /// The sequence number of the next event.
    pub sequence: u64,
    /// The number of the last request that the caller has in hand; 0 for none.
    pub heard: u32,
}

impl Place {
    /// Behind `offset` bytes, where the next event has the number `sequence`.
    #[must_use]
    pub const fn at(offset: u64, sequence: u64) -> Self {
        Self {
            offset,
            sequence,
            heard: 0,
        }
    }
}

/// Events of a job behind an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// The events in order, numbered from the asked sequence number.
    pub events: Vec<JobEvent>,
    /// The byte offset behind the last of them: where the next call goes on.
    pub offset: u64,
    /// What the running play asks for and has no answer to, if the caller does not have it in hand.
    pub request: Option<PlayRequest>,
    /// Where the job stood after these events were read; an ended job with no new events is over.
    pub status: JobStatus,
}

/// Why the control host did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The control host cannot be reached, or did not answer in time. What it did is unknown; asking
    /// again is safe.
    #[error("the control host did not answer while trying to {action}")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// Why.
        source: BoxError,
    },
    /// There is no such playbook in the playbook folder.
    #[error("there is no playbook file `{playbook}` in the playbook folder of the control host")]
    NoSuchPlaybook {
        /// The playbook.
        playbook: String,
    },
    /// The control host cannot run any playbook until an administrator changes it: a program, a folder or a right is
    /// missing. Nothing was started.
    #[error("the control host cannot run playbooks: {reason}")]
    Unfit {
        /// What is missing and what to do, a sentence.
        reason: String,
    },
    /// The job cannot be run as it is; nothing was started.
    #[error("the job cannot be run: {reason}")]
    Refused {
        /// What is wrong, a sentence.
        reason: String,
    },
    /// The control host answered, but not as agreed.
    #[error("the control host answered something unreadable while trying to {action}: {reason}")]
    Unreadable {
        /// What was being done.
        action: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl RunnerError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { .. } => Fault::Transient,
            Self::NoSuchPlaybook { .. } | Self::Refused { .. } | Self::Unfit { .. } => {
                Fault::Permanent
            }
            Self::Unreadable { .. } => Fault::Defect,
        }
    }
}

/// Looks for artifacts from the control host, which is where plays fetch them or hand their addresses on.
#[async_trait]
pub trait ArtifactProbe: Send + Sync {
    /// What stands at the address. Nothing of it is stored, and at most one byte of it is read. Takes 10 s at most.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unavailable`], [`RunnerError::Unreadable`].
    async fn look(&self, artifact: &ArtifactUrl) -> Result<ArtifactSight, RunnerError>;
}

/// Runs playbooks as jobs that outlive their caller.
///
/// * A job is keyed by its identifier: it is started at most once, however often and by how many callers it is launched.
/// * A job goes on when the caller dies, and can be followed again from any offset.
/// * Nothing of a job's variables is visible in process lists or logs.
#[async_trait]
pub trait PlaybookRunner: Send + Sync {
    /// Starts the job, unless a job with this identifier was started before; then it is left
    /// as it is. Returns when the job is started for good.
    ///
    /// # Errors
    ///
    /// [`RunnerError`]; after [`RunnerError::Unavailable`], and only then, the job may have been started: launch it
    /// again, which starts it at most once.
    async fn launch(&self, job: &PlaybookJob) -> Result<(), RunnerError>;

    /// The events behind a place, at most a bounded number at once. Waits up to `wait` for an event or a request
    /// behind the place; a job that ended is answered at once.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unavailable`], [`RunnerError::Unreadable`].
    async fn follow(
        &self,
        job: JobId,
        place: Place,
        wait: Duration,
    ) -> Result<EventBatch, RunnerError>;

    /// Answers a request of a play, which goes on with it. Another answer to the same request takes the place of the
    /// first; a job that is gone is left as it is.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unavailable`]; answering again is safe.
    async fn answer(&self, job: JobId, answer: &StepAnswer) -> Result<(), RunnerError>;

    /// Where the job stands.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unavailable`], [`RunnerError::Unreadable`].
    async fn status(&self, job: JobId) -> Result<JobStatus, RunnerError>;

    /// Stops the job: interrupt, then terminate, then kill, each to its whole process group with
    /// 10 s between. Returns when no process of it is left; a job that is not running is left as it is.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unavailable`]; the job may be stopping.
    async fn cancel(&self, job: JobId) -> Result<(), RunnerError>;

    /// What the job wrote to its error output: the last lines of its error
    /// output, at most 4,000 characters, made visible.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unavailable`].
    async fn diagnostics(&self, job: JobId) -> Result<String, RunnerError>;

    /// Whether the control host can run playbooks: the version it reports. Checks everything that a launch needs, and
    /// starts nothing.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unfit`] naming what is missing; [`RunnerError::Unavailable`].
    async fn probe(&self) -> Result<String, RunnerError>;

    /// The playbooks of the playbook folder (`*.yml`, `*.yaml`, not below it), by name, each with
    /// its first 150 lines; at most 1,000 of them.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Unavailable`].
    async fn playbooks(&self) -> Result<Vec<PlaybookFile>, RunnerError>;
}
