//! Adding and refreshing servers.

use std::fmt;
use std::sync::Arc;

use drover_domain::fleet::{NewServer, Server, ServerKey, ServerPlace};
use drover_domain::haproxy::HaproxyInstance;
use drover_domain::rollout::record::Origin;
use drover_ports::{Clock, HaproxyStore, Removal, ServerRegistry, StoreError};

use crate::fleet::polling::{Polling, Refreshed};
use crate::ports::Ports;

/// Requests about servers.
#[derive(Clone)]
pub struct Servers {
    registry: Arc<dyn ServerRegistry>,
    haproxy: Arc<dyn HaproxyStore>,
    clock: Arc<dyn Clock>,
    polling: Polling,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Servers")
    }
}

/// A server after it was said whether an HAProxy is managed through its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyNode {
    /// The server as it is now.
    pub server: Server,
    /// Its active instances by name, as they were just read; none on a server that is no node.
    pub instances: Vec<HaproxyInstance>,
    /// Why its agent could not be asked for its instances. The server is a node all the same: the next sync asks again.
    pub error: Option<String>,
}

impl Servers {
    pub(crate) fn new(ports: &Ports, polling: Polling) -> Self {
        Self {
            registry: Arc::clone(&ports.servers),
            haproxy: Arc::clone(&ports.haproxy),
            clock: Arc::clone(&ports.clock),
            polling,
        }
    }

    /// Adds a server; polling begins within one interval.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the name is taken; [`StoreError::Unavailable`].
    #[tracing::instrument(name = "servers.add", skip_all, fields(server.name = server.name()))]
    pub async fn add(&self, server: NewServer, origin: &Origin) -> Result<Server, StoreError> {
        let server = self.registry.add(&server, self.clock.now()).await?;
        tracing::info!(
            server.name = %server.name, server.id = %server.key, actor = %origin.actor, request.id = %origin.request_id,
            "{} added server {}", origin.actor, server.name
        );
        self.polling.list_changed();
        Ok(server)
    }

    /// Adds a server unless it is there exactly so, and whether it was: for a request that may be a repetition.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when another server has the name; [`StoreError::Unavailable`],
    /// [`StoreError::Corrupt`].
    pub async fn add_once(
        &self,
        server: NewServer,
        origin: &Origin,
    ) -> Result<(Server, bool), StoreError> {
        let wanted = server.clone();
        match self.add(server, origin).await {
            Err(error @ StoreError::AlreadyExists { .. }) => {
                let known = self.registry.find_by_name(wanted.name()).await?;
                let same = known.filter(|known| {
                    known.name == wanted.name()
                        && known.address == wanted.address()
                        && known.port == wanted.port()
                        && known.is_haproxy_node == wanted.is_haproxy_node()
                });
                same.map(|known| (known, true)).ok_or(error)
            }
            added => added.map(|server| (server, false)),
        }
    }

    /// Changes what people say about a server, if it is still as they knew it; polling goes on with the new place within
    /// one interval. `None` if it is not.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the name is taken; [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn change(
        &self,
        known: &Server,
        place: &ServerPlace,
        origin: &Origin,
    ) -> Result<Option<Server>, StoreError> {
        let changed = self
            .registry
            .change(known.key, &known.place(), place)
            .await?;
        if let Some(server) = &changed {
            tracing::info!(
                server.name = %server.name, server.id = %server.key, actor = %origin.actor, request.id = %origin.request_id,
                "{} changed server {}: it is {} at {}:{}", origin.actor, known.name, server.name, server.address, server.port
            );
            self.polling.list_changed();
        }
        Ok(changed)
    }

    /// Removes a server, if it is still as it was known and nothing is under way on it, with its HAProxy instances. Its
    /// applications are left without a server, and upkeep removes them in chunks. An update or an action that begins at the same moment ends by itself.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn remove(&self, known: &Server, origin: &Origin) -> Result<Removal, StoreError> {
        let removal = self.registry.remove(known.key, &known.place()).await?;
        if removal == Removal::Done {
            tracing::info!(
                server.name = %known.name, server.id = %known.key, actor = %origin.actor, request.id = %origin.request_id,
                "{} removed server {}", origin.actor, known.name
            );
            self.polling.forget(known.key);
            self.polling.list_changed();
        }
        Ok(removal)
    }

    /// Polls a server now, and syncs its HAProxy if it is a node; `None` if there is no such server.
    ///
    /// The poll begins after this call did: what it brings is newer than the call.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the result cannot be stored. An agent that does not answer is a result.
    pub async fn refresh(&self, server: ServerKey) -> Result<Option<Refreshed>, StoreError> {
        let refreshed = self.polling.poll(server).await?;
        if let Some(refreshed) = &refreshed
            && refreshed.server.is_haproxy_node
        {
            self.polling.sync(&refreshed.server).await?;
        }
        Ok(refreshed)
    }

    /// Sets whether an HAProxy is managed through a server's agent. A node is synced at once; on a server that is not a
    /// node every instance is inactive when this returns, also while a sync of it runs. `None` if there
    /// is no such server.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. An agent that does not answer is a result.
    #[tracing::instrument(name = "servers.set_haproxy_node", skip_all, fields(server.id = %server))]
    pub async fn set_haproxy_node(
        &self,
        server: ServerKey,
        is_haproxy_node: bool,
        origin: &Origin,
    ) -> Result<Option<HaproxyNode>, StoreError> {
        let changed = self
            .registry
            .set_haproxy_node(server, is_haproxy_node)
            .await?;
        let Some(server) = changed else {
            return Ok(None);
        };
        let word = if is_haproxy_node { "is" } else { "is not" };
        tracing::info!(
            server.name = %server.name, actor = %origin.actor, request.id = %origin.request_id,
            "{} said that an HAProxy {word} managed through the agent of {}", origin.actor, server.name
        );
        self.polling.list_changed();
        if !is_haproxy_node {
            return Ok(Some(HaproxyNode {
                server,
                instances: Vec::new(),
                error: None,
            }));
        }
        let error = self.polling.sync(&server).await?.error;
        Ok(Some(HaproxyNode {
            instances: self.haproxy.active_instances(server.key).await?,
            server,
            error,
        }))
    }
}
