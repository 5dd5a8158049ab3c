//! Messages to receivers that take them, and to others.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::webhook::{
    EventType, Notice, Noticed, Webhook, WebhookSecret, WebhookSecrets, WebhookWish,
};
use drover_domain::{Key, Timestamp};
use drover_peer_http::{Options, WebhookHttp};
use drover_ports::{Outgoing, Receipt, SendFailure, WebhookSender};

use crate::stub::{Answer, Peer, nobody, options, whole};

const PATIENCE: Duration = Duration::from_secs(20);
const AT: Timestamp = Timestamp::from_micros(1_614_265_330_900_000);

fn secret(text: &str) -> WebhookSecret {
    WebhookSecret::new(text.to_owned())
}

fn outgoing(url: String) -> Outgoing {
    Outgoing {
        webhook: Webhook {
            key: Key::new(1),
            wish: WebhookWish {
                url,
                description: None,
                events: BTreeSet::new(),
                is_active: true,
            },
            disabled: None,
            created_at: Timestamp::EPOCH,
            created_by: "ann".to_owned(),
        },
        secrets: WebhookSecrets {
            current: secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            former: None,
        },
        message: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
        event: EventType::Test,
        payload: r#"{"test": 2432232314}"#.to_owned(),
    }
}

async fn sent(answer: Answer, timeout: Duration) -> Result<Receipt, SendFailure> {
    let peer = Peer::says(answer).await;
    let sender = WebhookHttp::new(options()).unwrap();
    let told = sender
        .send(&outgoing(peer.url("/a?key=s3cret")), AT, timeout)
        .await;
    if let Err(failure) = &told {
        assert!(!failure.reason.contains("s3cret"), "{failure:?}");
    }
    told
}

#[tokio::test]
async fn a_message_carries_what_the_standard_asks_for() {
    let peer = Peer::says(Answer::whole(204, &[], "")).await;
    let sender = WebhookHttp::new(options()).unwrap();
    let mut outgoing = outgoing(peer.url("/drover"));
    let until = AT.after(Duration::from_secs(1));
    let former = secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    outgoing.secrets.former = Some((former, until));
    let told = sender.send(&outgoing, AT, PATIENCE).await;
    assert_eq!(told, Ok(Receipt { status: 204 }));
    let seen = peer.seen().remove(0);
    assert!(seen.starts_with("POST /drover HTTP/1.1"), "{seen}");
    for line in [
        "content-type: application/json",
        "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp: 1614265330",
        // The example of the specification, and after it the signature with the secret before.
        "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,",
        r#"{"test": 2432232314}"#,
    ] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    assert_eq!(seen.matches("v1,").count(), 2, "{seen}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_else_is_told() {
    let other = Peer::says(Answer::whole(204, &[], "")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: {}\r\n", other.url("/"));
        let answer = Answer::whole(status, &[&location], "");
        assert_eq!(sent(answer, PATIENCE).await, Ok(Receipt { status }));
    }
    assert_eq!(other.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_without_end_is_not_waited_for() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    let answers = [
        Answer::Stall(head.clone()),
        Answer::Forever(head, vec![b'x'; 65_536]),
    ];
    for answer in answers {
        assert_eq!(sent(answer, PATIENCE).await, Ok(Receipt { status: 200 }));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure_that_is_tried_again() {
    let short = Duration::from_millis(200);
    let reason = |told: Result<Receipt, SendFailure>| {
        let failure = told.unwrap_err();
        assert!(!failure.is_final, "{failure:?}");
        failure.reason
    };
    for silent in [
        Answer::Stall(Vec::new()),
        Answer::Stall(b"HTTP/1.1 200 OK\r\nX: ".to_vec()),
        Answer::Drip(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), short / 10),
    ] {
        let reason = reason(sent(silent, short).await);
        assert!(reason.starts_with("no answer within"), "{reason}");
    }
    for broken in [
        Answer::Bytes(Vec::new()),
        Answer::Bytes(b"no HTTP at all\r\n\r\n".to_vec()),
        Answer::Forever(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(1_000)),
    ] {
        assert_eq!(
            reason(sent(broken, PATIENCE).await),
            "the receiver broke off"
        );
    }
    let sender = WebhookHttp::new(options()).unwrap();
    let gone = outgoing(format!("http://127.0.0.1:{}/", nobody().await));
    assert_eq!(
        reason(sender.send(&gone, AT, PATIENCE).await),
        "the receiver cannot be reached"
    );
}

#[tokio::test]
async fn where_nobody_may_call_no_message_goes() {
    let peer = Peer::says(Answer::Bytes(whole(204, &[], ""))).await;
    let closed = Options {
        policy: drover_egress::AddressPolicy::default(),
        ..options()
    };
    let sender = WebhookHttp::new(closed).unwrap();
    let url = peer.url("/");
    assert!(sender.check(&url, None).is_err());
    let failure = sender.send(&outgoing(url), AT, PATIENCE).await.unwrap_err();
    assert!(failure.is_final, "{failure:?}");
    assert_eq!(peer.seen(), Vec::<String>::new());
    let notice = Notice {
        at: AT,
        what: Noticed::Test {
            actor: "ann".to_owned(),
        },
    };
    assert_eq!(
        sender.render(&notice),
        r#"{"data":{"actor":"ann"},"timestamp":"2021-02-25T15:02:10.900Z","type":"webhook.test"}"#
    );
}
