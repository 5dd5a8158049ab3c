//! Requested tasks, and the definition that they become.

use std::fmt;
use std::time::Duration;

use drover_domain::text::TextError;
use drover_domain::workflow::{
    Action, Definition, DefinitionError, Dependency, ExecutionMode, Json, Kind, QueueName,
    RetryPolicy, TaskKey, TaskPolicy, TaskPolicyError, TaskSpec, Work, check_concurrency_key,
};

use super::kinds::{Kinds, Performer};
use super::own::is_reserved;

/// The most kinds an error names.
const SHOWN_MAX: usize = 30;

/// The requested work.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkOrder {
    /// The kind.
    pub kind: Kind,
    /// What a built-in kind does, read from its payload; `None` for every other kind.
    pub action: Option<Action>,
    /// The queue; the kind's own where there is none.
    pub queue: Option<QueueName>,
    /// The priority in the queue.
    pub priority: i16,
    /// What the executor is given.
    pub payload: Json,
    /// The waits between attempts.
    pub retry: RetryPolicy,
    /// Error codes after which no attempt follows.
    pub non_retryable: Vec<String>,
    /// The longest one attempt may take; [`TaskPolicy::TIMEOUT_DEFAULT`] where there is none.
    pub timeout: Option<Duration>,
    /// The longest all attempts may take.
    pub deadline: Option<Duration>,
}

impl WorkOrder {
    /// One attempt at a task of this kind, with nothing said that need not be said.
    #[must_use]
    pub fn of(kind: Kind, payload: Json) -> Self {
        Self {
            kind,
            action: None,
            queue: None,
            priority: 0,
            payload,
            retry: RetryPolicy::NEVER,
            non_retryable: Vec::new(),
            timeout: None,
            deadline: None,
        }
    }
}

/// A requested task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOrder {
    /// Its key, unique in the workflow.
    pub key: TaskKey,
    /// What it does.
    pub work: WorkOrder,
    /// What it waits for.
    pub depends_on: Vec<Dependency>,
    /// What it has to itself while it runs.
    pub concurrency_keys: Vec<String>,
    /// What undoes it.
    pub compensation: Option<WorkOrder>,
}

impl TaskOrder {
    /// A task with this key that waits for nothing.
    #[must_use]
    pub const fn new(key: TaskKey, work: WorkOrder) -> Self {
        Self {
            key,
            work,
            depends_on: Vec::new(),
            concurrency_keys: Vec::new(),
            compensation: None,
        }
    }

    /// The same task, which waits for these.
    #[must_use]
    pub fn after(self, keys: impl IntoIterator<Item = TaskKey>) -> Self {
        let depends_on = keys
            .into_iter()
            .map(|on| Dependency {
                on,
                skipped_releases: false,
            })
            .collect();
        Self { depends_on, ..self }
    }
}

/// Which part of an order is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderPlace {
    /// The task's place in the list, from 0.
    pub task: usize,
    /// Whether its compensation is meant and not the task itself.
    pub is_compensation: bool,
}

/// Why tasks that were asked for make no workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Nothing does tasks of this kind.
    #[error("there is no kind `{kind}`; there are {known}")]
    UnknownKind {
        /// Where.
        place: OrderPlace,
        /// What was given.
        kind: Kind,
        /// The kinds there are.
        known: KindList,
    },
    /// Only Drover's own tasks stand in this queue.
    #[error("the queue `{queue}` is Drover's own; name another one, or none")]
    ReservedQueue {
        /// Where.
        place: OrderPlace,
        /// The queue.
        queue: QueueName,
    },
    /// The payload is not what the kind expects.
    #[error("{reason}")]
    Payload {
        /// Where.
        place: OrderPlace,
        /// Where in the payload, a JSON pointer.
        pointer: String,
        /// What is wrong, in a sentence.
        reason: String,
    },
    /// The action is not one of the kind.
    #[error("a task of the kind `{kind}` cannot do that")]
    Action {
        /// Where.
        place: OrderPlace,
        /// The kind.
        kind: Kind,
    },
    /// A bound is out of bounds.
    #[error("{error}")]
    Policy {
        /// Where.
        place: OrderPlace,
        /// Which, and what is allowed.
        error: TaskPolicyError,
    },
    /// A concurrency key cannot be one.
    #[error("{error}")]
    ConcurrencyKey {
        /// The task's place in the list, from 0.
        task: usize,
        /// The key's place in its list, from 0.
        key: usize,
        /// What is wrong with it.
        error: TextError,
    },
    /// The tasks do not fit together.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
}

/// Names of kinds, for a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindList {
    names: Vec<Kind>,
    others: usize,
}

impl fmt::Display for KindList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.names.iter().enumerate() {
            let gap = if at == 0 { "" } else { ", " };
            write!(f, "{gap}{name}")?;
        }
        match self.others {
            0 => Ok(()),
            others => write!(f, " and {others} more"),
        }
    }
}

impl Kinds {
    /// The definition that these tasks make.
    ///
    /// # Errors
    ///
    /// [`OrderError`], the first one found.
    pub fn define(
        &self,
        mode: ExecutionMode,
        tasks: Vec<TaskOrder>,
    ) -> Result<Definition, OrderError> {
        // Before anything is looked up: a list may be long.
        if tasks.len() > drover_domain::workflow::TASKS_MAX {
            let given = tasks.len();
            return Err(DefinitionError::TooManyTasks { given }.into());
        }
        let specs = tasks
            .into_iter()
            .enumerate()
            .map(|(task, order)| self.spec(task, order))
            .collect::<Result<_, _>>()?;
        Ok(Definition::new(mode, specs)?)
    }

    /// Whether every task of a stored definition can still be done; else the first kind that is gone.
    pub(super) fn missing(&self, definition: &Definition) -> Option<Kind> {
        let works = definition
            .tasks()
            .iter()
            .flat_map(|spec| [Some(&spec.work), spec.compensation.as_ref()])
            .flatten();
        works
            .map(|work| &work.kind)
            .find(|kind| self.find(kind).is_none())
            .cloned()
    }

    fn spec(&self, task: usize, order: TaskOrder) -> Result<TaskSpec, OrderError> {
        for (key, text) in order.concurrency_keys.iter().enumerate() {
            check_concurrency_key(text).map_err(|error| OrderError::ConcurrencyKey {
                task,
                key,
                error,
            })?;
        }
        let place = |is_compensation| OrderPlace {
            task,
            is_compensation,
        };
        let compensation = match order.compensation {
            Some(work) => Some(self.work(place(true), work)?),
            None => None,
        };
        Ok(TaskSpec {
            key: order.key,
            work: self.work(place(false), order.work)?,
            depends_on: order.depends_on,
            concurrency_keys: order.concurrency_keys,
            compensation,
        })
    }

    fn work(&self, place: OrderPlace, order: WorkOrder) -> Result<Work, OrderError> {
        let Some(spec) = self.find(&order.kind) else {
            return Err(OrderError::UnknownKind {
                place,
                kind: order.kind,
                known: self.list(),
            });
        };
        let kind = order.kind;
        let action = match (spec.performer, order.action) {
            (Performer::BuiltIn, Some(action)) if built_in(&action) == Some(kind.as_str()) => {
                action
            }
            (Performer::Handler | Performer::RemoteWorker, None) => {
                let usual = spec.usual_action();
                usual.ok_or_else(|| OrderError::Action {
                    place,
                    kind: kind.clone(),
                })?
            }
            (Performer::BuiltIn | Performer::Handler | Performer::RemoteWorker, _) => {
                return Err(OrderError::Action { place, kind });
            }
        };
        if let Some(check) = &spec.check {
            check(&order.payload).map_err(|problem| OrderError::Payload {
                place,
                pointer: problem.pointer,
                reason: problem.reason,
            })?;
        }
        let queue = order.queue.unwrap_or_else(|| spec.queue.clone());
        if is_reserved(&queue) {
            return Err(OrderError::ReservedQueue { place, queue });
        }
        let policy = TaskPolicy {
            retry: order.retry,
            non_retryable: order.non_retryable,
            timeout: order.timeout.unwrap_or(TaskPolicy::TIMEOUT_DEFAULT),
            deadline: order.deadline,
            guarantee: spec.guarantee,
            takeover: spec.takeover,
        };
        let policy = policy
            .checked()
            .map_err(|error| OrderError::Policy { place, error })?;
        Ok(Work {
            kind,
            action,
            queue,
            priority: order.priority,
            payload: order.payload,
            policy,
        })
    }

    fn list(&self) -> KindList {
        let names: Vec<Kind> = self
            .all()
            .map(|(kind, _)| kind.clone())
            .take(SHOWN_MAX)
            .collect();
        let others = self.all().count().saturating_sub(names.len());
        KindList { names, others }
    }
}

/// The built-in kind that does this.
const fn built_in(action: &Action) -> Option<&'static str> {
    match action {
        Action::Timer { .. } => Some(Kinds::TIMER),
        Action::Signal { .. } => Some(Kinds::SIGNAL),
        Action::Child { .. } => Some(Kinds::SUBWORKFLOW),
        Action::Run | Action::RunRemotely => None,
    }
}
