//! Groups of applications, and the catalog.

use drover_domain::Key;
use drover_domain::fleet::{self, ApplicationKind, SettingsLayer};
use drover_domain::rollout::grouping::GroupingStrategy;
use drover_usecases::{CatalogColumn, CatalogFilter, GroupColumn, GroupFilter, NamedGroup};
use serde::Serialize;
use utoipa::openapi::Object;
use utoipa::{IntoParams, ToSchema};

use crate::body::{Fields, Flaw, ReadBody, text, whole};
use crate::etag::tag;
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::ID_MAX;
use crate::wire::NAME_MAX;
use crate::wire::fleet::application_settings::{layer, layer_parts, name};
use crate::wire::schema;
use crate::wire::word::ApplicationType;

/// Applications that are updated together; a group spans servers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApplicationGroup {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Its name; unique.
    name: String,
    /// The id of its catalog entry.
    #[schema(minimum = 1)]
    catalog_id: Option<i64>,
    /// The name of its catalog entry.
    catalog: Option<String>,
    /// How many applications it has.
    applications: u32,
    /// How many of them are online.
    online: u32,
    /// The update playbook of the group with its parameters, if it has one of its own.
    update_playbook_path: Option<String>,
    /// Where its artifacts are, if it says so itself.
    artifact_list_url: Option<String>,
    /// The file extension of its artifacts, if it says so itself.
    artifact_extension: Option<String>,
    /// How its applications are grouped into rollouts.
    batch_grouping_strategy: String,
}

impl From<NamedGroup> for ApplicationGroup {
    fn from((group, catalog): NamedGroup) -> Self {
        Self {
            id: group.key.get(),
            name: group.name,
            catalog_id: group.catalog.map(Key::get),
            catalog,
            applications: group.applications,
            online: group.online,
            update_playbook_path: group.settings.playbook_path,
            artifact_list_url: group.settings.artifact_url,
            artifact_extension: group.settings.artifact_extension,
            batch_grouping_strategy: group.grouping,
        }
    }
}

/// The tag of what people say about a group.
pub(crate) fn group_tag(group: &fleet::Group) -> String {
    let catalog = group.catalog.map(|key| key.to_string()).unwrap_or_default();
    let [playbook, url, extension] = layer_parts(&group.settings);
    let (name, grouping) = (group.name.as_str(), group.grouping.as_str());
    tag([name, &catalog, grouping, playbook, url, extension])
}

/// Which groups are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct GroupParams {
    #[param(schema_with = schema::catalog_condition)]
    catalog: Option<String>,
    #[param(schema_with = part)]
    q: Option<String>,
    #[param(schema_with = schema::sort::<GroupColumn>)]
    sort: Option<String>,
}

fn part() -> Object {
    schema::line(NAME_MAX)
        .description(Some(
            "With this in its name, small or capital letters a to z alike.",
        ))
        .build()
}

impl Filter for GroupFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            catalog: parameters.line("catalog", NAME_MAX)?,
            like: parameters.line("q", NAME_MAX)?,
            sort: parameters.sort()?,
        })
    }
}

/// The wanted settings of a group.
#[derive(Debug)]
pub(crate) struct NewApplicationGroup(pub(crate) fleet::GroupSettings);

fn strategy(text: &str) -> Result<GroupingStrategy, Flaw> {
    GroupingStrategy::find(text).ok_or_else(|| {
        let words = GroupingStrategy::ALL
            .map(GroupingStrategy::as_str)
            .join(", ");
        Flaw::new("invalid", format!("must be one of {words}"))
    })
}

impl ReadBody for NewApplicationGroup {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", name("the name of the group"));
        let catalog = fields.optional("catalog_id", whole(1, ID_MAX));
        let grouping = fields.optional("batch_grouping_strategy", text(strategy));
        let names = [
            "update_playbook_path",
            "artifact_list_url",
            "artifact_extension",
        ];
        let own = layer(fields, names);
        Some(Self(fleet::GroupSettings {
            name: name?,
            catalog: catalog?.map(Key::new),
            grouping: grouping?.unwrap_or_default().as_str().to_owned(),
            own: own?,
        }))
    }
}

/// The settings of a group; a member that is left out is null.
#[derive(ToSchema)]
#[schema(as = NewApplicationGroup)]
#[expect(dead_code, reason = "describes what `NewApplicationGroup` reads")]
pub(crate) struct NewApplicationGroupShape {
    #[schema(schema_with = group_name)]
    name: String,
    #[schema(schema_with = schema::catalog_id, required = false)]
    catalog_id: Option<i64>,
    #[schema(schema_with = schema::batch_grouping_strategy, required = false)]
    batch_grouping_strategy: Option<String>,
    #[schema(schema_with = schema::playbook_path, required = false)]
    update_playbook_path: Option<String>,
    #[schema(schema_with = schema::settings_artifact_url, required = false)]
    artifact_list_url: Option<String>,
    #[schema(schema_with = schema::artifact_extension, required = false)]
    artifact_extension: Option<String>,
}

fn group_name() -> Object {
    schema::line(NAME_MAX)
        .description(Some("The name of the group; unique."))
        .build()
}

/// What is known of all applications of one base name and kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CatalogEntry {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Its name; unique among those of its kind.
    name: String,
    app_type: ApplicationType,
    /// The update playbook with its parameters, if it says so.
    default_playbook_path: Option<String>,
    /// Where artifacts are, if it says so.
    default_artifact_url: Option<String>,
    /// The file extension of artifacts, if it says so.
    default_artifact_extension: Option<String>,
    /// How many applications it has.
    applications: u32,
    /// How many groups belong to it.
    groups: u32,
}

impl From<fleet::CatalogEntry> for CatalogEntry {
    fn from(entry: fleet::CatalogEntry) -> Self {
        Self {
            id: entry.key.get(),
            name: entry.name,
            app_type: entry.kind.into(),
            default_playbook_path: entry.settings.playbook_path,
            default_artifact_url: entry.settings.artifact_url,
            default_artifact_extension: entry.settings.artifact_extension,
            applications: entry.applications,
            groups: entry.groups,
        }
    }
}

/// The tag of what people say about a catalog entry.
pub(crate) fn entry_tag(entry: &fleet::CatalogEntry) -> String {
    let [playbook, url, extension] = layer_parts(&entry.settings);
    tag([entry.name.as_str(), playbook, url, extension])
}

/// Which catalog entries are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct CatalogParams {
    /// Of this kind.
    #[param(inline)]
    app_type: Option<ApplicationType>,
    #[param(schema_with = part)]
    q: Option<String>,
    #[param(schema_with = schema::sort::<CatalogColumn>)]
    sort: Option<String>,
}

/// The words for kinds of applications.
const KINDS: &str = "docker, site, service";

impl Filter for CatalogFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            kind: parameters.word("app_type", KINDS, ApplicationKind::parse)?,
            like: parameters.line("q", NAME_MAX)?,
            sort: parameters.sort()?,
        })
    }
}

fn kind(text: &str) -> Result<ApplicationKind, Flaw> {
    ApplicationKind::parse(text)
        .ok_or_else(|| Flaw::new("invalid", format!("must be one of {KINDS}")))
}

/// A catalog entry to add.
#[derive(Debug)]
pub(crate) struct NewCatalogEntry {
    pub(crate) kind: ApplicationKind,
    pub(crate) entry: fleet::CatalogSettings,
}

impl ReadBody for NewCatalogEntry {
    fn read(fields: &mut Fields) -> Option<Self> {
        let kind = fields.required("app_type", text(kind));
        let entry = ChangeCatalogEntry::read(fields);
        Some(Self {
            kind: kind?,
            entry: entry?.0,
        })
    }
}

/// A catalog entry to add; what is left out is null.
#[derive(ToSchema)]
#[schema(as = NewCatalogEntry)]
#[expect(dead_code, reason = "describes what `NewCatalogEntry` reads")]
pub(crate) struct NewCatalogEntryShape {
    #[schema(schema_with = entry_name)]
    name: String,
    app_type: ApplicationType,
    #[schema(schema_with = schema::playbook_path, required = false)]
    default_playbook_path: Option<String>,
    #[schema(schema_with = schema::settings_artifact_url, required = false)]
    default_artifact_url: Option<String>,
    #[schema(schema_with = schema::artifact_extension, required = false)]
    default_artifact_extension: Option<String>,
}

fn entry_name() -> Object {
    schema::line(NAME_MAX)
        .description(Some(
            "The base name of its applications; unique among entries of its kind.",
        ))
        .build()
}

/// The wanted settings of a catalog entry.
#[derive(Debug)]
pub(crate) struct ChangeCatalogEntry(pub(crate) fleet::CatalogSettings);

impl ReadBody for ChangeCatalogEntry {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", name("the name of the catalog entry"));
        let names = [
            "default_playbook_path",
            "default_artifact_url",
            "default_artifact_extension",
        ];
        let own: Option<SettingsLayer> = layer(fields, names);
        Some(Self(fleet::CatalogSettings {
            name: name?,
            own: own?,
        }))
    }
}

/// The settings of a catalog entry; a member that is left out is null.
#[derive(ToSchema)]
#[schema(as = ChangeCatalogEntry)]
#[expect(dead_code, reason = "describes what `ChangeCatalogEntry` reads")]
pub(crate) struct ChangeCatalogEntryShape {
    #[schema(schema_with = entry_name)]
    name: String,
    #[schema(schema_with = schema::playbook_path, required = false)]
    default_playbook_path: Option<String>,
    #[schema(schema_with = schema::settings_artifact_url, required = false)]
    default_artifact_url: Option<String>,
    #[schema(schema_with = schema::artifact_extension, required = false)]
    default_artifact_extension: Option<String>,
}
