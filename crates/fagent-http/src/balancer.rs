//! What an agent shows of HAProxy, as the domain understands it.

use std::time::Duration;

use drover_domain::balancer::{AdminBits, ObservedProcess, ObservedServer, ServerWord};
use drover_domain::text::visible;
use drover_ports::BackendAnswer;

use crate::call::is_segment;
use crate::reading::Complaints;
use crate::wire::entry::Entry;
use crate::wire::field::Field;
use crate::wire::{BackendServers, Backends, BalancerServer, Instances, Process};

/// The most characters of a check's word or an address.
const WORD_MAX: usize = 255;

/// The most characters of the sentence why old workers are not seen.
const OLD_WORKERS_ERROR_MAX: usize = 500;

/// HAProxy's own default, where an agent does not say.
const WEIGHT_DEFAULT: u32 = 1;

/// The names of the instances. One that cannot be asked for is left out: the rest stands.
pub(crate) fn instances(data: Instances) -> Vec<String> {
    let fields = data.instances.0.into_iter().map(|entry| match entry {
        Entry::Object(instance) => instance.name,
        Entry::Strange => Field::Strange,
    });
    names("HAProxy instance", fields)
}

/// The names of the backends. One that cannot be asked for is left out: the rest stands.
pub(crate) fn backends(data: Backends) -> Vec<String> {
    names("backend", data.backends.0.into_iter())
}

/// The servers of a backend.
pub(crate) fn servers(data: BackendServers) -> BackendAnswer {
    let mut complaints = Complaints::default();
    if let Some(why) = data.old_workers_error.word() {
        complaints.add(visible(why, OLD_WORKERS_ERROR_MAX));
    }
    let mut servers = Vec::with_capacity(data.servers.0.len());
    for (index, entry) in data.servers.0.into_iter().enumerate() {
        match server(&entry, index + 1, &mut complaints) {
            Ok(server) => servers.push(server),
            Err(complaint) => complaints.add(complaint),
        }
    }
    BackendAnswer {
        servers,
        process: data.haproxy.as_ref().and_then(process),
        complaints: complaints.into_sentences(),
    }
}

/// The process, where both of its numbers are numbers: one alone does not tell a reload.
fn process(entry: &Entry<Process>) -> Option<ObservedProcess> {
    let Entry::Object(entry) = entry else {
        return None;
    };
    let seconds = entry.uptime_sec.word()?.parse().ok()?;
    Some(ObservedProcess {
        pid: entry.pid.word()?.parse().ok()?,
        uptime: Duration::from_secs(seconds),
    })
}

fn names(what: &str, fields: impl Iterator<Item = Field>) -> Vec<String> {
    fields
        .filter_map(|field| {
            let name = field.word().unwrap_or_default();
            if is_segment(name) {
                return Some(name.to_owned());
            }
            let shown = visible(name, 64);
            tracing::warn!(name = %shown, "the {what} `{shown}` is left out: its name cannot stand in a path");
            None
        })
        .collect()
}

fn server(
    entry: &Entry<BalancerServer>,
    number: usize,
    complaints: &mut Complaints,
) -> Result<ObservedServer, String> {
    let Entry::Object(entry) = entry else {
        return Err(format!("server {number} is not an object"));
    };
    let name = entry
        .name
        .word()
        .ok_or_else(|| format!("server {number} has no `name`"))?;
    if !is_segment(name) {
        return Err(format!(
            "server {number} (`{}`) is left out: this is no name of HAProxy",
            visible(name, 64)
        ));
    }
    let (sessions, old_sessions) = sessions(name, entry, complaints);
    let (address, port) = entry.addr.word().map_or((None, None), split_address);
    Ok(ObservedServer {
        name: name.to_owned(),
        word: ServerWord::new(&visible(
            entry.status.word().unwrap_or_default(),
            ServerWord::LENGTH_MAX,
        )),
        admin: number_of(name, "admin_state", &entry.admin_state, complaints)
            .map(AdminBits::from_bits),
        sessions,
        old_sessions,
        queue: number_of(name, "qcur", &entry.qcur, complaints),
        weight: number_of(name, "weight", &entry.weight, complaints).unwrap_or(WEIGHT_DEFAULT),
        check_status: entry
            .check_status
            .word()
            .map(|word| visible(word, WORD_MAX)),
        address: address.map(|address| visible(address, WORD_MAX)),
        port,
    })
}

/// All sessions on a server, and how many of them are in old workers, which only an agent beside the master's socket
/// sees. Where it says something of them that is no number, how many there are is unknown.
fn sessions(
    name: &str,
    entry: &BalancerServer,
    complaints: &mut Complaints,
) -> (Option<u64>, Option<u64>) {
    let own: Option<u64> = number_of(name, "scur", &entry.scur, complaints);
    if entry.old_scur == Field::Absent {
        return (own, None);
    }
    let old = number_of(name, "old_scur", &entry.old_scur, complaints);
    let all = own.zip(old).map(|(own, old)| own.saturating_add(old));
    (all, old)
}

fn number_of<N: std::str::FromStr>(
    server: &str,
    key: &str,
    field: &Field,
    complaints: &mut Complaints,
) -> Option<N> {
    let word = field.word()?;
    let number = word.parse().ok();
    if number.is_none() {
        complaints.add(format!(
            "`{key}` of server {server} is `{}`; a number is expected",
            visible(word, 64)
        ));
    }
    number
}

/// Takes `ip:port` apart at its last colon; an IPv6 address may stand in brackets. HAProxy shows
/// the port 0 where there is none.
fn split_address(text: &str) -> (Option<&str>, Option<u16>) {
    let (address, port) = match text.rsplit_once(':') {
        Some((address, port)) => match port.parse::<u16>() {
            Ok(port) => (address, Some(port).filter(|port| *port != 0)),
            Err(_) => (text, None),
        },
        None => (text, None),
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    (Some(bare).filter(|bare| !bare.is_empty()), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> BackendAnswer {
        servers(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        for (text, address, port) in [
            ("10.0.0.7:8080", Some("10.0.0.7"), Some(8080)),
            ("[::1]:8080", Some("::1"), Some(8080)),
            ("fe80::1:8080", Some("fe80::1"), Some(8080)),
            ("10.0.0.7:0", Some("10.0.0.7"), None),
            ("10.0.0.7:70000", Some("10.0.0.7:70000"), None),
            ("[::1]", Some("::1"), None),
            ("web1", Some("web1"), None),
            (":80", None, Some(80)),
        ] {
            assert_eq!(split_address(text), (address, port), "{text}");
        }
    }

    #[test]
    fn the_published_server_is_read_and_the_additions_are_optional() {
        let answer = read(
            r#"{"servers":[
                {"name":"a","status":"UP 1/3","weight":"100","check_status":"L7OK","check_duration":"1","last_chg":"","downtime":"0","addr":"10.0.0.7:8080","cookie":""},
                {"name":"b","status":"DRAIN","weight":50,"scur":3,"qcur":"1","admin_state":"8","lastchg":"9","lastchkdur":2}],"count":2}"#,
        );
        assert_eq!(answer.complaints, Vec::<String>::new());
        let bare = ObservedServer {
            name: "a".to_owned(),
            word: ServerWord::new("UP 1/3"),
            admin: None,
            sessions: None,
            old_sessions: None,
            queue: None,
            weight: 100,
            check_status: Some("L7OK".to_owned()),
            address: Some("10.0.0.7".to_owned()),
            port: Some(8080),
        };
        let rich = ObservedServer {
            name: "b".to_owned(),
            word: ServerWord::new("DRAIN"),
            admin: Some(AdminBits::from_bits(8)),
            sessions: Some(3),
            old_sessions: None,
            queue: Some(1),
            weight: 50,
            check_status: None,
            address: None,
            port: None,
        };
        assert_eq!(answer.servers, [bare, rich]);
    }

    #[test]
    fn sessions_of_old_workers_are_part_of_all_and_garbage_makes_all_unknown() {
        for (told, sessions, old_sessions) in [
            (r#""scur":"2""#, Some(2), None),
            (r#""scur":"2","old_scur":null"#, Some(2), None),
            (r#""scur":"2","old_scur":"3""#, Some(5), Some(3)),
            (r#""scur":0,"old_scur":0"#, Some(0), Some(0)),
            (r#""scur":"0","old_scur":"""#, None, None),
            (r#""scur":"0","old_scur":"-1""#, None, None),
            (r#""scur":"0","old_scur":"none""#, None, None),
            (r#""scur":"0","old_scur":[0]"#, None, None),
            (r#""scur":"0","old_scur":0.5"#, None, None),
            (r#""old_scur":"3""#, None, Some(3)),
            (
                r#""scur":"18446744073709551615","old_scur":"1""#,
                Some(u64::MAX),
                Some(1),
            ),
        ] {
            let answer = read(&format!(
                r#"{{"servers":[{{"name":"a","status":"DRAIN",{told}}}]}}"#
            ));
            let server = &answer.servers[0];
            assert_eq!(
                (server.sessions, server.old_sessions),
                (sessions, old_sessions),
                "{told}"
            );
        }
        let odd = read(r#"{"servers":[{"name":"a","scur":"0","old_scur":"none"}]}"#);
        assert_eq!(
            odd.complaints,
            ["`old_scur` of server a is `none`; a number is expected"]
        );
    }

    #[test]
    fn a_server_nobody_can_name_is_a_complaint() {
        let answer = read(
            r#"{"servers":[{"status":"UP"},{"name":"a;b"},7,{"name":"ok","weight":"heavy","scur":-1}]}"#,
        );
        assert_eq!(answer.servers.len(), 1);
        assert_eq!(
            (answer.servers[0].weight, answer.servers[0].sessions),
            (1, None)
        );
        assert_eq!(
            answer.complaints,
            [
                "server 1 has no `name`",
                "server 2 (`a;b`) is left out: this is no name of HAProxy",
                "server 3 is not an object",
                "`scur` of server ok is `-1`; a number is expected",
                "`weight` of server ok is `heavy`; a number is expected",
            ]
        );
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_left_out() {
        let data =
            serde_json::from_str(r#"{"backends":["be",7,"a b","",null,"../x",{}]}"#).unwrap();
        assert_eq!(backends(data), ["be", "7"]);
        let data = serde_json::from_str(
            r#"{"instances":[{"name":"default","socket_path":"/run/x","available":false},"x",{}]}"#,
        )
        .unwrap();
        assert_eq!(instances(data), ["default"]);
    }
}
