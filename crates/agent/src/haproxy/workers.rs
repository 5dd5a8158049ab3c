//! The other workers of an HAProxy: after a reload the old ones serve on, and only the master's socket sees them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::address::Address;
use super::instance::HaproxyError;
use super::name::Name;
use super::socket;
use super::stat::StatTable;

/// Most time for all workers together, from waiting for a turn to the last byte of the last answer.
const WORKERS_DEADLINE: Duration = Duration::from_secs(5);

/// Most workers asked. Each reload leaves one behind until its last session has ended.
const WORKERS_MAX: usize = 32;

/// Conversations at a time on one master socket. The master serves 10 connections there; others need some too.
const CONVERSATIONS_AT_A_TIME_MAX: usize = 2;

/// What the answer of `show proc` begins with.
const PROCESSES_MARK: &str = "#<PID>";

/// The master process of an HAProxy behind its socket (option `-S`).
#[derive(Debug)]
pub(super) struct Master {
    address: Address,
    turns: Semaphore,
}

/// Sessions and queued requests of one backend, in one number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    by_server: HashMap<String, u64>,
    /// Requests that wait in the backend's queue: any server may get them.
    unassigned: u64,
}

impl Sessions {
    /// Sessions of these servers.
    #[cfg(test)]
    pub(super) fn of<const N: usize>(by_server: [(&str, u64); N], unassigned: u64) -> Self {
        Self {
            by_server: by_server
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            unassigned,
        }
    }

    /// How many of them are on `server` or may still come to it.
    pub(super) fn on(&self, server: &str) -> u64 {
        let own = self.by_server.get(server).copied().unwrap_or_default();
        own.saturating_add(self.unassigned)
    }

    /// Whether any server is named, busy or not.
    fn has_servers(&self) -> bool {
        !self.by_server.is_empty()
    }

    fn add_to(&mut self, server: &str, count: u64) {
        let sum = self.by_server.entry(server.to_owned()).or_default();
        *sum = sum.saturating_add(count);
    }

    fn add(&mut self, other: Self) {
        for (server, count) in other.by_server {
            self.add_to(&server, count);
        }
        self.unassigned = self.unassigned.saturating_add(other.unassigned);
    }
}

impl Master {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            turns: Semaphore::new(CONVERSATIONS_AT_A_TIME_MAX),
        }
    }

    /// Whether the master lists its workers right now.
    pub(super) async fn is_available(&self) -> bool {
        self.within_deadline(self.workers()).await.is_ok()
    }

    /// The sessions on the servers of `backend`, summed up over all workers but the one with process id `told_by`.
    ///
    /// To be asked after that worker, never before: sessions stay where they are when a worker becomes an old one, so
    /// across a reload one is then counted twice rather than not at all.
    pub(super) async fn sessions(
        &self,
        backend: &Name,
        told_by: &str,
    ) -> Result<Sessions, HaproxyError> {
        self.within_deadline(self.ask_workers(backend, told_by))
            .await
    }

    async fn ask_workers(&self, backend: &Name, told_by: &str) -> Result<Sessions, HaproxyError> {
        let workers = self.workers().await?;
        if !workers.iter().any(|pid| pid.to_string() == told_by) {
            return Err(HaproxyError::Foreign {
                pid: told_by.to_owned(),
            });
        }
        if workers.len() > WORKERS_MAX {
            return Err(HaproxyError::TooManyWorkers {
                count: workers.len(),
                max: WORKERS_MAX,
            });
        }
        let mut sum = Sessions::default();
        for pid in workers {
            if pid.to_string() != told_by {
                sum.add(self.ask_worker(pid, backend).await?);
            }
        }
        Ok(sum)
    }

    /// The sessions of one worker, and the requests that may still come to it; none if it has ended by now.
    ///
    /// The connections are asked for first: one that a request comes to meanwhile is then counted as its session.
    async fn ask_worker(&self, pid: u32, backend: &Name) -> Result<Sessions, HaproxyError> {
        let idle = self.idle_connections(pid).await?;
        let Some(mut sessions) = self.sessions_of(pid, backend).await? else {
            return Ok(Sessions::default());
        };
        sessions.unassigned = sessions.unassigned.saturating_add(idle);
        Ok(sessions)
    }

    /// The client connections of a worker without a request. An old worker accepts no new ones, but with
    /// `option idle-close-on-response` it waits for one more request on each, and sends it by the states of its time: a
    /// drain does not reach it (`set server` answers `Proxy is disabled.`).
    async fn idle_connections(&self, pid: u32) -> Result<u64, HaproxyError> {
        let answer = self.command(&format!("@!{pid} show info")).await?;
        let all = match read_connections(&answer) {
            Some(all) => Some(all),
            None => self.gone_or(pid, "show info", &answer).await?,
        };
        let Some(all) = all.filter(|all| *all > 0) else {
            return Ok(0);
        };
        let answer = self.command(&format!("@!{pid} show sess")).await?;
        let busy = match read_busy(&answer) {
            Some(busy) => Some(busy),
            None => self.gone_or(pid, "show sess", &answer).await?,
        };
        Ok(busy.map_or(0, |busy| all.saturating_sub(busy)))
    }

    /// The sessions of one worker; `None` if it does not have the backend, or has ended by now.
    ///
    /// A table without the backend proves nothing: HAProxy up to 2.4 leaves stopped backends out of it while they still
    /// serve. The list of sessions has them in every version.
    async fn sessions_of(
        &self,
        pid: u32,
        backend: &Name,
    ) -> Result<Option<Sessions>, HaproxyError> {
        let answer = self.stat(pid, backend.as_str()).await?;
        match read(&answer, backend) {
            Some(sessions) if sessions.has_servers() => return Ok(Some(sessions)),
            // The worker does not have the backend, or hides its servers behind a frontend of the same name.
            Some(_) => {}
            None if answer.trim() == "No such proxy." => return Ok(None),
            None => return self.gone_or(pid, "show stat", &answer).await,
        }
        let answer = self.stat(pid, "-1").await?;
        match read(&answer, backend) {
            Some(sessions) if sessions.has_servers() => return Ok(Some(sessions)),
            Some(_) => {}
            None => return self.gone_or(pid, "show stat", &answer).await,
        }
        let answer = self.command(&format!("@!{pid} show sess")).await?;
        match read_list(&answer, backend) {
            Some(sessions) => Ok(Some(sessions)),
            None => self.gone_or(pid, "show sess", &answer).await,
        }
    }

    /// `None` if the master no longer lists the worker, else an error with the worker's answer.
    async fn gone_or<T>(
        &self,
        pid: u32,
        command: &'static str,
        answer: &str,
    ) -> Result<Option<T>, HaproxyError> {
        if self.workers().await?.contains(&pid) {
            return Err(HaproxyError::unreadable(command, answer));
        }
        Ok(None)
    }

    async fn stat(&self, pid: u32, proxy: &str) -> Result<String, HaproxyError> {
        self.command(&format!("@!{pid} show stat {proxy} 4 -1"))
            .await
    }

    /// The process ids of all workers, the current one and the old ones.
    async fn workers(&self) -> Result<Vec<u32>, HaproxyError> {
        let answer = self.command("show proc").await?;
        parse(&answer).ok_or_else(|| HaproxyError::unreadable("show proc", &answer))
    }

    async fn command(&self, command: &str) -> Result<String, HaproxyError> {
        match socket::exchange_and_close(&self.address, command).await {
            Err(source) => Err(HaproxyError::MasterUnreachable { source }),
            Ok(None) => Err(HaproxyError::TooMuch),
            Ok(Some(answer)) => Ok(answer),
        }
    }

    async fn within_deadline<T>(
        &self,
        conversation: impl Future<Output = Result<T, HaproxyError>>,
    ) -> Result<T, HaproxyError> {
        let conversation = async {
            // The semaphore is never closed, so a failure to take a turn cannot happen; it would only skip the wait.
            let _turn = self.turns.acquire().await.ok();
            conversation.await
        };
        timeout(WORKERS_DEADLINE, conversation)
            .await
            .unwrap_or(Err(HaproxyError::Silent))
            .map_err(|source| HaproxyError::Workers {
                source: Box::new(source),
            })
    }
}

/// How every whole answer of a master ends. It drops connections when it is reloaded, in the middle of a table too.
const END: &str = "\n\n";

/// Reads the process ids of workers from the answer of `show proc`; `None` if it is not such a table, not whole, or has
/// no worker.
fn parse(text: &str) -> Option<Vec<u32>> {
    let mut lines = text.strip_suffix(END)?.lines();
    lines
        .next()
        .filter(|line| line.starts_with(PROCESSES_MARK))?;
    let mut workers = Vec::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let mut fields = line.split_whitespace();
        if let (Some(pid), Some("worker")) = (fields.next(), fields.next()) {
            workers.push(pid.parse().ok()?);
        }
    }
    Some(workers).filter(|workers| !workers.is_empty())
}

/// Reads the sessions on the servers of `backend`, and what is queued for them, from the answer of `show stat`: `None` if
/// it is not such a table, not whole, or a number in it is none; without servers if it has none of the backend.
fn read(text: &str, backend: &Name) -> Option<Sessions> {
    let table = StatTable::parse(text).filter(|_| text.ends_with(END))?;
    let mut sessions = Sessions::default();
    for row in table
        .rows()
        .filter(|row| row.field("pxname") == backend.as_str())
    {
        let current: u64 = row.field("scur").parse().ok()?;
        let queued: u64 = match row.field("qcur") {
            "" => 0,
            count => count.parse().ok()?,
        };
        sessions.add_to(row.field("svname"), current.saturating_add(queued));
    }
    Some(sessions)
}

/// Reads the number of client connections from the answer of `show info`; `None` if it is not such a list or not whole.
fn read_connections(text: &str) -> Option<u64> {
    let mut lines = text.strip_suffix(END)?.lines();
    let count = lines.find_map(|line| line.strip_prefix("CurrConns: "))?;
    count.parse().ok()
}

/// Counts the client connections with a request in the answer of `show sess`; `None` if it is not such a list or not whole.
/// Several requests of HTTP/2 share a connection. Connections of Unix sockets have no names, so each of their sessions counts.
fn read_busy(text: &str) -> Option<u64> {
    let mut named = HashSet::new();
    let mut nameless: u64 = 0;
    for line in text.strip_suffix(END)?.lines() {
        let mut fields = line.split_whitespace();
        fields.next().filter(|first| first.starts_with("0x"))?;
        let protocol = fields.next()?.strip_prefix("proto=")?;
        let source = fields.next()?.strip_prefix("src=")?;
        match fields.next()?.strip_prefix("fe=")? {
            // The question itself.
            "GLOBAL" => {}
            _ if protocol.starts_with("tcp") => {
                named.insert(source);
            }
            _ => nameless = nameless.saturating_add(1),
        }
    }
    let named = u64::try_from(named.len()).unwrap_or(u64::MAX);
    Some(named.saturating_add(nameless))
}

/// Counts the sessions of `backend` in the answer of `show sess`; `None` if it is not such a list or not whole.
fn read_list(text: &str, backend: &Name) -> Option<Sessions> {
    let mut sessions = Sessions::default();
    for line in text.strip_suffix(END)?.lines() {
        let mut fields = line.split_whitespace();
        fields.next().filter(|first| first.starts_with("0x"))?;
        let proxy = fields.find_map(|field| field.strip_prefix("be="))?;
        let server = fields.next()?.strip_prefix("srv=")?;
        if proxy == backend.as_str() {
            match server {
                "<none>" => sessions.unassigned = sessions.unassigned.saturating_add(1),
                server => sessions.add_to(server, 1),
            }
        }
    }
    Some(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    // An answer of HAProxy 2.6.12 after two reloads.
    const RECORDED: &str = "\
#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
27462           master          2 [failed: 0]   0d00h00m05s     2.6.12-1+deb12u4\n\
# workers\n\
28017           worker          0               0d00h00m01s     2.6.12-1+deb12u4\n\
# old workers\n\
27482           worker          1               0d00h00m05s     2.6.12-1+deb12u4\n\
27490           worker          2               0d00h00m09s     2.6.12-1+deb12u4\n\
# programs\n\n";

    #[test]
    fn workers_are_told_from_the_master_and_programs() {
        assert_eq!(parse(RECORDED), Some(vec![28017, 27482, 27490]));
        let with_program = RECORDED.replace(
            "# programs\n",
            "# programs\n9 helper 0 0d00h00m05s -\n# old programs\n",
        );
        assert_eq!(parse(&with_program), Some(vec![28017, 27482, 27490]));
    }

    #[test]
    fn what_is_no_list_of_workers_is_not_read_as_an_empty_one() {
        for text in [
            "",
            "Permission denied\n",
            "Unknown command, but maybe one of the following ones is a better match:\n",
            "#<PID> <type> <reloads> <uptime> <version>\n1 master 0 0d00h00m01s 2.6\n# workers\n# programs\n",
            "#<PID> <type> <reloads> <uptime> <version>\nx;y worker 0 0d00h00m01s 2.6\n\n",
            // Cut before the old workers.
            "#<PID> <type> <reloads> <uptime> <version>\n7 worker 0 0d00h00m01s 2.6\n# old wor",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn sessions_that_are_no_number_are_not_none() {
        let web = Name::parse("web").unwrap();
        let table = |scur: &str| {
            format!("# pxname,svname,scur,status\nweb,a,{scur},UP\nweb,b,0,UP\nother,a,9,UP\n\n")
        };
        let expected = Sessions::of([("a", 3), ("b", 0)], 0);
        assert_eq!(read(&table("3"), &web), Some(expected));
        for scur in ["", "-1", "x", "99999999999999999999"] {
            assert_eq!(read(&table(scur), &web), None, "{scur:?}");
        }
        assert_eq!(read("# pxname,svname,status\nweb,a,UP\n", &web), None);
        let queued = "# pxname,svname,qcur,scur,status\nweb,a,2,3,UP\n\n";
        assert_eq!(read(queued, &web), Some(Sessions::of([("a", 5)], 0)));
        assert_eq!(read(&queued.replace(",2,", ",x,"), &web), None);
        assert_eq!(read(queued.trim_end(), &web), None, "cut");
        let elsewhere = Name::parse("elsewhere").unwrap();
        assert_eq!(read(&table("3"), &elsewhere), Some(Sessions::default()));
    }

    // Answers of HAProxy 2.2.9 and 3.2.26, shortened: one request on `app1`, one in the backend's queue, and the question.
    const LISTED: &str = "\
0x55b36ee4ac60: proto=unix_stream src=unix:1 fe=entry be=web srv=app1 ts=00 age=2s calls=3 rate=1\n\
0x7f0a3a514400: proto=unix_stream src=unix:1 fe=entry be=web srv=<none> ts=00 epoch=0 age=2s calls=1\n\
0x55b36ee77e80: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00 age=0s calls=1\n\n";

    #[test]
    fn connections_with_a_request_are_counted_once_each() {
        assert_eq!(read_busy(LISTED), Some(2));
        let of = |source: &str, frontend: &str| {
            format!("0x1: proto=tcpv4 src={source} fe={frontend} be=web srv=a ts=00\n")
        };
        let shared = of("10.0.0.1:4000", "f") + &of("10.0.0.1:4000", "f");
        let listed = format!("{shared}{}\n", of("10.0.0.1:4001", "f"));
        assert_eq!(read_busy(&listed), Some(2));
        assert_eq!(read_busy("\n\n"), Some(0));
        for text in [
            "",
            "\n",
            "Permission denied\n\n",
            listed.trim_end(),
            "0x1: src=a\n\n",
        ] {
            assert_eq!(read_busy(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_number_of_connections_is_read_from_a_whole_answer_only() {
        let info = |count: &str| format!("Name: HAProxy\nCurrConns: {count}\nCumConns: 9\n\n");
        assert_eq!(read_connections(&info("7")), Some(7));
        for count in ["", "-1", "x", "99999999999999999999"] {
            assert_eq!(read_connections(&info(count)), None, "{count:?}");
        }
        for text in ["", "Name: HAProxy\n\n", info("7").trim_end()] {
            assert_eq!(read_connections(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_list_of_sessions_is_counted_and_what_waits_may_come_to_any_server() {
        let web = Name::parse("web").unwrap();
        let found = read_list(LISTED, &web).unwrap();
        assert_eq!(found, Sessions::of([("app1", 1)], 1));
        assert_eq!((found.on("app1"), found.on("app2")), (2, 1));
        let elsewhere = Name::parse("elsewhere").unwrap();
        assert_eq!(read_list(LISTED, &elsewhere), Some(Sessions::default()));
        for text in [
            LISTED.trim_end(),
            "Permission denied\n\n",
            "0x1: proto=tcp fe=entry\n\n",
            "0x1: be=web\n\n",
            "",
        ] {
            assert_eq!(read_list(text, &web), None, "{text:?}");
        }
    }
}
