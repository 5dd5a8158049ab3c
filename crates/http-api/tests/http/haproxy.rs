//! Setting servers in HAProxy to a state, and looking at what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use drover_domain::haproxy::action::action_queue;
use drover_domain::haproxy::{BreakerPolicy, HaproxyInstanceKey, ServerWord};
use drover_ports::{AgentAddress, Clock as _, HaproxyActions as _};
use drover_testkit::clock::{FixedClock, SequentialIds};
use drover_testkit::eventually::eventually;
use drover_usecases::{Engine, EngineOptions, EnginePorts, Handlers, QueueOptions};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::world::{Answer, World};

/// When everything happens.
const NOW: &str = "2023-11-14T22:13:20.000Z";

/// A fleet whose HAProxy is known: the instance, and its servers by name.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) instance: i64,
    pub(crate) servers: BTreeMap<String, i64>,
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let world = Box::pin(World::with_fleet()).await;
        let items = |answer: Answer| answer.ok(200).json()["items"].as_array().unwrap().clone();
        let instances = items(world.get("/api/haproxy/instances").await);
        let instance = instances[0]["id"].as_i64().unwrap();
        let path = format!("/api/haproxy/instances/{instance}/backends");
        let backends = items(world.get(&path).await);
        let path = format!("/api/haproxy/backends/{}/servers", backends[0]["id"]);
        let servers = items(world.get(&path).await)
            .iter()
            .map(|server| {
                (
                    server["name"].as_str().unwrap().to_owned(),
                    server["id"].as_i64().unwrap(),
                )
            })
            .collect();
        Self {
            world,
            instance,
            servers,
        }
    }

    pub(crate) fn server(&self) -> i64 {
        self.servers["web01_jurws_1"]
    }

    async fn act(&self, server: i64, body: Value) -> Answer {
        let path = format!("/api/v1/haproxy/servers/{server}/action");
        self.world.post(&path, body).await
    }

    async fn act_many(&self, body: Value) -> Answer {
        self.world.post("/api/v1/haproxy/batch/action", body).await
    }

    /// The same, with a header and as an operator.
    async fn act_with_key(&self, server: i64, key: &str, body: &Value) -> Answer {
        let path = format!("/api/v1/haproxy/servers/{server}/action");
        let request = self
            .world
            .request(Method::POST, &path, Some(Role::Operator))
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        let request = request.body(Body::from(body.to_string())).unwrap();
        self.world.send(request).await
    }

    async fn actions(&self) -> Vec<Value> {
        let page = self.world.get("/api/haproxy/actions").await.ok(200).json();
        page["items"].as_array().unwrap().clone()
    }

    /// Lets HAProxy show these words, and syncs it.
    pub(crate) async fn show(&self, words: &[(&str, &str)]) -> Value {
        self.world.agents.change(&agent(), |sight| {
            let backend = sight.haproxy.get_mut("default").unwrap();
            for server in backend.get_mut("be_jurws").unwrap() {
                let word = words.iter().find(|(name, _)| *name == server.name);
                if let Some((_, word)) = word {
                    server.word = ServerWord::new(word);
                    server.admin = None;
                }
            }
        });
        self.sync().await.ok(200).json()
    }

    pub(crate) async fn sync(&self) -> Answer {
        let path = format!("/api/v1/haproxy/instances/{}/sync", self.instance);
        self.world.post(&path, Value::Null).await
    }
}

pub(crate) fn agent() -> AgentAddress {
    AgentAddress {
        host: "192.0.2.1".to_owned(),
        port: 11_011,
    }
}

#[tokio::test]
async fn an_action_is_queued_and_found_where_it_says() {
    let fleet = Fleet::new().await;
    for prefix in ["/api", "/api/v1"] {
        let path = format!("{prefix}/haproxy/servers/{}/action", fleet.server());
        let body = json!({ "action": "drain", "wait_s": 1.5, "reason": "disk" });
        let answer = fleet.world.post(&path, body).await.ok(202);
        let action = answer.json();
        let id = action["id"].as_str().unwrap();
        assert_eq!(
            action,
            json!({
                "id": id, "transaction_id": action["transaction_id"], "server": fleet.server(), "action": "drain",
                "status": "pending", "wait_s": 1.5, "force": false, "reason": "disk",
                "pin_s": null, "restores": false, "actor": "the admin",
                "request_id": answer.header("x-request-id"), "created_at": NOW, "started_at": null,
                "finished_at": null, "error": null, "evidence": {"sends": 0, "looks": []},
            })
        );
        assert!(
            action["transaction_id"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        let location = answer.header("location");
        assert_eq!(location, format!("{prefix}/haproxy/actions/{id}"));
        assert_eq!(answer.header("idempotency-replayed"), "");
        assert_eq!(fleet.world.get(location).await.ok(200).json(), action);
    }
    assert_eq!(fleet.actions().await.len(), 2);
}

#[tokio::test]
async fn what_is_left_out_has_its_default() {
    let fleet = Fleet::new().await;
    for (action, wait) in [("ready", 60.0), ("drain", 0.0), ("maint", 0.0)] {
        let body =
            json!({ "action": action, "wait_s": null, "force": null, "transaction_id": null });
        let answer = fleet.act(fleet.server(), body).await.ok(202).json();
        assert_eq!(
            (&answer["wait_s"], &answer["force"], &answer["reason"]),
            (&json!(wait), &json!(false), &Value::Null),
            "{action}"
        );
    }
}

#[tokio::test]
async fn bad_bodies_are_refused_where_they_are_bad() {
    let fleet = Fleet::new().await;
    let long = |count| "x".repeat(count);
    for (body, places) in [
        (json!({}), vec!["/action missing"]),
        (json!({ "action": "stop" }), vec!["/action invalid"]),
        (json!({ "action": "READY" }), vec!["/action invalid"]),
        (json!({ "action": 1 }), vec!["/action wrong_type"]),
        (
            json!({ "action": "drain", "wait_s": 3600.5 }),
            vec!["/wait_s out_of_range"],
        ),
        (
            json!({ "action": "drain", "wait_s": -1 }),
            vec!["/wait_s out_of_range"],
        ),
        (
            json!({ "action": "drain", "wait_s": "60" }),
            vec!["/wait_s wrong_type"],
        ),
        (
            json!({ "action": "drain", "pin_s": 0.5 }),
            vec!["/pin_s out_of_range"],
        ),
        (
            json!({ "action": "maint", "pin_s": 2_592_001 }),
            vec!["/pin_s out_of_range"],
        ),
        (
            json!({ "action": "ready", "pin_s": 60 }),
            vec!["/pin_s invalid"],
        ),
        (
            json!({ "action": "drain", "force": true }),
            vec!["/reason missing"],
        ),
        (
            json!({ "action": "drain", "force": "yes" }),
            vec!["/force wrong_type"],
        ),
        (
            json!({ "action": "drain", "reason": long(1_001) }),
            vec!["/reason invalid"],
        ),
        (
            json!({ "action": "drain", "transaction_id": long(129) }),
            vec!["/transaction_id invalid"],
        ),
        (
            json!({ "action": "drain", "transaction_id": "" }),
            vec!["/transaction_id invalid"],
        ),
        (
            json!({ "action": "drain", "transaction_id": "a\u{7}" }),
            vec!["/transaction_id invalid"],
        ),
        (
            json!({ "action": "up", "wait_s": 9_999, "server": 1 }),
            vec![
                "/action invalid",
                "/wait_s out_of_range",
                "/server unknown_field",
            ],
        ),
    ] {
        let answer = fleet.act(fleet.server(), body.clone()).await;
        assert_eq!(answer.pointers(), places, "{body}");
    }
    let most = json!({
        "action": "drain", "wait_s": 3_600, "force": true, "reason": long(1_000), "transaction_id": long(128),
        "pin_s": 2_592_000,
    });
    let action = fleet.act(fleet.server(), most).await.ok(202).json();
    assert_eq!(action["force"], true);
    assert_eq!(action["pin_s"], 2_592_000.0);
    assert_eq!(action["reason"], long(1_000));
    assert_eq!(action["transaction_id"], long(128));
    assert_eq!(fleet.actions().await.len(), 1);
}

#[tokio::test]
async fn the_same_transaction_is_the_same_action() {
    let fleet = Fleet::new().await;
    let server = fleet.server();
    let body = json!({ "action": "drain", "transaction_id": "deploy 7" });
    let first = fleet.act(server, body.clone()).await.ok(202);
    assert_eq!(first.json()["transaction_id"], "deploy 7");
    // A repetition by another caller, in another spelling.
    let again = json!({ "transaction_id": "deploy 7", "wait_s": 0.0, "action": "drain" });
    for replay in [
        fleet.act(server, again).await,
        fleet
            .act_with_key(server, "deploy 7", &json!({ "action": "drain" }))
            .await,
        fleet.act_with_key(server, "another key", &body).await,
    ] {
        let replay = replay.ok(202);
        assert_eq!(replay.header("idempotency-replayed"), "true");
        assert_eq!(replay.header("location"), first.header("location"));
        assert_eq!(replay.json(), first.json());
    }
    for (server, body) in [
        (
            server,
            json!({ "action": "ready", "transaction_id": "deploy 7" }),
        ),
        (
            server,
            json!({ "action": "drain", "transaction_id": "deploy 7", "wait_s": 1 }),
        ),
        (fleet.servers["web02_jurws_1"], body),
    ] {
        let refusal = fleet.act(server, body).await;
        let problem = refusal.problem(422, "idempotency_key_reused");
        assert!(
            problem["detail"].as_str().unwrap().contains("deploy 7"),
            "{problem}"
        );
    }
    let answer = fleet
        .act_with_key(server, &"k".repeat(129), &json!({ "action": "drain" }))
        .await;
    answer.problem(400, "invalid_header");
    assert_eq!(fleet.actions().await.len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let fleet = Fleet::new().await;
    let drain = json!({ "action": "drain" });
    fleet
        .act(7_777, drain.clone())
        .await
        .problem(404, "not_found");
    fleet
        .world
        .post("/api/haproxy/servers/x/action", drain)
        .await
        .problem(400, "invalid_path_parameter");
    fleet
        .world
        .post("/api/haproxy/instances/7777/sync", Value::Null)
        .await
        .problem(404, "not_found");
    for path in [
        "actions/00000000-0000-0000-0000-000000007001",
        "servers/7777/history",
    ] {
        let answer = fleet.world.get(&format!("/api/haproxy/{path}")).await;
        answer.problem(404, "not_found");
    }
    for path in ["actions/7", "servers/x/history"] {
        let answer = fleet.world.get(&format!("/api/haproxy/{path}")).await;
        answer.problem(400, "invalid_path_parameter");
    }
}

#[tokio::test]
async fn a_server_that_left_haproxy_is_a_conflict() {
    let fleet = Fleet::new().await;
    fleet.world.agents.change(&agent(), |sight| {
        let backend = sight.haproxy.get_mut("default").unwrap();
        backend
            .get_mut("be_jurws")
            .unwrap()
            .retain(|server| server.name != "web01_jurws_1");
    });
    // What is missing once may be a reload; what is missing again is gone.
    for _ in 0..3 {
        fleet.sync().await.ok(200);
    }
    let answer = fleet
        .act(fleet.server(), json!({ "action": "drain" }))
        .await;
    let problem = answer.problem(409, "conflict");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("web01_jurws_1"),
        "{problem}"
    );
}

#[tokio::test]
async fn the_last_server_stays_unless_it_is_forced() {
    let fleet = Fleet::new().await;
    let words: Vec<(&str, &str)> = fleet
        .servers
        .keys()
        .map(|name| match name.as_str() {
            "web01_jurws_1" => (name.as_str(), "UP"),
            _ => (name.as_str(), "DOWN"),
        })
        .collect();
    fleet.show(&words).await;
    for action in ["drain", "maint"] {
        let answer = fleet.act(fleet.server(), json!({ "action": action })).await;
        let problem = answer.problem(409, "below_min_ready");
        let detail = problem["detail"].as_str().unwrap();
        let numbers =
            "of the backend `be_jurws` 0 of 1 servers would go on taking requests; at least 1 must";
        assert!(detail.contains(numbers), "{detail}");
    }
    let forced = json!({ "action": "drain", "force": true, "reason": "the rack burns" });
    let action = fleet.act(fleet.server(), forced).await.ok(202).json();
    assert_eq!(
        (&action["force"], &action["reason"]),
        (&json!(true), &json!("the rack burns"))
    );
    // Neither a return nor what takes no requests leaves fewer.
    let ready = json!({ "action": "ready" });
    fleet.act(fleet.server(), ready).await.ok(202);
    let down = fleet.servers["web02_jurws_1"];
    fleet.act(down, json!({ "action": "drain" })).await.ok(202);
}

#[tokio::test]
async fn an_haproxy_that_does_not_answer_is_left_alone_for_a_while() {
    let fleet = Fleet::new().await;
    let (policy, now) = (BreakerPolicy::default(), FixedClock::default().now());
    for _ in 0..policy.failures {
        let instance = HaproxyInstanceKey::new(fleet.instance);
        let store = &fleet.world.store;
        store
            .record_answer(instance, policy, false, now)
            .await
            .unwrap();
    }
    let answer = fleet
        .act(fleet.server(), json!({ "action": "drain" }))
        .await;
    let problem = answer.problem(503, "unavailable");
    assert_eq!(
        answer.header("retry-after"),
        policy.open_for.as_secs().to_string()
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("`default`"),
        "{problem}"
    );
    let batch = json!({ "servers": [fleet.server()], "action": "drain" });
    let results = fleet.act_many(batch).await.ok(200).json();
    assert_eq!(
        results["results"][0]["error"],
        json!({ "code": "unavailable", "detail": problem["detail"] })
    );
}

#[tokio::test]
async fn a_batch_has_an_answer_for_each_server() {
    let fleet = Fleet::new().await;
    let (first, second) = (fleet.servers["web02_jurws_2"], fleet.server());
    let body = json!({
        "servers": [first, 7_777, second], "action": "maint", "wait_s": 5, "reason": "kernel", "transaction_id": "t1",
    });
    let answer = fleet.act_many(body.clone()).await.ok(200).json();
    let results = answer["results"].as_array().unwrap();
    let servers: Vec<&Value> = results.iter().map(|result| &result["server"]).collect();
    assert_eq!(json!(servers), json!([first, 7_777, second]));
    assert_eq!(
        results[1],
        json!({
            "server": 7_777, "action": null,
            "error": { "code": "not_found", "detail": "there is no HAProxy server 7777" },
        })
    );
    for (result, server) in [(&results[0], first), (&results[2], second)] {
        let action = &result["action"];
        assert_eq!(result["error"], Value::Null);
        assert_eq!(action["server"], server);
        assert_eq!(action["transaction_id"], format!("t1:{server}"));
        assert_eq!(
            (&action["action"], &action["wait_s"], &action["reason"]),
            (&json!("maint"), &json!(5.0), &json!("kernel"))
        );
    }
    // A repetition gets the same answer; another request under the same name is refused server by server.
    assert_eq!(fleet.act_many(body).await.ok(200).json(), answer);
    let other = json!({ "servers": [first], "action": "drain", "transaction_id": "t1" });
    let other = fleet.act_many(other).await.ok(200).json();
    assert_eq!(
        other["results"][0]["error"]["code"],
        "idempotency_key_reused"
    );
    assert_eq!(fleet.actions().await.len(), 2);
}

#[tokio::test]
async fn a_batch_never_takes_out_a_whole_backend() {
    let fleet = Fleet::new().await;
    let all: Vec<i64> = fleet.servers.values().copied().collect();
    let body = json!({ "servers": all, "action": "drain" });
    let answer = fleet.act_many(body).await.ok(200).json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    for result in results {
        assert_eq!(result["action"], Value::Null);
        assert_eq!(result["error"]["code"], "below_min_ready");
        let detail = result["error"]["detail"].as_str().unwrap();
        assert!(
            detail.contains("0 of 6 servers would go on taking requests"),
            "{detail}"
        );
    }
    assert_eq!(fleet.actions().await.len(), 0);
    let forced =
        json!({ "servers": all, "action": "drain", "force": true, "reason": "the end of jurws" });
    let answer = fleet.act_many(forced).await.ok(200).json();
    let results = answer["results"].as_array().unwrap();
    assert!(
        results.iter().all(|result| result["error"].is_null()),
        "{answer}"
    );
}

#[tokio::test]
async fn a_bad_batch_is_refused_as_a_whole() {
    let fleet = Fleet::new().await;
    let many: Vec<i64> = (1..=501).collect();
    for (body, places) in [
        (
            json!({ "servers": many, "action": "drain" }),
            vec!["/servers too_many"],
        ),
        (
            json!({ "servers": [], "action": "drain" }),
            vec!["/servers empty"],
        ),
        (
            json!({ "servers": [1, 2, 1], "action": "drain" }),
            vec!["/servers/2 duplicate"],
        ),
        (
            json!({ "servers": [0, "1"], "action": "no" }),
            vec![
                "/servers/0 out_of_range",
                "/servers/1 wrong_type",
                "/action invalid",
            ],
        ),
        (json!({}), vec!["/servers missing", "/action missing"]),
        (
            json!({ "servers": [1], "action": "drain", "force": true }),
            vec!["/reason missing"],
        ),
        // Every server's id is added to it.
        (
            json!({ "servers": [1], "action": "drain", "transaction_id": "x".repeat(112) }),
            vec!["/transaction_id invalid"],
        ),
    ] {
        let answer = fleet.act_many(body.clone()).await;
        assert_eq!(answer.pointers(), places, "{body}");
    }
    let most: Vec<i64> = (10_001..=10_500).collect();
    let body = json!({ "servers": most, "action": "drain", "transaction_id": "x".repeat(111) });
    let answer = fleet.act_many(body).await.ok(200).json();
    assert_eq!(answer["results"].as_array().unwrap().len(), 500);
    assert_eq!(fleet.actions().await.len(), 0);
}

#[tokio::test]
async fn actions_are_listed_newest_first_and_by_server() {
    let fleet = Fleet::new().await;
    let other = fleet.servers["web03_jurws_2"];
    let mut ids = Vec::new();
    for (server, action) in [
        (fleet.server(), "drain"),
        (other, "drain"),
        (fleet.server(), "ready"),
    ] {
        let answer = fleet.act(server, json!({ "action": action })).await;
        ids.push(answer.ok(202).json()["id"].clone());
    }
    let found =
        |items: &[Value]| -> Vec<Value> { items.iter().map(|item| item["id"].clone()).collect() };
    ids.reverse();
    assert_eq!(found(&fleet.actions().await), ids);

    let mut path = format!("/api/haproxy/actions?server={}&limit=1", fleet.server());
    let mut own = Vec::new();
    loop {
        let page = fleet.world.get(&path).await.ok(200).json();
        own.extend(found(page["items"].as_array().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!(
            "/api/haproxy/actions?server={}&limit=1&cursor={cursor}",
            fleet.server()
        );
    }
    assert_eq!(own, [ids[0].clone(), ids[2].clone()]);
    let none = fleet.world.get("/api/haproxy/actions?server=7777").await;
    assert_eq!(none.ok(200).json()["items"], json!([]));
    for (query, code) in [
        ("server=x", "invalid_query_parameter"),
        ("server_id=1", "unknown_query_parameter"),
    ] {
        let answer = fleet
            .world
            .get(&format!("/api/haproxy/actions?{query}"))
            .await;
        answer.problem(400, code);
    }
}

#[tokio::test]
async fn a_sync_is_made_now_and_the_history_tells_what_it_found() {
    let fleet = Fleet::new().await;
    let synced = fleet.show(&[("web01_jurws_1", "DOWN 1/2")]).await;
    assert_eq!(
        synced,
        json!({
            "id": fleet.instance, "server_id": 1, "server_name": "web01.example", "name": "default", "active": true,
            "last_sync": NOW, "last_sync_status": "success", "last_sync_error": null, "observed_at": NOW, "version": null,
            "started_at": null, "backends": 1,
        })
    );
    fleet.show(&[("web01_jurws_1", "DOWN")]).await;
    let path = format!("/api/haproxy/servers/{}/history", fleet.server());
    let page = fleet.world.get(&path).await.ok(200).json();
    let change = |old: &str, new: &str| {
        json!({
            "at": NOW, "old_status": old, "new_status": new, "reason": "sync", "action": null, "actor": null,
        })
    };
    assert_eq!(page["items"][0], change("DOWN 1/2", "DOWN"));
    assert_eq!(page["items"][1], change("UP 1/3", "DOWN 1/2"));

    let first = fleet.world.get(&format!("{path}?limit=1")).await.ok(200);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let next = format!("{path}?limit=1&cursor={cursor}");
    let next = fleet.world.get(&next).await.ok(200).json();
    assert_eq!(next["items"], json!([change("UP 1/3", "DOWN 1/2")]));
}

#[tokio::test]
async fn a_sync_that_fails_is_an_outcome() {
    let fleet = Fleet::new().await;
    fleet.world.agents.remove(&agent());
    let synced = fleet.sync().await.ok(200).json();
    assert_eq!(synced["last_sync_status"], "failed");
    assert!(synced["last_sync_error"].is_string(), "{synced}");
}

#[tokio::test]
async fn an_action_that_is_done_shows_what_was_seen() {
    let fleet = Fleet::new().await;
    let words: Vec<(&str, &str)> = fleet
        .servers
        .keys()
        .map(|name| (name.as_str(), "UP"))
        .collect();
    fleet.show(&words).await;
    let answer = fleet
        .act(fleet.server(), json!({ "action": "drain" }))
        .await;
    let answer = answer.ok(202);

    let (stop, stopped) = watch::channel(false);
    let mut handlers = Handlers::default();
    let (kind, handler) = fleet.world.service.action_handler();
    handlers.register(kind, handler).unwrap();
    let engine = Engine::new(
        EnginePorts::over(&fleet.world.store),
        Arc::new(FixedClock::default()),
        Arc::new(SequentialIds::default()),
        handlers,
        EngineOptions::new("w1".to_owned(), vec![QueueOptions::new(action_queue())]),
    )
    .unwrap();
    let worker = engine.run(stopped);
    let watch = async {
        let path = answer.header("location");
        let action = eventually(Duration::from_secs(10), || async {
            let action = fleet.world.get(path).await.ok(200).json();
            match action["status"].as_str() {
                Some("success" | "failed") => Ok(action),
                _ => Err(action.to_string()),
            }
        })
        .await;
        stop.send(true).unwrap();
        action
    };
    let ((), action) = tokio::join!(worker, watch);

    let look = |status: &str| json!({ "at": NOW, "status": status, "sessions": 4, "old_sessions": null, "queue": 0, "agent_check": false });
    assert_eq!(action["status"], "success", "{action}");
    assert_eq!(
        action["evidence"],
        json!({ "sends": 1, "looks": [look("UP"), look("DRAIN")] })
    );
    assert_eq!(
        (
            &action["started_at"],
            &action["finished_at"],
            &action["error"]
        ),
        (&json!(NOW), &json!(NOW), &Value::Null)
    );
    let path = format!("/api/haproxy/servers/{}/history", fleet.server());
    let page = fleet.world.get(&path).await.ok(200).json();
    assert_eq!(
        page["items"][0],
        json!({
            "at": NOW, "old_status": "UP", "new_status": "DRAIN", "reason": "command", "action": action["id"],
            "actor": "the admin",
        })
    );
}
