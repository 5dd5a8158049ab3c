//! HAProxy in a few numbers, and the servers it is managed through.

use drover_domain::Timestamp;
use drover_domain::haproxy::{self, HaproxyCounts, InstanceBreaker, ServerCounts, ShortBackend};
use drover_usecases::HaproxyNode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::{Fields, ReadBody, boolean};
use crate::wire::fleet::server::Server;
use crate::wire::haproxy::instance::HaproxyInstance;
use crate::wire::schema::Instant;
use crate::wire::word::BreakerState;

/// All of HAProxy in a few numbers, at one moment: active instances, and what is present in them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxySummary {
    instances: HaproxyInstanceCounts,
    /// How many backends there are.
    backends: u64,
    servers: HaproxyServerCounts,
    /// How many servers have no mapping, excluded ones included.
    unmapped: u64,
    /// How many servers are excluded from mapping.
    excluded: u64,
    /// How many servers are pinned.
    pinned: u64,
    /// How many of them show another state than their pin.
    drifting: u64,
    /// The breaker of each instance, those first that are not closed.
    #[schema(max_items = 1000)]
    breakers: Vec<HaproxyBreaker>,
    /// How many servers of a backend have to take requests.
    min_ready: u32,
    /// How many backends have servers and fewer than `min_ready` that take requests.
    short: u64,
    /// These backends, the first 100 by id.
    #[schema(max_items = 100)]
    short_backends: Vec<HaproxyShortBackend>,
}

impl From<drover_usecases::HaproxySummary> for HaproxySummary {
    fn from(summary: drover_usecases::HaproxySummary) -> Self {
        let drover_usecases::HaproxySummary {
            numbers,
            breakers: states,
            min_ready,
        } = summary;
        let HaproxyCounts {
            instances,
            synced,
            partial,
            failed,
            unread_nodes,
            backends,
            servers,
            unmapped,
            excluded,
            pinned,
            drifting,
            breakers,
            short,
            short_backends,
        } = numbers;
        let breakers = breakers.into_iter().zip(states);
        Self {
            instances: HaproxyInstanceCounts {
                total: instances,
                synced,
                partial,
                failed,
                unread_nodes,
            },
            backends,
            servers: servers.into(),
            unmapped,
            excluded,
            pinned,
            drifting,
            breakers: breakers
                .map(|(breaker, (state, until))| HaproxyBreaker::new(breaker, state, until))
                .collect(),
            min_ready,
            short,
            short_backends: short_backends.into_iter().map(Into::into).collect(),
        }
    }
}

/// How many instances there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyInstanceCounts {
    /// All; those that are not among `synced`, `partial` and `failed` were not read yet.
    total: u64,
    /// Those that were read whole at the last attempt.
    synced: u64,
    /// Those that were read in part at the last attempt.
    partial: u64,
    /// Those that could not be read at the last attempt.
    failed: u64,
    /// Servers that are HAProxy nodes and whose instances are unknown, because their agent has listed none yet. They are
    /// not part of `total`.
    unread_nodes: u64,
}

/// How many servers show what.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyServerCounts {
    /// They take requests: `UP` in any form, or `no check`.
    up: u64,
    /// They are `UP` or `no check` and take none: backups, and servers of weight 0.
    standby: u64,
    /// They finish what they do: `DRAIN` in any form.
    drain: u64,
    /// They are out of service: `MAINT` in any form.
    maint: u64,
    /// Their checks fail: `DOWN` in any form.
    down: u64,
    /// They show any other word.
    other: u64,
}

impl From<ServerCounts> for HaproxyServerCounts {
    fn from(counts: ServerCounts) -> Self {
        let ServerCounts {
            up,
            standby,
            drain,
            maint,
            down,
            other,
        } = counts;
        Self {
            up,
            standby,
            drain,
            maint,
            down,
            other,
        }
    }
}

/// Whether an HAProxy is asked to do something, or left alone because its agent did not answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyBreaker {
    /// The instance.
    #[schema(minimum = 1)]
    instance_id: i64,
    /// Its name at the agent.
    instance_name: String,
    /// The name of the server whose agent manages it.
    server_name: String,
    state: BreakerState,
    /// Until when it is left alone; once that is past, the next action tries for all. Null when it is closed.
    until: Option<Instant>,
}

impl HaproxyBreaker {
    fn new(
        breaker: InstanceBreaker,
        state: haproxy::BreakerState,
        until: Option<Timestamp>,
    ) -> Self {
        Self {
            instance_id: breaker.instance.get(),
            instance_name: breaker.name,
            server_name: breaker.server_name,
            state: state.into(),
            until: until.map(Into::into),
        }
    }
}

/// A backend in which too few servers take requests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyShortBackend {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Its name in HAProxy.
    name: String,
    /// Its instance.
    #[schema(minimum = 1)]
    instance_id: i64,
    /// The name of that at its agent.
    instance_name: String,
    /// How many servers it has.
    servers: u32,
    /// How many of them take requests.
    ready: u32,
}

impl From<ShortBackend> for HaproxyShortBackend {
    fn from(short: ShortBackend) -> Self {
        let ShortBackend {
            backend,
            name,
            instance,
            instance_name,
            servers,
            ready,
        } = short;
        Self {
            id: backend.get(),
            name,
            instance_id: instance.get(),
            instance_name,
            servers,
            ready,
        }
    }
}

/// Whether an HAProxy is managed through a server's agent.
#[derive(Debug, ToSchema)]
pub(crate) struct SetHaproxyNode {
    /// Whether it is.
    pub(crate) is_haproxy_node: bool,
}

impl ReadBody for SetHaproxyNode {
    fn read(fields: &mut Fields) -> Option<Self> {
        let is_haproxy_node = fields.required("is_haproxy_node", boolean);
        Some(Self {
            is_haproxy_node: is_haproxy_node?,
        })
    }
}

/// A server with the HAProxy instances behind its agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerHaproxy {
    server: Server,
    /// Its active instances as they were just read, by name.
    instances: Vec<HaproxyInstance>,
    /// Why its agent could not be asked which there are; it is asked again within one interval.
    error: Option<String>,
}

impl From<HaproxyNode> for ServerHaproxy {
    fn from(node: HaproxyNode) -> Self {
        let HaproxyNode {
            server,
            instances,
            error,
        } = node;
        Self {
            server: server.into(),
            instances: instances.into_iter().map(Into::into).collect(),
            error,
        }
    }
}
