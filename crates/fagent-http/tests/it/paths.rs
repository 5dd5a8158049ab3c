//! Which paths are asked, in which spelling.

use drover_domain::haproxy::AdminState;
use drover_ports::{AgentAddress, AgentError, AgentGateway as _};

use crate::stub::{Answer, Stubs, gateway};

const EMPTY: &str = r#"{"server":{"site-app":{"applications":[]}}}"#;

#[tokio::test]
async fn an_old_agent_is_asked_by_its_old_path() {
    let stubs = Stubs::default();
    let agent = stubs
        .start(|path| match path {
            "/app" => Answer::json(200, EMPTY),
            _ => Answer::json(404, r#"{"error":"Not found"}"#),
        })
        .await;
    assert_eq!(gateway().inventory(&agent).await.unwrap().applications, []);
    assert_eq!(
        stubs.seen(),
        ["GET /api/v1/apps HTTP/1.1", "GET /app HTTP/1.1"]
    );
}

#[tokio::test]
async fn only_a_404_leads_to_the_old_path() {
    let stubs = Stubs::default();
    let agent = stubs
        .start(|_| Answer::json(503, r#"{"error":"busy"}"#))
        .await;
    let refusal = gateway().inventory(&agent).await.unwrap_err();
    assert!(
        matches!(refusal, AgentError::Refused { status: 503, .. }),
        "{refusal:?}"
    );
    assert_eq!(stubs.seen().len(), 1);
}

#[tokio::test]
async fn names_stand_in_the_path_as_they_are() {
    let stubs = Stubs::default();
    let agent = stubs
        .start(|_| {
            Answer::json(
                200,
                r#"{"data":{"servers":[],"backends":[],"instances":[]}}"#,
            )
        })
        .await;
    let gateway = gateway();
    gateway.haproxy_instances(&agent).await.unwrap();
    gateway.backends(&agent, "edge:1").await.unwrap();
    gateway
        .backend_servers(&agent, "edge:1", "be_a-b.c")
        .await
        .unwrap();
    gateway
        .set_state(&agent, "edge:1", "be_a-b.c", "s-1", AdminState::Drain)
        .await
        .unwrap();
    assert_eq!(
        stubs.seen(),
        [
            "GET /api/v1/haproxy/instances HTTP/1.1",
            "GET /api/v1/haproxy/edge:1/backends HTTP/1.1",
            "GET /api/v1/haproxy/edge:1/backends/be_a-b.c/servers HTTP/1.1",
            r#"POST /api/v1/haproxy/edge:1/backends/be_a-b.c/servers/s-1/action HTTP/1.1 {"action":"drain"}"#,
        ]
    );
}

#[tokio::test]
async fn a_name_that_would_change_the_path_is_never_sent() {
    let stubs = Stubs::default();
    let agent = stubs.start(|_| Answer::json(200, r#"{"data":{}}"#)).await;
    for (instance, backend, server) in
        [("a/b", "be", "s"), ("a", "..", "s"), ("a", "be", "s; quit")]
    {
        let failure = gateway()
            .set_state(&agent, instance, backend, server, AdminState::Ready)
            .await
            .unwrap_err();
        assert!(
            matches!(failure, AgentError::Unreadable { .. }),
            "{failure:?}"
        );
    }
    assert_eq!(stubs.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn the_token_is_sent_with_every_question_and_shown_nowhere() {
    let stubs = Stubs::default();
    let agent = stubs.start(|_| Answer::json(200, EMPTY)).await;
    let gateway = gateway().with_token("s3cret-of-the-fleet").unwrap();
    gateway.ping(&agent).await.unwrap();
    gateway.inventory(&agent).await.unwrap();
    assert_eq!(
        stubs.seen(),
        [
            "GET /ping HTTP/1.1 Bearer s3cret-of-the-fleet",
            "GET /api/v1/apps HTTP/1.1 Bearer s3cret-of-the-fleet",
        ]
    );
    assert!(!format!("{gateway:?}").contains("s3cret"), "{gateway:?}");
    let refusal = gateway.with_token("two\nlines").unwrap_err();
    assert!(!refusal.to_string().contains("two"), "{refusal}");
}

#[tokio::test]
async fn an_agent_without_the_new_token_is_asked_with_the_former_one() {
    let stubs = Stubs::default();
    // It knows the former token only: that comes with the third question.
    let count = std::sync::atomic::AtomicU32::new(0);
    let agent = stubs
        .start(move |_| {
            if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
                Answer::json(200, EMPTY)
            } else {
                Answer::json(401, r#"{"error": "the token is wrong"}"#)
            }
        })
        .await;
    let only_new = gateway().with_token("the-new-one").unwrap();
    let refusal = only_new.inventory(&agent).await.unwrap_err();
    assert!(
        matches!(refusal, AgentError::Refused { status: 401, .. }),
        "{refusal:?}"
    );
    let both = only_new.with_former_token("the-old-one").unwrap();
    both.inventory(&agent).await.unwrap();
    assert_eq!(
        stubs.seen(),
        [
            "GET /api/v1/apps HTTP/1.1 Bearer the-new-one",
            "GET /api/v1/apps HTTP/1.1 Bearer the-new-one",
            "GET /api/v1/apps HTTP/1.1 Bearer the-old-one",
        ]
    );
}

#[tokio::test]
async fn an_address_that_is_none_is_never_called() {
    for host in ["user@127.0.0.1", "127.0.0.1/x", "127.0.0.1:80", "", "a b"] {
        let agent = AgentAddress {
            host: host.to_owned(),
            port: 1,
        };
        let failure = gateway().ping(&agent).await.unwrap_err();
        assert!(
            matches!(failure, AgentError::Unreachable { .. }),
            "{failure:?}"
        );
    }
}
