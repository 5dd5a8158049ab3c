//! Requests to Drover's helper on the control host and its answers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use drover_domain::rollout::job::{JobStatus, PlaybookFile};

/// The helper, as it is installed on the control host.
pub(crate) const HELPER: &str = include_str!("control_host/drover_job.py");

/// What installs it: a program for `python -c` with a folder and a file name.
pub(crate) const INSTALLER: &str = include_str!("control_host/install.py");

/// The callback plugin that reports the events of a play.
pub(crate) const CALLBACK: &str = include_str!("control_host/drover_events.py");

/// Ansible's configuration when none is given.
pub(crate) const CONFIGURATION: &str = include_str!("control_host/ansible.cfg");

/// What the helper is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Launch,
    Follow,
    Answer,
    Status,
    Cancel,
    Diagnostics,
    Probe,
    Playbooks,
    Artifact,
}

impl Verb {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Follow => "follow",
            Self::Answer => "answer",
            Self::Status => "status",
            Self::Cancel => "cancel",
            Self::Diagnostics => "diagnostics",
            Self::Probe => "probe",
            Self::Playbooks => "playbooks",
            Self::Artifact => "artifact",
        }
    }

    /// For a sentence: "… while trying to …".
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Launch => "start a job",
            Self::Follow => "follow a job",
            Self::Answer => "answer a request of a job",
            Self::Status => "look at a job",
            Self::Cancel => "stop a job",
            Self::Diagnostics => "read the error output of a job",
            Self::Probe => "look for Ansible",
            Self::Playbooks => "list the playbooks",
            Self::Artifact => "look for an artifact",
        }
    }
}

/// A request about one job.
#[derive(Debug, Serialize)]
pub(crate) struct JobRequest<'a> {
    pub(crate) spool: &'a str,
    pub(crate) job: String,
    #[serde(flatten)]
    pub(crate) more: Option<More>,
}

/// What a verb needs besides the job.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum More {
    Follow(FollowRequest),
    Answer(AnswerRequest),
}

#[derive(Debug, Serialize)]
pub(crate) struct FollowRequest {
    pub(crate) offset: u64,
    pub(crate) wait_ms: u64,
    pub(crate) heard: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct AnswerRequest {
    pub(crate) number: u32,
    pub(crate) text: String,
}

/// A job to start.
#[derive(Debug, Serialize)]
pub(crate) struct LaunchRequest<'a> {
    pub(crate) spool: &'a str,
    pub(crate) job: String,
    pub(crate) playbook: &'a str,
    pub(crate) files: BTreeMap<&'static str, String>,
    pub(crate) max_runtime_s: u64,
    pub(crate) max_idle_s: Option<u64>,
    #[serde(flatten)]
    pub(crate) host: HostRequest<'a>,
}

/// What is the same in all requests about the host.
#[derive(Debug, Serialize)]
pub(crate) struct HostRequest<'a> {
    pub(crate) playbooks: &'a str,
    pub(crate) ansible_playbook: &'a str,
    pub(crate) extra_path: &'a [String],
    pub(crate) inventory: Option<&'a str>,
    pub(crate) ansible_config: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ProbeRequest<'a> {
    pub(crate) spool: &'a str,
    pub(crate) patience_s: u64,
    #[serde(flatten)]
    pub(crate) host: HostRequest<'a>,
}

/// The helper's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer<T> {
    Done(T),
    Refusal { kind: RefusalKind, reason: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefusalKind {
    Refused,
    NoSuchPlaybook,
    Unfit,
    Unavailable,
}

/// An answer that says no more than "done".
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    Absent,
    Running,
    Ended { exit_code: i32 },
    Lost,
}

impl From<State> for JobStatus {
    fn from(state: State) -> Self {
        match state {
            State::Absent => Self::Absent,
            State::Running => Self::Running,
            State::Ended { exit_code } => Self::Ended { exit_code },
            State::Lost => Self::Lost,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Followed {
    pub(crate) lines: Vec<String>,
    pub(crate) offset: u64,
    pub(crate) asked: Option<Asked>,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// A request that a play has put into the job's mailbox.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    pub(crate) number: u32,
    pub(crate) text: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Diagnosed {
    pub(crate) text: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Probed {
    pub(crate) version: String,
}

/// The address of an artifact; it may hold a password.
#[derive(Serialize)]
pub(crate) struct ArtifactRequest<'a> {
    pub(crate) url: &'a str,
}

/// What stands at the address of an artifact.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Looked {
    Found { size: Option<u64> },
    Absent { reason: String },
    Unknown { reason: String },
    NotChecked,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) playbooks: Vec<File>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct File {
    name: String,
    head: Option<String>,
    #[serde(default)]
    has_plays: bool,
    digest: Option<String>,
    error: Option<String>,
}

impl From<File> for PlaybookFile {
    fn from(file: File) -> Self {
        let unread = || "it could not be read".to_owned();
        Self {
            name: file.name,
            has_plays: file.has_plays,
            digest: file.digest,
            head: file.head.ok_or_else(|| file.error.unwrap_or_else(unread)),
        }
    }
}
