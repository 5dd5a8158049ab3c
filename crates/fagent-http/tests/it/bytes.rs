//! Bytes no honest agent sends: each is a clear error, none takes memory or time.

use std::time::{Duration, Instant};

use drover_domain::fleet::inventory::APPLICATIONS_PER_SERVER_MAX;
use drover_ports::{AgentError, AgentGateway as _};
use proptest::prelude::*;

use crate::stub::{Answer, DEADLINE, Stubs, gateway};

/// What the gateway says of this answer to the question for applications.
async fn inventory_error(answer: Answer) -> AgentError {
    let stubs = Stubs::default();
    let agent = stubs.start(move |_| answer.clone()).await;
    gateway().inventory(&agent).await.unwrap_err()
}

fn said(error: &AgentError) -> String {
    let AgentError::Unreadable { reason, .. } = error else {
        return format!("not unreadable: {error:?}");
    };
    reason.clone()
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let big = format!("{{\"server\":\"{}\"}}", "x".repeat(4 * 1024 * 1024));
    let deep = format!(
        "{{\"server\":{{\"site-app\":{{\"applications\":{}",
        "[".repeat(100_000)
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nx";
    for (answer, expected) in [
        (
            Answer::json(200, &big),
            "the body is larger than 4194304 bytes",
        ),
        (
            Answer::json(200, &deep),
            "it is not as agreed: EOF while parsing a list",
        ),
        (Answer::json(200, ""), "it is not as agreed: EOF"),
        (Answer::json(200, "{}"), "it has no `server`"),
        (Answer::json(200, "[]"), "it is not an object"),
        (
            Answer::json(200, r#"{"server":{"site-app":{"applications":{}}}}"#),
            "it is not as agreed: invalid type",
        ),
        (
            Answer::json(200, r#"{"server":{"site-app":{}}}"#),
            "it is not as agreed: missing field `applications`",
        ),
        (
            Answer::json(200, "{\"server\":\"\u{feff}"),
            "it is not as agreed",
        ),
        (Answer::json(204, ""), "its status is 204 instead of 200"),
        (
            Answer::json(301, ""),
            "it redirects (status 301), which is not followed",
        ),
        (
            Answer::Bytes(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"
                    .to_vec(),
            ),
            "the body is encoded",
        ),
        (
            Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}".to_vec()),
            "the body broke off after 2 bytes",
        ),
        (Answer::Stall(chunked.into()), "the body"),
    ] {
        let error = inventory_error(answer.clone()).await;
        let shown: String = format!("{answer:?}").chars().take(80).collect();
        // A chunk that never ends is late; both are honest.
        let is_late =
            matches!(error, AgentError::Silent { .. }) && matches!(answer, Answer::Stall(_));
        assert!(
            is_late || said(&error).contains(expected),
            "{shown}: {error:?}"
        );
    }
}

#[tokio::test]
async fn depth_is_no_danger_where_nobody_looks() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(
        r#"{{"x":{nested},"server":{{"site-app":{{"applications":[{nested},{{"name":"a","y":{nested},"port":{nested}}}]}}}}}}"#
    );
    let stubs = Stubs::default();
    let agent = stubs.start(move |_| Answer::json(200, &body)).await;
    let report = gateway().inventory(&agent).await.unwrap();
    assert_eq!(
        (report.applications.len(), report.complaints.len()),
        (1, 2),
        "{report:?}"
    );
}

/// Answers every question with these bytes.
async fn agent_that_says(stubs: &Stubs, body: &'static [u8]) -> drover_ports::AgentAddress {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    stubs.start(move |_| Answer::Bytes(answer.clone())).await
}

#[tokio::test]
async fn bytes_that_are_no_text_cost_one_character() {
    let stubs = Stubs::default();
    for body in [
        &b"{\"server\":{\"site-app\":{\"applications\":[{\"name\":\"a\",\"path\":\"/srv/caf\\udce9\"},{\"name\":\"b\"}]}}}"[..],
        b"{\"server\":{\"site-app\":{\"applications\":[{\"name\":\"a\",\"path\":\"/srv/caf\xe9\"},{\"name\":\"b\"}]}}}",
    ] {
        let agent = agent_that_says(&stubs, body).await;
        let report = gateway().inventory(&agent).await.unwrap();
        assert_eq!(report.complaints, Vec::<String>::new());
        assert_eq!(report.applications.len(), 2);
        assert_eq!(report.applications[0].path.as_deref(), Some("/srv/caf\u{fffd}"));
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_do_not_hide_what_haproxy_shows() {
    let stubs = Stubs::default();
    let instances = b"{\"success\":true,\"x\":\"\\ud800\",\"data\":{\"instances\":[{\"name\":\"default\"},{\"name\":\"\xff\"}]}}";
    let agent = agent_that_says(&stubs, instances).await;
    assert_eq!(
        gateway().haproxy_instances(&agent).await.unwrap().names,
        ["default"]
    );
    let backends = b"{\"success\":true,\"data\":{\"backends\":[\"be\",\"caf\\udce9\"]}}";
    let agent = agent_that_says(&stubs, backends).await;
    assert_eq!(
        gateway().backends(&agent, "default").await.unwrap().names,
        ["be"]
    );
    let servers = b"{\"success\":true,\"data\":{\"servers\":[{\"name\":\"s1\",\"status\":\"UP\",\"check_status\":\"caf\xe9\"}]}}";
    let agent = agent_that_says(&stubs, servers).await;
    let answer = gateway()
        .backend_servers(&agent, "default", "be")
        .await
        .unwrap();
    assert_eq!(answer.servers.len(), 1);
    assert_eq!(
        answer.servers[0].check_status.as_deref(),
        Some("caf\u{fffd}")
    );
}

#[tokio::test]
async fn the_words_of_a_no_are_readable_whatever_their_bytes() {
    let stubs = Stubs::default();
    let body = b"{\"success\":false,\"error\":\"gar\xe7on \\udce9\"}";
    let mut answer =
        format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    let agent = stubs.start(move |_| Answer::Bytes(answer.clone())).await;
    let error = gateway().inventory(&agent).await.unwrap_err();
    assert!(
        error.to_string().contains("gar\u{fffd}on \u{fffd}"),
        "{error}"
    );
}

#[tokio::test]
async fn an_inventory_comes_with_the_address_that_answered() {
    let stubs = Stubs::default();
    let agent = stubs.start(|_| Answer::json(200, &sites(1))).await;
    let report = gateway().inventory(&agent).await.unwrap();
    assert_eq!(report.agent_ip, agent.host.parse().ok());
}

#[tokio::test]
async fn an_address_without_an_agent_is_not_asked() {
    for host in [
        "169.254.169.254",
        "0.0.0.0",
        "2130706433",
        "127.1",
        "224.0.0.1",
    ] {
        let agent = drover_ports::AgentAddress {
            host: host.to_owned(),
            port: 80,
        };
        let error = gateway().ping(&agent).await.unwrap_err();
        assert!(
            matches!(error, AgentError::Unreachable { .. }),
            "{host}: {error:?}"
        );
    }
}

/// An inventory of this many sites.
fn sites(count: usize) -> String {
    let sites: Vec<String> = (0..count)
        .map(|at| format!(r#"{{"name":"a{at}"}}"#))
        .collect();
    format!(
        r#"{{"server":{{"site-app":{{"applications":[{}]}}}}}}"#,
        sites.join(",")
    )
}

#[tokio::test]
async fn more_applications_than_a_server_can_have_are_no_inventory() {
    let stubs = Stubs::default();
    let agent = stubs
        .start(|_| Answer::json(200, &sites(APPLICATIONS_PER_SERVER_MAX)))
        .await;
    let report = gateway().inventory(&agent).await.unwrap();
    assert_eq!(report.applications.len(), APPLICATIONS_PER_SERVER_MAX);
    for count in [APPLICATIONS_PER_SERVER_MAX + 1, 100_000] {
        let error = inventory_error(Answer::json(200, &sites(count))).await;
        assert!(
            said(&error).contains("a list has more than 10000 elements"),
            "{count}: {error:?}"
        );
    }
}

#[tokio::test]
async fn null_is_no_answer_to_any_question() {
    let stubs = Stubs::default();
    let agent = stubs.start(|_| Answer::json(200, "null")).await;
    let gateway = gateway();
    let errors = [
        gateway.inventory(&agent).await.unwrap_err(),
        gateway.haproxy_instances(&agent).await.unwrap_err(),
        gateway.backends(&agent, "default").await.unwrap_err(),
        gateway
            .backend_servers(&agent, "default", "web")
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(said(&error).contains("it is not an object"), "{error:?}");
    }
}

#[tokio::test]
async fn a_kind_that_is_left_out_is_not_one_that_cannot_be_read() {
    let body = r#"{"server":{"site-app":{"applications":[{"name":"a"}]}}}"#;
    let stubs = Stubs::default();
    let agent = stubs.start(move |_| Answer::json(200, body)).await;
    assert_eq!(
        gateway()
            .inventory(&agent)
            .await
            .unwrap()
            .applications
            .len(),
        1
    );
    for (body, expected) in [
        (
            r#"{"server":{}}"#,
            "none of docker-app, site-app, service-app",
        ),
        (
            r#"{"server":{"site-app":{"applications":[]},"docker-app":7}}"#,
            "its `docker-app` is not an object",
        ),
        (
            r#"{"server":{"site-app":{"applications":[]},"docker-app":{"applications":null}}}"#,
            "it is not as agreed",
        ),
    ] {
        let error = inventory_error(Answer::json(200, body)).await;
        assert!(said(&error).contains(expected), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn what_a_body_is_called_does_not_matter() {
    let body = r#"{"server":{"site-app":{"applications":[{"name":"a"}]}}}"#;
    for kind in ["text/html", "application/octet-stream", "nonsense", ""] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let stubs = Stubs::default();
        let agent = stubs
            .start(move |_| Answer::Bytes(answer.clone().into_bytes()))
            .await;
        let report = gateway().inventory(&agent).await;
        assert_eq!(report.unwrap().applications.len(), 1, "{kind}");
    }
    let page = inventory_error(Answer::json(200, "<html>It works!</html>")).await;
    assert!(said(&page).contains("it is not as agreed"), "{page:?}");
}

#[tokio::test]
async fn a_method_that_is_not_served_is_a_no() {
    let stubs = Stubs::default();
    let agent = stubs
        .start(|_| Answer::json(405, r#"{"error":"use POST"}"#))
        .await;
    let gateway = gateway();
    for error in [
        gateway.inventory(&agent).await.unwrap_err(),
        gateway.ping(&agent).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, AgentError::Refused { status: 405, message, .. } if message == "use POST"),
            "{error:?}"
        );
    }
    // Only a path that is not there has another one to be tried.
    assert!(
        !stubs.seen().iter().any(|line| line.contains("/app ")),
        "{:?}",
        stubs.seen()
    );
}

#[tokio::test]
async fn a_connection_that_is_reset_in_the_body_tells_nothing() {
    let body = sites(3);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    for sent in [0, 1, body.len() - 1] {
        let bytes = [head.as_bytes(), &body.as_bytes()[..sent]].concat();
        let error = inventory_error(Answer::Reset(bytes)).await;
        // The reset may overtake what was sent before it.
        let is_unreachable = matches!(error, AgentError::Unreachable { .. });
        assert!(
            is_unreachable || said(&error).contains("broke off"),
            "{sent}: {error:?}"
        );
    }
}

/// No bomb goes off where nothing is unpacked.
#[tokio::test]
async fn a_packed_body_is_not_unpacked() {
    let began = Instant::now();
    for encoding in ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip"] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n");
        let answer = Answer::Forever(head.into_bytes(), vec![0; 64 * 1024]);
        let error = inventory_error(answer).await;
        assert!(
            said(&error).contains("the body is encoded"),
            "{encoding}: {error:?}"
        );
    }
    // Nothing of it is waited for either.
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
    let packed = [&b"HTTP/1.1 200 OK\r\n\r\n\x1f\x8b\x08"[..], &[0; 4096]].concat();
    let error = inventory_error(Answer::Bytes(packed)).await;
    assert!(said(&error).contains("it is not as agreed"), "{error:?}");
}

#[tokio::test]
async fn no_http_at_all_is_unreachable() {
    for bytes in [
        b"".to_vec(),
        b"SSH-2.0-OpenSSH_9\r\n".to_vec(),
        vec![0; 100],
    ] {
        let error = inventory_error(Answer::Bytes(bytes)).await;
        assert!(matches!(error, AgentError::Unreachable { .. }), "{error:?}");
    }
    let error = inventory_error(Answer::Reset(Vec::new())).await;
    assert!(matches!(error, AgentError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_endless_header_has_an_end() {
    let began = Instant::now();
    let error = inventory_error(Answer::Forever(
        b"HTTP/1.1 200 OK\r\n".to_vec(),
        b"X-A: b\r\n".repeat(1000),
    ))
    .await;
    assert!(
        matches!(
            error,
            AgentError::Unreachable { .. } | AgentError::Silent { .. }
        ),
        "{error:?}"
    );
    assert!(
        began.elapsed() < DEADLINE + Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn the_deadline_is_for_both_paths_together() {
    let stubs = Stubs::default();
    let agent = stubs
        .start(|path| match path {
            "/app" => Answer::Stall(Vec::new()),
            _ => Answer::json(404, "{}"),
        })
        .await;
    let began = Instant::now();
    let error = gateway().inventory(&agent).await.unwrap_err();
    assert!(matches!(error, AgentError::Silent { .. }), "{error:?}");
    assert!(
        began.elapsed() < DEADLINE + Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_error_without_words_keeps_its_status() {
    for (answer, message) in [
        (Answer::json(502, "<html>nginx</html>"), "Bad Gateway"),
        (Answer::json(599, "{}"), "it does not say why"),
        (
            Answer::Bytes(
                b"HTTP/1.1 500 X\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx".to_vec(),
            ),
            "Internal Server Error",
        ),
    ] {
        let error = inventory_error(answer).await;
        let AgentError::Refused { message: found, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(found, message);
    }
}

#[tokio::test]
async fn a_no_dressed_as_a_200_is_a_no() {
    let error = inventory_error(Answer::json(
        200,
        r#"{"success":false,"status_code":503,"error":"busy"}"#,
    ))
    .await;
    assert!(
        matches!(&error, AgentError::Refused { status: 503, message, .. } if message == "busy"),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_ipv6_agent_is_called() {
    let stub = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    let agent = drover_ports::AgentAddress {
        host: "::1".to_owned(),
        port: stub.local_addr().unwrap().port(),
    };
    let gateway = gateway();
    let (accepted, _ended) = tokio::join!(stub.accept(), async {
        tokio::time::timeout(Duration::from_millis(200), gateway.ping(&agent))
            .await
            .is_err()
    });
    assert!(accepted.is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a body is, reading it ends with an answer or an error and never breaks down.
    #[test]
    fn any_body_is_answered(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut bytes = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend(body);
        let error = runtime.block_on(inventory_error(Answer::Bytes(bytes)));
        prop_assert!(matches!(error, AgentError::Unreadable { .. } | AgentError::Refused { .. }), "{error:?}");
    }
}
