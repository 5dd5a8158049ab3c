//! Schemas that derives cannot say.

use drover_domain::Timestamp;
use drover_domain::fleet::{Network, NewServer, SettingsLayer};
use drover_domain::haproxy::PIN_MAX;
use drover_domain::haproxy::action::WAIT_MAX;
use drover_domain::page::{Sort, SortColumn};
use drover_domain::rollout::grouping::GroupingStrategy;
use drover_domain::rollout::playbook_path::PlaybookPath;
use drover_domain::rollout::record::{APPLICATIONS_MAX, ArtifactUrl};
use drover_domain::workflow::{DefinitionName, Kind, QueueName, TaskKey};
use drover_usecases::Actions;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{
    AnyOfBuilder, Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr};

use super::ID_MAX;

// What `drover_domain::text::is_hidden` refuses, for the inside of a character class.
const HIDDEN: &str = r"\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb";
const BLANK: &str = r"[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]";

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn nullable(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}

/// The id of something in the fleet.
pub(crate) fn id() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(1))
        .maximum(Some(ID_MAX.unsigned_abs()))
}

/// The id of a task.
pub(crate) fn uuid() -> Object {
    string()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .build()
}

/// Ids, each once.
pub(super) fn application_ids() -> Array {
    ArrayBuilder::new()
        .items(id().build())
        .min_items(Some(1))
        .max_items(Some(APPLICATIONS_MAX))
        .unique_items(true)
        .description(Some("The ids of the applications, each once."))
        .build()
}

/// Ids of servers in HAProxy, each once.
pub(super) fn haproxy_server_ids() -> Array {
    ArrayBuilder::new()
        .items(id().build())
        .min_items(Some(1))
        .max_items(Some(Actions::BATCH_MAX))
        .unique_items(true)
        .description(Some("The ids of the servers, each once."))
        .build()
}

/// The id of a server in HAProxy, as a condition.
pub(super) fn haproxy_server() -> Object {
    id().description(Some("Only those of the server with this id."))
        .build()
}

/// Seconds an action may wait.
pub(super) fn action_wait() -> Object {
    ObjectBuilder::new()
        .schema_type(nullable(Type::Number))
        .minimum(Some(0))
        .maximum(Some(WAIT_MAX.as_secs()))
        .description(Some(
            "How long to wait, seconds: after `drain` and `maint` for sessions to end, before `ready` for checks to \
             pass. Absent or null: 60 for `ready`, else 0, which does not wait for sessions.",
        ))
        .build()
}

/// Seconds a server is pinned.
pub(super) fn action_pin() -> Object {
    ObjectBuilder::new()
        .schema_type(nullable(Type::Number))
        .minimum(Some(1))
        .maximum(Some(PIN_MAX.as_secs()))
        .description(Some(
            "How long the server is pinned in `drain` or `maint`, seconds; during that time it is re-applied when \
             HAProxy forgets it in a reload. Absent or null: until somebody returns it. The end returns nothing.",
        ))
        .build()
}

/// What makes a repetition the same action.
pub(super) fn transaction_id() -> Object {
    transaction(
        TRANSACTION_ID_MAX,
        "What makes a repetition the same action; made up when it is not given.",
    )
}

/// What makes a repetition the same actions.
pub(super) fn batch_transaction_id() -> Object {
    transaction(
        BATCH_TRANSACTION_ID_MAX,
        "What makes a repetition the same actions: each server's has this one, `:` and the server's id.",
    )
}

fn transaction(most: usize, description: &'static str) -> Object {
    line(most)
        .schema_type(nullable(Type::String))
        .description(Some(description))
        .build()
}

/// The most characters of a transaction identifier.
pub(super) const TRANSACTION_ID_MAX: usize = 128;

/// The most characters of one that `:` and the greatest id are added to.
pub(super) const BATCH_TRANSACTION_ID_MAX: usize = TRANSACTION_ID_MAX - 17;

/// Why an action is done.
pub(super) fn action_reason() -> Object {
    line(ACTION_REASON_MAX)
        .schema_type(nullable(Type::String))
        .description(Some(
            "Why, for those who look later; needed when `force` is true.",
        ))
        .build()
}

/// Where messages go.
pub(super) fn webhook_url() -> Object {
    line(drover_domain::webhook::URL_MAX)
        .description(Some(
            "Where messages go: `https` or `http`, to an address that the policy `http_request` lets Drover call; without \
             user, password and fragment.",
        ))
        .build()
}

/// The name of an API key.
pub(super) fn key_name() -> Object {
    line(drover_domain::access::KEY_NAME_MAX)
        .description(Some(
            "The person or program the key is for; unique. It is the actor of the key's requests.",
        ))
        .build()
}

/// When an API key ends.
pub(super) fn key_end() -> Object {
    string()
        .schema_type(nullable(Type::String))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some(
            "RFC 3339. From then on the key is refused; without it the key is valid until it is revoked.",
        ))
        .examples([serde_json::json!("2027-01-31T12:00:00Z")])
        .build()
}

/// What a key allows.
pub(super) fn role() -> Object {
    string()
        .enum_values(Some(["viewer", "operator", "admin"]))
        .description(Some(
            "What the key allows: `viewer` reads, `operator` also starts updates and actions, `admin` also changes \
             what Drover knows and manages keys.",
        ))
        .build()
}

/// What a webhook is for.
pub(super) fn webhook_description() -> Object {
    line(1_000)
        .schema_type(nullable(Type::String))
        .description(Some("What it is for."))
        .build()
}

/// The types of events.
pub(super) fn webhook_events() -> Array {
    let words =
        drover_domain::webhook::EventType::ALL.map(drover_domain::webhook::EventType::as_str);
    ArrayBuilder::new()
        .schema_type(nullable(Type::Array))
        .items(string().enum_values(Some(words)))
        .max_items(Some(16))
        .description(Some("What is told. Absent, null or empty: all there is."))
        .build()
}

/// What messages are signed with.
pub(super) fn webhook_secret() -> Object {
    line(128)
        .schema_type(nullable(Type::String))
        .description(Some(
            "What messages are signed with: `whsec_` and 24 to 64 bytes in base64. Absent or null: made up.",
        ))
        .build()
}

/// The application behind a server.
pub(super) fn mapped_application() -> Object {
    id().description(Some("The id of the application behind the server."))
        .build()
}

/// Why a mapping is made or ended.
pub(super) fn mapping_reason() -> Object {
    line(ACTION_REASON_MAX)
        .schema_type(nullable(Type::String))
        .description(Some("Why, for those who look later."))
        .build()
}

/// The most characters of the reason for an action.
pub(super) const ACTION_REASON_MAX: usize = 1_000;

/// In which order a list goes.
pub(super) fn sort<C: SortColumn>() -> Object {
    string()
        .enum_values(Some(Sort::<C>::words()))
        .default(Some(serde_json::json!(C::default().as_str())))
        .description(Some(
            "What the list goes by, with `-` before it for the greatest first; texts by their bytes, what has no value as \
             the least. Where that is the same, items go by id.",
        ))
        .build()
}

/// A line, or null.
pub(super) fn nullable_line(most: usize, description: &'static str) -> Object {
    line(most)
        .schema_type(nullable(Type::String))
        .description(Some(description))
        .build()
}

/// The update playbook of a layer of settings.
pub(super) fn playbook_path() -> Object {
    nullable_line(
        PlaybookPath::LENGTH_MAX,
        "The update playbook with its parameters, as `update-app.yml {server} {unpack=true}`. Null: that of the next layer; of an application its group, then its own catalog entry.",
    )
}

/// Where the artifacts of a layer of settings are.
pub(super) fn settings_artifact_url() -> Object {
    nullable_line(
        ArtifactUrl::LENGTH_MAX,
        "Where artifacts are listed or downloaded, for people and tools: an update is told its artifact. It does not start with `-`.",
    )
}

/// The file extension of artifacts in a layer of settings.
pub(super) fn artifact_extension() -> Object {
    nullable_line(
        SettingsLayer::EXTENSION_MAX,
        "The file extension of artifacts, for people and tools.",
    )
}

/// The name of a catalog entry, as a condition.
pub(super) fn catalog_condition() -> Object {
    line(super::NAME_MAX)
        .description(Some("Of a catalog entry with exactly this name."))
        .build()
}

/// The catalog entry that a group belongs to.
pub(super) fn catalog_id() -> Object {
    id().schema_type(nullable(Type::Integer))
        .description(Some(
            "The id of the catalog entry it belongs to. Null: that of its name, when one of its applications is polled.",
        ))
        .build()
}

/// How applications of a group are grouped into rollouts.
pub(super) fn batch_grouping_strategy() -> Object {
    let words = GroupingStrategy::ALL.map(GroupingStrategy::as_str);
    let words = words.map(|word| Some(word.to_owned()));
    string()
        .schema_type(nullable(Type::String))
        .enum_values(Some(words.into_iter().chain([None])))
        .description(Some(
            "How its applications are grouped into rollouts. Absent or null: `by_group`.",
        ))
        .build()
}

/// What [`drover_domain::text::check_line`] accepts.
pub(super) fn line(most: usize) -> ObjectBuilder {
    let pattern = format!(r"^[^{HIDDEN}]*[^\s{HIDDEN}][^{HIDDEN}]*$");
    string()
        .min_length(Some(1))
        .max_length(Some(most))
        .pattern(Some(pattern))
}

/// What [`ArtifactUrl::parse`] accepts.
pub(super) fn artifact_url() -> Object {
    let pattern =
        format!(r"^(?:[^\-\s{HIDDEN}][^{HIDDEN}]*|{BLANK}[^{HIDDEN}]*[^\s{HIDDEN}][^{HIDDEN}]*)$");
    string()
        .min_length(Some(1))
        .max_length(Some(ArtifactUrl::LENGTH_MAX))
        .pattern(Some(pattern))
        .description(Some("Where the new version comes from: a URL or a docker image. It reaches the playbook literally."))
        .examples([serde_json::json!("http://nexus.example/jurws/jurws-1.1.0.zip")])
        .build()
}

/// Minutes a drained server is waited for.
pub(super) fn drain_wait_time() -> Object {
    ObjectBuilder::new()
        .schema_type(nullable(Type::Number))
        .minimum(Some(0))
        .maximum(Some(60))
        .description(Some(
            "How long a drained server is waited for, minutes. Absent, null or 0: 5 minutes. Only a number, never a text.",
        ))
        .build()
}

/// The orchestrator playbook to use.
pub(super) fn orchestrator_playbook() -> Object {
    line(ORCHESTRATOR_MAX)
        .schema_type(nullable(Type::String))
        .description(Some("The file name of an orchestrator playbook that a scan found; absent or null: the configured one."))
        .build()
}

/// The most characters of a playbook's file name.
pub(super) const ORCHESTRATOR_MAX: usize = 255;

/// What [`drover_domain::text::check_name`] accepts.
fn name(most: usize, description: &'static str) -> ObjectBuilder {
    string()
        .min_length(Some(1))
        .max_length(Some(most))
        .pattern(Some("^[A-Za-z0-9_:][A-Za-z0-9_.:-]*$"))
        .description(Some(description))
}

/// The key of a task.
pub(super) fn task_key() -> Object {
    name(
        TaskKey::LENGTH_MAX,
        "What the task is called; unique in its workflow.",
    )
    .build()
}

/// What executes a task.
pub(super) fn kind() -> Object {
    name(
        Kind::LENGTH_MAX,
        "What executes the task: `remote` (a worker over HTTP), `timer` (the payload says `seconds`), `signal.wait` \
         (`signal`, `expires_in_s`), `subworkflow` (`definition`, `version`, `input`), or a kind of this installation.",
    )
    .examples([serde_json::json!("remote")])
    .build()
}

/// A queue.
pub(super) fn queue() -> Object {
    let text = "The queue tasks wait in; absent or null: the one of the kind.";
    name(QueueName::LENGTH_MAX, text)
        .schema_type(nullable(Type::String))
        .build()
}

/// The name of a definition.
pub(super) fn definition_name() -> Object {
    name(DefinitionName::LENGTH_MAX, "The name of the definition.").build()
}

/// What a workflow is called.
pub(super) fn workflow_name() -> Object {
    line(255)
        .schema_type(nullable(Type::String))
        .description(Some(
            "What it is called; absent or null: as its definition.",
        ))
        .build()
}

/// A sentence of a person.
pub(super) fn reason() -> Object {
    line(REASON_MAX)
        .schema_type(nullable(Type::String))
        .description(Some("Why, for those who look later."))
        .build()
}

/// The most characters of a reason.
pub(super) const REASON_MAX: usize = 500;

/// A `{name}` in a path.
pub(crate) fn path_name() -> Object {
    name(128, "Its name.").build()
}

/// What [`NewServer::new`] accepts as a name.
pub(super) fn server_name() -> Object {
    string()
        .min_length(Some(1))
        .max_length(Some(NewServer::NAME_MAX))
        .pattern(Some("^[A-Za-z0-9_][A-Za-z0-9_.-]*$"))
        .description(Some(
            "The server's full name. Its part before the first dot, by which plays know it, is unique in the fleet; it is \
             neither a number nor a name that Ansible takes for something else, such as `localhost` or `all`.",
        ))
        .examples([serde_json::json!("web01.example")])
        .build()
}

/// What [`Network::parse_all`] accepts.
pub(super) fn networks() -> Schema {
    ArrayBuilder::new()
        .items(string().max_length(Some(49)).examples([serde_json::json!("10.1.0.0/24")]))
        .max_items(Some(Network::PER_SERVER_MAX))
        .description(Some(
            "Networks whose addresses are the server's own, in CIDR notation: where its agent reports such an address for an \
             application, servers in HAProxy are mapped by it.",
        ))
        .into()
}

/// What [`NewServer::new`] accepts as an address.
pub(super) fn server_address() -> Schema {
    let host = string()
        .min_length(Some(1))
        .max_length(Some(NewServer::ADDRESS_MAX));
    let ipv6 = string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Ipv6)));
    AnyOfBuilder::new()
        .item(host.pattern(Some("^[A-Za-z0-9][A-Za-z0-9.-]*$")))
        .item(ipv6.pattern(Some("^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$")))
        .description(Some(
            "Where the agent listens: an IP address or a host name, without a port. Link-local, multicast and reserved \
             addresses and addresses written as one number are refused.",
        ))
        .into()
}

/// An instant as the interface shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant(Timestamp);

impl From<Timestamp> for Instant {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        string()
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, with milliseconds."))
            .examples([serde_json::json!("2026-01-31T12:00:00.000Z")])
            .into()
    }
}

impl ToSchema for Instant {}
