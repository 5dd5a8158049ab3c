//! Writing under a claim.
//!
//! Every such write starts with [`hold`]: it finds the task's row in the engine's queue only while the claim is
//! held, and locks it until the write is done. A claim by another worker changes that row, and waits. Nothing
//! else of the engine's is locked, so there is no circle of waits.

use drover_ports::{Claim, StoreError};
use sea_orm::FromQueryResult;

use crate::sql::Sql;
use crate::sql::session::{Row, Session};

/// A claim that is held.
#[derive(Debug, FromQueryResult)]
pub(crate) struct Held {
    /// Whether the task is called off.
    pub(crate) is_stopped: bool,
}

impl Row for Held {
    const WHAT: &'static str = "task in the queue";
}

/// The error for a claim on a `what` that is no longer held.
pub(crate) fn stale(claim: &Claim, what: &'static str) -> StoreError {
    StoreError::Stale {
        what,
        name: claim.task.to_string(),
        attempt: claim.attempt,
    }
}

/// Keeps the claim on a `what` as it is until the end of the transaction, if it is held.
pub(crate) async fn hold(
    session: &Session,
    claim: &Claim,
    what: &'static str,
) -> Result<Held, StoreError> {
    let Some(no) = claim.task.no() else {
        return Err(stale(claim, what));
    };
    let text = format!(
        "SELECT q.is_stopped FROM workflow_queue q
         WHERE q.workflow_id = {} AND q.task_no = $2 AND q.attempt = $3 AND q.lease_id IS NOT NULL{}",
        session.dialect.uuid(1),
        session.dialect.locking("q"),
    );
    let sql = Sql::new(text)
        .id(claim.task.workflow())
        .bind(i64::from(no.get()))
        .bind(i64::from(claim.attempt));
    session
        .row::<Held>(sql)
        .await?
        .ok_or_else(|| stale(claim, what))
}
