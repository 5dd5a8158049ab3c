//! Events as they happen: server-sent events, and the same over sockets.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use drover_domain::workflow::{self, EventPosition, TaskKey, WorkflowId};
use drover_usecases::EventFilter;
use futures::stream::{self, Stream, StreamExt as _};

use crate::code::Code;
use crate::extract::{PathWorkflow, Query};
use crate::follow::{Follower, Heard};
use crate::guard::Place;
use crate::mask::Sight;
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::{Parameters, wrong};
use crate::routes::workflow::workflows::absent;
use crate::state::Api;
use crate::wire::{AfterParams, EventGap, LastEventParams, StreamParams, WorkflowEvent};

const TAG: &str = "streams";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How long a reader that was cut off should wait before it comes back.
const RETRY: Duration = Duration::from_secs(3);
/// How long one message may take on its way to a reader that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest message a reader may send; nothing it says is heard.
const MESSAGE_MAX: usize = 4 * 1024;

/// Where a stream begins, and of what.
#[derive(Debug)]
pub(crate) struct Begin {
    workflow: Option<WorkflowId>,
    after: Option<EventPosition>,
}

impl Filter for Begin {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let After(after) = After::read(parameters)?;
        Ok(Self {
            workflow: parameters.uuid("workflow_id")?.map(WorkflowId::from_uuid),
            after,
        })
    }
}

/// Where a stream begins.
#[derive(Debug)]
pub(crate) struct After(Option<EventPosition>);

impl Filter for After {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let after = parameters.text("after").map(|text| text.parse());
        let after = after.transpose();
        after
            .map(Self)
            .map_err(|error| wrong("after", &format!("is wrong: {error}")))
    }
}

/// Events of workflows as they happen, each as one server-sent event.
///
/// The `id` of each is its position: a reader that comes back with `Last-Event-ID` (browsers do so by
/// themselves) misses none and sees none twice. A comment comes every 15 s when nothing else does. An
/// event named `gap` says that events behind the given position are gone.
#[utoipa::path(
    get, path = "/events/stream", tag = TAG, operation_id = "stream_events",
    params(StreamParams, AfterParams, LastEventParams),
    responses(
        (status = 200, description = "Events without end; `data` is JSON", body = WorkflowEvent,
         content_type = "text/event-stream"),
        (status = 404, description = "There is no such workflow"),
    )
)]
pub(crate) async fn events(
    State(api): State<Api>,
    place: Place,
    sight: Sight,
    Query(begin): Query<Begin>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = last_seen(&headers)?.or(begin.after);
    if let Some(id) = begin.workflow {
        exists(&api, id).await?;
    }
    let filter = EventFilter {
        workflow: begin.workflow,
    };
    let follower = Follower::begin(&api, place, filter, after).await?;
    let no_buffering = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((no_buffering, Sse::new(told(follower, sight))).into_response())
}

fn last_seen(headers: &HeaderMap) -> Result<Option<EventPosition>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    position.map(Some).ok_or_else(|| {
        let detail =
            "the header Last-Event-ID must be the `id` of an event that was received before";
        ApiError::new(Code::InvalidHeader, detail)
    })
}

/// An event as its reader may see it.
fn shown(event: (workflow::WorkflowEvent, Option<TaskKey>), sight: Sight) -> String {
    let text = serde_json::to_string(&WorkflowEvent::from(event)).unwrap_or_default();
    sight.of(&text).unwrap_or_default()
}

fn told(follower: Follower, sight: Sight) -> impl Stream<Item = Result<Event, Infallible>> {
    // Before the first event: who is cut off until then comes back to where it began.
    let start = Event::default()
        .id(follower.position().to_string())
        .retry(RETRY);
    let rest = stream::unfold(follower, move |mut follower| async move {
        let events = match follower.next().await {
            Heard::Events { gap, events } => {
                let gap = gap.map(|after| {
                    let data = serde_json::to_string(&EventGap::new(after));
                    Event::default().event("gap").data(data.unwrap_or_default())
                });
                let events = events.into_iter().map(|event| {
                    let id = event.0.position.to_string();
                    Event::default().id(id).data(shown(event, sight))
                });
                gap.into_iter().chain(events).collect::<Vec<_>>()
            }
            Heard::Nothing => vec![
                Event::default()
                    .comment("nothing new")
                    .id(follower.position().to_string()),
            ],
            Heard::End => return None,
        };
        Some((stream::iter(events), follower))
    });
    // One page is there at a time: the next one is read when this one is sent.
    stream::iter([start]).chain(rest.flatten()).map(Ok)
}

/// Events of a workflow over a WebSocket: the events of `/events/stream` as JSON texts, with pings.
#[utoipa::path(
    get, path = "/ws/workflows/{id}", tag = TAG, operation_id = "follow_workflow", params(AfterParams),
    responses((status = 101, description = "Messages of this shape follow", body = WorkflowEvent))
)]
pub(crate) async fn workflow(
    State(api): State<Api>,
    place: Place,
    sight: Sight,
    PathWorkflow(id): PathWorkflow,
    Query(After(after)): Query<After>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    exists(&api, id).await?;
    let upgrade = upgrade.map_err(|_| no_upgrade())?;
    let workflow = Some(id);
    let follower = Follower::begin(&api, place, EventFilter { workflow }, after).await?;
    Ok(open(upgrade, follower, sight))
}

/// Events of the tasks of all workflows over a WebSocket, as JSON texts, with pings.
#[utoipa::path(
    get, path = "/ws/tasks/stream", tag = TAG, operation_id = "follow_tasks", params(AfterParams),
    responses((status = 101, description = "Messages of this shape follow", body = WorkflowEvent))
)]
pub(crate) async fn tasks(
    State(api): State<Api>,
    place: Place,
    sight: Sight,
    Query(After(after)): Query<After>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| no_upgrade())?;
    let follower = Follower::begin(&api, place, EventFilter::default(), after).await?;
    Ok(open(upgrade, follower.of_tasks(), sight))
}

async fn exists(api: &Api, id: WorkflowId) -> Result<(), ApiError> {
    let found = api.service.views.workflows.find(id).await?;
    found.map(|_| ()).ok_or_else(|| absent(id))
}

fn no_upgrade() -> ApiError {
    let detail = "this route is for WebSockets; ask with `Connection: Upgrade` over HTTP/1.1";
    ApiError::new(Code::InvalidHeader, detail)
}

fn open(upgrade: WebSocketUpgrade, follower: Follower, sight: Sight) -> Response {
    upgrade
        .max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX)
        .on_upgrade(move |socket| converse(socket, follower, sight))
}

async fn converse(mut socket: WebSocket, mut follower: Follower, sight: Sight) {
    loop {
        let heard = tokio::select! {
            said = socket.recv() => match said {
                // Pongs come in here too.
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            heard = follower.next() => heard,
        };
        let messages: Vec<Message> = match heard {
            Heard::Events { gap, events } => {
                let gap = gap.map(|after| serde_json::to_string(&EventGap::new(after)));
                let gap = gap.map(Result::unwrap_or_default);
                let events = events.into_iter().map(|event| shown(event, sight));
                gap.into_iter()
                    .chain(events)
                    .map(|text| Message::Text(text.into()))
                    .collect()
            }
            Heard::Nothing => vec![Message::Ping(Vec::new().into())],
            Heard::End => {
                let frame = CloseFrame {
                    code: close_code::AWAY,
                    reason: "come back with the last position".into(),
                };
                let _sent = send(&mut socket, Message::Close(Some(frame))).await;
                return;
            }
        };
        for message in messages {
            if !send(&mut socket, message).await {
                return;
            }
        }
    }
}

/// Whether the message went out.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(
        tokio::time::timeout(SEND_TIMEOUT, socket.send(message)).await,
        Ok(Ok(()))
    )
}
