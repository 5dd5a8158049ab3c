//! The shapes of an agent's JSON, read leniently: any kind of value may stand anywhere.

pub(crate) mod entry;
pub(crate) mod field;
pub(crate) mod list;
pub(crate) mod named;
pub(crate) mod refusal;

use serde::{Deserialize, Serialize};

use entry::Entry;
use field::Field;
use list::List;
use named::Named;

/// The answer to `/api/v1/apps`.
#[derive(Debug, Deserialize)]
pub(crate) struct Inventory {
    pub(crate) server: Option<Entry<Server>>,
}

/// What a server runs, by kind; kinds an agent does not know are left out.
#[derive(Debug, Deserialize)]
pub(crate) struct Server {
    #[serde(default)]
    pub(crate) name: Field,
    #[serde(rename = "docker-app")]
    pub(crate) docker: Option<Entry<Applications>>,
    #[serde(rename = "site-app")]
    pub(crate) site: Option<Entry<Applications>>,
    #[serde(rename = "service-app")]
    pub(crate) service: Option<Entry<Applications>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Applications {
    pub(crate) applications: List<Entry<Application>>,
}

/// An application of any kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Application {
    pub(crate) name: Field,
    pub(crate) container_name: Field,
    pub(crate) container_id: Field,
    pub(crate) image: Field,
    pub(crate) tag: Field,
    pub(crate) version: Field,
    pub(crate) status: Field,
    pub(crate) ip: Field,
    pub(crate) port: Field,
    pub(crate) pid: Field,
    pub(crate) start_time: Field,
    pub(crate) compose_project_dir: Field,
    pub(crate) app_path: Field,
    pub(crate) path: Field,
    pub(crate) log_path: Field,
    pub(crate) distr_path: Field,
}

/// A controller's success.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<T> {
    pub(crate) data: Option<Entry<T>>,
}

/// The data of `/instances`.
#[derive(Debug, Deserialize)]
pub(crate) struct Instances {
    #[expect(clippy::struct_field_names, reason = "the agent's own word")]
    pub(crate) instances: List<Named>,
    #[serde(default)]
    pub(crate) count: Field,
    #[serde(default)]
    pub(crate) unread: Unread,
}

/// The data of `/backends`.
#[derive(Debug, Deserialize)]
pub(crate) struct Backends {
    #[expect(clippy::struct_field_names, reason = "the agent's own word")]
    pub(crate) backends: List<Named>,
    /// What the answer is about.
    #[serde(default)]
    pub(crate) instance: Field,
    #[serde(default)]
    pub(crate) count: Field,
    #[serde(default)]
    pub(crate) unread: Unread,
}

/// What the agent itself could not read, sentences; `drover-agent` sends it.
#[derive(Debug, Default)]
pub(crate) struct Unread(pub(crate) Vec<Field>);

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sentences = Option::<List<Field>>::deserialize(deserializer)?;
        Ok(Self(sentences.map(|list| list.0).unwrap_or_default()))
    }
}

/// The data of `/servers`.
#[derive(Debug, Deserialize)]
pub(crate) struct BackendServers {
    pub(crate) servers: List<Entry<HaproxyServer>>,
    /// What the answer is about.
    #[serde(default)]
    pub(crate) instance: Field,
    #[serde(default)]
    pub(crate) backend: Field,
    #[serde(default)]
    pub(crate) count: Field,
    #[serde(default)]
    pub(crate) unread: Unread,
    #[serde(default)]
    pub(crate) haproxy: Option<Entry<Process>>,
    /// Why the sessions of old workers are not reported; `drover-agent` sends it.
    #[serde(default)]
    pub(crate) old_workers_error: Field,
}

/// The HAProxy process that answered; `drover-agent` sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Process {
    pub(crate) pid: Field,
    pub(crate) uptime_sec: Field,
    pub(crate) version: Field,
}

/// A server in HAProxy. FAgent sends the first five; `drover-agent` the others too.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HaproxyServer {
    pub(crate) name: Field,
    pub(crate) status: Field,
    pub(crate) weight: Field,
    pub(crate) check_status: Field,
    pub(crate) addr: Field,
    pub(crate) scur: Field,
    pub(crate) old_scur: Field,
    pub(crate) qcur: Field,
    pub(crate) admin_state: Field,
    pub(crate) bck: Field,
    pub(crate) tracked: Field,
    pub(crate) agent_state: Field,
    pub(crate) agent_status: Field,
}

/// What HAProxy is to do with a server.
#[derive(Debug, Serialize)]
pub(crate) struct Action {
    pub(crate) action: &'static str,
}

/// The data of an action that was accepted; nothing in it proves anything.
#[derive(Debug, Deserialize)]
pub(crate) struct Done {}
