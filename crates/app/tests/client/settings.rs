//! What people say about applications, groups and catalog entries.

use serde_json::{Value, json};

use crate::stub::{Asked, Stub, TAG};

fn settings() -> Value {
    json!({
        "group_id": 1, "group": "jurws", "custom_playbook_path": "own.yml", "custom_artifact_url": null,
        "custom_artifact_extension": "war", "effective_playbook": "own.yml",
    })
}

fn group() -> Value {
    json!({
        "id": 5, "name": "jurws", "catalog_id": 4, "catalog": "jurws", "applications": 6, "online": 5,
        "update_playbook_path": "group.yml", "artifact_list_url": null, "artifact_extension": null,
        "batch_grouping_strategy": "by_group",
    })
}

fn entry(id: i64, name: &str, kind: &str) -> Value {
    json!({
        "id": id, "name": name, "app_type": kind, "default_playbook_path": "catalog.yml", "default_artifact_url": null,
        "default_artifact_extension": null, "applications": 6, "groups": 1,
    })
}

fn service(asked: &Asked) -> (u16, Value) {
    let page = |items: Vec<Value>| (200, json!({"items": items, "next_cursor": null}));
    match asked.line.as_str() {
        "GET /api/v1/applications/7/settings" | "PUT /api/v1/applications/7/settings" => {
            (200, settings())
        }
        "GET /api/v1/application-groups?limit=200" => page(vec![group()]),
        "POST /api/v1/application-groups" => (201, group()),
        "GET /api/v1/application-groups/5" | "PUT /api/v1/application-groups/5" => (200, group()),
        "DELETE /api/v1/application-groups/5" | "DELETE /api/v1/application-catalog/4" => {
            (204, Value::Null)
        }
        "GET /api/v1/application-catalog?limit=200" => page(vec![
            entry(4, "jurws", "site"),
            entry(8, "twice", "site"),
            entry(9, "twice", "docker"),
        ]),
        "POST /api/v1/application-catalog" => (201, entry(4, "jurws", "site")),
        "GET /api/v1/application-catalog/4" | "PUT /api/v1/application-catalog/4" => {
            (200, entry(4, "jurws", "site"))
        }
        other => (404, json!({"title": "Not found", "detail": other})),
    }
}

fn last(stub: &Stub) -> Asked {
    stub.asked().pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_set_as_it_was_seen() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["apps", "set", "7", "--group", "other", "--no-playbook"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let expected = [
        "group jurws",
        "own playbook own.yml",
        "extension war",
        "playbook own.yml",
    ];
    assert_eq!(done.lines(), expected);
    let asked = last(&stub);
    assert_eq!(asked.line, "PUT /api/v1/applications/7/settings");
    assert_eq!(asked.if_match.as_deref(), Some(TAG));
    let body = json!({
        "group": "other", "custom_playbook_path": null, "custom_artifact_url": null, "custom_artifact_extension": "war",
    });
    assert_eq!(asked.body, body);

    let done = stub.drover(&[
        "apps",
        "set",
        "7",
        "--no-group",
        "--artifact-url",
        "http://own/",
        "-o",
        "json",
    ]);
    assert_eq!(done.json(), settings());
    let body = json!({
        "group": null, "custom_playbook_path": "own.yml", "custom_artifact_url": "http://own/",
        "custom_artifact_extension": "war",
    });
    assert_eq!(last(&stub).body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_added_shown_set_and_removed() {
    let stub = Stub::start(service).await;
    let add = [
        "groups",
        "add",
        "jurws",
        "--catalog",
        "jurws",
        "--batches",
        "by_server",
        "--playbook",
        "group.yml",
    ];
    let done = stub.drover(&add);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let body = json!({
        "name": "jurws", "catalog_id": 4, "batch_grouping_strategy": "by_server", "update_playbook_path": "group.yml",
    });
    assert_eq!(last(&stub).body, body);

    let done = stub.drover(&["groups", "show", "jurws"]);
    assert_eq!(done.lines()[..2], ["group 5", "name jurws"]);
    let done = stub.drover(&[
        "groups",
        "set",
        "5",
        "--name",
        "nightly",
        "--no-catalog",
        "--artifact-extension",
        "zip",
    ]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let asked = last(&stub);
    assert_eq!(
        (asked.line.as_str(), asked.if_match.as_deref()),
        ("PUT /api/v1/application-groups/5", Some(TAG))
    );
    let body = json!({
        "name": "nightly", "catalog_id": null, "batch_grouping_strategy": "by_group",
        "update_playbook_path": "group.yml", "artifact_list_url": null, "artifact_extension": "zip",
    });
    assert_eq!(asked.body, body);

    let done = stub.drover(&["groups", "remove", "jurws"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(0), "group jurws is removed\n")
    );
    let done = stub.drover(&["groups", "show", "nobody"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(5), "drover: there is no group `nobody`\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_entry_is_added_shown_set_and_removed() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&[
        "catalog",
        "add",
        "jurws",
        "--type",
        "site",
        "--artifact-url",
        "http://nexus/",
    ]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let body =
        json!({"name": "jurws", "app_type": "site", "default_artifact_url": "http://nexus/"});
    assert_eq!(last(&stub).body, body);

    let done = stub.drover(&["catalog", "show", "jurws", "-o", "json"]);
    assert_eq!(done.json(), entry(4, "jurws", "site"));
    let done = stub.drover(&["catalog", "set", "jurws", "--no-playbook"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let asked = last(&stub);
    assert_eq!(asked.if_match.as_deref(), Some(TAG));
    let body = json!({
        "name": "jurws", "default_playbook_path": null, "default_artifact_url": null, "default_artifact_extension": null,
    });
    assert_eq!(asked.body, body);
    let done = stub.drover(&["catalog", "remove", "4"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(0), "catalog entry 4 is removed\n")
    );
    let done = stub.drover(&["catalog", "show", "twice"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (
            Some(64),
            "drover: there are several of the name `twice`; say which by its number\n"
        )
    );
}
