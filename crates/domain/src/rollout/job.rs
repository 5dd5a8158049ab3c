//! A playbook as a durable job: what to run, what it says, how it ended.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Id, Timestamp};

/// Marks job identifiers.
#[derive(Debug)]
pub enum JobKind {}
/// Identifies one run of one playbook; the runner keys its files by it, so the same identifier
/// is never started twice.
pub type JobId = Id<JobKind>;

/// The value of a playbook variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// Text; it reaches the play literally and is never evaluated as a template.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(truth) => truth.fmt(f),
        }
    }
}

/// A host the play may act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryHost {
    /// The name plays use: the server's short name.
    pub name: String,
    /// The address to connect to.
    pub address: String,
}

/// A playbook to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookJob {
    /// Its identifier.
    pub id: JobId,
    /// The playbook, relative to the playbook folder of the control host.
    pub playbook: String,
    /// Its variables by name.
    pub variables: BTreeMap<String, Variable>,
    /// The hosts it may act on, besides the control host itself.
    pub hosts: Vec<InventoryHost>,
}

/// The status of a job, as the control host reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// The control host knows no such job.
    Absent,
    /// It runs.
    Running,
    /// It ended by itself with this exit code.
    Ended {
        /// The exit code of `ansible-playbook`; negative: the signal that ended it.
        exit_code: i32,
    },
    /// Its process is gone and left no exit code: its effect is unknown.
    Lost,
}

/// One thing a play said, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// Its place among the events of the job, from 0 without gaps.
    pub sequence: u64,
    /// When the play said it, by the control host's clock; only for display.
    pub at: Timestamp,
    /// What it is about.
    pub kind: JobEventKind,
    /// The play.
    pub play: Option<String>,
    /// The task.
    pub task: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// A sentence: the reason of a failure, the text of a message. At most
    /// [`JobEvent::MESSAGE_MAX`] characters.
    pub message: Option<String>,
    /// The report about one target, if this event has one.
    pub report: Option<TargetReport>,
    /// The closing counts by host, in the event [`JobEventKind::Stats`] and nowhere else.
    pub stats: Vec<HostStats>,
}

impl JobEvent {
    /// The most characters of [`JobEvent::message`].
    pub const MESSAGE_MAX: usize = 2_000;
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEventKind {
    /// A playbook started.
    PlaybookStart,
    /// A play started.
    PlayStart,
    /// A task started.
    TaskStart,
    /// A host did a task.
    Ok,
    /// A host did a task and changed something.
    Changed,
    /// A host failed a task.
    Failed,
    /// A host failed a task, and the play ignores it (`ignore_errors`).
    Ignored,
    /// A host could not be reached.
    Unreachable,
    /// A host skipped a task.
    Skipped,
    /// A host tries a task again.
    Retry,
    /// The play found no host.
    NoHosts,
    /// The closing counts.
    Stats,
    /// The events were cut: a bound was reached.
    Truncated,
}

impl JobEventKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::PlaybookStart,
        Self::PlayStart,
        Self::TaskStart,
        Self::Ok,
        Self::Changed,
        Self::Failed,
        Self::Ignored,
        Self::Unreachable,
        Self::Skipped,
        Self::Retry,
        Self::NoHosts,
        Self::Stats,
        Self::Truncated,
    ];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlaybookStart => "playbook_start",
            Self::PlayStart => "play_start",
            Self::TaskStart => "task_start",
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
            Self::Unreachable => "unreachable",
            Self::Skipped => "skipped",
            Self::Retry => "retry",
            Self::NoHosts => "no_hosts",
            Self::Stats => "stats",
            Self::Truncated => "truncated",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The report of a playbook about one of its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// The composite name the playbook was given for it.
    pub composite: String,
    /// What it is doing or has become.
    pub outcome: super::record::TargetOutcome,
    /// Evidence or reason, one sentence.
    pub detail: Option<String>,
}

/// The closing counts of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostStats {
    /// The host.
    pub host: String,
    /// Tasks done.
    pub ok: u32,
    /// Tasks that changed something.
    pub changed: u32,
    /// Times it could not be reached.
    pub unreachable: u32,
    /// Tasks failed for good.
    pub failed: u32,
    /// Tasks skipped.
    pub skipped: u32,
    /// Failures that a rescue block took care of.
    pub rescued: u32,
    /// Failures that the play ignores (`ignore_errors`).
    pub ignored: u32,
}

impl HostStats {
    /// Whether nothing was lost on this host.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.failed == 0 && self.unreachable == 0
    }
}

/// A file of the playbook folder, read for its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookFile {
    /// Its name inside the folder.
    pub name: String,
    /// Its first lines, or why they could not be read.
    pub head: Result<String, String>,
    /// Whether it has more than blank lines and comments.
    pub has_plays: bool,
    /// The SHA-256 of the whole file in hexadecimal digits; `None` where it could not be read, or has more than 16 MiB.
    /// Files that it includes are not part of it.
    pub digest: Option<String>,
}

impl PlaybookFile {
    /// Why the file cannot be run as a playbook.
    #[must_use]
    pub fn why_unusable(&self) -> Option<&str> {
        match &self.head {
            Err(reason) => Some(reason),
            Ok(_) if !self.has_plays => {
                Some("it has no play: it is empty, or has nothing but comments")
            }
            Ok(_) => None,
        }
    }
}
