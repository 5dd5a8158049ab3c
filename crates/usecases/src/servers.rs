//! Adding and refreshing servers.

use std::fmt;
use std::sync::Arc;

use drover_domain::fleet::{NewServer, Server, ServerKey};
use drover_ports::{Clock, ServerRegistry, StoreError};

use crate::polling::{Polling, Refreshed};
use crate::service::Ports;

/// Wishes about servers.
#[derive(Clone)]
pub struct Servers {
    registry: Arc<dyn ServerRegistry>,
    clock: Arc<dyn Clock>,
    polling: Polling,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Servers")
    }
}

impl Servers {
    pub(crate) fn new(ports: &Ports, polling: Polling) -> Self {
        Self {
            registry: Arc::clone(&ports.servers),
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
    pub async fn add(&self, server: NewServer) -> Result<Server, StoreError> {
        let server = self.registry.add(&server, self.clock.now()).await?;
        tracing::info!(server.name = %server.name, server.id = %server.key, "server {} was added", server.name);
        self.polling.list_changed();
        Ok(server)
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
}
