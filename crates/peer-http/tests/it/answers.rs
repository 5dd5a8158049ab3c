//! What a task makes of what its peer answers, and of what is no answer.

use std::time::{Duration, Instant};

use drover_domain::workflow::run::Outcome;
use drover_peer_http::{Options, PeerHttp};
use drover_ports::{Assigned, TaskHandler as _};

use crate::stub::{Answer, Peer, Stop, failure, get, nobody, options, result, run, task, whole};

/// How a GET of `/a?key=s3cret` ends.
async fn outcome(answer: Answer) -> Outcome {
    let peer = Peer::says(answer).await;
    let handler = PeerHttp::new(options()).unwrap();
    get(&handler, &peer.url("/a?key=s3cret")).await
}

/// Code, message from the path on, and whether to try again.
async fn failed(answer: Answer) -> (String, String, bool) {
    let (code, message, retryable) = failure(outcome(answer).await);
    assert!(!message.contains("s3cret"), "{message}");
    let told = message.split_once("/a?*** ").unwrap().1.to_owned();
    (code, told, retryable)
}

#[tokio::test]
async fn an_expected_answer_is_the_result() {
    let json = whole(
        201,
        &[
            "Content-Type: application/json\r\n",
            "ETag: W/1\r\n",
            "Set-Cookie: x\r\n",
        ],
        r#"{"id": 7}"#,
    );
    assert_eq!(
        result(outcome(Answer::Bytes(json)).await),
        r#"{"status":201,"headers":{"content-type":"application/json","etag":"W/1"},"body":{"id": 7}}"#
    );
    let text = whole(200, &["Content-Type: text/plain\r\n"], "hello");
    assert_eq!(
        result(outcome(Answer::Bytes(text)).await),
        r#"{"status":200,"headers":{"content-type":"text/plain"},"body_text":"hello"}"#
    );
    let nothing = b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    assert_eq!(
        result(outcome(Answer::Bytes(nothing)).await),
        r#"{"status":204,"headers":{},"body_text":""}"#
    );
}

#[tokio::test]
async fn the_answer_to_a_head_has_no_body_however_long_it_would_be() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    let peer = Peer::says(Answer::Stall(head)).await;
    let handler = PeerHttp::new(options()).unwrap();
    let payload = format!(r#"{{"method":"HEAD","url":"{}"}}"#, peer.url("/"));
    assert_eq!(
        result(run(&handler, &payload).await),
        r#"{"status":200,"headers":{},"body_text":""}"#
    );
}

#[tokio::test]
async fn an_unexpected_status_fails_the_task() {
    for (status, code, retryable) in [
        (304, "status_3xx", false),
        (400, "status_4xx", false),
        (401, "status_4xx", false),
        (404, "status_4xx", false),
        (408, "status_4xx", true),
        (409, "status_4xx", false),
        (425, "status_4xx", true),
        (429, "status_4xx", true),
        (500, "status_5xx", true),
        (503, "status_5xx", true),
        (599, "status_5xx", true),
        (700, "status_odd", false),
    ] {
        let (found, message, again) = failed(Answer::whole(status, &[], "s3cret")).await;
        assert_eq!((found.as_str(), again), (code, retryable), "{status}");
        assert!(
            message.starts_with(&format!("was answered with status {status} (")),
            "{message}"
        );
    }
    let (_, message, _) = failed(Answer::whole(404, &[], "")).await;
    assert_eq!(
        message,
        "was answered with status 404 (Not Found), which is not expected"
    );
}

#[tokio::test]
async fn an_author_may_expect_other_statuses() {
    let handler = PeerHttp::new(options()).unwrap();
    for (status, expected, is_success) in [
        (404, "[200,404]", true),
        (302, "[302]", true),
        (500, "[500]", true),
        (200, "[201]", false),
        (299, "\"2xx\"", true),
    ] {
        let peer = Peer::says(Answer::whole(status, &[], "")).await;
        let url = peer.url("/");
        let payload = format!(r#"{{"method":"GET","url":"{url}","expect_status":{expected}}}"#);
        let outcome = run(&handler, &payload).await;
        assert_eq!(
            matches!(outcome, Outcome::Succeeded { .. }),
            is_success,
            "{outcome:?}"
        );
        if !is_success {
            assert_eq!(failure(outcome).0, "status_2xx");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let elsewhere = Peer::says(Answer::whole(200, &[], "")).await;
    let to = elsewhere.url("/b?token=s3cret");
    let shown = elsewhere.url("/b?***");
    for status in [301, 302, 303, 307, 308] {
        let answer = Answer::whole(status, &[&format!("Location: {to}\r\n")], "");
        assert_eq!(
            failed(answer).await,
            (
                "redirected".to_owned(),
                format!("was redirected to {shown} (status {status}), which is not followed"),
                false
            )
        );
    }
    for (line, shown) in [
        ("Location: //ann:s3cret@other/c", " to http://***@other/c"),
        ("Location: http://[", ""),
        ("X-Nothing: x", ""),
        ("Location: /gr\u{fc}n", ""),
    ] {
        let (_, message, _) = failed(Answer::whole(302, &[&format!("{line}\r\n")], "")).await;
        assert_eq!(
            message,
            format!("was redirected{shown} (status 302), which is not followed")
        );
    }
    assert_eq!(elsewhere.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn what_has_no_end_is_ended() {
    let piece = vec![b'x'; 16 * 1024];
    let chunk = [b"4000\r\n", piece.as_slice(), b"\r\n"].concat();
    let too_large = "was answered with more than 262144 bytes, which are not kept";
    let plain = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n".to_vec();
    for answer in [
        Answer::Forever(plain, piece),
        Answer::Forever(chunked, chunk),
        Answer::Stall(announced),
        Answer::whole(200, &[], &"\u{1}".repeat(100_000)),
    ] {
        let started = Instant::now();
        assert_eq!(
            failed(answer).await,
            ("response_too_large".to_owned(), too_large.to_owned(), false)
        );
        assert!(started.elapsed() < Duration::from_secs(4));
    }
    let whole_kept = outcome(Answer::whole(200, &[], &"x".repeat(262_000))).await;
    assert!(result(whole_kept).len() > 262_000);
}

#[tokio::test]
async fn headers_without_end_are_no_answer() {
    let many = "X: x\r\n".repeat(200);
    let many = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n");
    for answer in [
        Answer::Bytes(many.into_bytes()),
        Answer::Forever(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 16 * 1024]),
        Answer::Forever(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: x\r\n".to_vec()),
    ] {
        let (code, message, retryable) = failed(answer).await;
        assert_eq!(
            (code.as_str(), retryable),
            ("unreachable", true),
            "{message}"
        );
        assert!(
            message.starts_with("was sent, and no answer came: "),
            "{message}"
        );
    }
}

/// A handler with a short deadline.
fn hasty() -> PeerHttp {
    PeerHttp::new(Options {
        deadline_max: Duration::from_millis(300),
        ..options()
    })
    .unwrap()
}

#[tokio::test]
async fn waiting_has_an_end() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n".to_vec();
    for (answer, told) in [
        (Answer::Stall(Vec::new()), "was not answered in time"),
        (
            Answer::Stall(b"HTTP/1.1 200 OK\r\nX-".to_vec()),
            "was not answered in time",
        ),
        (
            Answer::Stall(head.clone()),
            "was answered, and the body did not end in time; 0 bytes came",
        ),
        (
            Answer::Drip(head, Duration::from_millis(20)),
            "was answered, and the body did not end in time; ",
        ),
    ] {
        let peer = Peer::says(answer).await;
        let started = Instant::now();
        let (code, message, retryable) = failure(get(&hasty(), &peer.url("/")).await);
        assert_eq!((code.as_str(), retryable), ("timed_out", true), "{message}");
        assert!(message.contains(told), "{message}");
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}

#[tokio::test]
async fn a_shorter_timeout_of_the_task_holds() {
    let peer = Peer::says(Answer::Stall(Vec::new())).await;
    let handler = PeerHttp::new(options()).unwrap();
    let mut task = task(&format!(r#"{{"method":"GET","url":"{}"}}"#, peer.url("/")));
    task.policy.timeout = Duration::from_millis(200);
    let started = Instant::now();
    let assigned = Assigned {
        task: &task,
        progress: &Stop::Never,
    };
    assert_eq!(failure(handler.run(assigned).await).0, "timed_out");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn what_breaks_is_worth_another_try() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc".to_vec();
    for (answer, told) in [
        (
            Answer::Bytes(half),
            "was answered, and the body broke off after 3 bytes",
        ),
        (Answer::Bytes(Vec::new()), "was sent, and no answer came: "),
        (
            Answer::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            "was sent, and no answer came: ",
        ),
    ] {
        let (code, message, retryable) = failed(answer).await;
        assert_eq!(
            (code.as_str(), retryable),
            ("unreachable", true),
            "{message}"
        );
        assert!(message.starts_with(told), "{message}");
    }
    let handler = PeerHttp::new(options()).unwrap();
    let port = nobody().await;
    let (code, message, retryable) =
        failure(get(&handler, &format!("http://127.0.0.1:{port}/a?key=s3cret")).await);
    assert_eq!((code.as_str(), retryable), ("unreachable", true));
    assert_eq!(
        message,
        format!(
            "GET http://127.0.0.1:{port}/a?*** did not reach anybody: Connection refused (os error 111)"
        )
    );
}

#[tokio::test]
async fn a_peer_without_tls_is_not_reached_by_it() {
    let peer = Peer::says(Answer::whole(200, &[], "")).await;
    let handler = PeerHttp::new(options()).unwrap();
    let url = peer.url("/").replace("http:", "https:");
    let (code, message, retryable) = failure(get(&handler, &url).await);
    assert_eq!((code.as_str(), retryable), ("unreachable", true));
    assert!(message.contains(" did not reach anybody: "), "{message}");
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let gzip = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b";
    assert_eq!(
        failed(Answer::Bytes(gzip.to_vec())).await,
        (
            "response_encoded".to_owned(),
            "was answered with a compressed body, which was not asked for".to_owned(),
            false
        )
    );
}

#[tokio::test]
async fn a_payload_that_is_none_is_not_tried_again() {
    let handler = PeerHttp::new(options()).unwrap();
    for (payload, told) in [
        ("null", "the payload must be an object"),
        (
            r#"{"method":"GET","url":"https://peer","headers":{"Host":"s3cret"}}"#,
            "the payload at `/headers/Host` belongs to the connection and is set by Drover alone",
        ),
    ] {
        let found = failure(run(&handler, payload).await);
        assert_eq!(found, ("bad_payload".to_owned(), told.to_owned(), false));
    }
}
