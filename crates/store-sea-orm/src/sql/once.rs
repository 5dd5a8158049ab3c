//! Requests with an idempotency key whose effect is no workflow: the key's row is in the transaction of the effect.

use drover_domain::Timestamp;
use drover_ports::{Idempotency, StoreError};
use sea_orm::FromQueryResult;

use crate::row::Stored;
use crate::sql::Sql;
use crate::sql::session::{Row, Session};

#[derive(Debug, FromQueryResult)]
struct UsedKey {
    digest: Vec<u8>,
    task_ids: String,
}

impl Row for UsedKey {
    const WHAT: &'static str = "idempotency key";
}

/// Uses a key: `None` for the first time, and else what came of that. On PostgreSQL a request with the same key at the
/// same time is waited for.
pub(crate) async fn repeated(
    session: &Session,
    key: &Idempotency,
    at: Timestamp,
) -> Result<Option<Vec<String>>, StoreError> {
    let text = format!(
        "INSERT INTO idempotency_keys (scope, request_key, digest, task_ids, created_at, ends_by_age)
         VALUES ($1, $2, $3, {}, $5, TRUE) ON CONFLICT (scope, request_key) DO NOTHING",
        session.dialect.json(4),
    );
    let sql = Sql::new(text)
        .text(&key.scope)
        .text(&key.key)
        .bind(key.digest.clone())
        .json(&[""; 0])
        .bind(at.as_micros());
    if session.execute(sql).await? == 1 {
        return Ok(None);
    }
    let sql = Sql::new(
        "SELECT digest, CAST(task_ids AS text) AS task_ids FROM idempotency_keys WHERE scope = $1 AND request_key = $2",
    );
    let used = session
        .row::<UsedKey>(sql.text(&key.scope).text(&key.key))
        .await?;
    let stored = Stored::new(UsedKey::WHAT, &key.key);
    let used = used.ok_or_else(|| stored.corrupt("it was not there after it was found used"))?;
    if used.digest != key.digest {
        return Err(StoreError::KeyReused {
            key: key.key.clone(),
        });
    }
    stored
        .shape("list of identifiers", &used.task_ids)
        .map(Some)
}

/// Stores what came of the first request with this key.
pub(crate) async fn remember(
    session: &Session,
    key: &Idempotency,
    ids: &[String],
) -> Result<(), StoreError> {
    let text = format!(
        "UPDATE idempotency_keys SET task_ids = {} WHERE scope = $1 AND request_key = $2",
        session.dialect.json(3),
    );
    let sql = Sql::new(text).text(&key.scope).text(&key.key).json(&ids);
    session.execute(sql).await.map(|_| ())
}
