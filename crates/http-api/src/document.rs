//! The OpenAPI document, generated from the handlers; what all routes share is added here once.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayItems, Object, ObjectBuilder, Schema, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi,
    OpenApiBuilder, Ref, RefOr, Required, Response,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::PROBLEM_JSON;
use crate::role::{PREFIXES, RULES, Rule, without_prefix};
use crate::routes::access::keys as access;
use crate::routes::fleet::{applications, catalog, groups, servers};
use crate::routes::haproxy::{
    actions as haproxy_actions, instances as haproxy, mappings as haproxy_mappings,
};
use crate::routes::rollout::{orchestrators, rollouts, tasks};
use crate::routes::webhook::webhooks;
use crate::routes::workflow::{
    definitions, queues, schedules, streams, tasks as workflow_tasks, workers, workflows,
};
use crate::state::Api;
use crate::{auth, health, wire};

/// Where the document is served.
pub(crate) const PATH: &str = "/openapi.json";

const DESCRIPTION: &str = "Drover updates applications on many servers behind HAProxy without dropping a request.

Every route under `/api/v1` is there under `/api` too. Errors are `application/problem+json` (RFC 9457) with a stable \
`code` and the `request_id` of the log; `X-Request-Id` is taken from the request if it is 1 to 64 of `A-Za-z0-9._-`, \
else made, and always returned. Lists are pages: pass `next_cursor` as `cursor`, or follow `Link: rel=\"next\"`. \
Unknown query parameters are refused with 400, unknown and repeated fields of bodies with 422. Secrets are masked as `***` \
for every role but `admin`; a viewer sees no payloads, inputs and results.";

const TAGS: [(&str, &str); 17] = [
    ("servers", "Servers with an agent"),
    ("applications", "What runs where, and updating it"),
    ("events", "What happened to the fleet"),
    (
        "haproxy",
        "HAProxy as it was last read, setting the state of its servers, and the applications behind them",
    ),
    ("webhooks", "Telling other systems what happened"),
    ("access", "API keys: who may do what, and until when"),
    (
        "rollouts",
        "Bringing an artifact to applications: starting it, how far it is, what became of every target",
    ),
    (
        "tasks",
        "Rollouts under the paths and words of earlier clients",
    ),
    (
        "orchestrators",
        "Playbooks that update in batches behind HAProxy",
    ),
    (
        "workflows",
        "Long work in steps: starting and steering it, and how far it is",
    ),
    (
        "workflow definitions",
        "Workflows that are kept by name, in versions",
    ),
    ("schedules", "Definitions that are started again and again"),
    (
        "queues",
        "Lines in which tasks wait, and what holds them back",
    ),
    (
        "dead letters",
        "Tasks that failed, timed out or are unknown, and doing them again",
    ),
    ("workers", "Working off queues from outside"),
    ("streams", "What happens to workflows, as it happens"),
    ("health", "Whether Drover lives and can work"),
];

/// The routes of the API, to be nested under each of [`PREFIXES`].
pub(crate) fn api_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(servers::list, servers::add))
        .routes(routes!(
            servers::get,
            servers::put,
            servers::patch,
            servers::delete
        ))
        .routes(routes!(servers::refresh))
        .routes(routes!(servers::haproxy))
        .routes(routes!(applications::list))
        .routes(routes!(applications::get))
        .routes(routes!(applications::settings, applications::set))
        .routes(routes!(applications::versions))
        .routes(routes!(applications::own_events))
        .routes(routes!(groups::list, groups::add))
        .routes(routes!(groups::get, groups::put, groups::delete))
        .routes(routes!(catalog::list, catalog::add))
        .routes(routes!(catalog::get, catalog::put, catalog::delete))
        .routes(routes!(applications::events))
        .routes(routes!(haproxy::instances))
        .routes(routes!(haproxy::backends))
        .routes(routes!(haproxy::servers))
        .routes(routes!(haproxy::sync))
        .routes(routes!(haproxy_actions::act))
        .routes(routes!(haproxy_actions::act_many))
        .routes(routes!(haproxy_actions::list))
        .routes(routes!(haproxy_actions::get))
        .routes(routes!(haproxy_actions::history))
        .routes(routes!(haproxy_mappings::unmapped))
        .routes(routes!(haproxy_mappings::map))
        .routes(routes!(haproxy_mappings::unmap))
        .routes(routes!(haproxy_mappings::remap))
        .routes(routes!(haproxy_mappings::get))
        .routes(routes!(haproxy_mappings::history))
        .routes(routes!(haproxy_mappings::summary))
        .routes(routes!(access::list, access::issue))
        .routes(routes!(access::revoke))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::get, webhooks::put, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::delivery))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(rollouts::create))
        .routes(routes!(rollouts::plan))
        .routes(routes!(rollouts::list))
        .routes(routes!(rollouts::get))
        .routes(routes!(rollouts::events))
        .routes(routes!(rollouts::cancel))
        .routes(routes!(tasks::batch_update))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::get))
        .routes(routes!(tasks::events))
        .routes(routes!(tasks::cancel))
        .routes(routes!(orchestrators::list))
        .routes(routes!(orchestrators::scan))
        .routes(routes!(workflows::list, workflows::start))
        .routes(routes!(workflows::get))
        .routes(routes!(workflows::run))
        .routes(routes!(workflows::pause))
        .routes(routes!(workflows::resume))
        .routes(routes!(workflows::cancel))
        .routes(routes!(workflows::tasks))
        .routes(routes!(workflows::history))
        .routes(routes!(workflows::signal))
        .routes(routes!(workflow_tasks::get))
        .routes(routes!(workflow_tasks::retry))
        .routes(routes!(workflow_tasks::skip))
        .routes(routes!(workflow_tasks::resolve))
        .routes(routes!(workflow_tasks::dead_letters))
        .routes(routes!(workflow_tasks::redrive))
        .routes(routes!(definitions::list, definitions::define))
        .routes(routes!(definitions::get))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::get, schedules::put, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(queues::list))
        .routes(routes!(queues::put))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(workers::heartbeat))
        .routes(routes!(workers::complete))
        .routes(routes!(workers::fail))
}

/// The routes of the API whose requests may last.
pub(crate) fn lasting_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(workers::claim))
        .routes(routes!(streams::events))
}

/// The sockets of the API; they are at the root too.
pub(crate) fn socket_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(streams::workflow))
        .routes(routes!(streams::tasks))
}

/// The routes that need no key.
pub(crate) fn open_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(serve))
}

/// The description of the whole HTTP interface, OpenAPI 3.1.
#[must_use]
pub fn openapi() -> OpenApi {
    let [canonical, _] = PREFIXES;
    let routes = api_routes().merge(lasting_routes()).merge(socket_routes());
    let mut document = open_routes().nest(canonical, routes).into_openapi();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            settle_body(operation);
            complete(operation, method, path);
        }
    }
    let bodies: BTreeSet<String> = document
        .paths
        .paths
        .values_mut()
        .flat_map(request_schemas)
        .collect();
    let components = document.components.get_or_insert_default();
    let bodies = with_parts(bodies, components);
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(schema) = schema {
            settle(schema, bodies.contains(name));
            if let Some(item) = name.strip_prefix("ItemPage_") {
                refer(schema, item);
            }
        }
    }
    let bearer = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key: `drv_…`"))
        .build();
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    let key = ApiKeyValue::with_description(
        auth::API_KEY.as_str(),
        "The same API key in a header of its own",
    );
    components.add_security_scheme(KEY, SecurityScheme::ApiKey(ApiKey::Header(key)));

    let license = LicenseBuilder::new()
        .name(env!("CARGO_PKG_LICENSE"))
        .identifier(Some(env!("CARGO_PKG_LICENSE")));
    let info = InfoBuilder::new()
        .title("Drover")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license.build()));
    let tags = TAGS.map(|(name, description)| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    });
    OpenApiBuilder::new()
        .info(info.build())
        .paths(document.paths)
        .components(document.components)
        .tags(Some(tags))
        .build()
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"))
)]
pub(crate) async fn serve() -> impl IntoResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi().to_json().unwrap_or_default());
    (
        [(header::CONTENT_TYPE, "application/json")],
        DOCUMENT.as_str(),
    )
}

const BEARER: &str = "bearer";
const KEY: &str = "api_key";

/// The operations of a path, with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Adds what every route of the API has: its path parameter, its role, the errors it may answer.
fn complete(operation: &mut Operation, method: &str, path: &str) {
    let rule = without_prefix(path).and_then(|path| {
        RULES
            .iter()
            .find(|rule| rule.method == method && rule.path == path)
    });
    if let Some(rule) = rule {
        guard(operation, *rule);
        for (place, name) in path_parameters(path).enumerate() {
            operation
                .parameters
                .get_or_insert_default()
                .insert(place, RefOr::T(path_parameter(path, name)));
            // What is put comes into being.
            if method != "PUT" {
                add_response(operation, 404, "The resource does not exist");
            }
        }
        if operation.request_body.is_some() {
            add_response(operation, 408, "The body took too long to arrive");
            add_response(operation, 413, "The body is too large");
            add_response(
                operation,
                415,
                "The body is not `application/json`, or compressed",
            );
            add_response(
                operation,
                422,
                "The body is JSON but not valid; `errors` says where",
            );
        }
    } else {
        operation.security = Some(Vec::new());
    }
    for (status, response) in &mut operation.responses.responses {
        if let (true, RefOr::T(response)) = (status.as_str() >= "400", response) {
            let problem = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build();
            response
                .content
                .entry(PROBLEM_JSON.to_owned())
                .or_insert(RefOr::T(problem));
        }
    }
}

fn guard(operation: &mut Operation, rule: Rule) {
    let text = operation.description.take().unwrap_or_default();
    let gap = if text.is_empty() { "" } else { "\n\n" };
    operation.description = Some(format!("{text}{gap}Needs the role `{}`.", rule.role));
    operation.extensions = Some(
        ExtensionsBuilder::new()
            .add("x-role", rule.role.as_str())
            .build(),
    );
    let alternatives =
        [BEARER, KEY].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new()));
    operation.security = Some(alternatives.into());
    add_response(
        operation,
        400,
        "The request is malformed, or has an unknown query parameter",
    );
    add_response(operation, 401, "No valid API key");
    add_response(operation, 403, "The API key's role is too weak");
    add_response(operation, 500, "Drover has a defect");
    add_response(
        operation,
        503,
        "The service, its database or the control host is unavailable, or there are too many requests",
    );
    for (status, name, text) in [
        ("401", "WWW-Authenticate", "How to authenticate"),
        ("503", "Retry-After", "When to try again, seconds"),
    ] {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
            let schema = ObjectBuilder::new().schema_type(Type::String);
            let header = HeaderBuilder::new()
                .description(Some(text))
                .schema(Some(schema));
            response
                .headers
                .insert(name.to_owned(), RefOr::T(header.build()));
        }
    }
}

fn add_response(operation: &mut Operation, status: u16, description: &str) {
    let response = || RefOr::T(Response::new(description));
    operation
        .responses
        .responses
        .entry(status.to_string())
        .or_insert_with(response);
}

/// The names of the parameters of a path, in their order.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
}

/// Below these, an `{id}` is a UUID.
const UUID_PATHS: [&str; 4] = ["/rollouts/", "/tasks/", "/workflows/", "/actions/"];

fn path_parameter(path: &str, name: &str) -> Parameter {
    let schema = match name {
        "name" => wire::schema::path_name(),
        "task_id" => wire::schema::uuid(),
        _ if UUID_PATHS.iter().any(|part| path.contains(part)) => wire::schema::uuid(),
        _ => wire::schema::id().build(),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(schema))
        .build()
}

/// A body that may be left out is not null when it is there.
fn settle_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = operation.request_body.as_mut() else {
        return;
    };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else {
            continue;
        };
        if let Some(RefOr::T(Schema::OneOf(either))) = &content.schema {
            let link = either.items.iter().find_map(|item| match item {
                RefOr::Ref(link) => Some(link.clone()),
                RefOr::T(_) => None,
            });
            content.schema = link.map(RefOr::Ref);
            body.required = Some(Required::False);
        }
    }
}

/// The names of the schemas that bodies of requests have.
fn request_schemas(item: &mut PathItem) -> Vec<String> {
    operations(item)
        .filter_map(|(_, operation)| operation.request_body.as_ref())
        .filter_map(|body| match body {
            RefOr::T(body) => Some(body),
            RefOr::Ref(_) => None,
        })
        .flat_map(|body| body.content.values())
        .filter_map(|content| match content {
            RefOr::T(content) => content.schema.as_ref(),
            RefOr::Ref(_) => None,
        })
        .filter_map(|schema| match schema {
            RefOr::Ref(link) => link.ref_location.rsplit('/').next(),
            RefOr::T(_) => None,
        })
        .map(str::to_owned)
        .collect()
}

/// These schemas and all that they refer to.
fn with_parts(mut names: BTreeSet<String>, components: &Components) -> BTreeSet<String> {
    let mut open: Vec<String> = names.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let schema = components.schemas.get(&name);
        let text = schema.and_then(|schema| serde_json::to_string(schema).ok());
        for link in text
            .iter()
            .flat_map(|text| text.split("\"$ref\":\"").skip(1))
        {
            let target = link
                .split('"')
                .next()
                .and_then(|link| link.rsplit('/').next());
            if let Some(target) = target
                && names.insert(target.to_owned())
            {
                open.push(target.to_owned());
            }
        }
    }
    names
}

/// Requests have no other fields; answers always have all of theirs, null included.
fn settle(schema: &mut Schema, is_request: bool) {
    match schema {
        Schema::Object(object) => settle_object(object, is_request),
        Schema::AllOf(all) => {
            for item in &mut all.items {
                if let RefOr::T(item) = item {
                    settle(item, is_request);
                }
            }
        }
        Schema::Array(_) | Schema::OneOf(_) | Schema::AnyOf(_) | _ => {}
    }
}

/// A field whose type is written in place: the generator puts the field's description into an object of its own, which no
/// text and no number is.
fn flatten(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::AllOf(all)) = schema else {
        return;
    };
    let is_description = |item: &RefOr<Schema>| {
        matches!(item, RefOr::T(Schema::Object(object))
            if object.properties.is_empty() && object.enum_values.is_none() && object.description.is_some())
    };
    let [RefOr::T(Schema::Object(kept)), description] = &mut *all.items else {
        return;
    };
    if is_description(description)
        && let RefOr::T(Schema::Object(described)) = description
    {
        kept.description = described.description.take();
        *schema = RefOr::T(Schema::Object(kept.clone()));
    }
}

fn settle_object(object: &mut Object, is_request: bool) {
    object.properties.values_mut().for_each(flatten);
    // What has no fields of its own is any JSON.
    if is_request && !object.properties.is_empty() {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    } else {
        object.required = object.properties.keys().cloned().collect();
    }
}

/// Lets the items of a page be the schema of that name instead of a copy of it.
fn refer(page: &mut Schema, item: &str) {
    if let Schema::Object(page) = page
        && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
    {
        items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_roles_and_the_document_name_the_same_routes() {
        let mut document = openapi();
        let described: BTreeSet<(String, String)> = document
            .paths
            .paths
            .iter_mut()
            .flat_map(|(path, item)| {
                operations(item)
                    .map(|(method, _)| (method.to_owned(), path.clone()))
                    .collect::<Vec<_>>()
            })
            .filter_map(|(method, path)| Some((method, without_prefix(&path)?.to_owned())))
            .collect();
        let ruled: BTreeSet<_> = RULES
            .iter()
            .map(|rule| (rule.method.to_owned(), rule.path.to_owned()))
            .collect();
        assert_eq!(described, ruled);
        assert_eq!(
            ruled.len(),
            RULES.len(),
            "a route stands in the table twice"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = openapi().to_json().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let targets: BTreeSet<&str> = text
            .split("\"$ref\":\"#")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(targets.len() > 40, "{targets:?}");
        for target in targets {
            assert!(document.pointer(target).is_some(), "{target}");
        }
    }

    /// The types of JSON that a schema allows; empty for one that no value satisfies.
    fn types(document: &serde_json::Value, schema: &serde_json::Value) -> BTreeSet<String> {
        const ALL: [&str; 7] = [
            "array", "boolean", "integer", "null", "number", "object", "string",
        ];
        let all = || ALL.map(str::to_owned).into_iter().collect::<BTreeSet<_>>();
        let mut found = match &schema["type"] {
            serde_json::Value::String(one) => BTreeSet::from([one.clone()]),
            serde_json::Value::Array(some) => some
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Object(_) => all(),
        };
        if found.contains("number") {
            found.insert("integer".to_owned());
        }
        if let Some(target) = schema["$ref"].as_str() {
            let target = document.pointer(target.trim_start_matches('#')).unwrap();
            found = &found & &types(document, target);
        }
        for item in schema["allOf"].as_array().into_iter().flatten() {
            found = &found & &types(document, item);
        }
        for word in ["oneOf", "anyOf"] {
            if let Some(items) = schema[word].as_array() {
                let either = items
                    .iter()
                    .flat_map(|item| types(document, item))
                    .collect();
                found = &found & &either;
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            let kinds = values.iter().map(|value| match value {
                serde_json::Value::Null => "null",
                serde_json::Value::Bool(_) => "boolean",
                serde_json::Value::Number(_) => "integer",
                serde_json::Value::String(_) => "string",
                serde_json::Value::Array(_) => "array",
                serde_json::Value::Object(_) => "object",
            });
            found = &found & &kinds.map(str::to_owned).collect();
        }
        found
    }

    fn walk(document: &serde_json::Value, schema: &serde_json::Value, place: &str) {
        let serde_json::Value::Object(members) = schema else {
            if let Some(items) = schema.as_array() {
                for (index, item) in items.iter().enumerate() {
                    walk(document, item, &format!("{place}/{index}"));
                }
            }
            return;
        };
        if !place.ends_with("/properties") && !place.ends_with("/schemas") {
            assert!(
                !types(document, schema).is_empty(),
                "no value satisfies {place}: {schema}"
            );
        }
        for (least, most) in [
            ("minimum", "maximum"),
            ("minLength", "maxLength"),
            ("minItems", "maxItems"),
            ("minProperties", "maxProperties"),
        ] {
            if let (Some(least), Some(most)) = (schema[least].as_f64(), schema[most].as_f64()) {
                assert!(least <= most, "{place}: {schema}");
            }
        }
        // A closed object has to name what it needs, and closed parts of a whole exclude each other's members.
        if schema["additionalProperties"] == false {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(
                    !schema["properties"][name.as_str().unwrap()].is_null(),
                    "{place} needs {name}"
                );
            }
            assert!(!place.contains("/allOf/"), "{place} is closed and a part");
        }
        for (name, member) in members {
            walk(document, member, &format!("{place}/{name}"));
        }
    }

    #[test]
    fn every_schema_is_satisfied_by_some_value() {
        let text = openapi().to_json().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        walk(
            &document,
            &document["components"]["schemas"],
            "/components/schemas",
        );
        walk(&document, &document["paths"], "/paths");
        let action = &document["components"]["schemas"]["NewHaproxyAction"]["properties"]["action"];
        assert_eq!(
            action["enum"],
            serde_json::json!(["ready", "drain", "maint"]),
            "{action}"
        );
        assert_eq!(action["type"], "string");
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut document = openapi();
        let mut seen = BTreeSet::new();
        for item in document.paths.paths.values_mut() {
            for (method, operation) in operations(item) {
                let id = operation.operation_id.clone().unwrap_or_default();
                assert!(seen.insert(id.clone()), "{method} {id}");
            }
        }
    }
}
