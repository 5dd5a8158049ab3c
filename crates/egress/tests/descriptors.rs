//! A process without free descriptors, alone in its process: the limit is the process's.

use std::fs::File;
use std::time::Duration;

use drover_egress::{Options, Proxy, client, is_local};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[tokio::test]
async fn a_lack_of_descriptors_is_told_from_a_refusal() {
    let client = client(Options {
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(5),
        proxy: Proxy::Direct,
    })
    .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let by_address = format!("http://{closed}/");
    let by_name = "http://agent.invalid/".to_owned();

    let refused = client.get(&by_address).send().await.unwrap_err();
    assert!(!is_local(&refused), "{refused:?}");
    let unknown = client.get(&by_name).send().await.unwrap_err();
    assert!(!is_local(&unknown), "{unknown:?}");

    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(64);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    for url in [by_address, by_name] {
        let starved = client.get(&url).send().await.unwrap_err();
        assert!(is_local(&starved), "{url}: {starved:?}");
    }
}
