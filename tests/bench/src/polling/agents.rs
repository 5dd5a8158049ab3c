//! Agents that exist only here: one process answers for all addresses of the loopback.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Every tenth server has this remainder, and hangs when there is trouble.
pub(super) const HANGING: u64 = 1;
/// How large a head may be.
const HEAD_MAX: usize = 8 * 1024;

/// What all of them report.
#[derive(Debug, Default)]
struct Told {
    applications: AtomicU64,
    /// The version of every application.
    version: AtomicU64,
    /// How many of a hundred applications have the next version already.
    changed: AtomicU64,
    has_trouble: AtomicBool,
    /// How many backends an HAProxy has, and how many servers each.
    backends: AtomicU64,
    servers: AtomicU64,
    /// How many servers of each backend are drained.
    drained: AtomicU64,
}

impl Told {
    fn obey(&self, line: &str) {
        let (what, number) = line.split_once(' ').unwrap_or((line, "0"));
        let number = number.parse().unwrap_or_default();
        match what {
            "applications" => self.applications.store(number, Ordering::Relaxed),
            "version" => self.version.store(number, Ordering::Relaxed),
            "changed" => self.changed.store(number, Ordering::Relaxed),
            "backends" => self.backends.store(number, Ordering::Relaxed),
            "servers" => self.servers.store(number, Ordering::Relaxed),
            "drained" => self.drained.store(number, Ordering::Relaxed),
            _ => self.has_trouble.store(number > 0, Ordering::Relaxed),
        }
    }

    /// What the HAProxy behind an agent shows.
    fn haproxy(&self, host: u64, path: &str) -> String {
        let data = if path.ends_with("/instances") {
            json!({"instances": [{"name": "default", "available": true}], "count": 1})
        } else if path.ends_with("/backends") {
            let names =
                (0..self.backends.load(Ordering::Relaxed)).map(|number| format!("be{number}"));
            json!({"instance": "default", "backends": names.collect::<Vec<_>>()})
        } else {
            let name = path.rsplit('/').nth(1).unwrap_or_default();
            let backend: u64 = name.trim_start_matches("be").parse().unwrap_or_default();
            let drained = self.drained.load(Ordering::Relaxed);
            let servers = (0..self.servers.load(Ordering::Relaxed)).map(|number| {
                let is_drained = number < drained;
                json!({
                    "name": format!("web{number}_app_1"), "status": if is_drained { "DRAIN" } else { "UP" }, "weight": "100",
                    "check_status": "L7OK", "check_duration": "1", "last_chg": "4711", "downtime": "0",
                    "addr": format!("10.{host}.{backend}.{number}:8080"), "cookie": "", "scur": (number % 7).to_string(),
                    "qcur": "0", "admin_state": if is_drained { "8" } else { "0" },
                })
            });
            json!({"instance": "default", "backend": name, "servers": servers.collect::<Vec<_>>(),
                "haproxy": {"pid": "7", "uptime_sec": "100000"}})
        };
        json!({"success": true, "status_code": 200, "data": data}).to_string()
    }

    fn inventory(&self, server: u64) -> String {
        let (version, changed) = (
            self.version.load(Ordering::Relaxed),
            self.changed.load(Ordering::Relaxed),
        );
        let count = self.applications.load(Ordering::Relaxed);
        let applications: Vec<Value> = (0..count)
            .map(|number| {
                let is_changed = (server * count + number) % 100 < changed;
                let version = format!("1.{}.0", version + u64::from(is_changed));
                json!({
                    "name": format!("product{number}_1"), "version": version, "status": "online", "port": 8_000 + number,
                    "pid": 1_000 + number, "start_time": "2026-11-21T08:00:00Z", "ip": format!("10.0.0.{}", server % 250),
                    "distr_path": format!("/srv/product{number}/product-{version}.war"), "log_path": "/var/log/product",
                    "app_path": format!("/srv/product{number}"), "artifact_size_bytes": 73_400_320, "artifact_type": "war",
                })
            })
            .collect();
        json!({"server": {"name": format!("node{:05}", server + 1), "ip": "10.0.0.1",
            "site-app": {"applications": applications, "count": count, "last_update": "20261121_080000"}}})
        .to_string()
    }
}

/// Where server `number` of a fleet is.
pub(super) fn address(number: u64) -> String {
    format!(
        "127.{}.{}.{}",
        1 + number / 62_500,
        number / 250 % 250,
        1 + number % 250
    )
}

fn number(address: IpAddr) -> u64 {
    let IpAddr::V4(address) = address else {
        return 0;
    };
    let [_, high, middle, low] = address.octets().map(u64::from);
    (high - 1) * 62_500 + middle * 250 + low - 1
}

/// Answers until standard input ends and carries out its commands, one a line. The first line that it prints is its port.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    println!("{}", listener.local_addr()?.port());
    let told = Arc::new(Told::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => told.obey(&line),
                None => return Ok(()),
            },
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(converse(stream, Arc::clone(&told)));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

// A connection that breaks off is the other side's business.
async fn converse(mut stream: TcpStream, told: Arc<Told>) -> Option<()> {
    let server = number(stream.local_addr().ok()?.ip());
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1_024];
            let length = stream
                .read(&mut piece)
                .await
                .ok()
                .filter(|length| *length > 0)?;
            head.extend_from_slice(piece.get(..length)?);
            if head.len() > HEAD_MAX {
                return None;
            }
        }
        if told.has_trouble.load(Ordering::Relaxed) && server % 10 == HANGING {
            std::future::pending::<()>().await;
        }
        let path = head.split(|byte| *byte == b' ').nth(1)?;
        let body = match std::str::from_utf8(path).ok()? {
            "/ping" => r#"{"status":"ok"}"#.to_owned(),
            "/metrics" => exposition(told.inventory(server).len()),
            path if path.starts_with("/api/v1/haproxy/") => told.haproxy(server, path),
            _ => told.inventory(server),
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// So many bytes of what Prometheus reads.
fn exposition(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes);
    for number in 0.. {
        let line = format!(
            "app_up{{name=\"product{number}_1\",version=\"1.0.0\",path=\"/srv/product{number}\"}} 1\n"
        );
        if text.len() + line.len() > bytes {
            break;
        }
        text.push_str(&line);
    }
    let rest = bytes.saturating_sub(text.len());
    if rest > 2 {
        text.push('#');
        text.extend(std::iter::repeat_n(' ', rest - 2));
        text.push('\n');
    }
    text
}
