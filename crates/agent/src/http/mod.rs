//! FAgent's routes: what a path means, who may ask, and how an answer looks.

mod envelope;
mod haproxy;
mod unique;

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;

use crate::chain::chain;
use crate::connection::OpenRequest;
use crate::haproxy::Instance;
use crate::inventory::{Inventory, InventoryError};
use crate::settings::Settings;
use crate::token::Token;
use envelope::Reply;
use unique::Unique;

/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Longest wait for the whole body of a request.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time for any answer; every source has a shorter deadline of its own.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What the routes work on.
#[derive(Debug)]
struct Sources {
    inventory: Inventory,
    instances: BTreeMap<String, Instance>,
    token: Option<Token>,
}

/// The routes over the sources the settings name.
pub(crate) fn router(settings: &Settings) -> Router {
    let instances = settings
        .haproxy
        .iter()
        .map(|(name, address)| {
            let master = settings.haproxy_master.get(name).cloned();
            (name.clone(), Instance::new(address.clone(), master))
        })
        .collect();
    let sources = Sources {
        inventory: Inventory::new(settings),
        instances,
        token: settings.token.clone(),
    };
    Router::new()
        .fallback(answer)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(Arc::new(sources))
}

// One handler instead of a table of routes: the public contract classifies a wrong path by the number of its parts,
// and answers it in an envelope that depends on how far it was understood.
async fn answer(
    State(sources): State<Arc<Sources>>,
    ConnectInfo(request): ConnectInfo<OpenRequest>,
    message: Request,
) -> Response {
    let Some(_answering) = request.begin() else {
        let text = "the connection gave way to another one; ask again".to_owned();
        return Reply::router(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let peer = request.peer();
    let (method, path) = (message.method().clone(), message.uri().path().to_owned());
    let reply = match timeout(ANSWER_DEADLINE, reply(&sources, message)).await {
        Ok(reply) => reply,
        Err(_) => Reply::router(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "there was no answer within {} seconds",
                ANSWER_DEADLINE.as_secs()
            ),
        ),
    };
    tracing::debug!(%peer, %method, path, status = reply.status().as_u16(), "answered");
    let unauthorized = reply.status() == StatusCode::UNAUTHORIZED;
    let mut response = reply.into_response();
    if unauthorized {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn reply(sources: &Sources, message: Request) -> Reply {
    let path = message.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let reads = matches!(*message.method(), Method::GET | Method::HEAD);
    if reads && parts == ["ping"] {
        return Reply::bare(json!({"status": "ok"}));
    }
    if !is_authorized(sources.token.as_ref(), message.headers()) {
        return Reply::router(
            StatusCode::UNAUTHORIZED,
            "this agent asks for its token: send the header `Authorization: Bearer <token>`"
                .to_owned(),
        );
    }
    if reads {
        get(sources, &path, &parts).await
    } else if *message.method() == Method::POST {
        post(sources, &path, &parts, message.into_body()).await
    } else {
        Reply::router(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("method {} is not served; use GET or POST", message.method()),
        )
    }
}

async fn get(sources: &Sources, path: &str, parts: &[&str]) -> Reply {
    match parts {
        ["app"] | ["api", "v1", "apps"] => applications(&sources.inventory).await,
        ["api", "v1", "haproxy", rest @ ..] => haproxy::get(&sources.instances, rest).await,
        ["api", "v1", "eureka", ..] => no_eureka(),
        ["api", "v1", controller, ..] => no_controller(controller),
        _ => Reply::router(StatusCode::NOT_FOUND, format!("there is nothing at {path}")),
    }
}

async fn post(sources: &Sources, path: &str, parts: &[&str], body: Body) -> Reply {
    if parts.len() < 3 {
        return Reply::router(
            StatusCode::BAD_REQUEST,
            format!("{path} is too short to name an action"),
        );
    }
    let ["api", "v1", rest @ ..] = parts else {
        return Reply::router(
            StatusCode::NOT_FOUND,
            format!("there is nothing to do at {path}"),
        );
    };
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    match rest {
        ["control", "haproxy", rest @ ..] | ["haproxy", rest @ ..] => {
            haproxy::post(&sources.instances, rest, &body).await
        }
        ["control", "eureka", ..] | ["eureka", ..] => no_eureka(),
        ["control", controller, ..] | [controller, ..] => no_controller(controller),
        [] => Reply::router(
            StatusCode::BAD_REQUEST,
            format!("{path} is too short to name an action"),
        ),
    }
}

async fn applications(inventory: &Inventory) -> Reply {
    let failed = |why: &(dyn Error + 'static)| {
        tracing::warn!(error = why, "the inventory was asked for in vain");
        Reply::router(StatusCode::SERVICE_UNAVAILABLE, chain(why))
    };
    match inventory.read().await {
        Ok(document) => match serde_json::to_value(document) {
            Ok(document) => Reply::bare(document),
            Err(error) => failed(&error),
        },
        Err(
            error @ (InventoryError::Folder { .. }
            | InventoryError::Docker { .. }
            | InventoryError::Units { .. }),
        ) => failed(&error),
    }
}

/// The body as JSON; no body at all is an empty object.
async fn read_body(body: Body) -> Result<Value, Reply> {
    let late = |_| {
        let text = format!(
            "the body did not arrive within {} seconds",
            BODY_DEADLINE.as_secs()
        );
        Reply::router(StatusCode::REQUEST_TIMEOUT, text)
    };
    let bytes = timeout(BODY_DEADLINE, collect(body))
        .await
        .map_err(late)??;
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Unique(document)) => Ok(document),
        Err(error) => {
            let what = if error.is_data() {
                "the body cannot be used"
            } else {
                "the body is not JSON"
            };
            let text = format!("{what}: {error}");
            Err(Reply::router(StatusCode::BAD_REQUEST, text))
        }
    }
}

async fn collect(body: Body) -> Result<Vec<u8>, Reply> {
    let too_large = || {
        let text = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        Reply::router(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    // What is announced as too large is not waited for.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .map_err(|_| Reply::router(StatusCode::BAD_REQUEST, "the body broke off".to_owned()))?;
        if bytes.len() + piece.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn is_authorized(token: Option<&Token>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let presented = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    presented.is_some_and(|(_, secret)| token.opens(secret.trim()))
}

/// FAgent's answer where Eureka is switched off; this agent never has it.
fn no_eureka() -> Reply {
    Reply::failure(
        StatusCode::SERVICE_UNAVAILABLE,
        "Eureka is not available on this agent".to_owned(),
    )
}

fn no_controller(controller: &str) -> Reply {
    Reply::router(
        StatusCode::NOT_FOUND,
        format!("there is no controller {controller:?}; there is `haproxy`"),
    )
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature CatchPanicLayer asks for"
)]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("nothing");
    tracing::error!(
        "a request made the agent panic, which is a defect of the agent; it said: {said}"
    );
    Reply::router(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the agent failed; its log says why".to_owned(),
    )
    .into_response()
}
