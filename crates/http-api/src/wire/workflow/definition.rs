//! Definitions: workflows that are kept by name.

use drover_domain::workflow::{DefinitionName, Dependency, RetryPolicy, TaskSpec, Work};
use drover_usecases::{Defined, DefinitionRecord};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::body::{Fields, Flaw, ReadBody, text};
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::{Parameters, wrong};
use crate::wire::document::Document;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{ExecutionMode, GuaranteeClass, RetryStrategy};
use crate::wire::workflow::task::shown;
use crate::wire::workflow::work::{NewTaskShape, Tasks};

/// A definition to keep.
#[derive(Debug)]
pub(crate) struct NewDefinition {
    pub(crate) name: DefinitionName,
    pub(crate) tasks: Tasks,
}

impl ReadBody for NewDefinition {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required(
            "name",
            text(|text| DefinitionName::parse(text).map_err(Flaw::invalid)),
        );
        let tasks = Tasks::read(fields);
        Some(Self {
            name: name?,
            tasks: tasks?,
        })
    }
}

/// A definition to keep; a name that is taken gets a new version.
#[derive(ToSchema)]
#[schema(as = NewDefinition)]
#[expect(dead_code, reason = "describes what `NewDefinition` reads")]
pub(crate) struct NewDefinitionShape {
    #[schema(schema_with = schema::definition_name)]
    name: String,
    /// In which order the tasks may run: one after the other, all at once, or as `depends_on` says.
    #[schema(inline, default = "dag")]
    execution_mode: Option<ExecutionMode>,
    #[schema(min_items = 1, max_items = 1000)]
    tasks: Vec<NewTaskShape>,
}

/// Where a definition is kept now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinitionKept {
    /// Its name.
    name: String,
    /// Its version.
    #[schema(minimum = 1)]
    version: u32,
}

impl From<Defined> for DefinitionKept {
    fn from(defined: Defined) -> Self {
        Self {
            name: defined.name.to_string(),
            version: defined.version,
        }
    }
}

/// A version of a definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDefinition {
    /// Its name.
    name: String,
    /// Its version.
    #[schema(minimum = 1)]
    version: u32,
    execution_mode: ExecutionMode,
    /// How many tasks it has.
    task_count: usize,
    /// When it was stored.
    created_at: Instant,
}

impl From<DefinitionRecord> for WorkflowDefinition {
    fn from(record: DefinitionRecord) -> Self {
        (&record).into()
    }
}

impl From<&DefinitionRecord> for WorkflowDefinition {
    fn from(record: &DefinitionRecord) -> Self {
        Self {
            name: record.reference.name.to_string(),
            version: record.reference.version,
            execution_mode: record.definition.mode().into(),
            task_count: record.definition.tasks().len(),
            created_at: record.created_at.into(),
        }
    }
}

/// A version of a definition with its tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDefinitionDetail {
    #[serde(flatten)]
    definition: WorkflowDefinition,
    /// Its tasks, in their author's order.
    #[schema(max_items = 1000)]
    tasks: Vec<DefinedTask>,
}

impl From<DefinitionRecord> for WorkflowDefinitionDetail {
    fn from(record: DefinitionRecord) -> Self {
        Self {
            definition: (&record).into(),
            tasks: record.definition.tasks().iter().map(Into::into).collect(),
        }
    }
}

/// A task of a definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinedTask {
    /// Its key.
    key: String,
    #[serde(flatten)]
    work: DefinedWork,
    /// What it waits for.
    depends_on: Vec<DefinedDependency>,
    /// What it has to itself while it runs.
    concurrency_keys: Vec<String>,
    /// What undoes it.
    compensation: Option<DefinedWork>,
}

impl From<&TaskSpec> for DefinedTask {
    fn from(spec: &TaskSpec) -> Self {
        Self {
            key: spec.key.to_string(),
            work: (&spec.work).into(),
            depends_on: spec.depends_on.iter().map(Into::into).collect(),
            concurrency_keys: spec.concurrency_keys.clone(),
            compensation: spec.compensation.as_ref().map(Into::into),
        }
    }
}

/// What is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinedWork {
    /// What executes it.
    kind: String,
    /// The queue it waits in.
    queue: String,
    /// Its priority there.
    priority: i16,
    guarantee: GuaranteeClass,
    /// What the executor is given.
    payload: Document,
    retry: Retry,
    /// The longest one attempt may take, seconds.
    timeout_s: f64,
    /// The longest all attempts may take, seconds.
    deadline_s: Option<f64>,
}

impl From<&Work> for DefinedWork {
    fn from(work: &Work) -> Self {
        let policy = &work.policy;
        Self {
            kind: work.kind.to_string(),
            queue: work.queue.to_string(),
            priority: work.priority,
            guarantee: policy.guarantee.into(),
            payload: shown(&work.action, work.payload.clone()).into(),
            retry: Retry::new(&policy.retry, &policy.non_retryable),
            timeout_s: policy.timeout.as_secs_f64(),
            deadline_s: policy.deadline.map(|deadline| deadline.as_secs_f64()),
        }
    }
}

/// A task that is waited for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinedDependency {
    /// Its key.
    key: String,
    /// Whether the waiting task also runs when that one was skipped.
    skipped_releases: bool,
}

impl From<&Dependency> for DefinedDependency {
    fn from(dependency: &Dependency) -> Self {
        Self {
            key: dependency.on.to_string(),
            skipped_releases: dependency.skipped_releases,
        }
    }
}

/// The waits between attempts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retry {
    strategy: RetryStrategy,
    /// The first wait, seconds.
    initial_interval_s: f64,
    /// What each wait is multiplied with where they grow exponentially.
    base: f64,
    /// The longest wait, seconds.
    max_interval_s: f64,
    /// How many attempts may follow the first one.
    max_attempts: u32,
    /// The part of a wait that chance may take away.
    jitter: f64,
    /// Error codes after which no attempt follows.
    non_retryable: Vec<String>,
}

impl Retry {
    fn new(policy: &RetryPolicy, non_retryable: &[String]) -> Self {
        Self {
            strategy: policy.strategy().into(),
            initial_interval_s: policy.initial().as_secs_f64(),
            base: policy.base(),
            max_interval_s: policy.max_interval().as_secs_f64(),
            max_attempts: policy.max_attempts(),
            jitter: policy.jitter(),
            non_retryable: non_retryable.to_vec(),
        }
    }
}

/// Which version is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter that `Version` reads")]
pub(crate) struct VersionParams {
    /// The newest one when it is not given.
    #[param(minimum = 1)]
    version: Option<u32>,
}

/// The version that is wanted; the newest one where there is none.
#[derive(Debug)]
pub(crate) struct Version(pub(crate) Option<u32>);

impl Filter for Version {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let version = parameters.id("version")?.map(u32::try_from).transpose();
        version
            .map(Self)
            .map_err(|_| wrong("version", "is greater than any version"))
    }
}
