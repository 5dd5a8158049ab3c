//! What people say about an application, and the settings of every layer.

use drover_domain::fleet::{self, SettingsLayer};
use drover_domain::rollout::playbook_path::PlaybookPath;
use drover_domain::rollout::record::ArtifactUrl;
use drover_domain::text::{TextError, check_line, check_title};
use drover_usecases::{ApplicationDetail, FleetEventFilter};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::body::{Fields, Flaw, ReadBody, text};
use crate::etag::tag;
use crate::json::Value;
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::NAME_MAX;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{EventStatus, EventType};

/// A text that the domain takes as it is.
fn kept<E: std::error::Error>(
    check: impl FnOnce(&str) -> Result<(), E>,
) -> impl FnOnce(Value) -> Result<String, Vec<Flaw>> {
    text(|text| match check(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(Flaw::invalid(error)),
    })
}

/// The name of a group or a catalog entry.
pub(in crate::wire) fn name(what: &'static str) -> impl FnOnce(Value) -> Result<String, Vec<Flaw>> {
    kept(move |text: &str| check_title(what, text, NAME_MAX))
}

fn playbook(value: Value) -> Result<String, Vec<Flaw>> {
    let line = kept(|text| check_line("the playbook path", text, PlaybookPath::LENGTH_MAX));
    let parsed = kept(|text| PlaybookPath::parse(text).map(|_| ()));
    line(value.clone()).and_then(|_| parsed(value))
}

/// The settings of a layer, by the names of its fields: the playbook, where artifacts are, their extension.
pub(in crate::wire) fn layer(
    fields: &mut Fields,
    names: [&'static str; 3],
) -> Option<SettingsLayer> {
    let [path, url, extension] = names;
    let playbook_path = fields.optional(path, playbook);
    let artifact_url = fields.optional(url, kept(|text| ArtifactUrl::parse(text).map(|_| ())));
    let artifact_extension = fields.optional(
        extension,
        kept(|text| -> Result<(), TextError> {
            check_line(
                "the extension of artifacts",
                text,
                SettingsLayer::EXTENSION_MAX,
            )
        }),
    );
    Some(SettingsLayer {
        playbook_path: playbook_path?,
        artifact_url: artifact_url?,
        artifact_extension: artifact_extension?,
    })
}

/// The settings of a layer as parts of a tag.
pub(in crate::wire) fn layer_parts(layer: &SettingsLayer) -> [&str; 3] {
    [
        layer.playbook_path.as_deref().unwrap_or_default(),
        layer.artifact_url.as_deref().unwrap_or_default(),
        layer.artifact_extension.as_deref().unwrap_or_default(),
    ]
}

/// What people say about an application.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApplicationSettings {
    /// The id of its group.
    #[schema(minimum = 1)]
    group_id: Option<i64>,
    /// The name of its group.
    group: Option<String>,
    /// Its own update playbook with its parameters; null: that of its group.
    custom_playbook_path: Option<String>,
    /// Where its artifacts are; null: where those of its group are.
    custom_artifact_url: Option<String>,
    /// The file extension of its artifacts; null: that of its group.
    custom_artifact_extension: Option<String>,
    /// The update playbook that holds for it, with its parameters.
    effective_playbook: String,
}

/// The tag of what people say about an application.
pub(crate) fn application_tag(application: &fleet::Application) -> String {
    let group = application.group.as_ref().map(|(_, name)| name.as_str());
    let [playbook, url, extension] = layer_parts(&application.settings);
    tag([group.unwrap_or_default(), playbook, url, extension])
}

impl From<ApplicationDetail> for ApplicationSettings {
    fn from(detail: ApplicationDetail) -> Self {
        let (key, name) = detail.application.group.unzip();
        let own = detail.application.settings;
        Self {
            group_id: key.map(drover_domain::Key::get),
            group: name,
            custom_playbook_path: own.playbook_path,
            custom_artifact_url: own.artifact_url,
            custom_artifact_extension: own.artifact_extension,
            effective_playbook: detail.playbook_path,
        }
    }
}

/// The wanted settings of an application.
#[derive(Debug)]
pub(crate) struct NewApplicationSettings(pub(crate) fleet::ApplicationSettings);

impl ReadBody for NewApplicationSettings {
    fn read(fields: &mut Fields) -> Option<Self> {
        let group = fields.optional("group", name("the name of the group"));
        let names = [
            "custom_playbook_path",
            "custom_artifact_url",
            "custom_artifact_extension",
        ];
        let own = layer(fields, names);
        Some(Self(fleet::ApplicationSettings {
            group: group?,
            own: own?,
        }))
    }
}

/// The settings of an application; a member that is left out is null.
#[derive(ToSchema)]
#[schema(as = NewApplicationSettings)]
#[expect(dead_code, reason = "describes what `NewApplicationSettings` reads")]
pub(crate) struct NewApplicationSettingsShape {
    #[schema(schema_with = group_of_application, required = false)]
    group: Option<String>,
    #[schema(schema_with = schema::playbook_path, required = false)]
    custom_playbook_path: Option<String>,
    #[schema(schema_with = schema::settings_artifact_url, required = false)]
    custom_artifact_url: Option<String>,
    #[schema(schema_with = schema::artifact_extension, required = false)]
    custom_artifact_extension: Option<String>,
}

fn group_of_application() -> utoipa::openapi::Object {
    schema::nullable_line(
        NAME_MAX,
        "The name of its group. Null: no group until it is polled and is put into that of its base name.",
    )
}

/// Which events of an application are wanted.
#[derive(Debug)]
pub(crate) struct ApplicationEvents(pub(crate) FleetEventFilter);

impl Filter for ApplicationEvents {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        crate::wire::fleet::application::read_events(parameters).map(Self)
    }
}

/// Which events of an application are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct ApplicationEventParams {
    /// About this.
    #[param(inline)]
    event_type: Option<EventType>,
    /// That went like this.
    #[param(inline)]
    status: Option<EventStatus>,
    /// Not before this moment.
    since: Option<Instant>,
    /// Before this moment.
    until: Option<Instant>,
}
