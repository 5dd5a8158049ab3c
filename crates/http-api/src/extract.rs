//! The parts of a request besides its body.

use axum::extract::{FromRequestParts, OriginalUri, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use drover_domain::Id;
use drover_domain::access::{Actor, Role};
use drover_domain::rollout::record::Origin;
use drover_domain::text::{TextError, visible};
use drover_domain::workflow::{
    DefinitionName, QueueName, ScheduleName, SignalName, TaskId, WorkflowId,
};
use drover_usecases::Idempotency;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::code::Code;
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::{Parameters, parse_id};
use crate::request_id::RequestId;
use crate::wire::ID_MAX;

/// The `{id}` of something in the fleet.
#[derive(Debug)]
pub(crate) struct PathId(pub(crate) i64);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = path_text(parts, state).await?;
        let id = parse_id(&text).ok_or_else(|| {
            let detail = format!(
                "`{}` is not an id; expected a whole number of 1 to {ID_MAX}",
                visible(&text, 64)
            );
            ApiError::new(Code::InvalidPath, detail)
        })?;
        Ok(Self(id))
    }
}

/// The `{id}` of an API key: its public half.
#[derive(Debug)]
pub(crate) struct PathKey(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = path_text(parts, state).await?;
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        // It may be a whole key that was pasted by mistake: it is not repeated.
        let detail = "the id of an API key has 16 hexadecimal digits: those after `drv_`";
        Err(ApiError::new(Code::InvalidPath, detail))
    }
}

/// The `{id}` of a workflow.
#[derive(Debug)]
pub(crate) struct PathWorkflow(pub(crate) WorkflowId);

impl<S: Send + Sync> FromRequestParts<S> for PathWorkflow {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let texts = path_texts(parts, state).await?;
        uuid_of(&texts, "id", "workflow").map(|id| Self(Id::from_uuid(id)))
    }
}

/// The `{id}` of a workflow and the `{task_id}` of one of its tasks.
#[derive(Debug)]
pub(crate) struct PathWorkflowTask(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for PathWorkflowTask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let texts = path_texts(parts, state).await?;
        let id: WorkflowId = Id::from_uuid(uuid_of(&texts, "id", "workflow")?);
        let task: TaskId = Id::from_uuid(uuid_of(&texts, "task_id", "task")?);
        // The identifier of a task contains its workflow: a task of another workflow is not found here.
        if task.workflow() == id && task.no().is_some() {
            Ok(Self(task))
        } else {
            Err(ApiError::not_found(
                "task",
                format!("{task} in the workflow {id}"),
            ))
        }
    }
}

/// What a `{name}` in a path may be.
pub(crate) trait PathText: Sized {
    fn parse(text: &str) -> Result<Self, TextError>;
}

macro_rules! path_texts {
    ($($name:ident),+) => {$(
        impl PathText for $name {
            fn parse(text: &str) -> Result<Self, TextError> {
                Self::parse(text)
            }
        }
    )+};
}
path_texts!(DefinitionName, QueueName, ScheduleName, SignalName);

/// The `{name}` of something that has no other identifier.
#[derive(Debug)]
pub(crate) struct PathName<N>(pub(crate) N);

impl<N: PathText, S: Send + Sync> FromRequestParts<S> for PathName<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let texts = path_texts(parts, state).await?;
        N::parse(text_of(&texts, "name"))
            .map(Self)
            .map_err(|error| ApiError::new(Code::InvalidPath, error.to_string()))
    }
}

/// The `{id}` of a task.
#[derive(Debug)]
pub(crate) struct PathTask(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for PathTask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = path_text(parts, state).await?;
        text.parse().map(Self).map_err(|_| {
            let expected = "a UUID such as 0190b3a4-7c00-7000-8000-000000000000";
            ApiError::new(
                Code::InvalidPath,
                format!("`{}` is not an id; expected {expected}", visible(&text, 64)),
            )
        })
    }
}

/// The values of all parameters of a path, by name.
async fn path_texts<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Vec<(String, String)>, ApiError> {
    let texts = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
    texts
        .map(|Path(texts)| texts)
        .map_err(|_| ApiError::new(Code::InvalidPath, "the path is not readable as UTF-8"))
}

fn text_of<'a>(texts: &'a [(String, String)], name: &str) -> &'a str {
    let found = texts.iter().find(|(given, _)| given == name);
    found.map_or("", |(_, text)| text.as_str())
}

fn uuid_of(texts: &[(String, String)], name: &str, what: &str) -> Result<Uuid, ApiError> {
    let text = text_of(texts, name);
    text.parse::<Id<()>>().map(Id::as_uuid).map_err(|_| {
        let expected = "a UUID such as 0190b3a4-7c00-7000-8000-000000000000";
        let shown = visible(text, 64);
        ApiError::new(
            Code::InvalidPath,
            format!("`{shown}` is not a {what} id; expected {expected}"),
        )
    })
}

async fn path_text<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let text = Path::<String>::from_request_parts(parts, state).await;
    text.map(|Path(text)| text)
        .map_err(|_| ApiError::new(Code::InvalidPath, "the path is not readable as UTF-8"))
}

/// For routes without query parameters.
#[derive(Debug)]
pub(crate) struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Parameters::read(&parts.uri)?.finish()?;
        Ok(Self)
    }
}

/// The query parameters `F` of something that is no list.
#[derive(Debug)]
pub(crate) struct Query<F>(pub(crate) F);

impl<F: Filter + Send, S: Send + Sync> FromRequestParts<S> for Query<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut parameters = Parameters::read(&parts.uri)?;
        let read = F::read(&mut parameters)?;
        parameters.finish()?;
        Ok(Self(read))
    }
}

/// Who asks, and in which request.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Origin);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let actor = parts.extensions.get::<Actor>();
        let id = parts.extensions.get::<RequestId>();
        let (Some(actor), Some(id)) = (actor, id) else {
            return Err(ApiError::defect("a handler ran without authorization"));
        };
        Ok(Self(Origin {
            actor: actor.name.clone(),
            request_id: id.as_str().to_owned(),
        }))
    }
}

/// What the caller may do.
#[derive(Debug)]
pub(crate) struct CallerRole(pub(crate) Role);

impl<S: Send + Sync> FromRequestParts<S> for CallerRole {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let actor = parts.extensions.get::<Actor>();
        let actor = actor.ok_or_else(|| ApiError::defect("a handler ran without authorization"))?;
        Ok(Self(actor.role))
    }
}

/// Where the API was found: the prefix for addresses in answers.
#[derive(Debug)]
pub(crate) struct Prefix(pub(crate) &'static str);

impl<S: Send + Sync> FromRequestParts<S> for Prefix {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, state)
            .await
            .unwrap_or_else(|never| match never {});
        let [canonical, seed] = crate::role::PREFIXES;
        Ok(Self(if uri.path().starts_with(&format!("{canonical}/")) {
            canonical
        } else {
            seed
        }))
    }
}

/// How a repetition is recognized.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header that `IdempotencyKey` reads")]
pub(crate) struct IdempotencyParams {
    /// What makes a repetition the same request: 1 to 255 printable ASCII characters.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~](?:[ -~]*[!-~])?$"
    )]
    idempotency_key: Option<String>,
}

/// Marks an answer that came of an earlier request.
pub(crate) fn mark_replayed(headers: &mut HeaderMap, is_replayed: bool) {
    if is_replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
}

/// The header `Idempotency-Key`, if there is one.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl IdempotencyKey {
    const LENGTH_MAX: usize = 255;

    /// The key of a request of `origin` to do `what`, whose content is `digest`.
    pub(crate) fn of(self, what: &str, origin: &Origin, digest: Vec<u8>) -> Option<Idempotency> {
        self.0.map(|key| Idempotency {
            scope: format!("{what} {}", origin.actor),
            key,
            digest,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let wrong = |what: &str| {
            ApiError::new(
                Code::InvalidHeader,
                format!("the header Idempotency-Key {what}"),
            )
        };
        if values.next().is_some() {
            return Err(wrong("is given more than once"));
        }
        // `to_str` lets exactly printable ASCII and tabs through.
        match value.to_str() {
            Ok(text) if (1..=Self::LENGTH_MAX).contains(&text.len()) && !text.contains('\t') => {
                Ok(Self(Some(text.to_owned())))
            }
            Ok(_) | Err(_) => Err(wrong("must be 1 to 255 printable ASCII characters")),
        }
    }
}
