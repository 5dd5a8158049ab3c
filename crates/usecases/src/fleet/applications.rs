//! Looking at applications with what holds for them.

use std::fmt;
use std::sync::Arc;

use drover_domain::fleet::{Application, ApplicationKey, Event};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_ports::{ApplicationFilter, FleetEventFilter, FleetSnapshots, FleetView, StoreError};

use crate::policy::Policy;
use crate::ports::Ports;

/// Applications as people look at them.
#[derive(Clone)]
pub struct Fleet {
    view: Arc<dyn FleetView>,
    snapshots: Arc<dyn FleetSnapshots>,
    policy: Arc<Policy>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fleet")
    }
}

/// An application with what holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationDetail {
    /// The application.
    pub application: Application,
    /// The update playbook that holds for it, with its parameters.
    pub playbook_path: String,
    /// Where it serves in HAProxy, each as `backend/server`.
    pub serves_as: Vec<String>,
}

impl Fleet {
    pub(crate) fn new(ports: &Ports, policy: Arc<Policy>) -> Self {
        Self {
            view: Arc::clone(&ports.fleet),
            snapshots: Arc::clone(&ports.snapshots),
            policy,
        }
    }

    /// The application with this key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn application(
        &self,
        application: ApplicationKey,
    ) -> Result<Option<ApplicationDetail>, StoreError> {
        match self.view.application(application).await? {
            Some(found) => self.in_detail(found).await.map(Some),
            None => Ok(None),
        }
    }

    /// This application, as it is, with what holds for it now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn in_detail(
        &self,
        application: Application,
    ) -> Result<ApplicationDetail, StoreError> {
        let snapshot = self.snapshots.snapshot(&[application.key]).await?;
        Ok(self.detail(application, &snapshot))
    }

    /// Applications by key, in a constant number of statements for a page of any size.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn applications(
        &self,
        filter: &ApplicationFilter,
        page: PageRequest,
    ) -> Result<Page<ApplicationDetail>, StoreError> {
        let found = self.view.applications(filter, page).await?;
        let keys: Vec<ApplicationKey> = found.items.iter().map(|item| item.key).collect();
        let snapshot = self.snapshots.snapshot(&keys).await?;
        Ok(found.map(|application| self.detail(application, &snapshot)))
    }

    /// What happened to an application, newest first; `None` if there is no such application.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn events(
        &self,
        application: ApplicationKey,
        filter: &FleetEventFilter,
        page: PageRequest,
    ) -> Result<Option<Page<Event>>, StoreError> {
        let filter = FleetEventFilter {
            application: Some(application),
            ..filter.clone()
        };
        let events = self.view.events(&filter, page).await?;
        // Whatever something happened to is there.
        if events.items.is_empty() && self.view.application(application).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(events))
    }

    fn detail(&self, application: Application, snapshot: &FleetSnapshot) -> ApplicationDetail {
        let target = snapshot.targets.get(&application.key);
        let default = &self.policy.default_playbook;
        ApplicationDetail {
            playbook_path: target
                .map_or_else(|| default.clone(), |target| target.update_playbook(default)),
            serves_as: target
                .map(|target| target.haproxy_servers.iter())
                .into_iter()
                .flatten()
                .map(|server| format!("{}/{}", server.backend_name, server.name))
                .collect(),
            application,
        }
    }
}
