//! Saying which application stands behind a server in HAProxy, and HAProxy in a few numbers.

use axum::http::Method;
use drover_domain::haproxy::{BreakerPolicy, HaproxyInstanceKey};
use drover_ports::{AgentAddress, Clock as _, HaproxyActions as _};
use drover_testkit::agent::Agent;
use drover_testkit::clock::FixedClock;
use serde_json::{Value, json};

use crate::haproxy::{Fleet, agent};
use crate::world::Answer;

/// When everything happens.
const NOW: &str = "2023-11-14T22:13:20.000Z";

impl Fleet {
    async fn wish(&self, verb: &str, server: i64, body: Value) -> Answer {
        let path = format!("/api/v1/haproxy/servers/{server}/{verb}");
        self.world.post(&path, body).await
    }

    async fn map(&self, server: i64, application: i64) -> Answer {
        self.wish("map", server, json!({ "application_id": application }))
            .await
    }

    async fn mapping(&self, server: i64) -> Value {
        let path = format!("/api/haproxy/servers/{server}/mapping");
        self.world.get(&path).await.ok(200).json()
    }

    async fn history(&self, server: i64) -> Vec<Value> {
        let path = format!("/api/haproxy/servers/{server}/mapping/history");
        let page = self.world.get(&path).await.ok(200).json();
        page["items"].as_array().unwrap().clone()
    }

    async fn unmapped(&self) -> Vec<Value> {
        let path = "/api/haproxy/servers/unmapped";
        let page = self.world.get(path).await.ok(200).json();
        page["items"].as_array().unwrap().clone()
    }

    async fn remap(&self) -> Value {
        let path = "/api/v1/haproxy/mapping/remap";
        self.world.post(path, Value::Null).await.ok(200).json()
    }

    /// Removes `web01_jurws_1` from the agent's HAProxy.
    async fn remove_server(&self) {
        self.world.agents.change(&agent(), |sight| {
            let backend = sight.haproxy.get_mut("default").unwrap();
            let servers = backend.get_mut("be_jurws").unwrap();
            servers.retain(|server| server.name != "web01_jurws_1");
        });
        for _ in 0..3 {
            self.sync().await.ok(200);
        }
    }
}

#[tokio::test]
async fn a_mapping_by_hand_holds_and_tells_who_and_why() {
    let fleet = Fleet::new().await;
    let (server, by_rule, other) = (fleet.server(), fleet.world.apps[0], fleet.world.apps[5]);
    assert_eq!(
        fleet.mapping(server).await,
        json!({
            "server_id": server, "application_id": by_rule, "basis": "address", "mapped_at": NOW, "exclusion": null,
        })
    );
    let body = json!({ "application_id": other, "reason": "moved in a hurry" });
    let answer = fleet.wish("map", server, body.clone()).await.ok(200);
    let mapping = answer.json();
    assert_eq!(
        mapping,
        json!({
            "server_id": server, "application_id": other, "basis": "manual", "mapped_at": NOW, "exclusion": null,
        })
    );
    let history = fleet.history(server).await;
    let row = |action: &str, basis: &str, application: i64| {
        json!({
            "at": NOW, "action": action, "basis": basis, "application_id": application, "actor": "the admin",
            "request_id": answer.header("x-request-id"), "reason": "moved in a hurry",
        })
    };
    assert_eq!(
        history,
        [
            row("created", "manual", other),
            row("deactivated", "address", by_rule),
            json!({
                "at": NOW, "action": "created", "basis": "address", "application_id": by_rule, "actor": null,
                "request_id": null, "reason": null,
            }),
        ]
    );
    // Neither the same again nor what goes on by itself changes anything.
    assert_eq!(
        fleet.wish("map", server, body).await.ok(200).json(),
        mapping
    );
    fleet.sync().await.ok(200);
    assert_eq!(fleet.remap().await, json!({ "looked_at": 0, "mapped": 0 }));
    assert_eq!(fleet.mapping(server).await, mapping);
    assert_eq!(fleet.history(server).await.len(), 3);
    let path = format!("/api/haproxy/servers/{server}/mapping/history?limit=2");
    let page = fleet.world.get(&path).await.ok(200).json();
    assert_eq!(page["items"], json!(history[..2]));
    let next = format!("{path}&cursor={}", page["next_cursor"].as_str().unwrap());
    let page = fleet.world.get(&next).await.ok(200).json();
    assert_eq!(page, json!({ "items": history[2..], "next_cursor": null }));
}

#[tokio::test]
async fn what_is_unmapped_by_hand_stays_unmapped_until_somebody_says_otherwise() {
    let fleet = Fleet::new().await;
    let (server, application) = (fleet.server(), fleet.world.apps[0]);
    assert_eq!(fleet.unmapped().await, Vec::<Value>::new());
    let exclusion = json!({ "at": NOW, "actor": "the admin", "reason": "wrong port" });
    let body = json!({ "reason": "wrong port" });
    let after = fleet.wish("unmap", server, body).await.ok(200).json();
    let expected = json!({
        "server_id": server, "application_id": null, "basis": null, "mapped_at": null, "exclusion": exclusion,
    });
    assert_eq!(after, expected);
    fleet.sync().await.ok(200);
    assert_eq!(fleet.remap().await, json!({ "looked_at": 0, "mapped": 0 }));
    assert_eq!(fleet.mapping(server).await, expected);
    let unmapped = fleet.unmapped().await;
    assert_eq!(unmapped.len(), 1);
    let found = &unmapped[0];
    assert_eq!(
        (
            &found["server"]["id"],
            &found["server"]["name"],
            &found["server"]["application_id"]
        ),
        (&json!(server), &json!("web01_jurws_1"), &Value::Null)
    );
    assert_eq!(
        [
            &found["backend_name"],
            &found["instance_name"],
            &found["server_name"]
        ],
        ["be_jurws", "default", "web01.example"]
    );
    assert_eq!(
        (&found["instance_id"], &found["exclusion"]),
        (&json!(fleet.instance), &exclusion)
    );

    // Given back, it is found by rule: by a remap at once, else by the next sync.
    let body = json!({ "exclude": false });
    let after = fleet.wish("unmap", server, body.clone()).await.ok(200);
    assert_eq!(after.json()["exclusion"], Value::Null);
    assert_eq!(fleet.remap().await, json!({ "looked_at": 1, "mapped": 1 }));
    let mapping = fleet.mapping(server).await;
    assert_eq!(
        (&mapping["application_id"], &mapping["basis"]),
        (&json!(application), &json!("address"))
    );
    let newest = &fleet.history(server).await[0];
    assert_eq!(
        (&newest["action"], &newest["actor"]),
        (&json!("activated"), &json!("the admin"))
    );
    fleet.wish("unmap", server, body).await.ok(200);
    fleet.sync().await.ok(200);
    assert_eq!(fleet.mapping(server).await["application_id"], application);

    // Without a body it is excluded, and a mapping by hand ends that.
    fleet.wish("unmap", server, Value::Null).await.ok(200);
    assert_eq!(
        fleet.mapping(server).await["exclusion"]["reason"],
        Value::Null
    );
    let mapping = fleet.map(server, application).await.ok(200).json();
    assert_eq!(
        (&mapping["basis"], &mapping["exclusion"]),
        (&json!("manual"), &Value::Null)
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_left_is_a_conflict() {
    let fleet = Fleet::new().await;
    let (server, application) = (fleet.server(), fleet.world.apps[0]);
    let told = |problem: Value| problem["detail"].as_str().unwrap().to_owned();
    let problem = fleet
        .map(7_777, application)
        .await
        .problem(404, "not_found");
    assert_eq!(told(problem), "there is no HAProxy server 7777");
    let problem = fleet.map(server, 7_777).await.problem(404, "not_found");
    assert_eq!(told(problem), "there is no application 7777");
    let answer = fleet.wish("unmap", 7_777, Value::Null).await;
    answer.problem(404, "not_found");
    for path in ["servers/7777/mapping", "servers/7777/mapping/history"] {
        let answer = fleet.world.get(&format!("/api/haproxy/{path}")).await;
        answer.problem(404, "not_found");
    }
    for path in ["servers/x/mapping", "servers/0/mapping/history"] {
        let answer = fleet.world.get(&format!("/api/haproxy/{path}")).await;
        answer.problem(400, "invalid_path_parameter");
    }
    fleet.remove_server().await;
    let problem = fleet
        .map(server, application)
        .await
        .problem(409, "conflict");
    assert_eq!(
        told(problem),
        "the server `web01_jurws_1` is not in HAProxy any more"
    );
}

#[tokio::test]
async fn bad_bodies_are_refused_where_they_are_bad() {
    let fleet = Fleet::new().await;
    let long = "x".repeat(1_001);
    for (verb, body, places) in [
        ("map", json!({}), vec!["/application_id missing"]),
        (
            "map",
            json!({ "application_id": "7" }),
            vec!["/application_id wrong_type"],
        ),
        (
            "map",
            json!({ "application_id": 0 }),
            vec!["/application_id out_of_range"],
        ),
        (
            "map",
            json!({ "application_id": 1, "reason": long }),
            vec!["/reason invalid"],
        ),
        (
            "map",
            json!({ "application_id": 1.5, "reason": 1, "basis": "name" }),
            vec![
                "/application_id wrong_type",
                "/reason wrong_type",
                "/basis unknown_field",
            ],
        ),
        (
            "unmap",
            json!({ "exclude": "no" }),
            vec!["/exclude wrong_type"],
        ),
        (
            "unmap",
            json!({ "reason": "", "force": true }),
            vec!["/reason invalid", "/force unknown_field"],
        ),
    ] {
        let answer = fleet.wish(verb, fleet.server(), body.clone()).await;
        assert_eq!(answer.pointers(), places, "{verb} {body}");
    }
    assert_eq!(fleet.history(fleet.server()).await.len(), 1);
}

#[tokio::test]
async fn a_summary_tells_all_of_haproxy_in_a_few_numbers() {
    let fleet = Fleet::new().await;
    let words = [
        ("web01_jurws_1", "DRAIN"),
        ("web01_jurws_2", "MAINT"),
        ("web02_jurws_1", "DOWN 1/2"),
        ("web02_jurws_2", "NOLB"),
        ("web03_jurws_1", "DOWN"),
        ("web03_jurws_2", "MAINT (resolution)"),
    ];
    fleet.show(&words).await;
    fleet
        .wish("unmap", fleet.server(), Value::Null)
        .await
        .ok(200);
    let (policy, now) = (BreakerPolicy::default(), FixedClock::default().now());
    for _ in 0..policy.failures {
        let instance = HaproxyInstanceKey::new(fleet.instance);
        let store = &fleet.world.store;
        store
            .record_answer(instance, policy, false, now)
            .await
            .unwrap();
    }
    let summary = fleet.world.get("/api/haproxy/summary").await.ok(200).json();
    let backend = &summary["short_backends"][0]["id"];
    assert_eq!(
        summary,
        json!({
            "instances": { "total": 1, "synced": 1, "partial": 0, "failed": 0, "unread_nodes": 0 },
            "backends": 1,
            "servers": { "up": 0, "standby": 0, "drain": 1, "maint": 2, "down": 2, "other": 1 },
            "pinned": 0,
            "drifting": 0,
            "unmapped": 1,
            "excluded": 1,
            "breakers": [{
                "instance_id": fleet.instance, "instance_name": "default", "server_name": "web01.example",
                "state": "open", "until": "2023-11-14T22:14:20.000Z",
            }],
            "min_ready": 1,
            "short": 1,
            "short_backends": [{
                "id": backend, "name": "be_jurws", "instance_id": fleet.instance, "instance_name": "default",
                "servers": 6, "ready": 0,
            }],
        })
    );
    fleet.show(&[("web01_jurws_1", "UP")]).await;
    let summary = fleet
        .world
        .get("/api/v1/haproxy/summary")
        .await
        .ok(200)
        .json();
    assert_eq!(
        (&summary["short"], &summary["servers"]["up"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn a_server_becomes_an_haproxy_node_and_none_again() {
    let fleet = Fleet::new().await;
    let servers = fleet.world.get("/api/servers").await.ok(200).json();
    let id = |name: &str| {
        let servers = servers["items"].as_array().unwrap();
        let server = servers.iter().find(|server| server["name"] == name);
        server.unwrap()["id"].as_i64().unwrap()
    };
    let put = async |id: i64, body: Value| {
        let path = format!("/api/v1/servers/{id}/haproxy");
        fleet.world.ask(Method::PUT, &path, body).await
    };
    let (node, plain) = (id("web01.example"), id("web02.example"));
    let before = put(node, json!({ "is_haproxy_node": true }))
        .await
        .ok(200)
        .json();
    assert_eq!(before["server"]["is_haproxy_node"], true);
    assert_eq!(before["error"], Value::Null);
    assert_eq!(before["instances"][0]["id"], fleet.instance);

    let off = put(node, json!({ "is_haproxy_node": false }))
        .await
        .ok(200)
        .json();
    assert_eq!(
        (&off["server"]["is_haproxy_node"], &off["instances"]),
        (&json!(false), &json!([]))
    );
    let active = async || {
        let page = fleet
            .world
            .get("/api/haproxy/instances")
            .await
            .ok(200)
            .json();
        page["items"][0]["active"].clone()
    };
    assert_eq!(active().await, false);
    // Neither a sync nor a refresh brings them back.
    fleet.sync().await.ok(200);
    let path = format!("/api/servers/{node}/refresh");
    fleet.world.post(&path, Value::Null).await.ok(200);
    assert_eq!(active().await, false);
    let on = put(node, json!({ "is_haproxy_node": true }))
        .await
        .ok(200)
        .json();
    assert_eq!(on["instances"], before["instances"]);

    // A node without instances, or without an agent that answers.
    let found = put(plain, json!({ "is_haproxy_node": true }))
        .await
        .ok(200)
        .json();
    assert_eq!(
        (&found["instances"], &found["error"]),
        (&json!([]), &Value::Null)
    );
    let address = AgentAddress {
        host: "192.0.2.2".to_owned(),
        port: 11_011,
    };
    fleet.world.agents.arrange(address, Agent::Redirects);
    let silent = put(plain, json!({ "is_haproxy_node": true }))
        .await
        .ok(200)
        .json();
    assert_eq!(silent["server"]["is_haproxy_node"], true);
    assert!(silent["error"].is_string(), "{silent}");

    put(7_777, json!({ "is_haproxy_node": true }))
        .await
        .problem(404, "not_found");
    let answer = put(node, json!({ "is_haproxy_node": 1, "port": 2 })).await;
    assert_eq!(
        answer.pointers(),
        ["/is_haproxy_node wrong_type", "/port unknown_field"]
    );
    assert_eq!(
        put(node, json!({})).await.pointers(),
        ["/is_haproxy_node missing"]
    );
}
