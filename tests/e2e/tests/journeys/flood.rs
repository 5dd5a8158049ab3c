//! More silent connections than the service may open files.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::Api;
use crate::world::{Database, World};

/// Far fewer than the connections that come.
const FILES: u32 = 256;

/// Each kind of silence: no byte, an HTTP/2 preface, half a header.
const BEGINNINGS: [&[u8]; 3] = [
    b"",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /api/servers HTTP/1.1\r\nX: ",
];

#[tokio::test]
async fn silent_connections_blind_neither_the_api_nor_the_polls() {
    let world = World::start_within(Database::Sqlite, FILES).await;
    let admin = Api::new(&world.admin_url(), "none");
    let mut held = Vec::new();
    for number in 0..1_200 {
        let port = if number % 8 == 0 {
            world.admin_url()
        } else {
            world.api_url()
        };
        let address = port.trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The service may have displaced it already.
        stream.write_all(BEGINNINGS[number % 3]).await.ok();
        held.push(stream);
        if number % 100 == 99 {
            for (name, api) in [("API", &world.api), ("admin", &admin)] {
                let begun = Instant::now();
                let answer = timeout(Duration::from_secs(1), api.try_get("/livez")).await;
                assert!(
                    matches!(&answer, Ok(Ok(answer)) if answer.status == 200),
                    "{name} after {number} connections and {:?}: {answer:?}\n{}",
                    begun.elapsed(),
                    world.log()
                );
            }
        }
    }
    // Several polls later the server is still known to be there.
    let polls = world.until_polled_again(4).await;
    assert_eq!(polls["status"], "online", "{polls}\n{}", world.log());
    let events = world.api.get("/api/events").await;
    assert!(
        !events.body.to_string().contains("disconnect"),
        "{events:?}"
    );
    drop(held);
}
