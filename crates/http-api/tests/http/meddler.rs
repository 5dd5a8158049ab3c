//! A second request in the middle of a first one: between the handler's read and its write.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use drover_domain::Timestamp;
use drover_domain::fleet::{
    Application, ApplicationKey, ApplicationKind, ApplicationSettings, CatalogEntry, CatalogKey,
    CatalogSettings, GroupKey, GroupSettings, NewServer, Server, ServerKey, ServerPlace,
};
use drover_domain::page::{Page, PageRequest};
use drover_ports::{
    ApplicationRegistry, CatalogFilter, CatalogRegistry, GroupRegistry, NamedGroup, Release,
    Removal, ServerRegistry, Settled, StoreError,
};
use drover_testkit::store::MemoryStore;

use crate::world::send;

/// A request, and the routes that take it.
type Plan = (Router, Request<Body>);

/// The record of what people own, with a request that is carried out before the next change.
#[derive(Clone)]
pub(crate) struct Meddler {
    store: Arc<MemoryStore>,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl Meddler {
    pub(crate) fn new(store: Arc<MemoryStore>) -> Self {
        Self {
            store,
            plan: Arc::default(),
        }
    }

    /// Sends this before the next change.
    pub(crate) fn plan(&self, router: &Router, request: Request<Body>) {
        *self.plan.lock().unwrap() = Some((router.clone(), request));
    }

    async fn meddle(&self) {
        let planned = self.plan.lock().unwrap().take();
        if let Some((router, request)) = planned {
            let answer = send(&router, request).await;
            assert!(answer.status.is_success(), "{answer:?}");
        }
    }
}

#[async_trait]
impl ServerRegistry for Meddler {
    async fn add(&self, server: &NewServer, at: Timestamp) -> Result<Server, StoreError> {
        ServerRegistry::add(&*self.store, server, at).await
    }

    async fn find(&self, server: ServerKey) -> Result<Option<Server>, StoreError> {
        ServerRegistry::find(&*self.store, server).await
    }

    async fn find_by_name(&self, name: &str) -> Result<Option<Server>, StoreError> {
        self.store.find_by_name(name).await
    }

    async fn list(&self, page: PageRequest) -> Result<Page<Server>, StoreError> {
        ServerRegistry::list(&*self.store, page).await
    }

    async fn change(
        &self,
        server: ServerKey,
        known: &ServerPlace,
        place: &ServerPlace,
    ) -> Result<Option<Server>, StoreError> {
        self.meddle().await;
        ServerRegistry::change(&*self.store, server, known, place).await
    }

    async fn remove(&self, server: ServerKey, known: &ServerPlace) -> Result<Removal, StoreError> {
        self.meddle().await;
        ServerRegistry::remove(&*self.store, server, known).await
    }

    async fn set_haproxy_node(
        &self,
        server: ServerKey,
        is_haproxy_node: bool,
    ) -> Result<Option<Server>, StoreError> {
        self.store.set_haproxy_node(server, is_haproxy_node).await
    }
}

#[async_trait]
impl ApplicationRegistry for Meddler {
    async fn change(
        &self,
        application: ApplicationKey,
        known: &ApplicationSettings,
        wanted: &ApplicationSettings,
    ) -> Result<Settled<Application>, StoreError> {
        self.meddle().await;
        ApplicationRegistry::change(&*self.store, application, known, wanted).await
    }
}

#[async_trait]
impl GroupRegistry for Meddler {
    async fn add(
        &self,
        group: &GroupSettings,
        at: Timestamp,
    ) -> Result<Option<NamedGroup>, StoreError> {
        GroupRegistry::add(&*self.store, group, at).await
    }

    async fn find(&self, group: GroupKey) -> Result<Option<NamedGroup>, StoreError> {
        GroupRegistry::find(&*self.store, group).await
    }

    async fn change(
        &self,
        group: GroupKey,
        known: &GroupSettings,
        wanted: &GroupSettings,
    ) -> Result<Settled<NamedGroup>, StoreError> {
        self.meddle().await;
        GroupRegistry::change(&*self.store, group, known, wanted).await
    }

    async fn remove(&self, group: GroupKey, known: &GroupSettings) -> Result<Release, StoreError> {
        self.meddle().await;
        GroupRegistry::remove(&*self.store, group, known).await
    }
}

#[async_trait]
impl CatalogRegistry for Meddler {
    async fn add(
        &self,
        kind: ApplicationKind,
        entry: &CatalogSettings,
        at: Timestamp,
    ) -> Result<CatalogEntry, StoreError> {
        CatalogRegistry::add(&*self.store, kind, entry, at).await
    }

    async fn find(&self, entry: CatalogKey) -> Result<Option<CatalogEntry>, StoreError> {
        CatalogRegistry::find(&*self.store, entry).await
    }

    async fn list(
        &self,
        filter: &CatalogFilter,
        page: PageRequest,
    ) -> Result<Page<CatalogEntry>, StoreError> {
        CatalogRegistry::list(&*self.store, filter, page).await
    }

    async fn change(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
        wanted: &CatalogSettings,
    ) -> Result<Option<CatalogEntry>, StoreError> {
        self.meddle().await;
        CatalogRegistry::change(&*self.store, entry, known, wanted).await
    }

    async fn remove(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
    ) -> Result<Release, StoreError> {
        self.meddle().await;
        CatalogRegistry::remove(&*self.store, entry, known).await
    }
}
