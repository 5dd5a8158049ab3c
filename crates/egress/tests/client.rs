//! What the client does and does not do, against a stub server.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

use std::time::Duration;

use drover_egress::{BodyError, Options, Proxy, USER_AGENT, client, read_capped};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(2),
        total_timeout: Duration::from_secs(5),
        proxy: Proxy::Direct,
    }
}

/// A server that answers one connection with these bytes and then keeps it open, or closes it.
async fn says(bytes: &'static [u8], closes: bool, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _length = stream.read(&mut request).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        if !closes {
            std::future::pending::<()>().await;
        }
    });
    format!("http://{address}/")
}

#[tokio::test]
async fn it_names_itself_and_asks_for_plain_bodies() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/who"))
        .and(header("user-agent", USER_AGENT))
        .and(header("accept-encoding", "identity"))
        .respond_with(ResponseTemplate::new(200).set_body_string("hello"))
        .mount(&server)
        .await;
    let response = client(options())
        .unwrap()
        .get(format!("{}/who", server.uri()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(read_capped(response, 5).await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let server = MockServer::start().await;
    Mock::given(path("/from"))
        .respond_with(ResponseTemplate::new(302).insert_header("location", "/to"))
        .mount(&server)
        .await;
    Mock::given(path("/to"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let response = client(options())
        .unwrap()
        .get(format!("{}/from", server.uri()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 302);
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_announced_or_not() {
    let mut tasks = JoinSet::new();
    for answer in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef".as_slice(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    ] {
        let url = says(answer, false, &mut tasks).await;
        let response = client(options()).unwrap().get(url).send().await.unwrap();
        let refusal = read_capped(response, 5).await.unwrap_err();
        assert!(
            matches!(refusal, BodyError::TooLarge { most: 5 }),
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_comes_late_or_is_compressed_is_told_apart() {
    let mut tasks = JoinSet::new();
    let short = Options {
        total_timeout: Duration::from_millis(300),
        ..options()
    };
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc".as_slice();

    let url = says(half, true, &mut tasks).await;
    let response = client(options()).unwrap().get(url).send().await.unwrap();
    let refusal = read_capped(response, 10).await.unwrap_err();
    assert!(
        matches!(refusal, BodyError::BrokenOff { received: 3, .. }),
        "{refusal:?}"
    );

    let url = says(half, false, &mut tasks).await;
    let response = client(short).unwrap().get(url).send().await.unwrap();
    let refusal = read_capped(response, 10).await.unwrap_err();
    assert!(
        matches!(refusal, BodyError::Late { received: 3 }),
        "{refusal:?}"
    );

    let gzip = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc";
    let url = says(gzip, true, &mut tasks).await;
    let response = client(options()).unwrap().get(url).send().await.unwrap();
    let refusal = read_capped(response, 10).await.unwrap_err();
    assert!(matches!(refusal, BodyError::Encoded), "{refusal:?}");
}

#[tokio::test]
async fn waiting_for_an_answer_has_an_end() {
    let mut tasks = JoinSet::new();
    let url = says(b"", false, &mut tasks).await;
    let short = Options {
        total_timeout: Duration::from_millis(200),
        ..options()
    };
    let error = client(short).unwrap().get(url).send().await.unwrap_err();
    assert!(error.is_timeout() && !error.is_connect(), "{error:?}");
}
