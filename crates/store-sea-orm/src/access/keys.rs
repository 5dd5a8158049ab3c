//! API keys.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::access::{ApiKey, KEYS_MAX, KeyDigest, KeyOrigin, Role};
use drover_ports::{AccessKeys, StoreError};
use sea_orm::FromQueryResult;

use crate::row::Stored;
use crate::sql::Sql;
use crate::sql::session::{Row, Session};
use crate::store::SeaOrmStore;

const COLUMNS: &str = "public_id, digest, role, name, origin, created_by, created_at, expires_at";

#[derive(FromQueryResult)]
struct KeyRow {
    public_id: String,
    digest: Vec<u8>,
    role: String,
    name: String,
    origin: String,
    created_by: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
}

impl Row for KeyRow {
    const WHAT: &'static str = "API key";
}

impl KeyRow {
    fn read(self) -> Result<ApiKey, StoreError> {
        let stored = Stored::new(Self::WHAT, &self.public_id);
        let digest = self
            .digest
            .try_into()
            .map_err(|_| stored.corrupt("its digest has not 32 bytes"))?;
        Ok(ApiKey {
            digest: KeyDigest::from_bytes(digest),
            role: stored.word("role", &self.role, Role::parse)?,
            origin: stored.word("origin", &self.origin, KeyOrigin::parse)?,
            public_id: self.public_id,
            name: self.name,
            created_by: self.created_by,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: self.expires_at.map(Timestamp::from_micros),
        })
    }
}

#[async_trait]
impl AccessKeys for SeaOrmStore {
    #[tracing::instrument(name = "db.keys.find", level = "debug", skip_all)]
    async fn find(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM api_keys WHERE public_id = $1");
        let row = self
            .read("find an API key")
            .row::<KeyRow>(Sql::new(text).text(public_id))
            .await?;
        row.map(KeyRow::read).transpose()
    }

    #[tracing::instrument(name = "db.keys.list", level = "debug", skip_all)]
    async fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        all(&self.read("list the API keys")).await
    }

    #[tracing::instrument(name = "db.keys.insert_first", level = "debug", skip_all)]
    async fn insert_first(&self, key: &ApiKey) -> Result<bool, StoreError> {
        if !self.list().await?.is_empty() {
            return Ok(false);
        }
        let session = self.locked("store the first API key").await?;
        let is_first = all(&session).await?.is_empty();
        if is_first {
            insert(&session, key).await?;
        }
        session.commit().await?;
        Ok(is_first)
    }

    #[tracing::instrument(name = "db.keys.insert", level = "debug", skip_all)]
    async fn insert(&self, key: &ApiKey) -> Result<(), StoreError> {
        let session = self.locked("store an API key").await?;
        let known = all(&session).await?;
        let is_taken = |known: &ApiKey| known.name == key.name || known.public_id == key.public_id;
        let refusal = if known.iter().any(is_taken) {
            Some(StoreError::AlreadyExists {
                what: "the API key",
                name: key.name.clone(),
            })
        } else if known.len() >= KEYS_MAX {
            Some(StoreError::Refused {
                reason: format!(
                    "there are {KEYS_MAX} API keys already; revoke those that are not used"
                ),
            })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            session.undo().await?;
            return Err(refusal);
        }
        insert(&session, key).await?;
        session.commit().await
    }

    #[tracing::instrument(name = "db.keys.configure", level = "debug", skip_all)]
    async fn configure(&self, key: Option<&ApiKey>) -> Result<bool, StoreError> {
        // A start that changes nothing needs no disk to write to.
        if is_configured(&self.list().await?, key) {
            return Ok(false);
        }
        let session = self.locked("store the API key of the settings").await?;
        let public_id = key.map(|key| key.public_id.as_str());
        let clear = "DELETE FROM api_keys WHERE origin = 'configured' OR public_id = $1";
        session
            .execute(Sql::new(clear).optional_text(public_id))
            .await?;
        if let Some(key) = key {
            insert(&session, key).await?;
        }
        session.commit().await?;
        Ok(true)
    }

    #[tracing::instrument(name = "db.keys.remove", level = "debug", skip_all)]
    async fn remove(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError> {
        let session = self.locked("remove an API key").await?;
        let mut known = all(&session).await?;
        let place = known.iter().position(|key| key.public_id == public_id);
        let Some(key) = place.map(|place| known.swap_remove(place)) else {
            session.undo().await?;
            return Ok(None);
        };
        if let Some(reason) = key.why_kept(&known) {
            session.undo().await?;
            return Err(StoreError::Refused { reason });
        }
        let remove = Sql::new("DELETE FROM api_keys WHERE public_id = $1").text(public_id);
        session.execute(remove).await?;
        session.commit().await?;
        Ok(Some(key))
    }
}

impl SeaOrmStore {
    // Two nodes must not both see an empty table, nor both remove one of the last two administrators.
    async fn locked(&self, action: &'static str) -> Result<Session, StoreError> {
        let session = self.write(action).await?;
        if let Some(lock) = session.dialect.alone_in("api_keys") {
            session.execute(Sql::new(lock)).await?;
        }
        Ok(session)
    }
}

async fn all(session: &Session) -> Result<Vec<ApiKey>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM api_keys ORDER BY created_at, public_id");
    let rows = session.rows::<KeyRow>(Sql::new(text)).await?;
    rows.into_iter().map(KeyRow::read).collect()
}

fn is_configured(known: &[ApiKey], wanted: Option<&ApiKey>) -> bool {
    let mut configured = known
        .iter()
        .filter(|key| key.origin == KeyOrigin::Configured);
    match (configured.next(), wanted) {
        (None, None) => true,
        (Some(key), Some(wanted)) => {
            configured.next().is_none()
                && key.public_id == wanted.public_id
                && key.digest == wanted.digest
                && key.role == wanted.role
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

async fn insert(session: &Session, key: &ApiKey) -> Result<(), StoreError> {
    let text = format!("INSERT INTO api_keys ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    let sql = Sql::new(text)
        .text(&key.public_id)
        .bind(key.digest.as_bytes().to_vec())
        .bind(key.role.as_str())
        .text(&key.name)
        .bind(key.origin.as_str())
        .optional_text(key.created_by.as_deref())
        .time(Some(key.created_at))
        .time(key.expires_at);
    session.execute(sql).await.map(|_| ())
}
