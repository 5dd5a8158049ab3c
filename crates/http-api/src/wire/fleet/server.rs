//! Servers.

use drover_domain::fleet::{self, Network, NewServerError};
use drover_usecases::{Refreshed, ServerColumn, ServerFilter};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::body::{Fields, Flaw, ReadBody, boolean, list, text, whole};
use crate::etag::tag;
use crate::json::Value;
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{PollOutcome, ServerStatus};

/// The most characters of a part of a name.
const PART_MAX: usize = 253;

/// A server with an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Server {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Its full name; unique.
    name: String,
    /// Where its agent listens: an IP address or a host name.
    address: String,
    /// The agent's port.
    port: u16,
    status: ServerStatus,
    /// Whether an HAProxy is managed through its agent.
    is_haproxy_node: bool,
    /// When it was last polled.
    last_check: Option<Instant>,
    /// Why the last poll failed or was held.
    last_error: Option<String>,
    /// When its inventory was last believed.
    inventory_at: Option<Instant>,
    /// How many polls in a row brought no inventory although the agent answered.
    inventory_failures: u32,
    #[schema(schema_with = schema::networks)]
    networks: Vec<String>,
    /// When it was added.
    created_at: Instant,
}

/// The tag of what people say about a server.
pub(crate) fn server_tag(server: &fleet::Server) -> String {
    let port = server.port.to_string();
    let node = if server.is_haproxy_node { "node" } else { "" };
    let networks = shown(&server.networks).join(" ");
    tag([
        server.name.as_str(),
        server.address.as_str(),
        port.as_str(),
        node,
        networks.as_str(),
    ])
}

fn shown(networks: &[Network]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

// Each network with its own place in the list.
fn networks(value: Value) -> Result<Vec<Network>, Vec<Flaw>> {
    let read = |value| text(|text| Network::parse(text).map_err(Flaw::invalid))(value);
    list(Network::PER_SERVER_MAX, read)(value)
}

impl From<fleet::Server> for Server {
    fn from(server: fleet::Server) -> Self {
        Self {
            id: server.key.get(),
            name: server.name,
            address: server.address,
            port: server.port,
            status: server.status.into(),
            is_haproxy_node: server.is_haproxy_node,
            last_check: server.last_check.map(Into::into),
            last_error: server.last_error,
            inventory_at: server.inventory_at.map(Into::into),
            inventory_failures: server.inventory_failures,
            networks: shown(&server.networks),
            created_at: server.created_at.into(),
        }
    }
}

/// Which servers are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct ServerParams {
    /// With this status.
    #[param(inline)]
    status: Option<ServerStatus>,
    /// Whether an HAProxy is managed through its agent.
    is_haproxy_node: Option<bool>,
    #[param(schema_with = part)]
    q: Option<String>,
    #[param(schema_with = schema::sort::<ServerColumn>)]
    sort: Option<String>,
}

fn part() -> utoipa::openapi::Object {
    schema::line(PART_MAX)
        .description(Some(
            "With this in its name or address, small or capital letters a to z alike.",
        ))
        .build()
}

impl Filter for ServerFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let truth = |word: &str| match word {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Ok(Self {
            status: parameters.word(
                "status",
                "unknown, online, offline",
                fleet::ServerStatus::parse,
            )?,
            is_haproxy_node: parameters.word("is_haproxy_node", "true, false", truth)?,
            like: parameters.line("q", PART_MAX)?,
            sort: parameters.sort()?,
        })
    }
}

/// A server to add.
#[derive(Debug, ToSchema)]
pub(crate) struct NewServer {
    #[schema(schema_with = schema::server_name)]
    name: String,
    #[schema(schema_with = schema::server_address)]
    address: String,
    /// The agent's port.
    #[schema(minimum = 1, maximum = 65535)]
    port: u16,
    /// Whether an HAProxy is managed through its agent.
    #[schema(default = false)]
    is_haproxy_node: Option<bool>,
    #[schema(schema_with = schema::networks, required = false)]
    networks: Vec<Network>,
}

impl ReadBody for NewServer {
    fn read(fields: &mut Fields) -> Option<Self> {
        let is_haproxy_node = fields.optional("is_haproxy_node", boolean);
        let read = Self::read_with(fields, None);
        Some(Self {
            is_haproxy_node: is_haproxy_node?,
            ..read?
        })
    }
}

impl NewServer {
    fn read_with(fields: &mut Fields, is_haproxy_node: Option<bool>) -> Option<Self> {
        let name = fields.required("name", text(|text| Ok(text.to_owned())));
        let address = fields.required("address", text(|text| Ok(text.to_owned())));
        let port = fields.required("port", whole(1, i64::from(u16::MAX)));
        let networks = fields.optional("networks", networks);
        let read = Self {
            name: name?,
            address: address?,
            port: u16::try_from(port?).ok()?,
            is_haproxy_node,
            networks: networks?.unwrap_or_default(),
        };
        match read.to_domain() {
            Ok(_) => Some(read),
            Err(error) => {
                complain(fields, error);
                None
            }
        }
    }
}

fn complain(fields: &mut Fields, error: NewServerError) {
    let pointer = match &error {
        NewServerError::Name(_) => "name",
        NewServerError::Address(_) => "address",
        NewServerError::Port => "port",
        NewServerError::Networks(_) => "networks",
    };
    fields.complain(pointer, Flaw::invalid(error));
}

impl NewServer {
    /// The server to add.
    ///
    /// # Errors
    ///
    /// [`NewServerError`]; never for one that was read from a body.
    pub(crate) fn to_domain(&self) -> Result<fleet::NewServer, NewServerError> {
        fleet::NewServer::new(
            &self.name,
            &self.address,
            self.port,
            self.is_haproxy_node.unwrap_or(false),
        )
        .map(|server| server.with_networks(self.networks.clone()))
    }
}

/// The settings of a server.
#[derive(Debug, Clone, ToSchema)]
pub(crate) struct ChangeServer {
    #[schema(schema_with = schema::server_name)]
    name: String,
    #[schema(schema_with = schema::server_address)]
    address: String,
    /// The agent's port.
    #[schema(minimum = 1, maximum = 65535)]
    port: u16,
    #[schema(schema_with = schema::networks, required = false)]
    networks: Vec<Network>,
}

impl ReadBody for ChangeServer {
    fn read(fields: &mut Fields) -> Option<Self> {
        let NewServer {
            name,
            address,
            port,
            networks,
            is_haproxy_node: _,
        } = NewServer::read_with(fields, None)?;
        Some(Self {
            name,
            address,
            port,
            networks,
        })
    }
}

impl ChangeServer {
    /// What is said about it.
    pub(crate) fn place(self) -> fleet::ServerPlace {
        fleet::ServerPlace {
            name: self.name,
            address: self.address,
            port: self.port,
            networks: self.networks,
        }
    }
}

/// Changes of a server; a member that is left out stays as it is.
#[derive(Debug, Clone, ToSchema)]
pub(crate) struct PatchServer {
    #[schema(schema_with = schema::server_name, required = false)]
    name: Option<String>,
    #[schema(schema_with = schema::server_address, required = false)]
    address: Option<String>,
    /// The agent's port.
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    #[schema(schema_with = schema::networks, required = false)]
    networks: Option<Vec<Network>>,
}

impl ReadBody for PatchServer {
    fn read(fields: &mut Fields) -> Option<Self> {
        let place = |text: &str| Ok(text.to_owned());
        let name = fields.optional("name", text(place));
        let address = fields.optional("address", text(place));
        let port = fields.optional("port", whole(1, i64::from(u16::MAX)));
        let networks = fields.optional("networks", networks);
        let read = Self {
            name: name?,
            address: address?,
            port: port?.and_then(|port| u16::try_from(port).ok()),
            networks: networks?,
        };
        // Each is judged without the others; what stays was judged before.
        let name = read.name.as_deref().unwrap_or("name");
        let address = read.address.as_deref().unwrap_or("address");
        match fleet::NewServer::new(name, address, read.port.unwrap_or(1), false) {
            Ok(_) => Some(read),
            Err(error) => {
                complain(fields, error);
                None
            }
        }
    }
}

impl PatchServer {
    /// What is said about a server of which `known` was said before.
    pub(crate) fn place(self, known: fleet::ServerPlace) -> fleet::ServerPlace {
        fleet::ServerPlace {
            name: self.name.unwrap_or(known.name),
            address: self.address.unwrap_or(known.address),
            port: self.port.unwrap_or(known.port),
            networks: self.networks.unwrap_or(known.networks),
        }
    }
}

/// What a poll that was asked for came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefreshReport {
    server: Server,
    outcome: PollOutcome,
    /// How many applications the agent listed; 0 when it did not answer.
    applications: usize,
    /// Why the outcome is what it is, where that needs a sentence.
    detail: Option<String>,
}

impl From<Refreshed> for RefreshReport {
    fn from(refreshed: Refreshed) -> Self {
        Self {
            server: refreshed.server.into(),
            outcome: refreshed.outcome.into(),
            applications: refreshed.applications,
            detail: refreshed.detail,
        }
    }
}
