//! Migrated databases of their own, and a side door into them.
#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would not be fulfilled in every test program"
)]

mod engine;

use std::any::Any;
use std::fmt::Write as _;

use async_trait::async_trait;
use drover_domain::Key;
use drover_domain::fleet::{ApplicationKey, CatalogKey, GroupKey, SettingsLayer};
use drover_domain::haproxy::HaproxyServerKey;
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::store::postgres::{self, Database};
use drover_testkit::store::{SideDoor, World};
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement, Value};

/// A migrated database of its own, with a second way in.
pub(crate) struct Scene {
    pub(crate) store: SeaOrmStore,
    pub(crate) url: String,
    side: DatabaseConnection,
    // Last: what is open is closed before its database goes.
    _keep: Box<dyn Any + Send + Sync>,
}

/// A migrated SQLite file.
pub(crate) async fn sqlite() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("drover.db").display());
    let store = SeaOrmStore::connect(&Options::new(&url)).await.unwrap();
    store.migrate().await.unwrap();
    scene(store, url, Box::new(folder)).await
}

/// A migrated PostgreSQL database.
pub(crate) async fn postgres() -> Scene {
    let database = migrated().await;
    let url = database.url();
    let store = SeaOrmStore::connect(&Options::new(&url)).await.unwrap();
    scene(store, url, Box::new(database)).await
}

/// A migrated PostgreSQL database without connections.
pub(crate) async fn migrated() -> Database {
    postgres::database(async |url: &str| {
        let store = SeaOrmStore::connect(&Options::new(url)).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
    })
    .await
}

async fn scene(store: SeaOrmStore, url: String, keep: Box<dyn Any + Send + Sync>) -> Scene {
    let mut options = sea_orm::ConnectOptions::new(&url);
    options.max_connections(1).sqlx_logging(false);
    let side = sea_orm::Database::connect(options).await.unwrap();
    Scene {
        store,
        url,
        side,
        _keep: keep,
    }
}

impl Scene {
    /// The world for the contract suites.
    pub(crate) fn world(self) -> World {
        World::new(self.store.clone(), self)
    }

    /// Changes the database behind the store's back.
    pub(crate) async fn execute(&self, text: &str, values: Vec<Value>) {
        let statement =
            Statement::from_sql_and_values(self.side.get_database_backend(), text, values);
        self.side.execute_raw(statement).await.unwrap();
    }

    /// Looks into the database behind the store's back.
    pub(crate) async fn rows(&self, text: &str) -> Vec<QueryResult> {
        let statement = Statement::from_string(self.side.get_database_backend(), text);
        self.side.query_all_raw(statement).await.unwrap()
    }

    async fn set_settings(
        &self,
        table: &str,
        columns: [&str; 3],
        key: i64,
        settings: SettingsLayer,
    ) {
        let mut text = format!("UPDATE {table} SET ");
        for (place, column) in columns.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(text, "{comma}{column} = ${}", place + 2).unwrap();
        }
        text.push_str(" WHERE id = $1");
        let values = vec![
            key.into(),
            settings.playbook_path.into(),
            settings.artifact_url.into(),
            settings.artifact_extension.into(),
        ];
        self.execute(&text, values).await;
    }
}

#[async_trait]
impl SideDoor for Scene {
    async fn set_application_settings(&self, application: ApplicationKey, settings: SettingsLayer) {
        let columns = [
            "custom_playbook_path",
            "custom_artifact_url",
            "custom_artifact_extension",
        ];
        self.set_settings(
            "application_instances",
            columns,
            application.get(),
            settings,
        )
        .await;
    }

    async fn set_group_settings(&self, group: GroupKey, settings: SettingsLayer, grouping: &str) {
        let columns = [
            "update_playbook_path",
            "artifact_list_url",
            "artifact_extension",
        ];
        self.set_settings("application_groups", columns, group.get(), settings)
            .await;
        let text = "UPDATE application_groups SET batch_grouping_strategy = $2 WHERE id = $1";
        self.execute(text, vec![group.get().into(), grouping.into()])
            .await;
    }

    async fn set_catalog_settings(&self, catalog: CatalogKey, settings: SettingsLayer) {
        let columns = [
            "default_playbook_path",
            "default_artifact_url",
            "default_artifact_extension",
        ];
        self.set_settings("application_catalog", columns, catalog.get(), settings)
            .await;
    }

    async fn detach_group(&self, group: GroupKey) {
        self.execute(
            "UPDATE application_groups SET catalog_id = NULL WHERE id = $1",
            vec![group.get().into()],
        )
        .await;
    }

    async fn add_server_unchecked(&self, name: &str) {
        self.execute(
            "INSERT INTO servers (name, short_name, address, port, created_at) VALUES ($1, $2, '10.0.0.1', 5000, 0)",
            vec![
                name.into(),
                name.split('.').next().unwrap().to_lowercase().into(),
            ],
        )
        .await;
    }

    async fn retire_orchestrator(&self, file_path: &str) {
        let text = "UPDATE orchestrator_playbooks SET is_active = false WHERE file_path = $1";
        self.execute(text, vec![file_path.into()]).await;
    }

    async fn status_history(&self) -> Vec<(HaproxyServerKey, String, String)> {
        let text = "SELECT haproxy_server_id, old_status, new_status FROM haproxy_server_status_history ORDER BY id";
        let rows = self.rows(text).await;
        rows.iter()
            .map(|row| {
                let key = Key::new(row.try_get("", "haproxy_server_id").unwrap());
                (
                    key,
                    row.try_get("", "old_status").unwrap(),
                    row.try_get("", "new_status").unwrap(),
                )
            })
            .collect()
    }

    async fn status_reasons(&self) -> Vec<String> {
        let text = "SELECT change_reason FROM haproxy_server_status_history ORDER BY id";
        let rows = self.rows(text).await;
        rows.iter()
            .map(|row| row.try_get("", "change_reason").unwrap())
            .collect()
    }

    async fn mapping_history(&self) -> Vec<(HaproxyServerKey, ApplicationKey, String)> {
        let text = "SELECT m.entity_id, m.application_id, h.action FROM application_mapping_history h \
                    JOIN application_mappings m ON m.id = h.mapping_id ORDER BY h.id";
        let rows = self.rows(text).await;
        rows.iter()
            .map(|row| {
                let server = Key::new(row.try_get("", "entity_id").unwrap());
                (
                    server,
                    Key::new(row.try_get("", "application_id").unwrap()),
                    row.try_get("", "action").unwrap(),
                )
            })
            .collect()
    }

    async fn cut(&self) {
        self.store.close().await;
    }
}
