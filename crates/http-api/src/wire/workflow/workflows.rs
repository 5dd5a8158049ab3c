//! Workflows: asking for one, and how far it is.

use std::collections::BTreeMap;

use drover_domain::rollout::record::Origin;
use drover_domain::text::{check_line, check_name, check_title};
use drover_domain::workflow::run::Head;
use drover_domain::workflow::{self, Json, TaskId, WorkflowId};
use drover_usecases::{DefinitionRef, StartWhen, WorkflowFilter, WorkflowRecord, WorkflowSource};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::{
    Fields, Flaw, ReadBody, boolean, document, object, seconds, text, texts_by_name,
};
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::{Parameters, wrong};
use crate::wire::document::Document;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{ExecutionMode, WorkflowStatus};
use crate::wire::workflow::work::{NewTaskShape, Tasks, definition_and_version, execution_mode};

/// The most labels of a workflow.
const LABELS_MAX: usize = 32;
/// The most characters of a label's name.
const LABEL_NAME_MAX: usize = 64;
/// The most characters of a label's value, and of a workflow's name.
const LINE_MAX: usize = 255;

/// A workflow to start.
#[derive(Debug)]
pub(crate) struct NewWorkflow {
    pub(crate) name: Option<String>,
    pub(crate) source: WorkflowSource,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) input: Json,
    pub(crate) start: StartWhen,
    pub(crate) deadline: Option<std::time::Duration>,
    /// Of everything that was asked, whatever the order and spelling of the body's fields.
    pub(crate) digest: Vec<u8>,
}

impl ReadBody for NewWorkflow {
    fn read(fields: &mut Fields) -> Option<Self> {
        let digest = fields.digest();
        let name = fields.optional(
            "name",
            text(|name| {
                check_title("the name", name, LINE_MAX).map_err(Flaw::invalid)?;
                Ok(name.to_owned())
            }),
        );
        let source = source(fields);
        let labels = fields.optional("labels", texts_by_name(LABELS_MAX, check_label));
        let input = fields.optional("input", document);
        let starts = fields.optional("start", boolean);
        let after = fields.optional("start_after_s", seconds);
        let deadline = fields.optional("deadline_s", seconds);
        if deadline == Some(Some(std::time::Duration::ZERO)) {
            let flaw = Flaw::new("out_of_range", "`deadline_s` must be more than 0 seconds");
            fields.complain("deadline_s", flaw);
        }
        let start = match (starts?.unwrap_or(true), after?) {
            (true, wait) => StartWhen::After(wait.unwrap_or_default()),
            (false, None) => StartWhen::Asked,
            (false, Some(_)) => {
                let detail = "`start_after_s` makes no sense for a workflow that waits for somebody to start it";
                fields.complain("start_after_s", Flaw::new("invalid", detail));
                return None;
            }
        };
        Some(Self {
            name: name?,
            source: source?,
            labels: labels?.unwrap_or_default(),
            input: input?.unwrap_or_default(),
            start,
            deadline: deadline?,
            digest,
        })
    }
}

fn source(fields: &mut Fields) -> Option<WorkflowSource> {
    let stored = fields.optional("definition", object::<StoredSource>)?;
    let Some(stored) = stored else {
        let Tasks { mode, tasks } = Tasks::read(fields)?;
        return Some(WorkflowSource::Tasks { mode, tasks });
    };
    // Both would leave open what is meant.
    let mode = execution_mode(fields)?;
    let tasks = fields.optional("tasks", |_| Ok(()))?;
    if tasks.is_some() || mode.is_some() {
        let detail = "a workflow has either a `definition`, or `tasks` and an `execution_mode`";
        fields.complain("definition", Flaw::new("invalid", detail));
        return None;
    }
    Some(stored.0)
}

struct StoredSource(WorkflowSource);

impl ReadBody for StoredSource {
    fn read(fields: &mut Fields) -> Option<Self> {
        let (name, version) = definition_and_version(fields, "name");
        Some(Self(WorkflowSource::Stored {
            name: name?,
            version: version?,
        }))
    }
}

fn check_label(name: &str, value: &str) -> Result<(), Flaw> {
    check_name("the name of the label", name, LABEL_NAME_MAX).map_err(Flaw::invalid)?;
    check_line("the value of the label", value, LINE_MAX).map_err(Flaw::invalid)
}

/// A workflow to start: either with its `tasks`, or from a stored `definition`.
#[derive(ToSchema)]
#[schema(as = NewWorkflow)]
#[expect(dead_code, reason = "describes what `NewWorkflow` reads")]
pub(crate) struct NewWorkflowShape {
    #[schema(schema_with = schema::workflow_name, required = false)]
    name: Option<String>,
    definition: Option<DefinitionChoice>,
    /// In which order the tasks may run: one after the other, all at once, or as `depends_on` says.
    #[schema(inline, default = "dag")]
    execution_mode: Option<ExecutionMode>,
    #[schema(min_items = 1, max_items = 1000)]
    tasks: Option<Vec<NewTaskShape>>,
    /// Words to find it by; at most 32.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<BTreeMap<String, String>>,
    /// What it is given; at most 256 KiB as JSON.
    #[schema(value_type = Document, required = false)]
    input: Option<Document>,
    /// Whether it starts by itself; otherwise `POST /workflows/{id}/start` starts it.
    #[schema(default = true)]
    start: Option<bool>,
    /// When it starts by itself, seconds from now.
    #[schema(minimum = 0, maximum = 31_622_400, default = 0)]
    start_after_s: Option<f64>,
    /// The longest it may take from its start on, seconds; more than 0.
    #[schema(minimum = 0, maximum = 31_622_400)]
    deadline_s: Option<f64>,
}

/// A stored definition.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `StoredSource` reads")]
pub(crate) struct DefinitionChoice {
    #[schema(schema_with = schema::definition_name)]
    name: String,
    /// The newest one when it is not given.
    #[schema(minimum = 1)]
    version: Option<u32>,
}

/// That a workflow exists now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowAccepted {
    /// Its id.
    id: Uuid,
}

impl From<WorkflowId> for WorkflowAccepted {
    fn from(id: WorkflowId) -> Self {
        Self { id: id.as_uuid() }
    }
}

/// Where a workflow stands now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowState {
    /// Its id.
    id: Uuid,
    status: WorkflowStatus,
}

impl WorkflowState {
    pub(crate) fn new(id: WorkflowId, status: workflow::WorkflowStatus) -> Self {
        Self {
            id: id.as_uuid(),
            status: status.into(),
        }
    }
}

/// The version of a definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinitionVersion {
    /// Its name.
    name: String,
    /// Its version.
    #[schema(minimum = 1)]
    version: u32,
}

impl From<DefinitionRef> for DefinitionVersion {
    fn from(reference: DefinitionRef) -> Self {
        Self {
            name: reference.name.to_string(),
            version: reference.version,
        }
    }
}

/// How many tasks a workflow has; compensations are not counted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskCounts {
    total: u32,
    /// How many have not ended.
    open: u32,
    /// How many ended otherwise than succeeded or skipped.
    failed: u32,
}

impl From<&Head> for TaskCounts {
    fn from(head: &Head) -> Self {
        Self {
            total: head.total,
            open: head.open,
            failed: head.failed,
        }
    }
}

/// One workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflow {
    /// Its id.
    id: Uuid,
    /// What it is called.
    name: String,
    status: WorkflowStatus,
    execution_mode: ExecutionMode,
    /// The stored definition it came from.
    definition: Option<DefinitionVersion>,
    /// How far it is, percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: u8,
    tasks: TaskCounts,
    /// Words to find it by.
    labels: BTreeMap<String, String>,
    /// The task of another workflow that waits for it.
    parent_task_id: Option<Uuid>,
    /// Why it did not succeed, a sentence.
    error: Option<String>,
    /// Who asked for it.
    requested_by: String,
    /// When it was asked for.
    created_at: Instant,
    /// When it started.
    started_at: Option<Instant>,
    /// When it ended.
    finished_at: Option<Instant>,
}

impl From<WorkflowRecord> for Workflow {
    fn from(record: WorkflowRecord) -> Self {
        let head = record.head;
        Self {
            id: head.id.as_uuid(),
            name: record.name,
            status: head.status.into(),
            execution_mode: record.mode.into(),
            definition: record.source.map(Into::into),
            progress: head.progress(),
            tasks: (&head).into(),
            labels: record.labels,
            parent_task_id: head.parent.map(TaskId::as_uuid),
            error: head.error,
            requested_by: record.origin.actor,
            created_at: record.created_at.into(),
            started_at: record.started_at.map(Into::into),
            finished_at: record.finished_at.map(Into::into),
        }
    }
}

impl From<(i64, WorkflowRecord)> for Workflow {
    fn from((_, record): (i64, WorkflowRecord)) -> Self {
        record.into()
    }
}

/// A workflow with what went in and what came out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDetail {
    #[serde(flatten)]
    workflow: Workflow,
    /// What it was given.
    input: Document,
    /// The results of the last tasks (those that no other task depends on), by key; null until it has succeeded.
    output: Option<BTreeMap<String, Document>>,
    /// Whether results are missing in `output` because all together they are larger than 256 KiB.
    output_truncated: bool,
}

impl From<drover_usecases::WorkflowDetail> for WorkflowDetail {
    fn from(detail: drover_usecases::WorkflowDetail) -> Self {
        let is_done = detail.record.head.status == workflow::WorkflowStatus::Succeeded;
        let output = detail.output.into_iter();
        Self {
            input: detail.record.input.clone().into(),
            workflow: detail.record.into(),
            output: is_done.then(|| {
                output
                    .map(|(key, result)| (key.as_str().to_owned(), result.into()))
                    .collect()
            }),
            output_truncated: detail.is_output_cut,
        }
    }
}

/// Why a workflow is called off.
#[derive(Debug, ToSchema)]
pub(crate) struct CancelWorkflow {
    #[schema(schema_with = schema::reason, required = false)]
    pub(crate) reason: Option<String>,
}

impl CancelWorkflow {
    /// The sentence that the history keeps.
    pub(crate) fn by(&self, origin: &Origin) -> String {
        match &self.reason {
            Some(reason) => format!("{} called it off: {reason}", origin.actor),
            None => format!("{} called it off", origin.actor),
        }
    }
}

impl ReadBody for CancelWorkflow {
    fn read(fields: &mut Fields) -> Option<Self> {
        let reason = fields.optional(
            "reason",
            text(|reason| {
                check_line("the reason", reason, schema::REASON_MAX).map_err(Flaw::invalid)?;
                Ok(reason.to_owned())
            }),
        );
        Some(Self { reason: reason? })
    }
}

/// What a signal brings.
#[derive(Debug, ToSchema)]
pub(crate) struct SendSignal {
    /// Any JSON; it becomes the result of the task that waits for the signal.
    #[schema(value_type = Document, required = false)]
    pub(crate) payload: Json,
    #[schema(ignore)]
    pub(crate) digest: Vec<u8>,
}

impl ReadBody for SendSignal {
    fn read(fields: &mut Fields) -> Option<Self> {
        let digest = fields.digest();
        let payload = fields.optional("payload", document);
        Some(Self {
            payload: payload?.unwrap_or_default(),
            digest,
        })
    }
}

/// Which workflows are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct WorkflowParams {
    /// Only those that stand there.
    #[param(inline)]
    status: Option<WorkflowStatus>,
    /// With exactly this name.
    #[param(min_length = 1, max_length = 255)]
    name: Option<String>,
    /// With all of these labels: `name:value`, several joined by commas.
    #[param(min_length = 1, max_length = 2000)]
    labels: Option<String>,
    /// Started by this task of another workflow.
    #[param(value_type = Option<Uuid>)]
    parent_task_id: Option<Uuid>,
}

impl Filter for WorkflowFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        const WORDS: &str = "draft, pending, running, paused, succeeded, failed, cancelling, cancelled, compensating, compensated, needs_human";
        let status = parameters.word("status", WORDS, workflow::WorkflowStatus::parse)?;
        let labels = match parameters.text("labels") {
            None => BTreeMap::new(),
            Some(text) => labels(&text)?,
        };
        Ok(Self {
            statuses: status.into_iter().collect(),
            name: parameters.line("name", LINE_MAX)?,
            labels,
            parent: parameters.uuid("parent_task_id")?.map(TaskId::from_uuid),
        })
    }
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let form = "must be `name:value`, several joined by commas";
    let mut labels = BTreeMap::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once(':').ok_or_else(|| wrong("labels", form))?;
        check_label(name, value).map_err(|_| wrong("labels", form))?;
        labels.insert(name.to_owned(), value.to_owned());
    }
    if labels.len() > LABELS_MAX {
        return Err(wrong("labels", "has more labels than a workflow may have"));
    }
    Ok(labels)
}
