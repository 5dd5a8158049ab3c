//! Events reach a receiver that verifies signatures: the one of the guide.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_testkit::eventually::eventually;
use serde_json::{Value, json};

use crate::api::Api;
use crate::process::{Process, Turn, binary, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/how-to")
}

#[test]
fn the_guide_shows_the_receiver() {
    let guide = fs::read_to_string(guides().join("receive-webhooks.md")).unwrap();
    let receiver = fs::read_to_string(guides().join("webhook_receiver.py")).unwrap();
    assert!(guide.contains(&format!("```python\n{receiver}```")));
}

fn receiver(root: &Path, secret: &str, port: u16) -> Process {
    let script = guides().join("webhook_receiver.py").display().to_string();
    let variables = [("WEBHOOK_SECRET".to_owned(), secret.to_owned())];
    let arguments = [script.as_str(), &port.to_string()];
    let log = root.join("receiver.log");
    Process::start(Path::new("/usr/bin/python3"), &arguments, &variables, &log)
}

fn drover(root: &Path, port: u16, key: &str) -> Process {
    let path = |name: &str| root.join(name).display().to_string();
    let variables = [
        ("DROVER_SERVER__LISTEN", format!("127.0.0.1:{port}")),
        (
            "DROVER_SERVER__ADMIN_LISTEN",
            format!("127.0.0.1:{}", free_port()),
        ),
        (
            "DROVER_DATABASE__URL",
            format!("sqlite://{}?mode=rwc", path("drover.sqlite")),
        ),
        ("DROVER_FLEET__POLLING_INTERVAL_MS", "500".to_owned()),
        ("DROVER_HTTP_REQUEST__ALLOW", "127.0.0.1/32".to_owned()),
        ("DROVER_ANSIBLE__PLAYBOOKS", root.display().to_string()),
        ("DROVER_ANSIBLE__SPOOL", path("spool")),
        ("DROVER_ACCESS__ADMIN_KEY", key.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    Process::start(
        &binary("drover"),
        &["serve"],
        &variables,
        &root.join("drover.log"),
    )
}

/// Waits for a line of the receiver's that begins like this.
async fn told(receiver: &Process, what: &str) -> Value {
    eventually(PATIENCE, || async {
        let log = receiver.log();
        let line = log.lines().find_map(|line| line.strip_prefix(what));
        let data = line.and_then(|data| serde_json::from_str(data.trim()).ok());
        data.ok_or_else(|| format!("no {what} in {log}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_verifies_is_told_what_happens() {
    let _turn = Turn::take();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let key = format!("drv_{}_{}", "0123456789abcdef", "A".repeat(43));
    let port = free_port();
    let service = drover(root, port, &key);
    let api = Api::new(&format!("http://127.0.0.1:{port}"), &key);
    eventually(PATIENCE, || async {
        match api.try_get("/readyz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}; log:\n{}", service.log())),
        }
    })
    .await;

    // An agent that answers, and a webhook with a secret that Drover makes up.
    let agent_port = free_port();
    let agent = {
        let listen = format!("127.0.0.1:{agent_port}");
        let log = root.join("agent.log");
        Process::start(&binary("drover-agent"), &["--listen", &listen], &[], &log)
    };
    let hook = free_port();
    let body = json!({"url": format!("http://127.0.0.1:{hook}/drover"), "events": ["server.status_changed"]});
    let made = api.post("/api/webhooks", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let secret = made.body["secret"].as_str().unwrap();
    let id = &made.body["webhook"]["id"];
    let shown = api.get(&format!("/api/webhooks/{id}")).await;
    assert!(!shown.body.to_string().contains("whsec_"), "{shown:?}");
    let refused = api
        .post("/api/webhooks", &json!({"url": "http://169.254.169.254/"}))
        .await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let receiver = receiver(root, secret, hook);
    told(&receiver, "listening").await;

    // A test delivery.
    let tried = api
        .post(&format!("/api/webhooks/{id}/test"), &json!({}))
        .await;
    assert_eq!(tried.status, 202, "{tried:?}");
    told(&receiver, "webhook.test").await;

    // A server that answered no longer does.
    let server = json!({"name": "app01", "address": "127.0.0.1", "port": agent_port});
    assert_eq!(api.post("/api/servers", &server).await.status, 201);
    let is = async |status: &str| {
        eventually(PATIENCE, || async {
            let servers = api.get("/api/servers").await;
            if servers.body["items"][0]["status"] == status {
                Ok(())
            } else {
                Err(format!("{servers:?}"))
            }
        })
        .await;
    };
    is("online").await;
    drop(agent);
    let data = told(&receiver, "server.status_changed").await;
    assert_eq!(
        (&data["server"]["name"], &data["status"]),
        (&json!("app01"), &json!("offline"))
    );
    let delivered = eventually(PATIENCE, || async {
        let listed = api
            .get(&format!("/api/webhook-deliveries?webhook_id={id}"))
            .await;
        let newest = listed.body["items"][0].clone();
        if newest["status"] == "delivered" {
            Ok(newest)
        } else {
            Err(format!("{listed:?}"))
        }
    })
    .await;
    let path = format!(
        "/api/webhook-deliveries/{}",
        delivered["id"].as_str().unwrap()
    );
    let delivery = api.get(&path).await.body;
    assert_eq!(delivery["attempts"][0]["status"], 204, "{delivery}");
    assert!(!service.log().contains(secret), "a secret is in the log");

    // The same message once more: the receiver knows it.
    let again = api.post(&format!("{path}/redeliver"), &json!({})).await;
    assert_eq!(again.status, 202, "{again:?}");
    let path = format!(
        "/api/webhook-deliveries/{}",
        again.body["id"].as_str().unwrap()
    );
    eventually(PATIENCE, || async {
        let delivery = api.get(&path).await.body;
        if delivery["status"] == "delivered" && delivery["message_id"] == delivered["message_id"] {
            Ok(())
        } else {
            Err(delivery.to_string())
        }
    })
    .await;
    let log = receiver.log();
    assert_eq!(log.matches("server.status_changed").count(), 1, "{log}");
}
