//! The demo's HAProxy: its configuration, its process and its runtime socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::fleet::Fleet;
use crate::process::{Handle, Launch, Stage};
use crate::wait::until;

/// Name of the demo's only HAProxy, as Drover will know it.
pub const INSTANCE: &str = "default";

/// Name of the backend of the applications.
pub const BACKEND: &str = "jurws";

/// Longest wait for an answer of the runtime socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(2);

/// Most bytes of an answer of the runtime socket.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Longest wait for all servers to be up.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Bits of `srv_admin_state` that keep balanced traffic away: 0x23 maintenance, 0x18 drain.
const AWAY_BITS: u32 = 0x23 | 0x18;

/// A running HAProxy.
#[derive(Debug, Clone)]
pub struct Haproxy {
    /// Where it takes requests.
    pub frontend: SocketAddr,
    /// Its runtime socket, which is always that of the newest worker.
    pub socket: RuntimeSocket,
    /// The socket of its master.
    pub master: RuntimeSocket,
}

impl Haproxy {
    /// Reloads HAProxy: a new worker takes new requests, the old one answers those that it has.
    ///
    /// # Errors
    ///
    /// If the master does not take the command.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.master.ask("reload").await.map(|_| ())
    }

    /// Starts an HAProxy before `fleet`, with its files in `folder`, and waits until every server is up. Requests may take
    /// `longest`.
    ///
    /// # Errors
    ///
    /// If it does not start or a server is not up within 20 seconds.
    pub async fn start(
        stage: &Stage,
        program: &Path,
        folder: &Path,
        fleet: &Fleet,
        frontend: SocketAddr,
        longest: Duration,
    ) -> anyhow::Result<(Self, Handle)> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("folder `{}` cannot be made", folder.display()))?;
        let socket = RuntimeSocket {
            path: folder.join("admin.sock"),
        };
        let master = RuntimeSocket {
            path: folder.join("master.sock"),
        };
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, configuration(fleet, frontend, &socket.path, longest))
            .with_context(|| format!("`{}` cannot be written", file.display()))?;
        let launch = Launch::new("haproxy", program)
            .arguments(["-W", "-db", "-S"])
            .arguments([format!("{},level,operator", master.path.display())])
            .arguments(["-f"])
            .arguments([file]);
        let handle = stage.start(launch)?;
        let haproxy = Self {
            frontend,
            socket,
            master,
        };
        handle
            .while_it_lives(haproxy.all_up(fleet.instances.len()))
            .await?;
        Ok((haproxy, handle))
    }

    /// Waits until `servers` servers are up.
    async fn all_up(&self, servers: usize) -> anyhow::Result<()> {
        until(
            "every server up in HAProxy",
            START_LIMIT,
            Duration::from_millis(50),
            || async {
                let rows = self.socket.servers().await?;
                let up = rows.iter().filter(|row| row.status == "UP").count();
                anyhow::ensure!(up == servers, "{up} of {servers} are up");
                Ok(())
            },
        )
        .await
    }
}

/// A configuration without anything that would hide a lost request: HAProxy's own three attempts to *connect* are
/// left on, a request that was sent is never repeated.
///
/// A reload passes the listening sockets on, and idle connections are closed with their next answer only.
fn configuration(fleet: &Fleet, frontend: SocketAddr, socket: &Path, longest: Duration) -> String {
    let patience_s = longest.as_secs() + 30;
    let mut text = format!(
        "\
global
    maxconn 4000
    stats socket {} mode 600 level admin expose-fd listeners
    stats timeout 30s

defaults
    mode http
    timeout connect 1s
    timeout client {patience_s}s
    timeout server {patience_s}s
    timeout queue 5s
    timeout check 1s
    timeout http-request 10s
    timeout http-keep-alive 10s
    retries 3
    option redispatch
    option idle-close-on-response

frontend web
    bind {frontend}
    default_backend {BACKEND}

backend {BACKEND}
    balance roundrobin
    option httpchk GET /health
    http-check expect status 200
    default-server check inter 200ms fall 3 rise 2
",
        socket.display()
    );
    for instance in &fleet.instances {
        text.extend([
            "    server ",
            &instance.haproxy_server(),
            " ",
            &instance.address.to_string(),
            "\n",
        ]);
    }
    text
}

/// The runtime socket of an HAProxy.
#[derive(Debug, Clone)]
pub struct RuntimeSocket {
    /// Where it is.
    pub path: PathBuf,
}

impl RuntimeSocket {
    /// Sends one command and reads the whole answer, without the blanks around it.
    ///
    /// # Errors
    ///
    /// If HAProxy does not answer within 2 seconds.
    pub async fn ask(&self, command: &str) -> anyhow::Result<String> {
        let answer = async {
            let mut stream = UnixStream::connect(&self.path).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream
                .take(ANSWER_BYTES_MAX)
                .read_to_string(&mut answer)
                .await?;
            std::io::Result::Ok(answer.trim().to_owned())
        };
        timeout(SOCKET_LIMIT, answer)
            .await
            .map_err(std::io::Error::from)
            .flatten()
            .with_context(|| {
                format!(
                    "HAProxy does not answer `{command}` on `{}`",
                    self.path.display()
                )
            })
    }

    /// The servers of the backend as HAProxy sees them now.
    ///
    /// # Errors
    ///
    /// If HAProxy does not answer, or not in its CSV.
    pub async fn servers(&self) -> anyhow::Result<Vec<ServerRow>> {
        // Proxy, type 4 (servers), all of them.
        parse_servers(&self.ask(&format!("show stat {BACKEND} 4 -1")).await?)
    }

    /// The servers of the backend that are in drain or maintenance, up or not.
    ///
    /// # Errors
    ///
    /// If HAProxy does not answer, or not in its table of states.
    pub async fn drained(&self) -> anyhow::Result<Vec<String>> {
        parse_drained(&self.ask(&format!("show servers state {BACKEND}")).await?)
    }
}

/// One server in the answer to `show stat`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerRow {
    /// Its name.
    #[serde(rename = "svname")]
    pub name: String,
    /// HAProxy's own word, such as `UP`, `UP 1/3`, `DRAIN` or `MAINT`.
    pub status: String,
    /// Requests it is working on.
    #[serde(rename = "scur")]
    pub sessions: u64,
}

impl ServerRow {
    /// Whether new requests are sent to it.
    #[must_use]
    pub fn takes_traffic(&self) -> bool {
        is_in_use(&self.status)
    }
}

/// Whether new requests are sent to a server of this status. They are at `UP 1/3`: it counts failed checks but is still in
/// use.
#[must_use]
pub fn is_in_use(status: &str) -> bool {
    status == "UP" || status.starts_with("UP ") || status == "no check"
}

fn parse_servers(csv: &str) -> anyhow::Result<Vec<ServerRow>> {
    let csv = csv.strip_prefix("# ").with_context(|| {
        format!(
            "HAProxy answered no statistics but `{}`",
            csv.lines().next().unwrap_or_default()
        )
    })?;
    // The lines end with a comma that the header has too.
    csv::Reader::from_reader(csv.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()
        .context("HAProxy's statistics cannot be read")
}

fn parse_drained(table: &str) -> anyhow::Result<Vec<String>> {
    let mut lines = table.lines().skip_while(|line| !line.starts_with("# "));
    let header: Vec<&str> = lines
        .next()
        .with_context(|| format!("HAProxy answered no table of states but `{table}`"))?
        .trim_start_matches("# ")
        .split(' ')
        .collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|found| *found == name)
            .with_context(|| format!("HAProxy's table of states has no column {name}"))
    };
    let (name, admin) = (column("srv_name")?, column("srv_admin_state")?);
    let mut drained = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let (Some(name), Some(admin)) = (fields.get(name), fields.get(admin)) else {
            continue;
        };
        let admin: u32 = admin
            .parse()
            .with_context(|| format!("admin state `{admin}` of {name} is not a number"))?;
        if admin & AWAY_BITS != 0 {
            drained.push((*name).to_owned());
        }
    }
    Ok(drained)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Addresses;

    #[test]
    fn columns_are_found_by_name_and_quotes_are_read() {
        let rows = parse_servers(
            "# pxname,svname,qcur,scur,status,last_chk,-,\n\
             jurws,app01_jurws_1,0,3,UP,\"OK, \"\"fine\"\"\",x,\n\
             jurws,app02_jurws_1,0,0,DRAIN 1/3,,x,\n",
        )
        .unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (&*row.name, &*row.status, row.sessions))
            .collect();
        assert_eq!(
            seen,
            [
                ("app01_jurws_1", "UP", 3),
                ("app02_jurws_1", "DRAIN 1/3", 0)
            ]
        );
    }

    #[test]
    fn what_is_no_table_is_an_error() {
        for answer in [
            "",
            "Permission denied",
            "# pxname,svname\njurws,a\n",
            "# svname,status,scur\na,UP,many\n",
        ] {
            assert!(parse_servers(answer).is_err(), "{answer:?} was taken");
        }
        for answer in ["", "Can't find backend.", "1\n# be_id\n1\n"] {
            assert!(parse_drained(answer).is_err(), "{answer:?} was taken");
        }
    }

    #[test]
    fn only_servers_in_use_take_traffic() {
        for (status, takes) in [
            ("UP", true),
            ("UP 1/3", true),
            ("no check", true),
            ("DOWN", false),
            ("DOWN 1/2", false),
            ("DRAIN", false),
            ("DRAIN 2/3", false),
            ("MAINT", false),
            ("NOLB", false),
        ] {
            let row = ServerRow {
                name: "a".to_owned(),
                status: status.to_owned(),
                sessions: 0,
            };
            assert_eq!(row.takes_traffic(), takes, "{status}");
        }
    }

    #[test]
    fn a_drained_server_is_found_by_its_admin_bits_even_when_it_is_down() {
        let table = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n\
            3 jurws 1 a 127.0.0.2 2 0 1\n3 jurws 2 b 127.0.0.2 0 8 1\n3 jurws 3 c 127.0.0.2 2 64 1\n3 jurws 4 d 127.0.0.2 0 1 1";
        assert_eq!(parse_drained(table).unwrap(), ["b", "d"]);
    }

    #[test]
    fn a_sent_request_is_never_repeated_by_haproxy() {
        let root = tempfile::tempdir().unwrap();
        let mut addresses = Addresses::new().unwrap();
        let fleet = Fleet::lay_out(root.path(), 1, "1.0.0", &mut addresses).unwrap();
        let text = configuration(
            &fleet,
            fleet.instances[0].address,
            Path::new("/tmp/s"),
            Duration::ZERO,
        );
        assert!(!text.contains("retry-on"), "{text}");
        assert_eq!(text.matches("\n    server app0").count(), 3);
    }
}
