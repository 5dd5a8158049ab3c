//! Tasks of workflows: where they stand, what is decided about them, what became a dead letter.

use drover_domain::text::check_line;
use drover_domain::workflow::run::{self, Decision};
use drover_domain::workflow::{Action, Json, Kind, QueueName, TaskId, WorkflowId};
use drover_usecases::{DeadLetter, DeadLetterFilter, TaskRecord, Workflows};
use serde::Serialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::{Fields, Flaw, ReadBody, document, object, text, whole};
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::{Parameters, wrong};
use crate::wire::document::Document;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{GuaranteeClass, WorkflowTaskStatus};

/// Why an attempt did not succeed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskError {
    /// A stable word.
    code: String,
    /// A sentence.
    message: String,
}

impl From<run::TaskError> for TaskError {
    fn from(error: run::TaskError) -> Self {
        Self {
            code: error.code,
            message: error.message,
        }
    }
}

/// One task of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowTask {
    /// Its id.
    id: Uuid,
    /// Its workflow.
    workflow_id: Uuid,
    /// Its key, unique in the workflow; the compensation of `a` is `undo/a`.
    key: String,
    /// What it does.
    kind: String,
    status: WorkflowTaskStatus,
    /// How often it was started.
    attempt: u32,
    /// The queue it waits in.
    queue: String,
    /// Its priority there.
    priority: i16,
    guarantee: GuaranteeClass,
    /// The keys of the tasks it waits for.
    depends_on: Vec<String>,
    /// The task it undoes.
    undoes_task_id: Option<Uuid>,
    /// What it has to itself while it runs.
    concurrency_keys: Vec<String>,
    /// The longest one attempt may take, seconds.
    timeout_s: f64,
    /// When its time over all attempts is up.
    deadline_at: Option<Instant>,
    /// Who holds it.
    worker: Option<String>,
    /// Why its last attempt did not succeed.
    error: Option<TaskError>,
    /// When it was last taken by a worker.
    started_at: Option<Instant>,
    /// When it ended.
    finished_at: Option<Instant>,
}

impl From<TaskRecord> for WorkflowTask {
    fn from(record: TaskRecord) -> Self {
        let (task, workflow) = (record.task, record.workflow);
        Self {
            id: workflow.task(task.no).as_uuid(),
            workflow_id: workflow.as_uuid(),
            key: task.key.to_string(),
            kind: record.kind.to_string(),
            status: task.status.into(),
            attempt: task.attempt,
            queue: task.queue.to_string(),
            priority: task.priority,
            guarantee: task.policy.guarantee.into(),
            depends_on: record
                .depends_on
                .iter()
                .map(|key| key.as_str().to_owned())
                .collect(),
            undoes_task_id: task.undoes.map(|no| workflow.task(no).as_uuid()),
            concurrency_keys: task.concurrency_keys,
            timeout_s: task.policy.timeout.as_secs_f64(),
            deadline_at: task.deadline_at.map(Into::into),
            worker: record.worker,
            error: task.error.map(Into::into),
            started_at: record.started_at.map(Into::into),
            finished_at: record.finished_at.map(Into::into),
        }
    }
}

/// A task of a workflow with what goes in and what came out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowTaskDetail {
    #[serde(flatten)]
    task: WorkflowTask,
    /// What it is given.
    payload: Document,
    /// What came of it; null until it has succeeded.
    #[schema(value_type = Document)]
    result: Option<Document>,
}

impl From<TaskRecord> for WorkflowTaskDetail {
    fn from(record: TaskRecord) -> Self {
        Self {
            payload: shown(&record.task.action, record.payload.clone()).into(),
            result: record.result.clone().map(Into::into),
            task: record.into(),
        }
    }
}

/// The payload as its author gave it: that of a child is kept in parts.
pub(crate) fn shown(action: &Action, payload: Json) -> Json {
    let Action::Child {
        definition,
        version,
    } = action
    else {
        return payload;
    };
    let name = json!(definition.as_str());
    let version = json!(version);
    let input = payload.as_str();
    let whole = format!(r#"{{"definition":{name},"version":{version},"input":{input}}}"#);
    // The frame may be what makes it too large.
    Json::from_parsed("the payload", whole).unwrap_or(payload)
}

/// What a person found out about a task that is unknown.
#[derive(Debug)]
pub(crate) struct ResolveTask(pub(crate) Decision);

impl ReadBody for ResolveTask {
    fn read(fields: &mut Fields) -> Option<Self> {
        let succeeded = fields.required(
            "outcome",
            text(|word| match word {
                "succeeded" => Ok(true),
                "failed" => Ok(false),
                _ => Err(Flaw::new("invalid", "must be one of succeeded, failed")),
            }),
        );
        let result = fields.optional("result", document);
        let error = fields.optional("error", object::<GivenError>);
        match (succeeded?, result?, error?) {
            (true, result, None) => Some(Self(Decision::Succeeded {
                result: result.unwrap_or_default(),
            })),
            (false, None, Some(GivenError(error))) => Some(Self(Decision::Failed { error })),
            (false, _, None) => {
                fields.complain("error", Flaw::new("missing", "`error` is missing"));
                None
            }
            (true, _, Some(_)) => {
                let detail = "a task that succeeded has no `error`";
                fields.complain("error", Flaw::new("invalid", detail));
                None
            }
            (false, Some(_), Some(_)) => {
                let detail = "a task that failed has no `result`";
                fields.complain("result", Flaw::new("invalid", detail));
                None
            }
        }
    }
}

/// An error as a person or a worker reports it.
#[derive(Debug)]
pub(crate) struct GivenError(pub(crate) run::TaskError);

impl ReadBody for GivenError {
    fn read(fields: &mut Fields) -> Option<Self> {
        let code = fields.required(
            "code",
            text(|code| {
                check_line("the code", code, run::TaskError::CODE_MAX).map_err(Flaw::invalid)?;
                Ok(code.to_owned())
            }),
        );
        // Messages come from programs: too long ones are cut, lines may be many.
        let message = fields.optional("message", text(|message| Ok(message.to_owned())));
        Some(Self(run::TaskError::new(
            &code?,
            &message?.unwrap_or_default(),
        )))
    }
}

/// What a person found out about a task that is unknown.
#[derive(ToSchema)]
#[schema(as = ResolveTask)]
#[expect(dead_code, reason = "describes what `ResolveTask` reads")]
pub(crate) struct ResolveTaskShape {
    #[schema(inline)]
    outcome: ResolvedAs,
    /// What came of it; only for `succeeded`.
    #[schema(value_type = Document, required = false)]
    result: Option<Document>,
    /// Why not; only for `failed`, and then it must be there.
    error: Option<GivenErrorShape>,
}

/// How a task ended after all.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the words that `ResolveTask` reads")]
pub(crate) enum ResolvedAs {
    Succeeded,
    Failed,
}

/// Why an attempt did not succeed.
#[derive(ToSchema)]
#[schema(as = NewTaskError)]
#[expect(dead_code, reason = "describes what `GivenError` reads")]
pub(crate) struct GivenErrorShape {
    /// A stable word; retry policies name these.
    #[schema(min_length = 1, max_length = 64)]
    code: String,
    /// A sentence, without secrets; cut after 4,000 characters.
    message: Option<String>,
}

/// A task that failed, timed out or is unknown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadTask {
    /// What its workflow is called.
    workflow_name: String,
    task: WorkflowTask,
}

impl From<DeadLetter> for DeadTask {
    fn from(letter: DeadLetter) -> Self {
        Self {
            workflow_name: letter.workflow_name,
            task: letter.record.into(),
        }
    }
}

/// Which dead letters are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct DeadLetterParams {
    /// Tasks of this workflow.
    workflow_id: Option<Uuid>,
    /// Tasks of this queue.
    #[param(min_length = 1, max_length = 64)]
    queue: Option<String>,
    /// Tasks of this kind.
    #[param(min_length = 1, max_length = 64)]
    kind: Option<String>,
    /// Tasks whose last error has this code.
    #[param(min_length = 1, max_length = 64)]
    code: Option<String>,
}

impl Filter for DeadLetterFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let queue = parameters.text("queue");
        let queue = queue.map(|text| QueueName::parse(&text)).transpose();
        let kind = parameters.text("kind");
        let kind = kind.map(|text| Kind::parse(&text)).transpose();
        Ok(Self {
            task: None,
            workflow: parameters.uuid("workflow_id")?.map(WorkflowId::from_uuid),
            queue: queue.map_err(|error| wrong("queue", &format!("is wrong: {error}")))?,
            kind: kind.map_err(|error| wrong("kind", &format!("is wrong: {error}")))?,
            code: parameters.line("code", run::TaskError::CODE_MAX)?,
            without: Vec::new(),
        })
    }
}

/// Which dead letters are to be done again: one task, or all that fit every condition.
#[derive(Debug)]
pub(crate) struct Redrive {
    pub(crate) filter: DeadLetterFilter,
    pub(crate) limit: u32,
    /// The same for the same request.
    pub(crate) digest: Vec<u8>,
}

impl Redrive {
    const LIMIT: i64 = 100;
}

impl ReadBody for Redrive {
    fn read(fields: &mut Fields) -> Option<Self> {
        let digest = fields.digest();
        let task = fields.optional("task_id", crate::wire::workflow::worker::uuid);
        let workflow = fields.optional("workflow_id", crate::wire::workflow::worker::uuid);
        let queue = fields.optional(
            "queue",
            text(|text| QueueName::parse(text).map_err(Flaw::invalid)),
        );
        let kind = fields.optional(
            "kind",
            text(|text| Kind::parse(text).map_err(Flaw::invalid)),
        );
        let code = fields.optional(
            "code",
            text(|code| {
                check_line("the code", code, run::TaskError::CODE_MAX).map_err(Flaw::invalid)?;
                Ok(code.to_owned())
            }),
        );
        let limit = fields.optional("limit", whole(1, i64::from(Workflows::REDRIVE_MAX)));
        Some(Self {
            filter: DeadLetterFilter {
                task: task?.map(TaskId::from_uuid),
                workflow: workflow?.map(WorkflowId::from_uuid),
                queue: queue?,
                kind: kind?,
                code: code?,
                without: Vec::new(),
            },
            limit: u32::try_from(limit?.unwrap_or(Self::LIMIT)).ok()?,
            digest,
        })
    }
}

/// Which dead letters are to be done again: one task, or all that fit every condition.
#[derive(ToSchema)]
#[schema(as = Redrive)]
#[expect(dead_code, reason = "describes what `Redrive` reads")]
pub(crate) struct RedriveShape {
    /// This task only.
    task_id: Option<Uuid>,
    /// Tasks of this workflow.
    workflow_id: Option<Uuid>,
    #[schema(schema_with = schema::queue, required = false)]
    queue: Option<String>,
    #[schema(schema_with = schema::kind, required = false)]
    kind: Option<String>,
    /// Tasks whose last error has this code.
    #[schema(min_length = 1, max_length = 64)]
    code: Option<String>,
    /// The most tasks, oldest first.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// The tasks that are queued again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedrivenTasks {
    /// Their ids, oldest first.
    #[schema(max_items = 1000)]
    task_ids: Vec<Uuid>,
}

impl From<Vec<TaskId>> for RedrivenTasks {
    fn from(tasks: Vec<TaskId>) -> Self {
        Self {
            task_ids: tasks.into_iter().map(TaskId::as_uuid).collect(),
        }
    }
}
