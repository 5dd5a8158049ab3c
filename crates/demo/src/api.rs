//! Drover's HTTP API, as far as the demo uses it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::http::{self, Request};

/// Longest wait for one answer; a refresh polls an agent meanwhile.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A client with a key.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    authorization: String,
}

/// A server that Drover has stored.
#[derive(Debug, Clone, Deserialize)]
pub struct StoredServer {
    /// Its number.
    pub id: i64,
}

/// An application that Drover has found.
#[derive(Debug, Clone, Deserialize)]
pub struct Application {
    /// Its number.
    pub id: i64,
    /// Full name of its server.
    pub server_name: Option<String>,
    /// Its name.
    pub name: String,
    /// Such as `online`.
    pub status: String,
    /// The version that the agent reported.
    pub version: Option<String>,
    /// The HAProxy server it is mapped to, `backend/server`.
    pub haproxy_server: Option<String>,
}

/// A rollout, as far as the demo looks at it.
#[derive(Debug, Clone, Deserialize)]
pub struct Rollout {
    /// Such as `processing`.
    pub status: String,
    /// Percent.
    pub progress: f64,
    /// What is done now.
    #[serde(rename = "current_step")]
    pub current: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Every target.
    #[serde(default)]
    pub targets: Vec<RolloutTarget>,
}

impl Rollout {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self.status.as_str(), "pending" | "processing")
    }
}

/// One instance of an update.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RolloutTarget {
    /// The application's number.
    pub application_id: i64,
    /// `even`, `odd` or `all`.
    pub batch: Option<String>,
    /// Such as `draining` or `done`.
    pub outcome: String,
    /// More in words.
    pub detail: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// The body of an error.
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<ProblemError>,
}

#[derive(Debug, Deserialize)]
struct ProblemError {
    pointer: Option<String>,
    detail: Option<String>,
}

impl Api {
    /// A client of the server at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, key: &str) -> Self {
        Self {
            address,
            authorization: format!("Bearer {key}"),
        }
    }

    /// Whether the server can work.
    ///
    /// # Errors
    ///
    /// If it is not there or says that it cannot.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let answer = self.exchange(Request::get("/readyz")).await?;
        anyhow::ensure!(
            answer.status == 200,
            "/readyz answers {}: {}",
            answer.status,
            answer.body
        );
        Ok(())
    }

    /// Stores a server and gives its number.
    ///
    /// # Errors
    ///
    /// If Drover refuses it.
    pub async fn add_server(
        &self,
        name: &str,
        agent: SocketAddr,
        has_haproxy: bool,
    ) -> anyhow::Result<StoredServer> {
        let body = json!({
            "name": name,
            "address": agent.ip(),
            "port": agent.port(),
            "is_haproxy_node": has_haproxy,
        });
        self.post("/api/servers", &body).await
    }

    /// Polls a server now.
    ///
    /// # Errors
    ///
    /// If Drover refuses, or does not know the server.
    pub async fn refresh(&self, server: &StoredServer) -> anyhow::Result<Value> {
        self.post(&format!("/api/servers/{}/refresh", server.id), &json!({}))
            .await
    }

    /// All applications.
    ///
    /// # Errors
    ///
    /// If Drover does not answer.
    pub async fn applications(&self) -> anyhow::Result<Vec<Application>> {
        let mut applications = Vec::new();
        let mut path = "/api/applications?limit=200".to_owned();
        loop {
            let page: Page<Application> = self.get(&path).await?;
            applications.extend(page.items);
            match page.next_cursor {
                Some(cursor) => path = format!("/api/applications?limit=200&cursor={cursor}"),
                None => return Ok(applications),
            }
        }
    }

    /// Reads the orchestrator playbooks anew.
    ///
    /// # Errors
    ///
    /// If there is none, or one cannot be read.
    pub async fn scan_orchestrators(&self) -> anyhow::Result<()> {
        let found: Value = self.post("/api/orchestrators/scan", &json!({})).await?;
        let scanned = found
            .get("scanned")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let errors = found
            .get("errors")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        anyhow::ensure!(
            scanned > 0 && errors == 0,
            "the scan of the playbooks found: {found}"
        );
        Ok(())
    }

    /// Asks for the update and gives the id of the rollout.
    ///
    /// # Errors
    ///
    /// If Drover refuses, or makes anything but one rollout of it.
    pub async fn update(
        &self,
        applications: &[i64],
        artifact: &str,
        drain_minutes: f64,
    ) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Accepted {
            rollout_ids: Vec<String>,
        }
        let body = json!({
            "app_ids": applications,
            "distr_url": artifact,
            "mode": "update",
            "drain_wait_time": drain_minutes,
        });
        let accepted: Accepted = self.post("/api/v1/rollouts", &body).await?;
        let count = accepted.rollout_ids.len();
        match <[String; 1]>::try_from(accepted.rollout_ids) {
            Ok([rollout]) => Ok(rollout),
            Err(_) => {
                anyhow::bail!("one group was to be updated, but Drover made {count} rollouts")
            }
        }
    }

    /// The rollout `id`.
    ///
    /// # Errors
    ///
    /// If Drover does not answer.
    pub async fn rollout(&self, id: &str) -> anyhow::Result<Rollout> {
        self.get(&format!("/api/v1/rollouts/{id}")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Request::get(path)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        let body = body.to_string();
        let request = Request {
            method: "POST",
            body: Some(&body),
            ..Request::get(path)
        };
        self.call(request).await
    }

    async fn call<T: DeserializeOwned>(&self, request: Request<'_>) -> anyhow::Result<T> {
        let authorization = [("Authorization", self.authorization.as_str())];
        let request = Request {
            headers: &authorization,
            ..request
        };
        let what = format!("{} {}", request.method, request.path);
        let answer = self
            .exchange(request)
            .await
            .with_context(|| format!("Drover does not answer {what}"))?;
        anyhow::ensure!(
            (200..300).contains(&answer.status),
            "Drover answers {what} with {}: {}",
            answer.status,
            told(&answer.body)
        );
        serde_json::from_str(&answer.body)
            .with_context(|| format!("the answer to {what} is not what its contract says"))
    }

    async fn exchange(&self, request: Request<'_>) -> anyhow::Result<http::Response> {
        timeout(ANSWER_LIMIT, http::once(self.address, request))
            .await
            .with_context(|| format!("no answer within {} s", ANSWER_LIMIT.as_secs()))?
    }
}

/// A problem document in one line; other text as it is.
fn told(body: &str) -> String {
    let Ok(problem) = serde_json::from_str::<Problem>(body) else {
        return body.trim().to_owned();
    };
    let mut text = problem.detail.unwrap_or(problem.title);
    for error in problem.errors {
        let place = error.pointer.unwrap_or_default();
        let detail = error.detail.unwrap_or_default();
        text.extend([" [", &place, " ", &detail, "]"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;

    async fn api(router: Router) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
        Api::new(address, "drv_key")
    }

    #[tokio::test]
    async fn all_pages_are_read_with_the_key() {
        let page = async |headers: HeaderMap, uri: axum::http::Uri| {
            if headers
                .get("authorization")
                .is_none_or(|value| value != "Bearer drv_key")
            {
                return (StatusCode::UNAUTHORIZED, String::new());
            }
            let last = uri
                .query()
                .is_some_and(|query| query.contains("cursor=abc"));
            let (id, cursor) = if last {
                (2, Value::Null)
            } else {
                (1, json!("abc"))
            };
            let item = json!({"id": id, "server_name": "app01.demo", "name": "jurws_1", "status": "online",
                "version": "1.0.0", "haproxy_server": null, "app_type": "service"});
            (
                StatusCode::OK,
                json!({"items": [item], "next_cursor": cursor}).to_string(),
            )
        };
        let api = api(Router::new().route("/api/applications", get(page))).await;
        let ids: Vec<_> = api
            .applications()
            .await
            .unwrap()
            .iter()
            .map(|found| found.id)
            .collect();
        assert_eq!(ids, [1, 2]);
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_problem() {
        let refuse = async || {
            let problem = json!({"title": "Unprocessable", "detail": "the body is refused",
                "errors": [{"pointer": "/distr_url", "code": "x", "detail": "is missing"}]});
            (StatusCode::UNPROCESSABLE_ENTITY, problem.to_string())
        };
        let api = api(Router::new().route("/api/v1/rollouts", post(refuse))).await;
        let error = api.update(&[1], "", 0.1).await.unwrap_err().to_string();
        assert!(
            error.contains("422: the body is refused [/distr_url is missing]"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn one_group_must_be_one_task() {
        let accept = async || {
            (
                StatusCode::ACCEPTED,
                json!({"rollout_ids": ["a", "b"]}).to_string(),
            )
        };
        let api = api(Router::new().route("/api/v1/rollouts", post(accept))).await;
        let error = api
            .update(&[1], "http://x/y", 0.1)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("2 rollouts"), "{error}");
    }

    #[test]
    fn a_task_is_final_when_it_neither_waits_nor_runs() {
        let task = |status: &str| -> Rollout {
            serde_json::from_value(
                json!({"status": status, "progress": 0, "current_step": null, "error": null}),
            )
            .unwrap()
        };
        for status in ["completed", "failed", "cancelled", "unknown"] {
            assert!(task(status).is_final(), "{status}");
        }
        for status in ["pending", "processing"] {
            assert!(!task(status).is_final(), "{status}");
        }
    }
}
