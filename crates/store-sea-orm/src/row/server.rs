//! The shape of a server.

use drover_domain::fleet::{Network, Server, ServerStatus};
use drover_domain::{Key, Timestamp};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::{Stored, time};
use crate::sql::session::Row;

/// What a query for [`ServerRow`] selects.
pub(crate) const COLUMNS: &str = "id, name, address, port, status, is_haproxy_node, failures, last_check, inventory_at, last_error, suspect, networks, agent_ip, inventory_failures, created_at";

/// A row of `servers`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ServerRow {
    pub(crate) id: i64,
    name: String,
    address: String,
    port: i64,
    status: String,
    is_haproxy_node: bool,
    failures: i64,
    last_check: Option<i64>,
    inventory_at: Option<i64>,
    last_error: Option<String>,
    suspect: Option<i64>,
    networks: String,
    agent_ip: Option<String>,
    inventory_failures: i64,
    created_at: i64,
}

impl Row for ServerRow {
    const WHAT: &'static str = "server";
}

impl ServerRow {
    /// The server.
    pub(crate) fn read(self) -> Result<Server, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(Server {
            key: Key::new(self.id),
            port: stored.number("port", self.port)?,
            status: stored.word("status", &self.status, ServerStatus::parse)?,
            failures: stored.number("count of failures", self.failures)?,
            name: self.name,
            address: self.address,
            is_haproxy_node: self.is_haproxy_node,
            last_check: time(self.last_check),
            inventory_at: time(self.inventory_at),
            last_error: self.last_error,
            suspect: self.suspect,
            networks: networks(&stored, &self.networks)?,
            agent_ip: self.agent_ip.and_then(|address| address.parse().ok()),
            inventory_failures: stored.number(
                "count of polls without an inventory",
                self.inventory_failures,
            )?,
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

/// The networks of a server from how they are stored: one after the other with blanks.
pub(crate) fn networks(stored: &Stored, text: &str) -> Result<Vec<Network>, StoreError> {
    let networks = text.split_ascii_whitespace().map(Network::parse);
    networks
        .collect::<Result<_, _>>()
        .map_err(|error| stored.corrupt(error.to_string()))
}

/// How networks are stored.
pub(crate) fn stored_networks(networks: &[Network]) -> String {
    let words: Vec<String> = networks.iter().map(ToString::to_string).collect();
    words.join(" ")
}
