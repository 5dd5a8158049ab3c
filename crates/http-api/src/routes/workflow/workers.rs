//! Remote workers: they claim tasks, send heartbeats, and report results.

use axum::Json;
use axum::extract::State;
use drover_usecases::ReportVerdict;
use tokio::time::Instant;

use crate::body::Body;
use crate::code::Code;
use crate::extract::NoQuery;
use crate::follow::revoked;
use crate::guard::Place;
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    AttemptEnd, ClaimTasks, ClaimTasksShape, ClaimedTasks, CompleteTask, CompleteTaskShape,
    FailTask, FailTaskShape, Heartbeat, HeartbeatAnswer, HeartbeatShape, ReportAccepted,
};

const TAG: &str = "workers";

/// Takes tasks of the kind `remote`; waits for the first one as long as `wait_s` says.
///
/// The tasks are held under a lease that lasts `lease_s` from the answer on; `POST /workers/heartbeat`
/// renews it. When it runs out, other workers get the tasks. A worker that names its lease also says in `holding` what it
/// holds under it: tasks of an answer that was lost are then queued again at once.
#[utoipa::path(
    post, path = "/workers/claim", tag = TAG, operation_id = "claim_tasks", request_body = ClaimTasksShape,
    responses(
        (status = 200, description = "Tasks, or none when nothing came in time", body = ClaimedTasks),
        (status = 409, description = "The given lease ran out"),
    )
)]
pub(crate) async fn claim(
    State(api): State<Api>,
    place: Place,
    _: NoQuery,
    Body(ClaimTasks(order)): Body<ClaimTasks>,
) -> Result<Json<ClaimedTasks>, ApiError> {
    let term = order.term;
    let workers = &api.service.remote_workers;
    let enough = async {
        let mut checked_at = Instant::now();
        tokio::select! {
            () = api.told_to_end() => {}
            () = revoked(&api, &place, &mut checked_at) => {}
        }
    };
    let claimed = workers.claim(order, enough).await?;
    Ok(Json(ClaimedTasks::new(claimed, term)))
}

/// Renews a lease with all tasks held under it, and returns the tasks that must stop.
#[utoipa::path(
    post, path = "/workers/heartbeat", tag = TAG, operation_id = "heartbeat", request_body = HeartbeatShape,
    responses(
        (status = 200, description = "The lease is renewed", body = HeartbeatAnswer),
        (status = 409, description = "It ran out: what it held belongs to others"),
    )
)]
pub(crate) async fn heartbeat(
    State(api): State<Api>,
    _: NoQuery,
    Body(body): Body<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, ApiError> {
    let workers = &api.service.remote_workers;
    let holding = body.holding.as_deref();
    let beat = workers.heartbeat(body.lease, body.term, holding).await?;
    Ok(Json(HeartbeatAnswer::new(beat, body.term)))
}

/// Reports that a task succeeded.
#[utoipa::path(
    post, path = "/workers/complete", tag = TAG, operation_id = "complete_task", request_body = CompleteTaskShape,
    responses(
        (status = 200, description = "It is written down", body = ReportAccepted),
        (status = 404, description = "There is no such task"),
        (status = 409, description = "The lease does not hold this attempt any more; nothing changed"),
    )
)]
pub(crate) async fn complete(
    State(api): State<Api>,
    _: NoQuery,
    Body(CompleteTask(end)): Body<CompleteTask>,
) -> Result<Json<ReportAccepted>, ApiError> {
    report(&api, end).await
}

/// Reports that a task did not succeed.
#[utoipa::path(
    post, path = "/workers/fail", tag = TAG, operation_id = "fail_task", request_body = FailTaskShape,
    responses(
        (status = 200, description = "It is written down", body = ReportAccepted),
        (status = 404, description = "There is no such task"),
        (status = 409, description = "The lease does not hold this attempt any more; nothing changed"),
    )
)]
pub(crate) async fn fail(
    State(api): State<Api>,
    _: NoQuery,
    Body(FailTask(end)): Body<FailTask>,
) -> Result<Json<ReportAccepted>, ApiError> {
    report(&api, end).await
}

async fn report(api: &Api, end: AttemptEnd) -> Result<Json<ReportAccepted>, ApiError> {
    let AttemptEnd {
        lease,
        task,
        attempt,
        outcome,
    } = end;
    let workers = &api.service.remote_workers;
    match workers.report(lease, task, attempt, outcome).await? {
        ReportVerdict::Accepted => Ok(Json(ReportAccepted::new(task, attempt))),
        ReportVerdict::Refused(refusal) => Err(ApiError::new(Code::Conflict, refusal.to_string())),
        ReportVerdict::NoSuchTask => Err(ApiError::not_found("task", task)),
    }
}
