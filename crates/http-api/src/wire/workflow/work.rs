//! Requested tasks: kind, retries, dependencies.

use std::time::Duration;

use drover_domain::text::check_line;
use drover_domain::workflow::run::TaskError;
use drover_domain::workflow::{
    Action, CONCURRENCY_KEYS_MAX, DefinitionError, DefinitionName, Dependency, ExecutionMode, Json,
    Kind, QueueName, RetryPolicy, RetryPolicyError, RetryStrategy, SignalName, TASKS_MAX, TaskKey,
    TaskPolicy, TaskPolicyError,
};
use drover_usecases::{Kinds, OrderError, OrderPlace, TaskOrder, WorkOrder};
use utoipa::ToSchema;

use crate::body::{Fields, Flaw, ReadBody, document, list, number, object, seconds, text, whole};
use crate::json::Value;
use crate::problem::{ApiError, FieldError};
use crate::wire::document::Document;
use crate::wire::schema;

/// The most dependencies of one task: all the others.
const DEPENDENCIES_MAX: usize = TASKS_MAX - 1;
/// The most characters of a complaint: a circle may be long.
const DETAIL_MAX: usize = 2_000;

/// The tasks of a workflow, and in which order they may run.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) mode: ExecutionMode,
    pub(crate) tasks: Vec<TaskOrder>,
}

impl Tasks {
    /// Takes the fields `tasks` and `execution_mode`.
    pub(crate) fn read(fields: &mut Fields) -> Option<Self> {
        let mode = execution_mode(fields);
        let tasks = fields.required("tasks", list(TASKS_MAX, object::<NewTask>));
        Some(Self {
            mode: mode?.unwrap_or(ExecutionMode::Dag),
            tasks: tasks?.into_iter().map(|task| task.order).collect(),
        })
    }
}

/// Takes the field `execution_mode`.
#[expect(
    clippy::option_option,
    reason = "absent and refused are different answers"
)]
pub(crate) fn execution_mode(fields: &mut Fields) -> Option<Option<ExecutionMode>> {
    fields.optional(
        "execution_mode",
        text(|word| {
            ExecutionMode::parse(word)
                .ok_or_else(|| Flaw::new("invalid", "must be one of sequential, parallel, dag"))
        }),
    )
}

/// A task to do.
#[derive(Debug)]
pub(crate) struct NewTask {
    order: TaskOrder,
}

impl ReadBody for NewTask {
    fn read(fields: &mut Fields) -> Option<Self> {
        let key = fields.required(
            "key",
            text(|text| TaskKey::parse(text).map_err(Flaw::invalid)),
        );
        let work = read_work(fields);
        let depends_on = fields.optional("depends_on", list(DEPENDENCIES_MAX, dependency));
        let concurrency_keys = fields.optional(
            "concurrency_keys",
            list(CONCURRENCY_KEYS_MAX, |value| {
                text(|text| Ok(text.to_owned()))(value)
            }),
        );
        let compensation = fields.optional("compensation", object::<NewWork>);
        Some(Self {
            order: TaskOrder {
                key: key?,
                work: work?,
                depends_on: depends_on?.unwrap_or_default(),
                concurrency_keys: concurrency_keys?.unwrap_or_default(),
                compensation: compensation?.map(|work| work.order),
            },
        })
    }
}

/// What undoes a task.
#[derive(Debug)]
struct NewWork {
    order: WorkOrder,
}

impl ReadBody for NewWork {
    fn read(fields: &mut Fields) -> Option<Self> {
        read_work(fields).map(|order| Self { order })
    }
}

fn dependency(value: Value) -> Result<Dependency, Vec<Flaw>> {
    let key = |text: &str| TaskKey::parse(text).map_err(Flaw::invalid);
    if matches!(value, Value::Object(_)) {
        return object::<NewDependency>(value).map(|read| read.dependency);
    }
    text(key)(value).map(|on| Dependency {
        on,
        skipped_releases: false,
    })
}

#[derive(Debug)]
struct NewDependency {
    dependency: Dependency,
}

impl ReadBody for NewDependency {
    fn read(fields: &mut Fields) -> Option<Self> {
        let on = fields.required(
            "key",
            text(|text| TaskKey::parse(text).map_err(Flaw::invalid)),
        );
        let skipped_releases = fields.optional("skipped_releases", crate::body::boolean);
        Some(Self {
            dependency: Dependency {
                on: on?,
                skipped_releases: skipped_releases?.unwrap_or(false),
            },
        })
    }
}

fn read_work(fields: &mut Fields) -> Option<WorkOrder> {
    let kind = fields.required(
        "kind",
        text(|text| Kind::parse(text).map_err(Flaw::invalid)),
    );
    let given = match kind.as_ref().map(Kind::as_str) {
        Some(Kinds::TIMER) => fields.required("payload", own::<Timer>),
        Some(Kinds::SIGNAL) => fields.required("payload", own::<Signal>),
        Some(Kinds::SUBWORKFLOW) => fields
            .required("payload", object::<Child>)
            .map(|child| (Some(child.action), child.input)),
        Some(_) | None => fields
            .optional("payload", document)
            .map(|payload| (None, payload.unwrap_or_default())),
    };
    let queue = fields.optional(
        "queue",
        text(|text| QueueName::parse(text).map_err(Flaw::invalid)),
    );
    // Whether the number is within the bounds is the domain's to say.
    let priority = fields.optional("priority", whole(i64::from(i16::MIN), i64::from(i16::MAX)));
    let retry = fields.optional("retry", object::<NewRetry>);
    let timeout = fields.optional("timeout_s", seconds);
    let deadline = fields.optional("deadline_s", seconds);
    let (action, payload) = given?;
    let (retry, non_retryable) = retry?.map_or((RetryPolicy::NEVER, Vec::new()), |retry| {
        (retry.policy, retry.non_retryable)
    });
    Some(WorkOrder {
        kind: kind?,
        action,
        queue: queue?,
        priority: i16::try_from(priority?.unwrap_or(0)).ok()?,
        payload,
        retry,
        non_retryable,
        timeout: timeout?,
        deadline: deadline?,
    })
}

/// A payload that says what is done; it is kept as it was given.
fn own<T: ReadBody + Into<Action>>(value: Value) -> Result<(Option<Action>, Json), Vec<Flaw>> {
    let payload = document(value.clone())?;
    let action = object::<T>(value)?.into();
    Ok((Some(action), payload))
}

struct Timer(Duration);

impl ReadBody for Timer {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.required("seconds", positive).map(Self)
    }
}

impl From<Timer> for Action {
    fn from(Timer(wait): Timer) -> Self {
        Self::Timer { wait }
    }
}

struct Signal {
    name: SignalName,
    expires_after: Option<Duration>,
}

impl ReadBody for Signal {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required(
            "signal",
            text(|text| SignalName::parse(text).map_err(Flaw::invalid)),
        );
        let expires_after = fields.optional("expires_in_s", positive);
        Some(Self {
            name: name?,
            expires_after: expires_after?,
        })
    }
}

impl From<Signal> for Action {
    fn from(signal: Signal) -> Self {
        Self::Signal {
            name: signal.name,
            expires_after: signal.expires_after,
        }
    }
}

struct Child {
    action: Action,
    input: Json,
}

impl ReadBody for Child {
    fn read(fields: &mut Fields) -> Option<Self> {
        let (definition, version) = definition_and_version(fields, "definition");
        let input = fields.optional("input", document);
        Some(Self {
            action: Action::Child {
                definition: definition?,
                version: version?,
            },
            input: input?.unwrap_or_default(),
        })
    }
}

/// Takes the fields that name a definition.
#[expect(
    clippy::option_option,
    reason = "absent and refused are different answers"
)]
pub(crate) fn definition_and_version(
    fields: &mut Fields,
    name: &'static str,
) -> (Option<DefinitionName>, Option<Option<u32>>) {
    let definition = fields.required(
        name,
        text(|text| DefinitionName::parse(text).map_err(Flaw::invalid)),
    );
    let version = fields.optional("version", whole(1, i64::from(i32::MAX)));
    // The bounds fit.
    let version = version.map(|version| version.and_then(|version| u32::try_from(version).ok()));
    (definition, version)
}

fn positive(value: Value) -> Result<Duration, Vec<Flaw>> {
    match seconds(value)? {
        Duration::ZERO => Err(vec![Flaw::new(
            "out_of_range",
            "must be more than 0 seconds",
        )]),
        wait => Ok(wait),
    }
}

#[derive(Debug)]
struct NewRetry {
    policy: RetryPolicy,
    non_retryable: Vec<String>,
}

impl ReadBody for NewRetry {
    fn read(fields: &mut Fields) -> Option<Self> {
        let strategy = fields.required(
            "strategy",
            text(|word| {
                RetryStrategy::parse(word).ok_or_else(|| {
                    let words = "must be one of none, fixed, linear, exponential";
                    Flaw::new("invalid", words)
                })
            }),
        );
        let initial = fields.optional("initial_interval_s", seconds);
        let base = fields.optional("base", number(Ok));
        let max_interval = fields.optional("max_interval_s", seconds);
        // How many are allowed is the domain's to say.
        let max_attempts = fields.optional("max_attempts", whole(0, i64::from(u32::MAX)));
        let jitter = fields.optional("jitter", number(Ok));
        let non_retryable = fields.optional(
            "non_retryable",
            list(TaskPolicy::CODES_MAX, |value| {
                text(|code| {
                    check_line("the error code", code, TaskError::CODE_MAX)
                        .map_err(Flaw::invalid)?;
                    Ok(code.to_owned())
                })(value)
            }),
        );
        let policy = RetryPolicy::restore(
            strategy?,
            initial?.unwrap_or(Self::INITIAL),
            base?.unwrap_or(RetryPolicy::DEFAULT_BASE),
            max_interval?.unwrap_or(RetryPolicy::DEFAULT_MAX_INTERVAL),
            u32::try_from(max_attempts?.unwrap_or(Self::ATTEMPTS)).ok()?,
            jitter?.unwrap_or(0.0),
        );
        match policy {
            Ok(policy) => Some(Self {
                policy,
                non_retryable: non_retryable?.unwrap_or_default(),
            }),
            Err(error) => {
                let field = match error {
                    RetryPolicyError::Initial { .. } => "initial_interval_s",
                    RetryPolicyError::Base { .. } => "base",
                    RetryPolicyError::MaxInterval { .. } => "max_interval_s",
                    RetryPolicyError::MaxAttempts { .. } => "max_attempts",
                    RetryPolicyError::Jitter { .. } => "jitter",
                };
                fields.complain(field, Flaw::new("out_of_range", error.to_string()));
                None
            }
        }
    }
}

impl NewRetry {
    const INITIAL: Duration = Duration::from_secs(1);
    const ATTEMPTS: i64 = 3;
}

/// The complaint about tasks that make no workflow, with its place in the body.
pub(crate) fn refused(error: &OrderError) -> ApiError {
    let (pointer, code) = place_of(error);
    let detail: String = error.to_string().chars().take(DETAIL_MAX).collect();
    ApiError::invalid_body(vec![FieldError {
        pointer,
        code,
        detail,
    }])
}

fn place_of(error: &OrderError) -> (String, &'static str) {
    let task = |task: usize, rest: &str| format!("/tasks/{task}{rest}");
    let work = |place: &OrderPlace, rest: &str| {
        let part = if place.is_compensation {
            "/compensation"
        } else {
            ""
        };
        format!("/tasks/{}{part}{rest}", place.task)
    };
    match error {
        OrderError::UnknownKind { place, .. } => (work(place, "/kind"), "unknown_kind"),
        OrderError::Action { place, .. } => (work(place, "/kind"), "invalid"),
        OrderError::ReservedQueue { place, .. } => (work(place, "/queue"), "reserved"),
        OrderError::Payload { place, pointer, .. } => (
            format!("{}{pointer}", work(place, "/payload")),
            "invalid_payload",
        ),
        OrderError::Policy { place, error } => {
            let field = match error {
                TaskPolicyError::Timeout { .. } => "/timeout_s",
                TaskPolicyError::Deadline { .. } => "/deadline_s",
                TaskPolicyError::Codes { .. } => "/retry/non_retryable",
            };
            (work(place, field), "out_of_range")
        }
        OrderError::ConcurrencyKey { task: at, key, .. } => {
            (task(*at, &format!("/concurrency_keys/{key}")), "invalid")
        }
        OrderError::Definition(error) => definition_place(error),
    }
}

fn definition_place(error: &DefinitionError) -> (String, &'static str) {
    let at = |task: usize, rest: &str| format!("/tasks/{task}{rest}");
    let edge = |task: usize, edge: usize| format!("/tasks/{task}/depends_on/{edge}");
    match error {
        DefinitionError::NoTasks => ("/tasks".to_owned(), "empty"),
        DefinitionError::TooManyTasks { .. } => ("/tasks".to_owned(), "too_many"),
        DefinitionError::DuplicateKey { task, .. } => (at(*task, "/key"), "duplicate"),
        DefinitionError::UnknownDependency {
            task, dependency, ..
        } => (edge(*task, *dependency), "unknown_dependency"),
        DefinitionError::DuplicateDependency {
            task, dependency, ..
        } => (edge(*task, *dependency), "duplicate"),
        DefinitionError::SelfDependency {
            task, dependency, ..
        } => (edge(*task, *dependency), "self_dependency"),
        DefinitionError::DependencyInMode { task, .. } => {
            (at(*task, "/depends_on"), "not_in_this_mode")
        }
        DefinitionError::Cycle { task, .. } => (at(*task, "/depends_on"), "cycle"),
        DefinitionError::TooDeep { task, .. } => (at(*task, "/depends_on"), "too_deep"),
        DefinitionError::Priority { task, .. } => (at(*task, "/priority"), "out_of_range"),
        DefinitionError::ConcurrencyKeys { task, .. } => {
            (at(*task, "/concurrency_keys"), "too_many")
        }
        DefinitionError::IdleCompensation { task } => (at(*task, "/compensation/kind"), "invalid"),
    }
}

/// A task to do.
#[derive(ToSchema)]
#[schema(as = NewTask)]
#[expect(dead_code, reason = "describes what `NewTask` reads")]
pub(crate) struct NewTaskShape {
    #[schema(schema_with = schema::task_key)]
    key: String,
    #[schema(schema_with = schema::kind)]
    kind: String,
    #[schema(schema_with = schema::queue, required = false)]
    queue: Option<String>,
    /// Higher goes first.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    priority: Option<i16>,
    /// What the executor is given; at most 256 KiB as JSON.
    #[schema(value_type = Document, required = false)]
    payload: Option<Document>,
    /// The keys of the tasks it waits for; only in the mode `dag`.
    #[schema(max_items = 999)]
    depends_on: Option<Vec<DependencyShape>>,
    /// No two running tasks share one of these, in any workflow.
    #[schema(max_items = 64)]
    concurrency_keys: Option<Vec<String>>,
    retry: Option<NewRetryShape>,
    /// The longest one attempt may take, seconds; more than 0.
    #[schema(minimum = 0, maximum = 86400, default = 300)]
    timeout_s: Option<f64>,
    /// The longest all attempts may take, seconds; more than 0.
    #[schema(minimum = 0, maximum = 31_622_400)]
    deadline_s: Option<f64>,
    compensation: Option<NewWorkShape>,
}

/// What undoes a task once it has succeeded and the workflow does not.
#[derive(ToSchema)]
#[schema(as = NewCompensation)]
#[expect(dead_code, reason = "describes what `NewWork` reads")]
pub(crate) struct NewWorkShape {
    #[schema(schema_with = schema::kind)]
    kind: String,
    #[schema(schema_with = schema::queue, required = false)]
    queue: Option<String>,
    /// Higher goes first.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    priority: Option<i16>,
    /// What the executor is given; at most 256 KiB as JSON.
    #[schema(value_type = Document, required = false)]
    payload: Option<Document>,
    retry: Option<NewRetryShape>,
    /// The longest one attempt may take, seconds; more than 0.
    #[schema(minimum = 0, maximum = 86400, default = 300)]
    timeout_s: Option<f64>,
    /// The longest all attempts may take, seconds; more than 0.
    #[schema(minimum = 0, maximum = 31_622_400)]
    deadline_s: Option<f64>,
}

/// What a task waits for: a key, or a key and what a skipped task means.
#[derive(ToSchema)]
#[schema(as = NewDependency)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `dependency` reads")]
pub(crate) enum DependencyShape {
    /// The key of a task.
    Key(String),
    /// The key of a task, and more.
    Edge(DependencyEdge),
}

/// A task that is waited for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `NewDependency` reads")]
pub(crate) struct DependencyEdge {
    #[schema(schema_with = schema::task_key)]
    key: String,
    /// Whether the waiting task also runs when that one was skipped.
    #[schema(default = false)]
    skipped_releases: Option<bool>,
}

/// The waits between attempts.
#[derive(ToSchema)]
#[schema(as = NewRetry)]
#[expect(dead_code, reason = "describes what `NewRetry` reads")]
pub(crate) struct NewRetryShape {
    #[schema(inline)]
    strategy: crate::wire::word::RetryStrategy,
    /// The first wait, seconds; at most `max_interval_s`.
    #[schema(minimum = 0, maximum = 86400, default = 1)]
    initial_interval_s: Option<f64>,
    /// What each wait is multiplied with where they grow exponentially.
    #[schema(minimum = 1, default = 2)]
    base: Option<f64>,
    /// The longest wait, seconds; more than 0.
    #[schema(minimum = 0, maximum = 86400, default = 300)]
    max_interval_s: Option<f64>,
    /// How many attempts may follow the first one.
    #[schema(minimum = 0, maximum = 1000, default = 3)]
    max_attempts: Option<u32>,
    /// The part of a wait that chance may take away.
    #[schema(minimum = 0, maximum = 1, default = 0)]
    jitter: Option<f64>,
    /// Error codes after which no attempt follows.
    #[schema(max_items = 20)]
    non_retryable: Option<Vec<String>>,
}
