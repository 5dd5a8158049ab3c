//! Workflows as a program writes them down.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::rollout::record::Origin;
use drover_domain::workflow::{
    Action, ExecutionMode, Json, Kind, RetryPolicy, SignalName, TaskKey,
};
use drover_usecases::{Kinds, StartWhen, TaskOrder, WorkOrder, WorkflowOrder, WorkflowSource};
use serde::Serialize;

use super::EmbeddedError;

/// A workflow to start.
#[derive(Debug)]
#[must_use = "it does not exist before `Engine::start`"]
pub struct Workflow {
    name: String,
    tasks: Vec<Task>,
    labels: BTreeMap<String, String>,
    deadline: Option<Duration>,
}

impl Workflow {
    /// A workflow without tasks, 1 to 255 printable characters its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tasks: Vec::new(),
            labels: BTreeMap::new(),
            deadline: None,
        }
    }

    /// The same workflow with one more task.
    pub fn task(mut self, task: Task) -> Self {
        self.tasks.push(task);
        self
    }

    /// The same workflow with one more word to find it by.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// The same workflow, which may take this long.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub(super) fn order(self, origin: Origin) -> Result<WorkflowOrder, EmbeddedError> {
        drover_domain::text::check_title("the name of the workflow", &self.name, 255)?;
        let tasks = self.tasks.into_iter().map(Task::order);
        Ok(WorkflowOrder {
            name: Some(self.name),
            source: WorkflowSource::Tasks {
                mode: ExecutionMode::Dag,
                tasks: tasks.collect::<Result<_, _>>()?,
            },
            labels: self.labels,
            input: Json::null(),
            start: StartWhen::After(Duration::ZERO),
            deadline: self.deadline,
            origin,
            idempotency: None,
        })
    }
}

/// A task of a workflow. `Engine::start` returns its errors.
#[derive(Debug)]
pub struct Task {
    order: Result<TaskOrder, EmbeddedError>,
}

impl Task {
    /// A task that `input` is given to; `kind` says which handler executes it, once, within 5 minutes.
    #[must_use]
    pub fn new(key: &str, kind: &str, input: &impl Serialize) -> Self {
        let order = || {
            let work = WorkOrder::of(Kind::parse(kind)?, json(key, input)?);
            Ok(TaskOrder::new(TaskKey::parse(key)?, work))
        };
        Self { order: order() }
    }

    /// A task that waits until the signal `name` comes; what it brings is its result.
    #[must_use]
    pub fn signal(key: &str, name: &str) -> Self {
        let order = || {
            let payload = json(key, &serde_json::json!({"signal": name}))?;
            let mut work = WorkOrder::of(Kind::parse(Kinds::SIGNAL)?, payload);
            work.action = Some(Action::Signal {
                name: SignalName::parse(name)?,
                expires_after: None,
            });
            Ok(TaskOrder::new(TaskKey::parse(key)?, work))
        };
        Self { order: order() }
    }

    /// The same task, which also waits until the task with this key has succeeded.
    #[must_use]
    pub fn after(self, key: &str) -> Self {
        self.with(|order| {
            order.depends_on.push(drover_domain::workflow::Dependency {
                on: TaskKey::parse(key)?,
                skipped_releases: false,
            });
            Ok(())
        })
    }

    /// The same task, in another queue than `default`.
    #[must_use]
    pub fn queue(self, queue: &str) -> Self {
        self.with(|order| {
            order.work.queue = Some(drover_domain::workflow::QueueName::parse(queue)?);
            Ok(())
        })
    }

    /// The same task, tried again as this says.
    #[must_use]
    pub fn retry(self, retry: RetryPolicy) -> Self {
        self.with(|order| {
            order.work.retry = retry;
            Ok(())
        })
    }

    /// The same task, of which one attempt may take this long.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|order| {
            order.work.timeout = Some(timeout);
            Ok(())
        })
    }

    /// The same task, which `undoing` undoes when the workflow does not succeed; its key does not count.
    #[must_use]
    pub fn undone_by(self, undoing: Self) -> Self {
        self.with(|order| {
            order.compensation = Some(undoing.order()?.work);
            Ok(())
        })
    }

    fn with(self, change: impl FnOnce(&mut TaskOrder) -> Result<(), EmbeddedError>) -> Self {
        let order = self.order.and_then(|mut order| {
            change(&mut order)?;
            Ok(order)
        });
        Self { order }
    }

    fn order(self) -> Result<TaskOrder, EmbeddedError> {
        self.order
    }
}

/// A value as the database keeps it.
pub(super) fn json(key: &str, value: &impl Serialize) -> Result<Json, EmbeddedError> {
    let text = serde_json::to_string(value).map_err(|source| EmbeddedError::Input {
        key: key.to_owned(),
        source,
    })?;
    Ok(Json::from_parsed("the input", text)?)
}
