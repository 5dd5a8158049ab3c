//! What a peer gets to see.

use drover_domain::workflow::Guarantee;
use drover_peer_http::PeerHttp;
use drover_ports::TaskHandler as _;

use crate::stub::{Answer, Peer, options, result, run};

async fn seen(fields: &str) -> String {
    let peer = Peer::says(Answer::whole(204, &[], "")).await;
    let handler = PeerHttp::new(options()).unwrap();
    let url = peer.url("/a/b?c=d%20e#f");
    let payload = format!(r#"{{"url":"{url}",{fields}}}"#);
    result(run(&handler, &payload).await);
    let [request] = peer.seen().try_into().unwrap();
    request.replace(&peer.port.to_string(), "PORT")
}

#[tokio::test]
async fn a_request_names_its_task_and_asks_for_nothing_compressed() {
    assert_eq!(
        seen(r#""method":"GET""#).await,
        format!(
            "GET /a/b?c=d%20e HTTP/1.1\r\n\
             x-drover-task: 0190b3a4-7c00-7000-8000-000000000005\r\n\
             x-drover-attempt: 3\r\n\
             idempotency-key: 0190b3a4-7c00-7000-8000-000000000005\r\n\
             accept: */*\r\n\
             user-agent: {}\r\n\
             accept-encoding: identity\r\n\
             host: 127.0.0.1:PORT\r\n\r\n",
            drover_egress::USER_AGENT
        )
    );
}

#[tokio::test]
async fn a_body_has_its_media_type_and_length() {
    let request = seen(r#""method":"POST","body":{"n": 1.50}"#).await;
    assert!(request.starts_with("POST /a/b?c=d%20e HTTP/1.1\r\n"));
    assert!(
        request.contains("\r\ncontent-type: application/json\r\n"),
        "{request}"
    );
    assert!(request.contains("\r\ncontent-length: 11\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"n\": 1.50}"), "{request}");
}

#[tokio::test]
async fn an_author_has_headers_and_may_leave_the_key_out() {
    let fields = r#""method":"DELETE","headers":{"Authorization":"Bearer x","Accept":"text/csv"},"idempotency_header":false"#;
    let request = seen(fields).await;
    assert!(
        request.contains("\r\nauthorization: Bearer x\r\n"),
        "{request}"
    );
    assert!(request.contains("\r\naccept: text/csv\r\n"), "{request}");
    assert!(
        !request.contains("accept: */*") && !request.contains("idempotency-key"),
        "{request}"
    );
}

#[tokio::test]
async fn it_promises_at_least_once() {
    let handler = PeerHttp::new(options()).unwrap();
    assert_eq!(handler.guarantee(), Guarantee::G3);
}
