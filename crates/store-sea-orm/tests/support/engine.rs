//! The side door of the engine's suites.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::WorkflowId;
use drover_testkit::engine::{EngineSideDoor, EngineWorld};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, TransactionTrait};
use tokio::sync::Mutex;

use super::Scene;

/// A scene, and the transaction that a case keeps open.
pub(crate) struct EngineScene {
    scene: Scene,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    transaction: Option<DatabaseTransaction>,
    later: Option<WorkflowId>,
}

impl Scene {
    /// The world for the engine's suites.
    pub(crate) fn engine_world(self) -> EngineWorld {
        let store = self.store.clone();
        EngineWorld::new(
            store,
            EngineScene {
                scene: self,
                open: Mutex::default(),
            },
        )
    }
}

impl EngineScene {
    fn event(&self, workflow: WorkflowId) -> Statement {
        let backend = self.scene.side.get_database_backend();
        // As the store does it: a turn first, on PostgreSQL.
        let text = if backend == DbBackend::Postgres {
            "WITH turn AS MATERIALIZED (
                 SELECT pg_advisory_xact_lock_shared((17494::bigint << 48) | n.number)
                 FROM (SELECT nextval('workflow_event_order') AS number OFFSET 0) n)
             INSERT INTO workflow_events (position, workflow_id, at, event_count, events)
             SELECT nextval('workflow_event_order'), $1::uuid, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 1,
                    '[[\"signal_received\",null,0,null]]' FROM turn"
        } else {
            "INSERT INTO workflow_events (workflow_id, at, event_count, events)
             VALUES ($1, CAST(unixepoch('subsec') * 1000000 AS INTEGER), 1, '[[\"signal_received\",null,0,null]]')"
        };
        Statement::from_sql_and_values(backend, text, [workflow.to_string().into()])
    }

    fn id(&self) -> &'static str {
        if self.scene.side.get_database_backend() == DbBackend::Postgres {
            "$1::uuid"
        } else {
            "$1"
        }
    }
}

#[async_trait]
impl EngineSideDoor for EngineScene {
    async fn make_due(&self, workflow: WorkflowId) {
        let text = format!(
            "UPDATE workflow_wakes SET at = 0 WHERE workflow_id = {}",
            self.id()
        );
        self.scene
            .execute(&text, vec![workflow.to_string().into()])
            .await;
        // A deadline that the record of a task names is compared with the time as well.
        let text = format!(
            "UPDATE workflow_tasks SET deadline_at = 0 WHERE workflow_id = {} AND deadline_at IS NOT NULL",
            self.id()
        );
        self.scene
            .execute(&text, vec![workflow.to_string().into()])
            .await;
    }

    async fn end_earlier(&self, workflow: WorkflowId, by: Duration) {
        let text = format!(
            "UPDATE workflows SET finished_at = finished_at - $2 WHERE id = {}",
            self.id()
        );
        let by = i64::try_from(by.as_micros()).unwrap();
        self.scene
            .execute(&text, vec![workflow.to_string().into(), by.into()])
            .await;
    }

    async fn copy_signals(&self, workflow: WorkflowId, count: usize) {
        let text = format!(
            "INSERT INTO workflow_signals (workflow_id, name, payload)
             SELECT workflow_id, name, payload FROM workflow_signals WHERE workflow_id = {}
             ORDER BY position LIMIT $2",
            self.id()
        );
        let count = i64::try_from(count).unwrap();
        self.scene
            .execute(&text, vec![workflow.to_string().into(), count.into()])
            .await;
    }

    async fn begin_event(&self, workflow: WorkflowId) {
        let mut open = self.open.lock().await;
        if self.scene.side.get_database_backend() == DbBackend::Postgres {
            let transaction = self.scene.side.begin().await.unwrap();
            transaction.execute_raw(self.event(workflow)).await.unwrap();
            open.transaction = Some(transaction);
        } else {
            open.later = Some(workflow);
        }
    }

    async fn commit_event(&self) {
        let mut open = self.open.lock().await;
        if let Some(transaction) = open.transaction.take() {
            transaction.commit().await.unwrap();
        }
        if let Some(workflow) = open.later.take() {
            let event = self.event(workflow);
            self.scene.side.execute_raw(event).await.unwrap();
        }
    }

    async fn cut(&self) {
        self.scene.store.close().await;
    }
}
