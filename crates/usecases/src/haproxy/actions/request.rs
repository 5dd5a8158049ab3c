//! Asking for an action.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::haproxy::action::{
    ACTION_KIND, ActionRequest, ActionStatus, ActionTarget, CapacityShort, Evidence, HaproxyAction,
    action_definition, action_task, check_capacity,
};
use drover_domain::haproxy::{
    AdminState, Admission, BackendKey, Breaker, HaproxyInstance, HaproxyInstanceKey,
    HaproxyServerKey, Members,
};
use drover_domain::rollout::record::{Origin, RolloutDetail, RolloutTarget, TargetOutcome};
use drover_domain::workflow::{Json, WorkflowId};
use drover_ports::{Fault, Idempotency, NewAction, NewWorkflow, StartedWorkflow, StoreError};
use sha2::{Digest as _, Sha256};

use crate::fleet::polling::Polling;
use crate::haproxy::sync::{Forgotten, Held, Synced, UPDATE_OWNER};
use crate::policy::Policy;
use crate::ports::Ports;

/// Who asks for what HAProxy forgot.
const SYSTEM_ACTOR: &str = "drover";

/// How long a server that an update left behind may take until it gets requests.
const RETURN_WAIT: Duration = Duration::from_secs(30);

/// The scope of transaction identifiers: one identifier makes one action, for all callers.
const SCOPE: &str = "haproxy.action";

/// Requests about HAProxy servers.
#[derive(Clone)]
pub struct Actions {
    ports: Ports,
    policy: Arc<Policy>,
    polling: Polling,
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Actions")
    }
}

/// A requested action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionOrder {
    /// What is wanted of which server.
    pub request: ActionRequest,
    /// What makes a repetition the same action, 1 to 128 printable characters; a new one where there is none.
    pub transaction_id: Option<String>,
    /// Who asks.
    pub origin: Origin,
}

/// An action that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedAction {
    /// The action as it stands.
    pub action: HaproxyAction,
    /// Whether it came of the same order given before.
    pub replayed: bool,
}

/// Why an action was refused; nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// There is no such server.
    #[error("there is no HAProxy server with id {server}")]
    UnknownServer {
        /// Its key.
        server: HaproxyServerKey,
    },
    /// The server was in HAProxy once.
    #[error("the server `{name}` is not in HAProxy any more")]
    Removed {
        /// Its name.
        name: String,
    },
    /// The agent did not answer several times in a row and is left alone for a while.
    #[error("the agent of HAProxy `{instance}` did not answer; it is asked again in {} s", retry_after.as_secs().max(1))]
    BreakerOpen {
        /// The HAProxy.
        instance: String,
        /// When it is asked again at the earliest.
        until: Timestamp,
        /// How long that is from now.
        retry_after: Duration,
    },
    /// Too few servers would be left.
    #[error("{0}; `force` with a reason does it all the same")]
    Capacity(CapacityShort),
    /// The transaction identifier belongs to another action.
    #[error("the transaction `{transaction_id}` was another action before")]
    TransactionReused {
        /// The identifier.
        transaction_id: String,
    },
    /// The store did not do its part.
    #[error("the action cannot be queued")]
    Store(#[from] StoreError),
}

impl ActionError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::UnknownServer { .. }
            | Self::Removed { .. }
            | Self::Capacity(_)
            | Self::TransactionReused { .. } => Fault::Permanent,
            Self::BreakerOpen { .. } => Fault::Transient,
            Self::Store(source) => source.fault(),
        }
    }

    /// The word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownServer { .. } => "not_found",
            Self::Removed { .. } => "removed",
            Self::BreakerOpen { .. } | Self::Store(StoreError::Unavailable { .. }) => "unavailable",
            Self::Capacity(_) => "below_min_ready",
            Self::TransactionReused { .. } => "idempotency_key_reused",
            Self::Store(_) => "internal",
        }
    }
}

impl Actions {
    /// The most actions that are asked for together.
    pub const BATCH_MAX: usize = 500;

    pub(crate) const fn new(ports: Ports, policy: Arc<Policy>, polling: Polling) -> Self {
        Self {
            ports,
            policy,
            polling,
        }
    }

    /// Queues an action. What can be known to be wrong is refused here; whether enough servers are left is
    /// looked at again, in HAProxy itself, before anything is sent.
    ///
    /// # Errors
    ///
    /// [`ActionError`], and then nothing changed.
    pub async fn request(&self, order: ActionOrder) -> Result<AcceptedAction, ActionError> {
        let mut answers = self.request_many(vec![order]).await?;
        answers.pop().unwrap_or_else(|| {
            Err(ActionError::Store(StoreError::Corrupt {
                what: "HAProxy action",
                name: String::new(),
                reason: "nothing came of one order".to_owned(),
            }))
        })
    }

    /// Queues actions, each with an answer of its own, in the order of the orders. Of those that would together
    /// leave a backend with too few servers none is queued.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when nothing is known of any of them; nothing changed.
    #[tracing::instrument(name = "actions.request", skip_all, fields(orders = orders.len()))]
    pub async fn request_many(
        &self,
        orders: Vec<ActionOrder>,
    ) -> Result<Vec<Result<AcceptedAction, ActionError>>, StoreError> {
        let mut answers: Vec<Option<Result<AcceptedAction, ActionError>>> = Vec::new();
        let mut fresh: Vec<(usize, ActionOrder)> = Vec::new();
        // Whatever changed since: a repetition gets the result of the first request.
        let ids = orders
            .iter()
            .filter_map(|order| order.transaction_id.clone());
        let known = self.known(ids.collect()).await?;
        for (at, order) in orders.into_iter().enumerate() {
            let before = order.transaction_id.as_ref().and_then(|id| known.get(id));
            answers.push(before.map(|action| repeated(&order.request, action)));
            if before.is_none() {
                fresh.push((at, order));
            }
        }
        let targets = self.targets(&fresh).await?;
        let short = self.short_backends(&fresh, &targets).await?;
        let mut new: Vec<(usize, NewAction)> = Vec::new();
        for (at, order) in fresh {
            match self.admit(order, &targets, &short) {
                Ok(action) => new.push((at, action)),
                Err(refusal) => put(&mut answers, at, Err(refusal)),
            }
        }
        self.start(new, &mut answers).await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn known(
        &self,
        transactions: Vec<String>,
    ) -> Result<BTreeMap<String, HaproxyAction>, StoreError> {
        if transactions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self
            .ports
            .action_view
            .of_transactions(&transactions)
            .await?;
        let by_transaction = |action: HaproxyAction| (action.transaction_id.clone(), action);
        Ok(found.into_iter().map(by_transaction).collect())
    }

    async fn targets(
        &self,
        orders: &[(usize, ActionOrder)],
    ) -> Result<BTreeMap<HaproxyServerKey, ActionTarget>, StoreError> {
        let keys: BTreeSet<HaproxyServerKey> = orders
            .iter()
            .map(|(_, order)| order.request.server)
            .collect();
        let keys: Vec<HaproxyServerKey> = keys.into_iter().collect();
        let targets = self.ports.actions.targets(&keys).await?;
        let by_server = |target: ActionTarget| (target.server, target);
        Ok(targets.into_iter().map(by_server).collect())
    }

    fn admit(
        &self,
        order: ActionOrder,
        targets: &BTreeMap<HaproxyServerKey, ActionTarget>,
        short: &BTreeMap<BackendKey, CapacityShort>,
    ) -> Result<NewAction, ActionError> {
        let request = order.request;
        let server = request.server;
        let target = targets
            .get(&server)
            .ok_or(ActionError::UnknownServer { server })?;
        if !target.is_present {
            let name = target.observed.name.clone();
            return Err(ActionError::Removed { name });
        }
        let now = self.ports.clock.now();
        let breaker = Breaker::restore(self.policy.breaker, target.breaker);
        if let (_, Admission::Refused { until }) = breaker.admit(now) {
            return Err(ActionError::BreakerOpen {
                instance: target.instance_name.clone(),
                until,
                retry_after: until.since(now),
            });
        }
        if let Some(short) = short.get(&target.backend).filter(|_| takes_out(&request)) {
            return Err(ActionError::Capacity(short.clone()));
        }
        let workflow = WorkflowId::rooted(self.ports.ids.draw());
        let transaction_id = order.transaction_id.unwrap_or_else(|| workflow.to_string());
        let definition = action_definition(target.backend, request.wait).map_err(|error| {
            ActionError::Store(StoreError::Corrupt {
                what: "HAProxy action",
                name: transaction_id.clone(),
                reason: error.to_string(),
            })
        })?;
        Ok(NewAction {
            workflow: NewWorkflow {
                id: workflow,
                name: ACTION_KIND.to_owned(),
                definition: Arc::new(definition),
                source: None,
                labels: BTreeMap::new(),
                input: Json::null(),
                origin: order.origin.clone(),
                parent: None,
                start_after: Some(Duration::ZERO),
                deadline: None,
                idempotency: Some(Idempotency {
                    scope: SCOPE.to_owned(),
                    key: transaction_id.clone(),
                    digest: digest(&request),
                }),
            },
            action: HaproxyAction {
                id: action_task(workflow),
                transaction_id,
                request,
                origin: order.origin,
                status: ActionStatus::Pending,
                created_at: now,
                started_at: None,
                evidence: Evidence::default(),
                end: None,
            },
        })
    }

    // Which backends these orders together would leave with too few servers.
    async fn short_backends(
        &self,
        orders: &[(usize, ActionOrder)],
        targets: &BTreeMap<HaproxyServerKey, ActionTarget>,
    ) -> Result<BTreeMap<BackendKey, CapacityShort>, StoreError> {
        type Leaving<'a> = BTreeMap<(BackendKey, &'a str), BTreeSet<&'a str>>;
        let mut leaving: BTreeMap<HaproxyInstanceKey, Leaving<'_>> = BTreeMap::new();
        let orders = orders.iter().map(|(_, order)| order);
        for order in orders.filter(|order| takes_out(&order.request)) {
            if let Some(target) = targets.get(&order.request.server) {
                let backends = leaving.entry(target.instance).or_default();
                let names = backends.entry((target.backend, &target.backend_name));
                names.or_default().insert(&target.observed.name);
            }
        }
        let mut short = BTreeMap::new();
        if leaving.is_empty() {
            return Ok(short);
        }
        let instances: Vec<HaproxyInstanceKey> = leaving.keys().copied().collect();
        let standing = self.ports.snapshots.standing(&instances).await?;
        for (instance, backends) in leaving {
            let members = Members::of(instance, &standing);
            // What all of it together takes out of each backend, those that follow included.
            let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for ((_, backend), names) in &backends {
                for (backend, names) in members.leaving(backend, names) {
                    all.entry(backend).or_default().extend(names);
                }
            }
            for ((key, backend), names) in &backends {
                for affected in members.leaving(backend, names).into_keys() {
                    let leaves = |name: &str| {
                        let names = all.get(&affected);
                        names.is_some_and(|names| names.contains(name))
                    };
                    let min_ready = self.policy.min_ready;
                    let staying = members.backend(&affected);
                    if let Err(error) = check_capacity(&affected, staying, leaves, min_ready) {
                        short.entry(*key).or_insert(error);
                    }
                }
            }
        }
        Ok(short)
    }

    // A reused transaction refuses its own order and none of the others.
    async fn start(
        &self,
        mut new: Vec<(usize, NewAction)>,
        answers: &mut [Option<Result<AcceptedAction, ActionError>>],
    ) -> Result<(), StoreError> {
        loop {
            if new.is_empty() {
                return Ok(());
            }
            let actions: Vec<NewAction> = new.iter().map(|(_, action)| action.clone()).collect();
            match self.ports.actions.start(&actions).await {
                Ok(started) => return self.answer(new, started, answers).await,
                Err(StoreError::KeyReused { key }) => {
                    let is_reused =
                        |(_, action): &(usize, NewAction)| action.action.transaction_id == key;
                    let before = new.len();
                    for (at, _) in new.iter().filter(|one| is_reused(one)) {
                        put(answers, *at, Err(reused(&key)));
                    }
                    new.retain(|one| !is_reused(one));
                    if new.len() == before {
                        return Err(StoreError::KeyReused { key });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn answer(
        &self,
        new: Vec<(usize, NewAction)>,
        started: Vec<StartedWorkflow>,
        answers: &mut [Option<Result<AcceptedAction, ActionError>>],
    ) -> Result<(), StoreError> {
        // The same order came by another way in the meantime.
        let replayed = new.iter().zip(&started).filter_map(|((_, new), started)| {
            let is_replayed = matches!(started, StartedWorkflow::Replayed(_));
            is_replayed.then(|| new.action.transaction_id.clone())
        });
        let known = self.known(replayed.collect()).await?;
        for (at, NewAction { action, .. }) in new {
            if let Some(before) = known.get(&action.transaction_id) {
                put(answers, at, repeated(&action.request, before));
                continue;
            }
            let origin = &action.origin;
            tracing::info!(
                action.id = %action.id, actor = %origin.actor, request.id = %origin.request_id,
                "{} asked to set HAProxy server {} to {}", origin.actor, action.request.server,
                action.request.wanted.as_str()
            );
            let accepted = AcceptedAction {
                action,
                replayed: false,
            };
            put(answers, at, Ok(accepted));
        }
        Ok(())
    }

    /// Re-applies the states that HAProxy lost in a reload, once for each new process: if that is refused or fails, it is
    /// left to people, who see the drift.
    async fn restore(&self, forgotten: Vec<Forgotten>) -> Result<(), StoreError> {
        for chunk in forgotten.chunks(Self::BATCH_MAX) {
            let orders = chunk.iter().map(Forgotten::order).collect();
            let answers = self.request_many(orders).await?;
            for (forgotten, answer) in chunk.iter().zip(answers) {
                let (server, state) = (forgotten.server, forgotten.pin.state.as_str());
                let owner = &forgotten.pin.owner;
                match answer {
                    Ok(AcceptedAction { replayed: true, .. }) => {}
                    Ok(accepted) => tracing::warn!(
                        action.id = %accepted.action.id,
                        "HAProxy forgot in a reload that {owner} wants server {server} to be {state}; it is told again"
                    ),
                    Err(error) => tracing::warn!(
                        "HAProxy forgot in a reload that {owner} wants server {server} to be {state}, and it cannot be told \
                         again: {error}"
                    ),
                }
            }
        }
        Ok(())
    }

    /// Does what a sync found to do: applies again what HAProxy forgot, and returns what updates left behind.
    pub(crate) async fn follow_up(&self, synced: Synced) -> Result<(), StoreError> {
        self.restore(synced.forgotten).await?;
        self.return_left(synced.held).await
    }

    /// Returns servers that an update drained and still pins although it has ended: at its end the agent of HAProxy did
    /// not answer. What the update itself names as left drained is left to people.
    async fn return_left(&self, held: Vec<Held>) -> Result<(), StoreError> {
        let minute = self.ports.clock.now().as_micros() / 60_000_000;
        let mut ended: BTreeMap<String, Option<RolloutDetail>> = BTreeMap::new();
        let mut orders = Vec::new();
        for held in held {
            let detail = match ended.entry(held.owner.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let rollout = held.owner.trim_start_matches(UPDATE_OWNER).parse();
                    let found = match rollout {
                        Ok(rollout) => self.ports.rollout_view.find(rollout).await?,
                        Err(_) => None,
                    };
                    entry.insert(found.filter(|found| found.rollout.status.is_terminal()))
                }
            };
            if !detail.as_ref().is_some_and(|detail| left_it(detail, &held)) {
                continue;
            }
            tracing::info!(
                "{} has ended and its drain of {} is left; it is returned",
                held.owner,
                held.name
            );
            orders.push(ActionOrder {
                request: ActionRequest {
                    server: held.server,
                    wanted: AdminState::Ready,
                    wait: RETURN_WAIT,
                    forced: None,
                    reason: Some(format!("{} has ended", held.owner)),
                    pin_for: None,
                    restores: false,
                },
                // Nodes that see the same at the same time return it once; what fails is tried again later.
                transaction_id: Some(format!("left:{}:{minute}", held.server)),
                origin: Origin {
                    actor: held.owner,
                    request_id: format!("sync:{minute}"),
                },
            });
        }
        for chunk in orders.chunks(Self::BATCH_MAX) {
            let answers = self.request_many(chunk.to_vec()).await?;
            for (order, answer) in chunk.iter().zip(answers) {
                if let Err(error) = answer {
                    let (server, owner) = (order.request.server, &order.origin.actor);
                    tracing::warn!(
                        "server {server}, which {owner} left drained, cannot be returned: {error}"
                    );
                }
            }
        }
        Ok(())
    }

    /// Syncs an HAProxy now; returns the instance after that, `None` if there is no such instance. The instance shows an
    /// agent that does not answer.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn sync(
        &self,
        instance: HaproxyInstanceKey,
    ) -> Result<Option<HaproxyInstance>, StoreError> {
        let view = &self.ports.haproxy_view;
        let Some(known) = view.instance(instance).await? else {
            return Ok(None);
        };
        let Some(server) = self.ports.servers.find(known.server).await? else {
            return Ok(None);
        };
        let synced = self.polling.sync(&server).await?;
        self.follow_up(synced).await?;
        view.instance(instance).await
    }
}

/// Whether the rollout had this server in a run, and does not name it as left drained.
fn left_it(detail: &RolloutDetail, held: &Held) -> bool {
    let is_its = |target: &&RolloutTarget| {
        target.haproxy_server.as_deref() == Some(held.name.as_str())
            && detail.runs.iter().any(|run| {
                let backend = run.prepared.backend.as_ref().map(|backend| backend.backend);
                run.index == target.run && backend == Some(held.backend)
            })
    };
    let target = detail.targets.iter().find(is_its);
    target.is_some_and(|target| target.outcome != TargetOutcome::LeftDrained)
}

impl Forgotten {
    fn order(&self) -> ActionOrder {
        let started_at = self.process.started_at;
        ActionOrder {
            request: ActionRequest {
                server: self.server,
                wanted: self.pin.state,
                wait: Duration::ZERO,
                forced: None,
                reason: self.pin.reason.clone(),
                pin_for: None,
                restores: true,
            },
            transaction_id: Some(format!(
                "restore:{}:{}:{}",
                self.server,
                self.process.pid,
                started_at.as_micros()
            )),
            origin: Origin {
                actor: SYSTEM_ACTOR.to_owned(),
                request_id: format!("reload of HAProxy at {started_at}"),
            },
        }
    }
}

/// Whether an action takes a server out of use and is not forced.
fn takes_out(request: &ActionRequest) -> bool {
    request.wanted != AdminState::Ready && request.forced.is_none()
}

fn repeated(
    request: &ActionRequest,
    action: &HaproxyAction,
) -> Result<AcceptedAction, ActionError> {
    if action.request != *request {
        return Err(reused(&action.transaction_id));
    }
    Ok(AcceptedAction {
        action: action.clone(),
        replayed: true,
    })
}

fn reused(transaction_id: &str) -> ActionError {
    ActionError::TransactionReused {
        transaction_id: transaction_id.to_owned(),
    }
}

fn put(
    answers: &mut [Option<Result<AcceptedAction, ActionError>>],
    at: usize,
    answer: Result<AcceptedAction, ActionError>,
) {
    if let Some(place) = answers.get_mut(at) {
        *place = Some(answer);
    }
}

// What makes two orders the same: everything that is asked for, and not who asks. 32 bytes, however long the reasons are.
fn digest(request: &ActionRequest) -> Vec<u8> {
    let ActionRequest {
        server,
        wanted,
        wait,
        forced,
        reason,
        pin_for,
        restores,
    } = request;
    let text = format!(
        "{server}|{}|{}|{forced:?}|{reason:?}|{pin_for:?}|{restores}",
        wanted.as_str(),
        wait.as_micros()
    );
    Sha256::digest(text).to_vec()
}

#[cfg(test)]
mod tests {
    use drover_domain::Key;

    use super::*;

    #[test]
    fn a_digest_is_as_long_for_every_reason() {
        let request = |reason: &str| ActionRequest {
            server: Key::new(1),
            wanted: AdminState::Drain,
            wait: Duration::ZERO,
            forced: None,
            reason: Some(reason.to_owned()),
            pin_for: None,
            restores: false,
        };
        let (short, long) = (
            digest(&request("disk")),
            digest(&request(&"x".repeat(1_000))),
        );
        assert_eq!((short.len(), long.len()), (32, 32));
        assert_ne!(short, long);
        assert_eq!(short, digest(&request("disk")));
    }
}
