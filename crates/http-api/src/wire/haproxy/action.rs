//! HAProxy: setting servers to a state, and how their status changed.

use std::time::Duration;

use drover_domain::haproxy::action::{self, ActionRequest, Evidence, RETURN_WAIT, WAIT_MAX};
use drover_domain::haproxy::{self, HaproxyServerKey, PIN_MAX};
use drover_domain::rollout::record::Origin;
use drover_domain::text::check_line;
use drover_domain::workflow::TaskId;
use drover_usecases::{
    AcceptedAction, ActionError, ActionFilter, ActionOrder, Actions, StatusChange,
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::{Fields, Flaw, ReadBody, boolean, ids, number, text};
use crate::code::Code;
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{ActionStatus, AdminState};

/// The wanted state of a server.
#[derive(Debug)]
pub(crate) struct NewHaproxyAction {
    wanted: haproxy::AdminState,
    wait: Duration,
    forced: Option<String>,
    reason: Option<String>,
    pin_for: Option<Duration>,
    transaction_id: Option<String>,
}

impl ReadBody for NewHaproxyAction {
    fn read(fields: &mut Fields) -> Option<Self> {
        Self::read_with(fields, schema::TRANSACTION_ID_MAX)
    }
}

impl NewHaproxyAction {
    fn read_with(fields: &mut Fields, transaction_id_max: usize) -> Option<Self> {
        let wanted = fields.required(
            "action",
            text(|word| {
                haproxy::AdminState::parse(word)
                    .ok_or_else(|| Flaw::new("invalid", "must be one of ready, drain, maint"))
            }),
        );
        let wait = fields.optional("wait_s", number(wait));
        let is_forced = fields.optional("force", boolean);
        let reason = fields.optional("reason", line("the reason", schema::ACTION_REASON_MAX));
        let pin_for = fields.optional("pin_s", number(pin));
        let transaction_id = fields.optional(
            "transaction_id",
            line("the transaction id", transaction_id_max),
        );
        let (wanted, is_forced, reason) = (wanted?, is_forced?.unwrap_or(false), reason?);
        let pin_for = pin_for?;
        if wanted == haproxy::AdminState::Ready && pin_for.is_some() {
            let detail = "a server is pinned in `drain` or `maint`; `ready` ends that";
            fields.complain("pin_s", Flaw::new("invalid", detail));
            return None;
        }
        if is_forced && reason.is_none() {
            let detail = "`reason` is missing: who forces an action says why";
            fields.complain("reason", Flaw::new("missing", detail));
            return None;
        }
        Some(Self {
            wanted,
            wait: wait?.unwrap_or(match wanted {
                haproxy::AdminState::Ready => RETURN_WAIT,
                haproxy::AdminState::Drain | haproxy::AdminState::Maint => Duration::ZERO,
            }),
            forced: reason.clone().filter(|_| is_forced),
            reason,
            pin_for,
            transaction_id: transaction_id?,
        })
    }

    /// The order for this server; `key` is the transaction where the body names none.
    pub(crate) fn order(
        self,
        server: HaproxyServerKey,
        key: Option<String>,
        origin: Origin,
    ) -> Result<ActionOrder, ApiError> {
        let key = bounded(key, schema::TRANSACTION_ID_MAX)?;
        Ok(ActionOrder {
            request: self.request(server),
            transaction_id: self.transaction_id.or(key),
            origin,
        })
    }

    fn request(&self, server: HaproxyServerKey) -> ActionRequest {
        ActionRequest {
            server,
            wanted: self.wanted,
            wait: self.wait,
            forced: self.forced.clone(),
            reason: self.reason.clone(),
            pin_for: self.pin_for,
            restores: false,
        }
    }
}

/// The key of a request as a transaction.
fn bounded(key: Option<String>, most: usize) -> Result<Option<String>, ApiError> {
    if key.as_ref().is_some_and(|key| key.len() > most) {
        let detail = format!("the header Idempotency-Key may have at most {most} characters here");
        return Err(ApiError::new(Code::InvalidHeader, detail));
    }
    Ok(key)
}

fn pin(seconds: f64) -> Result<Duration, Flaw> {
    let time = Duration::try_from_secs_f64(seconds).ok();
    let bounds = Duration::from_secs(1)..=PIN_MAX;
    time.filter(|time| bounds.contains(time)).ok_or_else(|| {
        let most = PIN_MAX.as_secs();
        Flaw::new("out_of_range", format!("must be 1 to {most} seconds"))
    })
}

fn wait(seconds: f64) -> Result<Duration, Flaw> {
    let wait = Duration::try_from_secs_f64(seconds).ok();
    wait.filter(|wait| *wait <= WAIT_MAX).ok_or_else(|| {
        let most = WAIT_MAX.as_secs();
        Flaw::new("out_of_range", format!("must be 0 to {most} seconds"))
    })
}

pub(in crate::wire) fn line(
    what: &'static str,
    most: usize,
) -> impl FnOnce(crate::json::Value) -> Result<String, Vec<Flaw>> {
    text(move |given| {
        check_line(what, given, most).map_err(Flaw::invalid)?;
        Ok(given.to_owned())
    })
}

/// The wanted state of several servers.
#[derive(Debug)]
pub(crate) struct NewHaproxyActions {
    pub(crate) servers: Vec<HaproxyServerKey>,
    action: NewHaproxyAction,
}

impl ReadBody for NewHaproxyActions {
    fn read(fields: &mut Fields) -> Option<Self> {
        let servers = fields.required("servers", ids(Actions::BATCH_MAX));
        let action = NewHaproxyAction::read_with(fields, schema::BATCH_TRANSACTION_ID_MAX);
        Some(Self {
            servers: servers?.into_iter().map(HaproxyServerKey::new).collect(),
            action: action?,
        })
    }
}

impl NewHaproxyActions {
    /// One order for each server, in the order given; `key` is the transaction where the body names none.
    pub(crate) fn orders(
        &self,
        key: Option<String>,
        origin: &Origin,
    ) -> Result<Vec<ActionOrder>, ApiError> {
        let key = bounded(key, schema::BATCH_TRANSACTION_ID_MAX)?;
        let transaction = self.action.transaction_id.as_deref().or(key.as_deref());
        let order = |server: &HaproxyServerKey| ActionOrder {
            request: self.action.request(*server),
            transaction_id: transaction.map(|transaction| format!("{transaction}:{server}")),
            origin: origin.clone(),
        };
        Ok(self.servers.iter().map(order).collect())
    }
}

/// The wanted state of a server.
#[derive(ToSchema)]
#[schema(as = NewHaproxyAction)]
#[expect(dead_code, reason = "describes what `NewHaproxyAction` reads")]
pub(crate) struct NewHaproxyActionShape {
    /// The wanted state.
    #[schema(inline)]
    action: AdminState,
    #[schema(schema_with = schema::transaction_id, required = false)]
    transaction_id: Option<String>,
    #[schema(schema_with = schema::action_wait, required = false)]
    wait_s: Option<f64>,
    /// Whether it is done although too few servers would be left; then `reason` is needed.
    #[schema(default = false)]
    force: Option<bool>,
    #[schema(schema_with = schema::action_reason, required = false)]
    reason: Option<String>,
    #[schema(schema_with = schema::action_pin, required = false)]
    pin_s: Option<f64>,
}

/// How a repetition is recognized where the body does not say.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header that `IdempotencyKey` reads")]
pub(crate) struct TransactionParams {
    /// The same as `transaction_id`: 1 to 128 printable ASCII characters.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 128,
        pattern = "^[!-~](?:[ -~]*[!-~])?$"
    )]
    idempotency_key: Option<String>,
}

/// How a repetition is recognized where the body does not say.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header that `IdempotencyKey` reads")]
pub(crate) struct BatchTransactionParams {
    /// The same as `transaction_id`: 1 to 111 printable ASCII characters.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 111,
        pattern = "^[!-~](?:[ -~]*[!-~])?$"
    )]
    idempotency_key: Option<String>,
}

/// The wanted state of several servers.
#[derive(ToSchema)]
#[schema(as = NewHaproxyActions)]
#[expect(dead_code, reason = "describes what `NewHaproxyActions` reads")]
pub(crate) struct NewHaproxyActionsShape {
    #[schema(schema_with = schema::haproxy_server_ids)]
    servers: Vec<i64>,
    /// The wanted state.
    #[schema(inline)]
    action: AdminState,
    #[schema(schema_with = schema::batch_transaction_id, required = false)]
    transaction_id: Option<String>,
    #[schema(schema_with = schema::action_wait, required = false)]
    wait_s: Option<f64>,
    /// Whether it is done although too few servers would be left; then `reason` is needed.
    #[schema(default = false)]
    force: Option<bool>,
    #[schema(schema_with = schema::action_reason, required = false)]
    reason: Option<String>,
    #[schema(schema_with = schema::action_pin, required = false)]
    pin_s: Option<f64>,
}

/// Which actions are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct HaproxyActionParams {
    #[param(schema_with = schema::haproxy_server)]
    server: Option<i64>,
    /// That set it to this state.
    #[param(inline)]
    action: Option<AdminState>,
    /// Asked for not before this moment.
    since: Option<Instant>,
    /// Asked for before this moment.
    until: Option<Instant>,
}

impl Filter for ActionFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            server: parameters.id("server")?.map(HaproxyServerKey::new),
            wanted: parameters.word("action", "ready, drain, maint", haproxy::AdminState::parse)?,
            since: parameters.time("since")?,
            until: parameters.time("until")?,
        })
    }
}

/// Setting a server in HAProxy to a state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyAction {
    /// Its id.
    id: Uuid,
    /// What makes a repetition the same action.
    transaction_id: String,
    /// The server.
    #[schema(minimum = 1)]
    server: i64,
    /// The wanted state.
    action: AdminState,
    status: ActionStatus,
    /// How long it waits for sessions to end, or for checks to pass, seconds.
    wait_s: f64,
    /// Whether it is done although too few servers would be left.
    force: bool,
    /// The reason, as given in the request.
    reason: Option<String>,
    /// How long the server is pinned in that state, seconds; null until it is returned.
    pin_s: Option<f64>,
    /// Whether it says again what HAProxy forgot in a reload.
    restores: bool,
    /// Who asked.
    actor: String,
    /// The request in which it was asked for.
    request_id: String,
    /// When it was asked for.
    created_at: Instant,
    /// When work on it began.
    started_at: Option<Instant>,
    /// When it ended.
    finished_at: Option<Instant>,
    /// Why it failed.
    error: Option<HaproxyActionError>,
    /// What was done and seen so far.
    evidence: HaproxyEvidence,
}

impl From<action::HaproxyAction> for HaproxyAction {
    fn from(action: action::HaproxyAction) -> Self {
        let action::HaproxyAction {
            id,
            transaction_id,
            request,
            origin,
            status,
            created_at,
            started_at,
            evidence,
            end,
        } = action;
        let finished_at = end.as_ref().map(|end| end.at.into());
        let error = end.and_then(|end| end.failure).map(Into::into);
        Self {
            id: id.as_uuid(),
            transaction_id,
            server: request.server.get(),
            action: request.wanted.into(),
            status: status.into(),
            wait_s: request.wait.as_secs_f64(),
            force: request.forced.is_some(),
            reason: request.reason.or(request.forced),
            pin_s: request.pin_for.map(|time| time.as_secs_f64()),
            restores: request.restores,
            actor: origin.actor,
            request_id: origin.request_id,
            created_at: created_at.into(),
            started_at: started_at.map(Into::into),
            finished_at,
            error,
            evidence: evidence.into(),
        }
    }
}

impl From<(i64, action::HaproxyAction)> for HaproxyAction {
    fn from((_, action): (i64, action::HaproxyAction)) -> Self {
        action.into()
    }
}

/// Why an action failed, or was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyActionError {
    /// A stable word.
    code: String,
    /// A sentence.
    detail: String,
}

impl From<(String, String)> for HaproxyActionError {
    fn from((code, detail): (String, String)) -> Self {
        Self { code, detail }
    }
}

/// What an action did and saw.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyEvidence {
    /// How many commands were sent.
    sends: u32,
    /// What was seen, oldest first; of those that are alike the first and the last.
    #[schema(max_items = 100)]
    looks: Vec<HaproxyLook>,
}

impl From<Evidence> for HaproxyEvidence {
    fn from(evidence: Evidence) -> Self {
        Self {
            sends: evidence.sends,
            looks: evidence.looks.into_iter().map(Into::into).collect(),
        }
    }
}

/// What was seen of a server at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyLook {
    /// When.
    at: Instant,
    /// HAProxy's own word, such as `UP`, `DRAIN` or `MAINT (resolution)`.
    status: String,
    /// Sessions on it, those of HAProxy's old workers included where the agent sees them.
    sessions: Option<u64>,
    /// How many of them are in old workers, which a reload left behind to finish what they have; null when the agent does
    /// not see these.
    old_sessions: Option<u64>,
    /// Requests waiting for it.
    queue: Option<u64>,
    /// Whether an agent-check of HAProxy is enabled, which may change its state at any time.
    agent_check: bool,
}

impl From<action::Look> for HaproxyLook {
    fn from(look: action::Look) -> Self {
        Self {
            at: look.at.into(),
            status: look.word.to_string(),
            sessions: look.sessions,
            old_sessions: look.old_sessions,
            queue: look.queue,
            agent_check: look.has_agent_check,
        }
    }
}

/// What became of a request for several servers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyActionResults {
    /// One for each server, in the order given.
    #[schema(max_items = 500)]
    results: Vec<HaproxyActionResult>,
}

impl HaproxyActionResults {
    /// What became of each of `servers`.
    pub(crate) fn new(
        servers: &[HaproxyServerKey],
        outcomes: Vec<Result<AcceptedAction, ActionError>>,
    ) -> Self {
        let results = servers.iter().zip(outcomes);
        Self {
            results: results
                .map(|(server, outcome)| HaproxyActionResult::new(*server, outcome))
                .collect(),
        }
    }
}

/// What became of a request for one of several servers: an action, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyActionResult {
    /// The server.
    #[schema(minimum = 1)]
    server: i64,
    /// The action.
    action: Option<HaproxyAction>,
    /// Why there is none: code and detail of the problem that the request for this server alone would get.
    error: Option<HaproxyActionError>,
}

impl HaproxyActionResult {
    fn new(server: HaproxyServerKey, outcome: Result<AcceptedAction, ActionError>) -> Self {
        let (action, error) = match outcome {
            Ok(accepted) => (Some(accepted.action.into()), None),
            Err(error) => {
                let (code, detail) = ApiError::from(error).told();
                let code = code.to_owned();
                (None, Some(HaproxyActionError { code, detail }))
            }
        };
        Self {
            server: server.get(),
            action,
            error,
        }
    }
}

/// How Drover learned of a change.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatusChangeReason {
    /// A sync found it.
    Sync,
    /// An action brought it.
    Command,
}

/// A change of a server's status.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyStatusChange {
    /// When it was seen.
    at: Instant,
    /// HAProxy's word before.
    old_status: String,
    /// HAProxy's word since.
    new_status: String,
    reason: StatusChangeReason,
    /// The action that brought it.
    action: Option<Uuid>,
    /// Who asked for that action.
    actor: Option<String>,
}

impl From<StatusChange> for HaproxyStatusChange {
    fn from(change: StatusChange) -> Self {
        let StatusChange {
            position: _,
            at,
            old,
            new,
            action,
            actor,
        } = change;
        Self {
            at: at.into(),
            old_status: old.to_string(),
            new_status: new.to_string(),
            reason: match action {
                None => StatusChangeReason::Sync,
                Some(_) => StatusChangeReason::Command,
            },
            action: action.map(TaskId::as_uuid),
            actor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ID_MAX;

    #[test]
    fn the_transaction_of_a_batch_leaves_room_for_every_id() {
        let transaction = "t".repeat(schema::BATCH_TRANSACTION_ID_MAX);
        let longest = format!("{transaction}:{ID_MAX}");
        assert_eq!(longest.len(), schema::TRANSACTION_ID_MAX);
    }
}
