//! A service over fakes, a router over it, and a client without a network.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use drover_domain::Timestamp;
use drover_domain::access::{ApiKey, KeyOrigin, Role};
use drover_domain::fleet::{ApplicationKind, ApplicationStatus, ObservedApplication, VersionState};
use drover_domain::haproxy::{AdminBits, ObservedServer, ServerWord};
use drover_domain::id::Uuid;
use drover_http_api::{ApiKeyText, Options, router};
use drover_ports::{AccessKeys, AgentAddress, IdSource};
use drover_testkit::agent::{Agent, ScriptedAgents, Sight};
use drover_testkit::clock::{FixedClock, SequentialIds};
use drover_testkit::runner::{Script, ScriptedRunner};
use drover_testkit::store::MemoryStore;
use drover_testkit::webhook::ScriptedReceivers;
use drover_usecases::{Policy, Ports, Service};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::faulty::{Moody, MoodyKeys};
use crate::meddler::Meddler;

pub(crate) const ORCHESTRATOR: &str = "orchestrator-even-odd.yml";
pub(crate) const HEADER: &str = "# name: Even, then odd\n# Required parameters:\n#   app_instances - the instances\n#   distr_url - the artifact\n#   drain_delay - seconds\n\n---\n";

/// Identifiers far enough from each other for the tasks of a workflow to be in between.
#[derive(Debug, Default)]
struct SpacedIds(SequentialIds);

impl IdSource for SpacedIds {
    fn draw(&self) -> Uuid {
        Uuid::from_u128(self.0.draw().as_u128() << 12)
    }
}

pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) router: Router,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) agents: Arc<ScriptedAgents>,
    pub(crate) runner: Arc<ScriptedRunner>,
    pub(crate) meddler: Meddler,
    pub(crate) keys_mood: Moody,
    pub(crate) health_mood: Moody,
    /// The applications of the fleet: `jurws_1` and `jurws_2` of the first server, and so on.
    pub(crate) apps: Vec<i64>,
    keys: BTreeMap<Role, String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a problem of this status and code, whole and without leaks.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:drover:problem:{code}"));
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(
            problem["request_id"]
                .as_str()
                .is_some_and(|id| !id.is_empty())
        );
        assert_eq!(problem["retryable"], status == 503 || status == 408);
        assert_eq!(status == 503, self.headers.contains_key("retry-after"));
        assert_eq!(status == 401, self.headers.contains_key("www-authenticate"));
        assert_eq!(status == 405, self.headers.contains_key("allow"));
        for field in ["title", "detail", "instance"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field}: {problem}"
            );
        }
        assert!(problem["errors"].is_array());
        assert!(
            !problem.to_string().contains("SELECT") && !problem.to_string().contains("/var/lib")
        );
        problem
    }

    /// The pointers of a refused body, with their codes, and the detail of the whole.
    #[track_caller]
    pub(crate) fn places(&self) -> (String, String) {
        let detail = self.json()["detail"].as_str().unwrap_or("").to_owned();
        (self.pointers().join(", "), detail)
    }

    /// The pointers of a refused body, with their codes.
    #[track_caller]
    pub(crate) fn pointers(&self) -> Vec<String> {
        let problem = self.problem(422, "invalid_body");
        let errors = problem["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| {
                format!(
                    "{} {}",
                    error["pointer"].as_str().unwrap(),
                    error["code"].as_str().unwrap()
                )
            })
            .collect()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|options| options).await
    }

    pub(crate) async fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let store = Arc::new(MemoryStore::default());
        let agents = Arc::new(ScriptedAgents::default());
        let runner = Arc::new(ScriptedRunner::new());
        runner.script(ORCHESTRATOR, Script::new().head(HEADER));
        runner.script("update-app.yml", Script::new());
        let (keys_mood, health_mood) = (Moody::default(), Moody::default());
        let ids = Arc::new(SpacedIds::default());
        let meddler = Meddler::new(store.clone());
        let ports = Ports {
            servers: Arc::new(meddler.clone()),
            applications: Arc::new(meddler.clone()),
            groups: Arc::new(meddler.clone()),
            catalog: Arc::new(meddler.clone()),
            keys: Arc::new(MoodyKeys {
                mood: keys_mood.clone(),
                keys: store.clone(),
            }),
            health: Arc::new(health_mood.clone()),
            ..Ports::over(
                store.clone(),
                agents.clone(),
                runner.clone(),
                Arc::new(ScriptedReceivers::default()),
                Arc::new(FixedClock::default()),
                ids.clone(),
            )
        };
        let service = Service::new(ports, Policy::default());
        let mut keys = BTreeMap::new();
        for (byte, role) in [(1, Role::Viewer), (2, Role::Operator), (3, Role::Admin)] {
            let (key, text) = ApiKeyText::compose([byte; 8], [byte; 32]);
            let key = ApiKey {
                public_id: key.public_id().to_owned(),
                digest: key.digest(),
                role,
                name: format!("the {role}"),
                origin: KeyOrigin::Issued,
                created_by: None,
                created_at: Timestamp::EPOCH,
                expires_at: None,
            };
            AccessKeys::insert(&*store, &key).await.unwrap();
            keys.insert(role, text);
        }
        let options = change(Options::new(Arc::new(move || ids.draw())));
        let router = router(service.clone(), options);
        Self {
            service,
            router,
            store,
            agents,
            runner,
            meddler,
            keys_mood,
            health_mood,
            apps: Vec::new(),
            keys,
        }
    }

    /// Three servers with two instances each, the first with an HAProxy in front of all of them,
    /// and the orchestrator playbook.
    pub(crate) async fn with_fleet() -> Self {
        let mut world = Self::new().await;
        for number in 1..=3_u8 {
            let address = format!("192.0.2.{number}");
            let mut sight = Sight {
                applications: vec![application(&address, 1), application(&address, 2)],
                ..Sight::default()
            };
            if number == 1 {
                sight.haproxy = BTreeMap::from([("default".to_owned(), backend())]);
            }
            world.agents.arrange(
                AgentAddress {
                    host: address.clone(),
                    port: 11_011,
                },
                Agent::Answers(sight),
            );
            let body = json!({
                "name": format!("web{number:02}.example"), "address": address, "port": 11_011, "is_haproxy_node": number == 1
            });
            world.post("/api/v1/servers", body).await.ok(201);
        }
        // The HAProxy last: its servers are mapped to what is known by then.
        let page = world.get("/api/v1/servers").await.ok(200).json();
        for server in page["items"].as_array().unwrap().iter().rev() {
            world
                .post(
                    &format!("/api/v1/servers/{}/refresh", server["id"]),
                    Value::Null,
                )
                .await
                .ok(200);
        }
        world
            .post("/api/v1/orchestrators/scan", Value::Null)
            .await
            .ok(200);
        let page = world.get("/api/v1/applications").await.ok(200).json();
        let mut apps: Vec<&Value> = page["items"].as_array().unwrap().iter().collect();
        apps.sort_by_key(|app| format!("{} {}", app["server_name"], app["name"]));
        world.apps = apps.iter().map(|app| app["id"].as_i64().unwrap()).collect();
        world
    }

    pub(crate) fn key(&self, role: Role) -> &str {
        &self.keys[&role]
    }

    /// Asks as an admin.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(
            self.request(Method::GET, path, Some(Role::Admin))
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    /// Asks as an admin; null is no body.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    /// Asks as an admin; null is no body.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self.request(method, path, Some(Role::Admin));
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string()))
        };
        self.send(request.unwrap()).await
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        role: Option<Role>,
    ) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        match role {
            Some(role) => request.header("authorization", format!("Bearer {}", self.key(role))),
            None => request,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 16 * 1024 * 1024).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

pub(crate) fn application(address: &str, number: u16) -> ObservedApplication {
    ObservedApplication {
        name: format!("jurws_{number}"),
        kind: ApplicationKind::Service,
        status: ApplicationStatus::Online,
        version: VersionState {
            version: Some("1.0.0".to_owned()),
            ..VersionState::default()
        },
        address: Some(address.to_owned()),
        port: Some(8_000 + number),
        pid: Some(7),
        path: Some("/srv/jurws".to_owned()),
        log_path: None,
        container_id: None,
        start_time: None,
    }
}

fn backend() -> BTreeMap<String, Vec<ObservedServer>> {
    let servers = (1..=3_u8).flat_map(|server| {
        (1..=2_u16).map(move |number| ObservedServer {
            name: format!("web{server:02}_jurws_{number}"),
            word: ServerWord::new("UP 1/3"),
            admin: Some(AdminBits::from_bits(8)),
            sessions: Some(4),
            old_sessions: None,
            queue: Some(0),
            weight: 100,
            role: drover_domain::haproxy::ServerRole::default(),
            check_status: Some("L7OK".to_owned()),
            address: Some(format!("192.0.2.{server}")),
            port: Some(8_000 + number),
        })
    });
    BTreeMap::from([("be_jurws".to_owned(), servers.collect())])
}

/// A body for an update of these applications.
pub(crate) fn update(ids: &[i64]) -> Value {
    json!({ "app_ids": ids, "distr_url": "http://nexus.example/jurws-1.1.0.zip" })
}
