//! The server that everything is measured against.

use anyhow::{Context, Result};
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::store::postgres::{Cluster, Database, Durability};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};

/// A PostgreSQL of its own that syncs every commit.
pub(crate) struct Server {
    cluster: Cluster,
}

impl Server {
    /// Starts it.
    pub(crate) fn start() -> Self {
        Self {
            cluster: Cluster::private(Durability::Durable),
        }
    }

    /// An empty database.
    pub(crate) fn database(&self, name: &str) -> Database {
        self.cluster.database(name)
    }

    /// A migrated store in a database of its own, and a second way into it.
    pub(crate) async fn store(
        &self,
        name: &str,
    ) -> Result<(SeaOrmStore, DatabaseConnection, Database)> {
        let database = self.database(name);
        let store = SeaOrmStore::connect(&Options::new(database.url()))
            .await
            .context("PostgreSQL cannot be reached")?;
        store.migrate().await.context("the schema cannot be made")?;
        let side = plain(&database.url(), 1).await?;
        Ok((store, side, database))
    }
}

/// Connections without questions before each use.
pub(crate) async fn plain(url: &str, connections: u32) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(connections)
        .test_before_acquire(false)
        .sqlx_logging(false);
    Ok(sea_orm::Database::connect(options).await?)
}

/// Has the planner know the tables, as a server that has run for a while would; the scripts of the others do
/// the same.
pub(crate) async fn settle(side: &DatabaseConnection) -> Result<()> {
    side.execute_unprepared("VACUUM ANALYZE").await?;
    Ok(())
}
