//! Saying by hand which application stands behind a server in HAProxy, and finding out by rule.

use std::fmt;
use std::sync::Arc;

use drover_domain::Timestamp;
use drover_domain::fleet::ApplicationKey;
use drover_domain::haproxy::{
    Breaker, BreakerState, HaproxyCounts, HaproxyInstanceKey, HaproxyServerKey, ObservedServer,
    ServerMapping, find_applications,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::Origin;
use drover_ports::{
    Fault, ManualMapping, MapOutcome, MappingCause, NewMapping, StoreError, UnmappedFilter,
    UnmappedServer, Unmapping,
};

use crate::policy::Policy;
use crate::ports::Ports;

/// Requests about mappings, and the summary of HAProxy.
#[derive(Clone)]
pub struct Mappings {
    ports: Ports,
    policy: Arc<Policy>,
}

impl fmt::Debug for Mappings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mappings")
    }
}

/// What a look at everything unmapped came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remapped {
    /// How many servers without a mapping were looked at; excluded ones are not.
    pub looked_at: u64,
    /// How many of them have a mapping since.
    pub mapped: u64,
}

/// All of HAProxy in a few numbers, with what its breakers mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxySummary {
    /// The numbers.
    pub numbers: HaproxyCounts,
    /// The state of each of `numbers.breakers` and until when no other call is made, in the same order. After that, the
    /// next call is the probe.
    pub breakers: Vec<(BreakerState, Option<Timestamp>)>,
    /// How many servers of a backend have to take requests.
    pub min_ready: u32,
}

/// Why a server was not mapped; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// There is no such server.
    #[error("there is no HAProxy server with id {server}")]
    UnknownServer {
        /// Its key.
        server: HaproxyServerKey,
    },
    /// There is no such application.
    #[error("there is no application with id {application}")]
    UnknownApplication {
        /// Its key.
        application: ApplicationKey,
    },
    /// The server was in HAProxy once.
    #[error("the server `{name}` is not in HAProxy any more")]
    Removed {
        /// Its name.
        name: String,
    },
    /// The store did not do its part.
    #[error("the mapping cannot be stored")]
    Store(#[from] StoreError),
}

impl MapError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::UnknownServer { .. } | Self::UnknownApplication { .. } | Self::Removed { .. } => {
                Fault::Permanent
            }
            Self::Store(source) => source.fault(),
        }
    }
}

impl Mappings {
    pub(crate) fn new(ports: Ports, policy: Arc<Policy>) -> Self {
        Self { ports, policy }
    }

    /// Maps the server to the application by hand. The mapping stays until a person changes it: no sync and no
    /// [`Mappings::remap`] does. A repeated request changes nothing.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    #[tracing::instrument(name = "mappings.map", skip_all, fields(haproxy.server.id = %server))]
    pub async fn map(
        &self,
        server: HaproxyServerKey,
        application: ApplicationKey,
        cause: MappingCause,
    ) -> Result<ServerMapping, MapError> {
        let mapping = ManualMapping {
            server,
            application,
            at: self.ports.clock.now(),
            cause,
        };
        match self.ports.mappings.map_by_hand(&mapping).await? {
            MapOutcome::Mapped(mapping) => Ok(mapping),
            MapOutcome::NoServer => Err(MapError::UnknownServer { server }),
            MapOutcome::NoApplication => Err(MapError::UnknownApplication { application }),
            MapOutcome::Removed(name) => Err(MapError::Removed { name }),
        }
    }

    /// Ends the mapping of a server, manual or not. With `exclude` it stays unmapped until a person maps it; without, the
    /// next sync maps it by rule again. `None` if there is no such server.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    #[tracing::instrument(name = "mappings.unmap", skip_all, fields(haproxy.server.id = %server))]
    pub async fn unmap(
        &self,
        server: HaproxyServerKey,
        exclude: bool,
        cause: MappingCause,
    ) -> Result<Option<ServerMapping>, StoreError> {
        let unmapping = Unmapping {
            server,
            exclude,
            at: self.ports.clock.now(),
            cause,
        };
        self.ports.mappings.unmap(&unmapping).await
    }

    /// Maps by rule, on all active instances, what has no mapping; excluded servers are passed over. It
    /// looks at what is stored and asks no agent.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    #[tracing::instrument(name = "mappings.remap", skip_all)]
    pub async fn remap(&self, origin: Origin) -> Result<Remapped, StoreError> {
        let cause = MappingCause {
            origin,
            reason: None,
        };
        let done = map_unmapped(&self.ports, None, Some(&cause)).await?;
        tracing::info!(
            mappings = done.mapped,
            "{} of {} HAProxy servers without a mapping were mapped",
            done.mapped,
            done.looked_at
        );
        Ok(done)
    }

    /// The servers without a mapping, by key, each with the reason why the rule finds none; `None` where a person keeps
    /// the rule away, or it finds one at the next sync.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn unmapped(
        &self,
        filter: &UnmappedFilter,
        page: PageRequest,
    ) -> Result<Page<(UnmappedServer, Option<String>)>, StoreError> {
        let found = self.ports.mappings.unmapped(filter, page).await?;
        let candidates = if found.items.is_empty() {
            Vec::new()
        } else {
            self.ports.haproxy.candidates().await?
        };
        let observed: Vec<ObservedServer> = found
            .items
            .iter()
            .map(|server| server.server.observed.clone())
            .collect();
        let mut reasons = find_applications(&observed, &candidates)
            .into_iter()
            .map(|fitting| fitting.err().map(|reason| reason.to_string()));
        Ok(found.map(|server| {
            let reason = reasons.next().flatten();
            let reason = reason.filter(|_| server.exclusion.is_none());
            (server, reason)
        }))
    }

    /// All of HAProxy in a few numbers.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn summary(&self) -> Result<HaproxySummary, StoreError> {
        let min_ready = self.policy.min_ready;
        let numbers = self.ports.haproxy_view.summary(min_ready).await?;
        let breakers = numbers.breakers.iter().map(|found| {
            let breaker = Breaker::restore(self.policy.breaker, found.breaker);
            (breaker.state(), breaker.until())
        });
        Ok(HaproxySummary {
            breakers: breakers.collect(),
            numbers,
            min_ready,
        })
    }
}

/// Ends the mappings by address that the rule does not allow, and maps by rule what has no mapping and is not
/// excluded; of one instance or of all active ones.
pub(crate) async fn map_unmapped(
    ports: &Ports,
    instance: Option<HaproxyInstanceKey>,
    cause: Option<&MappingCause>,
) -> Result<Remapped, StoreError> {
    let at = ports.clock.now();
    end_unfounded(ports, instance, cause, at).await?;
    let unmapped = ports.haproxy.unmapped(instance).await?;
    let looked_at = u64::try_from(unmapped.len()).unwrap_or(u64::MAX);
    if unmapped.is_empty() {
        return Ok(Remapped::default());
    }
    let candidates = ports.haproxy.candidates().await?;
    let observed: Vec<ObservedServer> = unmapped
        .iter()
        .map(|server| server.observed.clone())
        .collect();
    let mappings: Vec<NewMapping> = unmapped
        .iter()
        .zip(find_applications(&observed, &candidates))
        .filter_map(|(server, found)| {
            let (application, basis) = found.ok()?;
            Some(NewMapping {
                server: server.key,
                application,
                basis,
                at,
                cause: cause.cloned(),
            })
        })
        .collect();
    let mapped = if mappings.is_empty() {
        0
    } else {
        ports.haproxy.map(&mappings).await?
    };
    Ok(Remapped { looked_at, mapped })
}

// What an agent reported when the mapping was made, or what a person said of its server, may have changed since.
async fn end_unfounded(
    ports: &Ports,
    instance: Option<HaproxyInstanceKey>,
    cause: Option<&MappingCause>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let doubtful = ports.haproxy.doubtful(instance).await?;
    let mut unfounded = Vec::new();
    for found in doubtful {
        let candidate = &found.candidate;
        if candidate.has_an_address_of_its_server() {
            continue;
        }
        tracing::warn!(
            haproxy.server.id = %found.server,
            "{} in HAProxy is no longer mapped to {}: {} reports an address for it that is neither its own nor in a network \
             declared for it",
            found.server_name, candidate.name, candidate.server_name
        );
        unfounded.push((found.server, candidate.application));
    }
    if !unfounded.is_empty() {
        ports.haproxy.end(&unfounded, at, cause).await?;
    }
    Ok(())
}
