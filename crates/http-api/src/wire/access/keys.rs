//! API keys: who may do what, and until when.

use drover_domain::Timestamp;
use drover_domain::access::{ApiKey, KEY_NAME_MAX, KEYS_MAX, Role};
use drover_domain::text::check_title;
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::{Fields, Flaw, ReadBody, text};
use crate::wire::schema::{self, Instant};

/// A key to issue.
#[derive(Debug)]
pub(crate) struct NewAccessKey {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) expires_at: Option<Timestamp>,
}

impl ReadBody for NewAccessKey {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required(
            "name",
            text(|given| {
                check_title("the name", given, KEY_NAME_MAX).map_err(Flaw::invalid)?;
                Ok(given.to_owned())
            }),
        );
        let role = fields.required(
            "role",
            text(|word| {
                Role::parse(word)
                    .ok_or_else(|| Flaw::new("invalid", "must be one of viewer, operator, admin"))
            }),
        );
        let expires_at = fields.optional(
            "expires_at",
            text(|given| {
                Timestamp::parse(given).ok_or_else(|| {
                    let detail = "must be a time such as 2026-12-31T12:00:00Z (RFC 3339)";
                    Flaw::new("invalid", detail)
                })
            }),
        );
        Some(Self {
            name: name?,
            role: role?,
            expires_at: expires_at?,
        })
    }
}

/// A key to issue.
#[derive(ToSchema)]
#[schema(as = NewAccessKey)]
#[expect(dead_code, reason = "describes what `NewAccessKey` reads")]
pub(crate) struct NewAccessKeyShape {
    #[schema(schema_with = schema::key_name)]
    name: String,
    #[schema(schema_with = schema::role)]
    role: String,
    #[schema(schema_with = schema::key_end, required = false)]
    expires_at: Option<String>,
}

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccessKey {
    /// The public half of the key: the 16 hexadecimal digits after `drv_`.
    id: String,
    /// The person or program it is for; the actor of its requests.
    name: String,
    #[schema(schema_with = schema::role)]
    role: &'static str,
    /// `issued` by an administrator, `first` start of Drover, or `configured` as `access.admin_key`.
    origin: &'static str,
    /// The name of the key it was issued with.
    created_by: Option<String>,
    /// When it was made.
    created_at: Instant,
    /// From when on it is refused; null for a key without an end.
    expires_at: Option<Instant>,
}

impl From<ApiKey> for AccessKey {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.public_id,
            name: key.name,
            role: key.role.as_str(),
            origin: key.origin.as_str(),
            created_by: key.created_by,
            created_at: key.created_at.into(),
            expires_at: key.expires_at.map(Into::into),
        }
    }
}

/// All API keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccessKeyList {
    /// The keys, oldest first; expired ones are among them until they are revoked.
    #[schema(max_items = 500)]
    pub(crate) items: Vec<AccessKey>,
}

const _: () = assert!(KEYS_MAX == 500, "the schema says so");

/// An issued API key with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedAccessKey {
    #[serde(flatten)]
    access_key: AccessKey,
    /// The whole key, as it is sent in `Authorization: Bearer`. Drover keeps a digest of it only: it is not shown again.
    key: String,
}

impl IssuedAccessKey {
    /// The answer that shows the secret.
    pub(crate) fn new(key: ApiKey, text: String) -> Self {
        Self {
            access_key: key.into(),
            key: text,
        }
    }
}
