//! The guarded client on real sockets, with stub names.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover_egress::{
    AddressPolicy, AddressRefused, Cidr, GuardedClient, GuardedOptions, read_capped, refusal,
};
use reqwest::Method;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

/// Names whose answers are scripted: the next look-up gets the next answer, `None` is a failure.
#[derive(Debug, Default)]
struct ScriptedNames {
    answers: Mutex<VecDeque<Option<Vec<&'static str>>>>,
}

impl ScriptedNames {
    fn new(answers: impl IntoIterator<Item = Option<Vec<&'static str>>>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
        })
    }

    fn is_used_up(&self) -> bool {
        self.answers.lock().unwrap().is_empty()
    }
}

impl Resolve for ScriptedNames {
    fn resolve(&self, _: Name) -> Resolving {
        let answer = self.answers.lock().unwrap().pop_front().unwrap();
        Box::pin(async move {
            let addresses = answer.ok_or_else(|| io::Error::other("SERVFAIL"))?;
            let addresses = addresses
                .into_iter()
                .map(|address| SocketAddr::new(address.parse().unwrap(), 0));
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

fn options(allow: &[&str]) -> GuardedOptions {
    GuardedOptions {
        policy: AddressPolicy {
            allow: allow
                .iter()
                .map(|entry| Cidr::parse(entry).unwrap())
                .collect(),
            ..AddressPolicy::default()
        },
        connect_timeout: Duration::from_secs(2),
        total_timeout: Duration::from_secs(5),
    }
}

/// A server that answers each connection with the address it was called at, and closes it; the port it
/// listens at, on every address of the machine.
async fn server(tasks: &mut JoinSet<()>) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _length = stream.read(&mut request).await.unwrap();
            let called = stream.local_addr().unwrap().ip().to_string();
            let length = called.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{called}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

async fn get(client: &GuardedClient, url: &str) -> Result<Vec<u8>, reqwest::Error> {
    let request = client
        .request(Method::GET, Url::parse(url).unwrap())
        .unwrap();
    Ok(read_capped(request.send().await?, 16).await.unwrap())
}

fn refused(error: &reqwest::Error) -> String {
    refusal(error).map_or_else(|| format!("no refusal: {error:?}"), ToString::to_string)
}

#[tokio::test]
async fn an_address_in_the_url_is_checked_before_anything_happens() {
    let client = GuardedClient::new(options(&[])).unwrap();
    for url in [
        "http://127.0.0.1:1/",
        "http://2130706433/",
        "http://[::]/",
        "http://[::ffff:a9fe:a9fe]/",
    ] {
        let refusal = client
            .request(Method::GET, Url::parse(url).unwrap())
            .unwrap_err();
        assert!(
            matches!(refusal, AddressRefused::Closed { .. }),
            "{url}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn an_address_of_this_machines_names_is_checked_as_well() {
    let client = GuardedClient::new(options(&[])).unwrap();
    let error = get(&client, "http://localhost:1/").await.unwrap_err();
    assert!(
        refused(&error).starts_with("`localhost` is not called: "),
        "{error:?}"
    );
}

#[tokio::test]
async fn of_good_and_bad_addresses_only_the_good_are_called() {
    let mut tasks = JoinSet::new();
    let port = server(&mut tasks).await;
    // Without the check the first one would be called: the server answers there as well.
    let names = ScriptedNames::new([Some(vec!["127.0.0.2", "169.254.169.254", "127.0.0.1"])]);
    let client = GuardedClient::with_names(options(&["127.0.0.1"]), names).unwrap();
    let body = get(&client, &format!("http://peer:{port}/")).await.unwrap();
    assert_eq!(body, b"127.0.0.1");
}

#[tokio::test]
async fn a_name_with_bad_addresses_only_is_refused_by_the_first() {
    let names = ScriptedNames::new([Some(vec!["::ffff:169.254.169.254", "10.0.0.7"])]);
    let client = GuardedClient::with_names(options(&[]), names).unwrap();
    let error = get(&client, "http://peer/").await.unwrap_err();
    assert_eq!(
        refused(&error),
        "`peer` is not called: 169.254.169.254 is an address of a cloud's metadata service \
         (169.254.169.254/32), and no entry of the allow list opens it"
    );
}

#[tokio::test]
async fn a_second_look_up_that_says_something_else_helps_nobody() {
    let mut tasks = JoinSet::new();
    let port = server(&mut tasks).await;
    let names = ScriptedNames::new([Some(vec!["127.0.0.1"]), Some(vec!["127.0.0.2"])]);
    let client =
        GuardedClient::with_names(options(&["127.0.0.1"]), Arc::clone(&names) as _).unwrap();
    let url = format!("http://peer:{port}/");
    // One look-up per connection, and the connection goes where the check went.
    assert_eq!(get(&client, &url).await.unwrap(), b"127.0.0.1");
    assert!(!names.is_used_up());
    let error = get(&client, &url).await.unwrap_err();
    assert!(names.is_used_up());
    assert!(refused(&error).contains("127.0.0.2"), "{error:?}");
}

#[tokio::test]
async fn a_failed_look_up_is_a_failure_and_no_pass() {
    let names = ScriptedNames::new([None, Some(vec![])]);
    let client = GuardedClient::with_names(options(&["127.0.0.0/8"]), names).unwrap();
    for _ in 0..2 {
        let error = get(&client, "http://peer/").await.unwrap_err();
        assert!(error.is_connect() && refusal(&error).is_none(), "{error:?}");
    }
}
