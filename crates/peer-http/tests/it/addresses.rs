//! Which addresses a task may call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_domain::workflow::run::Outcome;
use drover_egress::{AddressPolicy, Cidr};
use drover_peer_http::{Options, PeerHttp};
use reqwest::dns::{Name, Resolve, Resolving};

use crate::stub::{Answer, Peer, ScriptedNames, failure, get, options, result};

fn handler(allow: &str, deny: &[&str], names: Arc<dyn Resolve>) -> PeerHttp {
    let policy = AddressPolicy {
        allow: vec![Cidr::parse(allow).unwrap()],
        deny: deny
            .iter()
            .map(|entry| Cidr::parse(entry).unwrap())
            .collect(),
        ..AddressPolicy::default()
    };
    let options = Options {
        policy,
        ..options()
    };
    PeerHttp::with_names(options, names).unwrap()
}

/// What is said about an attempt that was refused because of its address.
#[track_caller]
fn refused(outcome: Outcome) -> String {
    let (code, message, retryable) = failure(outcome);
    assert_eq!(
        (code.as_str(), retryable),
        ("address_refused", false),
        "{message}"
    );
    message
}

#[tokio::test]
async fn an_address_in_the_url_is_refused_in_every_spelling() {
    let peer = Peer::says(Answer::whole(200, &[], "")).await;
    let port = peer.port;
    // 127.0.0.1 alone is open, and the peer listens on all of them.
    let handler = PeerHttp::new(options()).unwrap();
    for (host, end) in [
        ("127.0.0.2", "127.0.0.2"),
        ("0.0.0.0", "0.0.0.0"),
        ("0", "0.0.0.0"),
        ("0x7f000002", "127.0.0.2"),
        ("2130706434", "127.0.0.2"),
        ("017700000002", "127.0.0.2"),
        ("127.2", "127.0.0.2"),
        ("127.0.0.2.", "127.0.0.2"),
        ("%31%32%37.0.0.2", "127.0.0.2"),
        ("127。0。0。2", "127.0.0.2"),
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("[::ffff:127.0.0.2]", "127.0.0.2"),
        ("[::ffff:169.254.169.254]", "169.254.169.254"),
        ("[64:ff9b::a9fe:a9fe]", "169.254.169.254"),
        ("[2002:a9fe:a9fe::]", "169.254.169.254"),
        ("169.254.169.254", "169.254.169.254"),
    ] {
        let message = refused(get(&handler, &format!("http://{host}:{port}/?key=s3cret")).await);
        assert!(
            message.contains(&format!(" is not called: {end} is ")) && !message.contains("s3cret"),
            "{host}: {message}"
        );
    }
    assert_eq!(peer.seen(), Vec::<String>::new());
    result(get(&handler, &format!("http://[::ffff:127.0.0.1]:{port}/")).await);
    result(get(&handler, &format!("http://0x7f.1:{port}/")).await);
}

#[tokio::test]
async fn a_name_leads_to_its_open_addresses_only() {
    let peer = Peer::says(Answer::whole(200, &[], "")).await;
    let url = format!("http://peer:{}/", peer.port);
    let mixed: &[&'static str] = &["127.0.0.2", "10.0.0.7", "127.0.0.1"];
    let names = ScriptedNames::new(&[Some(mixed)]);
    result(get(&handler("127.0.0.1", &[], names), &url).await);
    assert_eq!(peer.seen().len(), 1);

    let bad: &[&'static str] = &["10.0.0.7", "127.0.0.2"];
    let names = ScriptedNames::new(&[Some(bad)]);
    assert_eq!(
        refused(get(&handler("127.0.0.1", &[], names), &url).await),
        "`peer` is not called: 10.0.0.7 is a private address (10.0.0.0/8), and no entry of the allow \
         list opens it"
    );
    assert_eq!(peer.seen().len(), 1);
}

#[tokio::test]
async fn the_deny_list_wins() {
    let peer = Peer::says(Answer::whole(200, &[], "")).await;
    let url = format!("http://peer:{}/", peer.port);
    let answer: &[&'static str] = &["127.0.0.1"];
    let names = ScriptedNames::new(&[Some(answer)]);
    assert_eq!(
        refused(get(&handler("127.0.0.0/8", &["127.0.0.1"], names), &url).await),
        "`peer` is not called: 127.0.0.1 is on the deny list (127.0.0.1/32)"
    );
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_each_time() {
    let peer = Peer::says(Answer::whole(200, &[], "")).await;
    let url = format!("http://peer:{}/", peer.port);
    let good: &[&'static str] = &["127.0.0.1"];
    let bad: &[&'static str] = &["127.0.0.2"];
    // Were the name looked up again between check and connection, the first attempt would see the
    // second answer, and the second attempt none at all.
    let names = ScriptedNames::new(&[Some(good), Some(bad)]);
    let handler = handler("127.0.0.1", &[], names);
    result(get(&handler, &url).await);
    assert!(refused(get(&handler, &url).await).contains("127.0.0.2"));
    assert_eq!(peer.seen().len(), 1);
}

#[tokio::test]
async fn a_name_nobody_knows_is_unreachable() {
    let names = ScriptedNames::new(&[None, Some(&[])]);
    let handler = handler("127.0.0.0/8", &[], names);
    for cause in ["SERVFAIL", "the name has no address"] {
        let (code, message, retryable) = failure(get(&handler, "http://peer/").await);
        assert_eq!((code.as_str(), retryable), ("unreachable", true));
        assert_eq!(
            message,
            format!("GET http://peer/ did not reach anybody: {cause}")
        );
    }
}

/// Names that are looked up forever.
struct SilentNames;

impl Resolve for SilentNames {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_look_up_has_an_end() {
    let started = Instant::now();
    let handler = handler("127.0.0.1", &[], Arc::new(SilentNames));
    let (code, message, retryable) = failure(get(&handler, "http://peer/").await);
    assert_eq!(
        (code.as_str(), retryable),
        ("unreachable", true),
        "{message}"
    );
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_scheme_can_be_closed() {
    let policy = AddressPolicy {
        plain_http: false,
        ..options().policy
    };
    let handler = PeerHttp::new(Options {
        policy,
        ..options()
    })
    .unwrap();
    assert_eq!(
        refused(get(&handler, "http://127.0.0.1:1/").await),
        "the scheme is `http`; allowed: https"
    );
}
