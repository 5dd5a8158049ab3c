//! HAProxy: which application stands behind a server, and how that changed.

use drover_domain::fleet::ApplicationKey;
use drover_domain::haproxy::{ActiveMapping, Exclusion, ServerMapping};
use drover_usecases::{MappingChange, Remapped, UnmappedServer};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::{Fields, ReadBody, boolean, whole};
use crate::wire::ID_MAX;
use crate::wire::haproxy::action::line;
use crate::wire::haproxy::instance::HaproxyServer;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{MappingAction, MappingBasis};

/// Which application stands behind a server.
#[derive(Debug, ToSchema)]
pub(crate) struct NewHaproxyMapping {
    #[schema(schema_with = schema::mapped_application)]
    application_id: i64,
    #[schema(schema_with = schema::mapping_reason, required = false)]
    pub(crate) reason: Option<String>,
}

impl ReadBody for NewHaproxyMapping {
    fn read(fields: &mut Fields) -> Option<Self> {
        let application_id = fields.required("application_id", whole(1, ID_MAX));
        let reason = fields.optional("reason", line("the reason", schema::ACTION_REASON_MAX));
        Some(Self {
            application_id: application_id?,
            reason: reason?,
        })
    }
}

impl NewHaproxyMapping {
    /// The application.
    pub(crate) const fn application(&self) -> ApplicationKey {
        ApplicationKey::new(self.application_id)
    }
}

/// How a mapping ends.
#[derive(Debug, ToSchema)]
pub(crate) struct EndHaproxyMapping {
    /// Whether the server is excluded: it stays unmapped until a person maps it. If not, the next sync maps it by rule again.
    #[schema(default = true)]
    exclude: Option<bool>,
    #[schema(schema_with = schema::mapping_reason, required = false)]
    pub(crate) reason: Option<String>,
}

impl ReadBody for EndHaproxyMapping {
    fn read(fields: &mut Fields) -> Option<Self> {
        let exclude = fields.optional("exclude", boolean);
        let reason = fields.optional("reason", line("the reason", schema::ACTION_REASON_MAX));
        Some(Self {
            exclude: exclude?,
            reason: reason?,
        })
    }
}

impl EndHaproxyMapping {
    /// Whether the server is excluded.
    pub(crate) fn excludes(&self) -> bool {
        self.exclude.unwrap_or(true)
    }
}

/// Where a server stands with its mapping.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyMapping {
    /// The server.
    #[schema(minimum = 1)]
    server_id: i64,
    /// The application behind it; null if unknown.
    #[schema(minimum = 1)]
    application_id: Option<i64>,
    /// Why the two belong together.
    #[schema(inline)]
    basis: Option<MappingBasis>,
    /// Since when, or since when for this reason.
    mapped_at: Option<Instant>,
    /// The exclusion that keeps Drover from mapping it by rule; null if there is none.
    exclusion: Option<HaproxyExclusion>,
}

impl From<ServerMapping> for HaproxyMapping {
    fn from(mapping: ServerMapping) -> Self {
        let ServerMapping {
            server,
            active,
            exclusion,
        } = mapping;
        let told = active.map(|active| {
            let ActiveMapping {
                application,
                basis,
                at,
            } = active;
            (application.get(), basis.into(), at.into())
        });
        Self {
            server_id: server.get(),
            application_id: told.map(|(application, _, _)| application),
            basis: told.map(|(_, basis, _)| basis),
            mapped_at: told.map(|(_, _, at)| at),
            exclusion: exclusion.map(Into::into),
        }
    }
}

/// An exclusion: the server has no mapping until a person makes one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyExclusion {
    /// Since when.
    at: Instant,
    /// Who said so.
    actor: String,
    /// Why, in their words.
    reason: Option<String>,
}

impl From<Exclusion> for HaproxyExclusion {
    fn from(exclusion: Exclusion) -> Self {
        let Exclusion { at, actor, reason } = exclusion;
        Self {
            at: at.into(),
            actor,
            reason,
        }
    }
}

/// A change of the mapping of a server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyMappingChange {
    /// When it happened.
    at: Instant,
    action: MappingAction,
    basis: MappingBasis,
    /// The application of the mapping that changed.
    #[schema(minimum = 1)]
    application_id: i64,
    /// Who wanted it; null when a sync did it.
    actor: Option<String>,
    /// The request in which it was asked for.
    request_id: Option<String>,
    /// The reason, as given in the request.
    reason: Option<String>,
}

impl From<MappingChange> for HaproxyMappingChange {
    fn from(change: MappingChange) -> Self {
        let MappingChange {
            position: _,
            at,
            action,
            application,
            basis,
            cause,
        } = change;
        let (origin, reason) = cause.map(|cause| (cause.origin, cause.reason)).unzip();
        let (actor, request_id) = origin
            .map(|origin| (origin.actor, origin.request_id))
            .unzip();
        Self {
            at: at.into(),
            action: action.into(),
            basis: basis.into(),
            application_id: application.get(),
            actor,
            request_id,
            reason: reason.flatten(),
        }
    }
}

/// A server without a mapping.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnmappedHaproxyServer {
    server: HaproxyServer,
    /// The name of its backend.
    backend_name: String,
    /// Its instance.
    #[schema(minimum = 1)]
    instance_id: i64,
    /// The name of that at its agent.
    instance_name: String,
    /// The name of the server whose agent manages it.
    server_name: String,
    /// Who keeps Drover from mapping it by rule; null when nothing fits it, or more than one thing does.
    exclusion: Option<HaproxyExclusion>,
    /// Why the rule finds no application; null where the server is excluded, or the next sync maps it.
    reason: Option<String>,
}

impl From<(UnmappedServer, Option<String>)> for UnmappedHaproxyServer {
    fn from((found, reason): (UnmappedServer, Option<String>)) -> Self {
        let UnmappedServer {
            server,
            backend_name,
            instance,
            instance_name,
            node_name,
            exclusion,
        } = found;
        Self {
            server: server.into(),
            backend_name,
            instance_id: instance.get(),
            instance_name,
            server_name: node_name,
            exclusion: exclusion.map(Into::into),
            reason,
        }
    }
}

/// What a look at everything unmapped came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyRemapped {
    /// How many servers were looked at: those without a mapping that are not excluded.
    looked_at: u64,
    /// How many of them have a mapping since.
    mapped: u64,
}

impl From<Remapped> for HaproxyRemapped {
    fn from(done: Remapped) -> Self {
        let Remapped { looked_at, mapped } = done;
        Self { looked_at, mapped }
    }
}
