//! The servers of one backend as one picture: statistics, administrative state and the process that reported both.

use std::collections::HashMap;

use serde::Serialize;

use super::stat::{StatRow, StatTable};
use super::state::StateRow;
use super::workers::Sessions;

/// The servers of a backend, and which HAProxy process they were read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackendServers {
    /// Sorted as HAProxy has them; empty for a backend it does not know.
    pub(crate) servers: Vec<ServerRow>,
    /// Process id and uptime; a change means a reload, which forgets every drain.
    pub(crate) process: HaproxyProcess,
    /// What could not be read, a sentence each; the rest stands.
    pub(crate) unread: Vec<String>,
}

/// The HAProxy worker that answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct HaproxyProcess {
    pid: String,
    uptime_sec: String,
    version: String,
}

impl HaproxyProcess {
    /// The process id, as HAProxy wrote it.
    pub(super) fn pid(&self) -> &str {
        &self.pid
    }

    /// The version, as HAProxy wrote it.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Reads `Pid`, `Uptime_sec` and `Version` from the answer of `show info`; `None` if they are not there.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        Some(Self {
            pid: value("Pid")?,
            uptime_sec: value("Uptime_sec")?,
            version: value("Version")?,
        })
    }
}

/// One server in FAgent's shape, every value a text. What comes after `cookie` is ours and left out when unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ServerRow {
    name: String,
    status: String,
    weight: String,
    check_status: String,
    check_duration: String,
    last_chg: String,
    lastchg: String,
    downtime: String,
    addr: String,
    cookie: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    scur: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    old_scur: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    qcur: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stot: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    check_rise: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    check_fall: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    check_health: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    check_result: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    admin_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    op_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    act: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    bck: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tracked: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    agent_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    agent_status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    agent_duration: String,
}

impl ServerRow {
    fn new(stat: StatRow<'_>, state: Option<&StateRow>) -> Self {
        let text = |column: &str| stat.field(column).to_owned();
        Self {
            name: text("svname"),
            status: text("status"),
            weight: text("weight"),
            check_status: text("check_status"),
            check_duration: text("check_duration"),
            // FAgent's field name for HAProxy's column; FAgent itself looks the column up under it and finds nothing.
            last_chg: text("lastchg"),
            lastchg: text("lastchg"),
            downtime: text("downtime"),
            addr: text("addr"),
            cookie: text("cookie"),
            scur: text("scur"),
            old_scur: String::new(),
            qcur: text("qcur"),
            stot: text("stot"),
            check_rise: text("check_rise"),
            check_fall: text("check_fall"),
            check_health: state
                .map(|state| state.check_health.clone())
                .unwrap_or_default(),
            check_result: state
                .map(|state| state.check_result.clone())
                .unwrap_or_default(),
            admin_state: state
                .map(|state| state.admin_state.to_string())
                .unwrap_or_default(),
            op_state: state
                .map(|state| state.op_state.clone())
                .unwrap_or_default(),
            act: text("act"),
            bck: text("bck"),
            tracked: text("tracked"),
            agent_state: state
                .map(|state| state.agent_state.clone())
                .unwrap_or_default(),
            agent_status: text("agent_status"),
            agent_duration: text("agent_duration"),
        }
    }
}

/// The value for sessions that cannot be read; it is no number, so that it is not mistaken for one.
const UNKNOWN: &str = "unknown";

/// Adds the sessions that other workers still have on these servers, if they can be read; a server that those workers do not
/// have has none there.
pub(super) fn add_old_sessions(servers: &mut [ServerRow], sessions: Option<&Sessions>) {
    for server in servers {
        let count = sessions.map(|all| all.on(&server.name));
        server.old_scur = count.map_or_else(|| UNKNOWN.to_owned(), |count| count.to_string());
    }
}

/// Joins the two tables by server name, keeping only the rows of `backend`.
///
/// HAProxy takes a numeric backend name for an id and then answers about another backend, hence the filter.
pub(super) fn join(backend: &str, stat: &StatTable, states: &[StateRow]) -> Vec<ServerRow> {
    let states: HashMap<&str, &StateRow> = states
        .iter()
        .filter(|state| state.backend == backend)
        .map(|state| (state.server.as_str(), state))
        .collect();
    stat.rows()
        .filter(|row| row.field("pxname") == backend)
        .map(|row| ServerRow::new(row, states.get(row.field("svname")).copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::state;
    use super::*;

    const STAT: &str = "\
# pxname,svname,qcur,scur,stot,status,weight,act,bck,lastchg,downtime,tracked,type,check_status,check_duration,agent_status,agent_duration,check_rise,check_fall,addr,cookie,-,
web,a,0,1,7,DRAIN,1,1,0,17,0,,2,L7OK,3,L7OK,4,2,3,127.0.0.1:8001,\"x,y\",-,
web,new,0,0,0,no check,1,0,1,2,,other/a,2,,,,,,,127.0.0.1:8002,,-,
other,a,0,9,9,UP,1,1,0,2,0,,2,,,,,,,127.0.0.1:8003,,-,
";
    const STATE: &str = "\
1
# be_id be_name srv_id srv_name srv_op_state srv_admin_state srv_check_result srv_check_health srv_agent_state
3 web 1 a 2 8 3 4 22
4 other 1 a 2 0 0 2 0
";

    #[test]
    fn statistics_and_state_are_one_object_of_texts() {
        let servers = join(
            "web",
            &StatTable::parse(STAT).unwrap(),
            &state::parse(STATE).unwrap(),
        );
        assert_eq!(
            serde_json::to_value(&servers[0]).unwrap(),
            serde_json::json!({
                "name": "a", "status": "DRAIN", "weight": "1", "check_status": "L7OK", "check_duration": "3",
                "last_chg": "17", "lastchg": "17", "downtime": "0", "addr": "127.0.0.1:8001", "cookie": "x,y",
                "scur": "1", "qcur": "0", "stot": "7", "check_rise": "2", "check_fall": "3", "check_health": "4",
                "check_result": "3", "admin_state": "8", "op_state": "2", "act": "1", "bck": "0",
                "agent_state": "22", "agent_status": "L7OK", "agent_duration": "4"
            })
        );
    }

    #[test]
    fn a_server_without_state_keeps_the_public_fields_and_lacks_ours() {
        let servers = join(
            "web",
            &StatTable::parse(STAT).unwrap(),
            &state::parse(STATE).unwrap(),
        );
        assert_eq!(
            servers.len(),
            2,
            "the row of the other backend must not be here"
        );
        let fresh = serde_json::to_value(&servers[1]).unwrap();
        assert_eq!(fresh["downtime"], "");
        assert_eq!(fresh["scur"], "0");
        assert_eq!(fresh.get("admin_state"), None);
        assert_eq!(
            (&fresh["bck"], &fresh["tracked"]),
            (&serde_json::json!("1"), &serde_json::json!("other/a"))
        );
    }

    #[test]
    fn sessions_of_old_workers_are_told_for_every_server_once_they_are_known() {
        let mut servers = join(
            "web",
            &StatTable::parse(STAT).unwrap(),
            &state::parse(STATE).unwrap(),
        );
        let sessions = Sessions::of([("a", 3), ("removed", 9)], 0);
        add_old_sessions(&mut servers, Some(&sessions));
        let told = servers.iter().map(|server| server.old_scur.as_str());
        assert_eq!(told.collect::<Vec<_>>(), ["3", "0"]);
        add_old_sessions(&mut servers, None);
        assert!(servers.iter().all(|server| server.old_scur == "unknown"));
    }

    #[test]
    fn the_process_is_read_from_show_info() {
        let info = "Name: HAProxy\nVersion: 2.6.12\nPid: 9876\nUptime: 0d 0h00m02s\nUptime_sec: 2\nMemmax_MB: 0\n";
        let process = HaproxyProcess::parse(info).unwrap();
        assert_eq!(
            (
                process.pid.as_str(),
                process.uptime_sec.as_str(),
                process.version()
            ),
            ("9876", "2", "2.6.12")
        );
        assert_eq!(HaproxyProcess::parse("Permission denied\n"), None);
    }
}
