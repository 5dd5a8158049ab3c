//! The engine's shapes in storage: JSON documents within columns.

use std::time::Duration;

use drover_domain::workflow::{
    Action, Definition, DefinitionName, Dependency, ExecutionMode, Guarantee, Json, Kind,
    QueueName, RetryPolicy, RetryStrategy, SignalName, Takeover, TaskKey, TaskNo, TaskPolicy,
    TaskSpec, Work,
};
use drover_ports::StoreError;
use serde::{Deserialize, Serialize};

use crate::row::Stored;

/// A length of time as it is stored: microseconds.
pub(super) fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4)
}

/// A length of time as it was stored.
pub(super) fn length(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A retry policy; lengths in microseconds.
#[derive(Debug, Serialize, Deserialize)]
struct RetryShape {
    strategy: String,
    initial: i64,
    base: f64,
    longest: i64,
    attempts: u32,
    jitter: f64,
}

/// How a task is executed; lengths in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PolicyShape {
    guarantee: String,
    takeover: String,
    timeout: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<RetryShape>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    non_retryable: Vec<String>,
}

impl PolicyShape {
    pub(super) fn write(policy: &TaskPolicy) -> Self {
        let retry = &policy.retry;
        Self {
            guarantee: policy.guarantee.as_str().to_owned(),
            takeover: policy.takeover.as_str().to_owned(),
            timeout: micros(policy.timeout),
            deadline: policy.deadline.map(micros),
            retry: (*retry != RetryPolicy::NEVER).then(|| RetryShape {
                strategy: retry.strategy().as_str().to_owned(),
                initial: micros(retry.initial()),
                base: retry.base(),
                longest: micros(retry.max_interval()),
                attempts: retry.max_attempts(),
                jitter: retry.jitter(),
            }),
            non_retryable: policy.non_retryable.clone(),
        }
    }

    pub(super) fn read(self, stored: &Stored) -> Result<TaskPolicy, StoreError> {
        let retry = match self.retry {
            None => RetryPolicy::NEVER,
            Some(shape) => {
                let strategy =
                    stored.word("retry strategy", &shape.strategy, RetryStrategy::parse)?;
                RetryPolicy::restore(
                    strategy,
                    length(shape.initial),
                    shape.base,
                    length(shape.longest),
                    shape.attempts,
                    shape.jitter,
                )
                .map_err(|error| stored.corrupt(error.to_string()))?
            }
        };
        Ok(TaskPolicy {
            retry,
            non_retryable: self.non_retryable,
            timeout: length(self.timeout),
            deadline: self.deadline.map(length),
            guarantee: stored.word("guarantee class", &self.guarantee, Guarantee::parse)?,
            takeover: stored.word("takeover", &self.takeover, Takeover::parse)?,
        })
    }
}

/// What a task does; lengths in microseconds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ActionShape {
    Run,
    RunRemotely,
    Timer {
        wait: i64,
    },
    Signal {
        name: String,
        expires_after: Option<i64>,
    },
    Child {
        definition: String,
        version: Option<u32>,
    },
}

impl ActionShape {
    pub(super) fn write(action: &Action) -> Self {
        match action {
            Action::Run => Self::Run,
            Action::RunRemotely => Self::RunRemotely,
            Action::Timer { wait } => Self::Timer {
                wait: micros(*wait),
            },
            Action::Signal {
                name,
                expires_after,
            } => Self::Signal {
                name: name.as_str().to_owned(),
                expires_after: expires_after.map(micros),
            },
            Action::Child {
                definition,
                version,
            } => Self::Child {
                definition: definition.as_str().to_owned(),
                version: *version,
            },
        }
    }

    pub(super) fn read(self, stored: &Stored) -> Result<Action, StoreError> {
        let corrupt = |error: drover_domain::text::TextError| stored.corrupt(error.to_string());
        Ok(match self {
            Self::Run => Action::Run,
            Self::RunRemotely => Action::RunRemotely,
            Self::Timer { wait } => Action::Timer { wait: length(wait) },
            Self::Signal {
                name,
                expires_after,
            } => Action::Signal {
                name: SignalName::parse(&name).map_err(corrupt)?,
                expires_after: expires_after.map(length),
            },
            Self::Child {
                definition,
                version,
            } => Action::Child {
                definition: DefinitionName::parse(&definition).map_err(corrupt)?,
                version,
            },
        })
    }
}

/// The text of [`ActionShape::Run`], which most tasks have.
pub(super) const RUN: &str = "{\"type\":\"run\"}";

/// Reads an action, the usual one without a parser.
pub(super) fn read_action(stored: &Stored, text: &str) -> Result<Action, StoreError> {
    if text == RUN {
        return Ok(Action::Run);
    }
    stored.shape::<ActionShape>("action", text)?.read(stored)
}

/// Reads a list, the empty one without a parser.
pub(super) fn read_list<T: serde::de::DeserializeOwned>(
    stored: &Stored,
    column: &str,
    text: &str,
) -> Result<Vec<T>, StoreError> {
    if text == "[]" {
        return Ok(Vec::new());
    }
    stored.shape(column, text)
}

/// Reads who waits for a task.
pub(super) fn read_edges(stored: &Stored, text: &str) -> Result<Vec<(TaskNo, bool)>, StoreError> {
    read_list::<(u16, bool)>(stored, "list of dependants", text)?
        .into_iter()
        .map(|(no, skipped)| {
            let no = TaskNo::new(no).ok_or_else(|| stored.corrupt(format!("{no} is no task")))?;
            Ok((no, skipped))
        })
        .collect()
}

/// What executes a task, in a stored definition.
#[derive(Debug, Serialize, Deserialize)]
struct WorkShape {
    kind: String,
    action: ActionShape,
    queue: String,
    priority: i16,
    payload: String,
    policy: PolicyShape,
}

impl WorkShape {
    fn write(work: &Work) -> Self {
        Self {
            kind: work.kind.as_str().to_owned(),
            action: ActionShape::write(&work.action),
            queue: work.queue.as_str().to_owned(),
            priority: work.priority,
            payload: work.payload.as_str().to_owned(),
            policy: PolicyShape::write(&work.policy),
        }
    }

    fn read(self, stored: &Stored) -> Result<Work, StoreError> {
        let corrupt = |error: drover_domain::text::TextError| stored.corrupt(error.to_string());
        Ok(Work {
            kind: Kind::parse(&self.kind).map_err(corrupt)?,
            action: self.action.read(stored)?,
            queue: QueueName::parse(&self.queue).map_err(corrupt)?,
            priority: self.priority,
            payload: json(stored, self.payload)?,
            policy: self.policy.read(stored)?,
        })
    }
}

/// Stored JSON.
pub(super) fn json(stored: &Stored, text: String) -> Result<Json, StoreError> {
    Json::from_parsed("a document", text).map_err(|error| stored.corrupt(error.to_string()))
}

#[derive(Debug, Serialize, Deserialize)]
struct TaskShape {
    key: String,
    #[serde(flatten)]
    work: WorkShape,
    depends_on: Vec<(String, bool)>,
    concurrency_keys: Vec<String>,
    compensation: Option<WorkShape>,
}

/// A stored definition.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DefinitionShape {
    mode: String,
    tasks: Vec<TaskShape>,
}

impl DefinitionShape {
    pub(super) fn write(definition: &Definition) -> Self {
        Self {
            mode: definition.mode().as_str().to_owned(),
            tasks: definition
                .tasks()
                .iter()
                .map(|task| TaskShape {
                    key: task.key.as_str().to_owned(),
                    work: WorkShape::write(&task.work),
                    depends_on: task
                        .depends_on
                        .iter()
                        .map(|edge| (edge.on.as_str().to_owned(), edge.skipped_releases))
                        .collect(),
                    concurrency_keys: task.concurrency_keys.clone(),
                    compensation: task.compensation.as_ref().map(WorkShape::write),
                })
                .collect(),
        }
    }

    pub(super) fn read(self, stored: &Stored) -> Result<Definition, StoreError> {
        let corrupt = |error: drover_domain::text::TextError| stored.corrupt(error.to_string());
        let mode = stored.word("execution mode", &self.mode, ExecutionMode::parse)?;
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for task in self.tasks {
            let mut depends_on = Vec::with_capacity(task.depends_on.len());
            for (on, skipped_releases) in task.depends_on {
                let on = TaskKey::parse(&on).map_err(corrupt)?;
                depends_on.push(Dependency {
                    on,
                    skipped_releases,
                });
            }
            tasks.push(TaskSpec {
                key: TaskKey::parse(&task.key).map_err(corrupt)?,
                work: task.work.read(stored)?,
                depends_on,
                concurrency_keys: task.concurrency_keys,
                compensation: task
                    .compensation
                    .map(|work| work.read(stored))
                    .transpose()?,
            });
        }
        Definition::new(mode, tasks).map_err(|error| stored.corrupt(error.to_string()))
    }
}
