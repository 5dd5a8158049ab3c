//! What the executor template needs to know of the fleet, loaded once per update.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{
    ApplicationKey, ApplicationKind, GroupKey, ServerKey, SettingsLayer, effective_settings,
};
use crate::haproxy::{BackendKey, HaproxyInstanceKey, HaproxyServerKey};

/// The applications of one update with everything around them.
///
/// The port that loads it does so with at most two SQL statements, for one application or 1,000.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetSnapshot {
    /// By application; an application that does not exist is absent.
    pub targets: BTreeMap<ApplicationKey, Target>,
    /// Whether the fleet has an HAProxy.
    pub has_haproxy: bool,
    /// The servers that are HAProxy nodes and whose HAProxy, or a backend of it, was never read: at most 20, by key.
    /// What stands behind them is unknown.
    pub unread_haproxy: Vec<String>,
}

impl FleetSnapshot {
    /// What an update of these applications has to itself while it runs: their groups, and the
    /// HAProxy backends they stand in. Two updates of one backend at a time could together drain
    /// all of it.
    #[must_use]
    pub fn concurrency_keys(&self, applications: &[ApplicationKey]) -> Vec<String> {
        let targets = || applications.iter().filter_map(|key| self.targets.get(key));
        let groups =
            targets().filter_map(|target| Some(format!("group:{}", target.group.as_ref()?.key)));
        let backends = targets()
            .flat_map(|target| &target.haproxy_servers)
            .map(|server| format!("backend:{}", server.backend));
        groups
            .chain(backends)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Those of the applications that no HAProxy server is mapped to.
    pub fn unmapped<'a>(
        &'a self,
        applications: &'a [ApplicationKey],
    ) -> impl Iterator<Item = &'a Target> {
        let targets = applications.iter().filter_map(|key| self.targets.get(key));
        targets.filter(|target| target.haproxy_servers.is_empty())
    }
}

/// One application and what surrounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The application.
    pub application: ApplicationKey,
    /// Its instance name, such as `jurws_1`.
    pub name: String,
    /// What kind of application it is.
    pub kind: ApplicationKind,
    /// The version last seen.
    pub version: Option<String>,
    /// The process last seen, as [`Process::parse`](crate::fleet::Process::parse) reads it; `None` where the agent reports
    /// neither start time nor number.
    pub process: Option<String>,
    /// Where it runs; `None` when the server's row is gone.
    pub server: Option<TargetServer>,
    /// Its group.
    pub group: Option<TargetGroup>,
    /// The application's own settings.
    pub own_settings: SettingsLayer,
    /// The settings of its catalog entry.
    pub catalog_settings: SettingsLayer,
    /// The HAProxy servers it is actively mapped to, in the order of their keys; removed ones absent.
    pub haproxy_servers: Vec<TargetHaproxyServer>,
    /// Whether it or its group had a mapping before, others of its catalog entry have one, or HAProxy has a server at
    /// its address or with its name: then the lack of a mapping is a fault sooner than a fact.
    pub expects_haproxy: bool,
    /// Whether it joined its group since that was updated last, and no person has assigned it.
    pub is_new_in_group: bool,
}

impl Target {
    /// The update playbook with its parameters: of the first of the application, its group and its catalog entry that names
    /// one, else the default.
    #[must_use]
    pub fn update_playbook(&self, default_playbook: &str) -> String {
        let none = SettingsLayer::default();
        let group = self.group.as_ref().map_or(&none, |group| &group.settings);
        let (own, catalog) = (&self.own_settings, &self.catalog_settings);
        effective_settings(own, group, catalog, default_playbook).playbook_path
    }

    /// The application with its server, for people.
    #[must_use]
    pub fn label(&self) -> String {
        let name = crate::text::visible(&self.name, 64);
        self.server.as_ref().map_or_else(
            || format!("`{name}`"),
            |server| format!("`{name}` on {}", server.name),
        )
    }
}

/// The server an application runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetServer {
    /// Its key.
    pub key: ServerKey,
    /// Its full name.
    pub name: String,
    /// Its address: an IP address or a host name.
    pub address: String,
    /// Another server of the fleet with the same short name.
    pub namesake: Option<String>,
}

/// The group of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its key.
    pub key: GroupKey,
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: SettingsLayer,
    /// How its applications are grouped into rollouts; the stored word, perhaps an unknown one.
    pub grouping: String,
}

/// A HAProxy server an application is mapped to, with its backend and instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHaproxyServer {
    /// The server's key.
    pub key: HaproxyServerKey,
    /// Its name in HAProxy.
    pub name: String,
    /// The backend's key.
    pub backend: BackendKey,
    /// The backend's name in HAProxy.
    pub backend_name: String,
    /// The instance's key.
    pub instance: HaproxyInstanceKey,
    /// The instance's name at its agent.
    pub instance_name: String,
    /// Where the agent of the instance listens: address and port.
    pub agent: (String, u16),
}
