//! What an agent shows of HAProxy, as the domain understands it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_domain::haproxy::{AdminBits, ObservedProcess, ObservedServer, ServerRole, ServerWord};
use drover_domain::text::visible;
use drover_ports::{BackendAnswer, NameAnswer};

use crate::call::is_segment;
use crate::reading::Complaints;
use crate::wire::entry::Entry;
use crate::wire::field::Field;
use crate::wire::named::Named;
use crate::wire::{BackendServers, Backends, HaproxyServer, Instances, Process, Unread};

/// The most characters of a check's word or an address.
const WORD_MAX: usize = 255;

/// The most characters of the sentence why old workers are not seen.
const OLD_WORKERS_ERROR_MAX: usize = 500;

/// The most characters of a version.
const VERSION_MAX: usize = 64;

/// HAProxy's own default, where an agent does not say.
const WEIGHT_DEFAULT: u32 = 1;

/// The names of the instances. One that cannot be asked for is a complaint: the rest stands.
pub(crate) fn instances(data: Instances) -> NameAnswer {
    names(
        "HAProxy instance",
        data.instances.0,
        &data.count,
        &data.unread,
    )
}

/// The names of the backends of `instance`. One that cannot be asked for is a complaint: the rest stands.
pub(crate) fn backends(data: Backends, instance: &str) -> Result<NameAnswer, String> {
    check_about("HAProxy instance", instance, &data.instance)?;
    Ok(names("backend", data.backends.0, &data.count, &data.unread))
}

/// Checks that an answer which names what it is about names what was asked for.
fn check_about(what: &str, asked: &str, told: &Field) -> Result<(), String> {
    let told = match told {
        Field::Absent => return Ok(()),
        Field::Word(_) | Field::Strange => told.word().unwrap_or_default(),
    };
    if told == asked {
        return Ok(());
    }
    Err(format!(
        "it is about the {what} `{}`, and `{asked}` was asked for",
        visible(told, 64)
    ))
}

/// The servers of a backend.
pub(crate) fn servers(
    data: BackendServers,
    instance: &str,
    backend: &str,
) -> Result<BackendAnswer, String> {
    check_about("HAProxy instance", instance, &data.instance)?;
    check_about("backend", backend, &data.backend)?;
    let mut complaints = Complaints::default();
    if let Some(why) = data.old_workers_error.word() {
        complaints.add(visible(why, OLD_WORKERS_ERROR_MAX));
    }
    let listed = data.servers.0.len();
    let mut servers = Vec::with_capacity(listed);
    let mut is_partial = lacks(listed, &data.count, &data.unread, &mut complaints);
    for (index, entry) in data.servers.0.into_iter().enumerate() {
        match server(&entry, index + 1, &mut complaints) {
            Ok(server) => servers.push(server),
            Err(complaint) => {
                is_partial = true;
                complaints.add(complaint);
            }
        }
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for server in &servers {
        *times.entry(server.name.clone()).or_default() += 1;
    }
    times.retain(|_, times| *times > 1);
    for (name, times) in &times {
        is_partial = true;
        complaints.add(format!(
            "server `{name}` is listed {times} times, so none of them is believed"
        ));
    }
    servers.retain(|server| !times.contains_key(&server.name));
    Ok(BackendAnswer {
        servers,
        process: data.haproxy.as_ref().and_then(process),
        version: data.haproxy.as_ref().and_then(version),
        is_partial,
        complaints: complaints.into_sentences(),
    })
}

/// The process, if both of its numbers can be read: one alone does not show a reload.
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

fn version(entry: &Entry<Process>) -> Option<String> {
    let Entry::Object(entry) = entry else {
        return None;
    };
    entry.version.word().map(|word| visible(word, VERSION_MAX))
}

/// Whether a list of `listed` entries says of itself that it is not complete.
fn lacks(listed: usize, count: &Field, unread: &Unread, complaints: &mut Complaints) -> bool {
    let counted = count.word().and_then(|word| word.parse::<usize>().ok());
    let is_short = counted.is_some_and(|counted| counted != listed);
    if let Some(counted) = counted.filter(|_| is_short) {
        complaints.add(format!(
            "the agent counts {counted} entries and lists {listed}"
        ));
    }
    for sentence in &unread.0 {
        let sentence = sentence
            .word()
            .unwrap_or("the agent could not read all of it");
        complaints.add(visible(sentence, OLD_WORKERS_ERROR_MAX));
    }
    is_short || !unread.0.is_empty()
}

fn names(what: &str, listed: Vec<Named>, count: &Field, unread: &Unread) -> NameAnswer {
    let mut complaints = Complaints::default();
    lacks(listed.len(), count, unread, &mut complaints);
    let mut names = Vec::with_capacity(listed.len());
    let mut seen = BTreeSet::new();
    for (index, Named(field)) in listed.into_iter().enumerate() {
        let number = index + 1;
        match field.word() {
            Some(name) if is_segment(name) => {
                if seen.insert(name.to_owned()) {
                    names.push(name.to_owned());
                } else {
                    complaints.add(format!("{what} {number} (`{name}`) is listed twice"));
                }
            }
            Some(name) => complaints.add(format!(
                "{what} {number} (`{}`) is left out: its name is longer than 255 characters or is no name of HAProxy",
                visible(name, 64)
            )),
            None => complaints.add(format!("{what} {number} has no name")),
        }
    }
    NameAnswer {
        names,
        complaints: complaints.into_sentences(),
    }
}

fn server(
    entry: &Entry<HaproxyServer>,
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
            "server {number} (`{}`) is left out: its name is longer than 255 characters or is no name of HAProxy",
            visible(name, 64)
        ));
    }
    let (sessions, old_sessions) = sessions(name, entry, complaints);
    let (address, port) = entry.addr.word().map_or((None, None), split_address);
    Ok(ObservedServer {
        name: name.to_owned(),
        word: ServerWord::new(&visible(
            status(name, &entry.status, complaints),
            ServerWord::LENGTH_MAX,
        )),
        admin: number_of(name, "admin_state", &entry.admin_state, complaints)
            .map(AdminBits::from_bits),
        sessions,
        old_sessions,
        queue: number_of(name, "qcur", &entry.qcur, complaints),
        weight: number_of(name, "weight", &entry.weight, complaints).unwrap_or(WEIGHT_DEFAULT),
        role: role(name, entry, complaints),
        check_status: entry
            .check_status
            .word()
            .map(|word| visible(word, WORD_MAX)),
        address: address.map(|address| visible(address, WORD_MAX)),
        port,
    })
}

/// The status word of a server; empty, which is unknown, where the answer has none. All words of HAProxy begin with a letter.
fn status<'a>(name: &str, field: &'a Field, complaints: &mut Complaints) -> &'a str {
    let word = field.word().unwrap_or_default();
    let is_word = word.starts_with(|first: char| first.is_ascii_alphabetic())
        && !matches!(word, "true" | "false" | "null");
    if is_word {
        return word;
    }
    complaints.add(if word.is_empty() {
        format!("server {name} has no `status`")
    } else {
        let word = visible(word, 64);
        format!("`status` of server {name} is `{word}`; a word of HAProxy is expected")
    });
    ""
}

fn role(name: &str, entry: &HaproxyServer, complaints: &mut Complaints) -> ServerRole {
    let backups: Option<u32> = number_of(name, "bck", &entry.bck, complaints);
    // Bits of `srv_agent_state`: configured and enabled.
    let bits: Option<u32> = number_of(name, "agent_state", &entry.agent_state, complaints);
    let tracked = entry.tracked.word().filter(|path| {
        let is_path = path
            .split_once('/')
            .is_some_and(|(backend, server)| is_segment(backend) && is_segment(server));
        if !is_path {
            complaints.add(format!(
                "`tracked` of server {name} is `{}`; a backend and a server are expected",
                visible(path, 64)
            ));
        }
        is_path
    });
    ServerRole {
        is_backup: backups.is_some_and(|backups| backups > 0),
        tracks: tracked.map(str::to_owned),
        has_agent_check: match bits {
            Some(bits) => bits & 6 == 6,
            None => entry.agent_status.word().is_some(),
        },
    }
}

/// All sessions on a server, and how many of them are in old workers, which only an agent beside the master's socket
/// sees. Where it says something of them that is no number, how many there are is unknown.
fn sessions(
    name: &str,
    entry: &HaproxyServer,
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
        servers(serde_json::from_str(json).unwrap(), "default", "be").unwrap()
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
            role: ServerRole::default(),
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
            role: ServerRole::default(),
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
        let odd = read(r#"{"servers":[{"name":"a","status":"UP","scur":"0","old_scur":"none"}]}"#);
        assert_eq!(
            odd.complaints,
            ["`old_scur` of server a is `none`; a number is expected"]
        );
    }

    #[test]
    fn a_server_nobody_can_name_is_a_complaint() {
        let answer = read(
            r#"{"servers":[{"status":"UP"},{"name":"a;b"},7,{"name":"ok","status":"UP","weight":"heavy","scur":-1}]}"#,
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
                "server 2 (`a;b`) is left out: its name is longer than 255 characters or is no name of HAProxy",
                "server 3 is not an object",
                "`scur` of server ok is `-1`; a number is expected",
                "`weight` of server ok is `heavy`; a number is expected",
            ]
        );
    }

    #[test]
    fn what_decides_whether_a_server_gets_requests_is_read() {
        let role = |json: &str| {
            let answer = read(&format!(
                r#"{{"servers":[{{"name":"a","status":"UP",{json}}}]}}"#
            ));
            let role = answer.servers[0].role.clone();
            (role.is_backup, role.tracks, role.has_agent_check)
        };
        for (json, is_backup, tracks, has_agent_check) in [
            (r#""act":"1","bck":"0""#, false, None, false),
            (r#""act":"0","bck":"1""#, true, None, false),
            (r#""tracked":"a/s1""#, false, Some("a/s1"), false),
            (r#""tracked":"""#, false, None, false),
            (r#""agent_state":"22""#, false, None, true),
            (r#""agent_state":23"#, false, None, true),
            // Configured and not enabled: `disable agent`.
            (
                r#""agent_state":"18","agent_status":"L7OK""#,
                false,
                None,
                false,
            ),
            (r#""agent_state":"0""#, false, None, false),
            (r#""agent_status":"L7OK""#, false, None, true),
        ] {
            let expected = (is_backup, tracks.map(str::to_owned), has_agent_check);
            assert_eq!(role(json), expected, "{json}");
        }
    }

    #[test]
    fn an_answer_about_something_else_is_no_answer() {
        for (about, expected) in [
            (r#""backend":"be","instance":"default","#, None),
            (r#""backend":null,"#, None),
            ("", None),
            (r#""backend":"pay","#, Some("the backend `pay`, and `be`")),
            (r#""backend":["be"],"#, Some("the backend ``, and `be`")),
            (r#""backend":"BE","#, Some("the backend `BE`, and `be`")),
            (
                r#""backend":"be","instance":"internal","#,
                Some("the HAProxy instance `internal`, and `default`"),
            ),
        ] {
            let json = format!(r#"{{{about}"servers":[],"count":0}}"#);
            let found = servers(serde_json::from_str(&json).unwrap(), "default", "be");
            let error = found.err().unwrap_or_default();
            assert!(
                expected.map_or(error.is_empty(), |part| error.contains(part)),
                "{about}: {error}"
            );
        }
        let names = |json| backends(serde_json::from_str(json).unwrap(), "default");
        assert!(names(r#"{"instance":"default","backends":["a"]}"#).is_ok());
        let error = names(r#"{"instance":"internal","backends":["a"]}"#).unwrap_err();
        assert!(error.contains("`internal`"), "{error}");
    }

    #[test]
    fn a_server_that_is_listed_twice_is_not_believed() {
        let answer = read(
            r#"{"servers":[{"name":"a","status":"UP","addr":"10.0.0.1:1"},{"name":"b","status":"UP"},
                {"name":"a","status":"DOWN","addr":"10.0.0.2:1"}],"count":3}"#,
        );
        let names: Vec<&str> = answer.servers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!((names, answer.is_partial), (vec!["b"], true));
        assert_eq!(
            answer.complaints,
            ["server `a` is listed 2 times, so none of them is believed"]
        );
        let data = serde_json::from_str(r#"{"backends":["be","pay","be"],"count":3}"#).unwrap();
        let answer = backends(data, "default").unwrap();
        assert_eq!(answer.names, ["be", "pay"]);
        assert_eq!(answer.complaints, ["backend 3 (`be`) is listed twice"]);
    }

    #[test]
    fn a_server_without_a_status_word_is_unknown_and_a_complaint() {
        for (status, complaint) in [
            ("", "server a has no `status`"),
            (r#","status":null"#, "server a has no `status`"),
            (r#","status":" ""#, "server a has no `status`"),
            (r#","status":["UP"]"#, "server a has no `status`"),
            (
                r#","status":1"#,
                "`status` of server a is `1`; a word of HAProxy is expected",
            ),
            (
                r#","status":true"#,
                "`status` of server a is `true`; a word of HAProxy is expected",
            ),
        ] {
            let answer = read(&format!(r#"{{"servers":[{{"name":"a"{status}}}]}}"#));
            assert_eq!(answer.complaints, [complaint], "{status}");
            assert_eq!(answer.servers[0].word, ServerWord::new(""), "{status}");
        }
    }

    #[test]
    fn an_answer_that_may_lack_servers_is_partial() {
        for (json, is_partial) in [
            (r#"{"servers":[{"name":"a"}],"count":1}"#, false),
            (r#"{"servers":[{"name":"a","weight":"heavy"}]}"#, false),
            (r#"{"servers":[{"name":"a"}],"count":2}"#, true),
            (r#"{"servers":[],"count":"1"}"#, true),
            (r#"{"servers":[{"name":"a"},{"name":""}]}"#, true),
            (r#"{"servers":[{"name":"a"},"b"]}"#, true),
            (
                r#"{"servers":[{"name":"a"}],"unread":["row 2 has no name"]}"#,
                true,
            ),
            (r#"{"servers":[{"name":"a"}],"unread":[]}"#, false),
            (r#"{"servers":[{"name":"a"}],"unread":null}"#, false),
        ] {
            assert_eq!(read(json).is_partial, is_partial, "{json}");
        }
        let long = "x".repeat(150);
        let answer = read(&format!(r#"{{"servers":[{{"name":"{long}"}}]}}"#));
        assert_eq!((answer.servers.len(), answer.is_partial), (1, false));
        let longer = "x".repeat(256);
        let answer = read(&format!(
            r#"{{"servers":[{{"name":"n2","status":"UP"}},{{"name":"{longer}"}}]}}"#
        ));
        assert_eq!((answer.servers.len(), answer.is_partial), (1, true));
        assert!(
            answer.complaints[0].contains("longer than 255"),
            "{answer:?}"
        );
    }

    #[test]
    fn names_are_texts_or_objects_and_one_that_cannot_be_asked_for_is_a_complaint() {
        let data = serde_json::from_str(
            r#"{"backends":["be",7,{"name":"bk1"},"a b","",null,"../x",{},["x"],true]}"#,
        )
        .unwrap();
        let answer = backends(data, "default").unwrap();
        assert_eq!(answer.names, ["be", "7", "bk1"]);
        assert_eq!(answer.complaints.len(), 7, "{answer:?}");
        let data = serde_json::from_str(
            r#"{"instances":[{"name":"default","socket_path":"/run/x","available":false},"x",{}]}"#,
        )
        .unwrap();
        let answer = instances(data);
        assert_eq!(answer.names, ["default", "x"]);
        assert_eq!(answer.complaints, ["HAProxy instance 3 has no name"]);
        let data =
            serde_json::from_str(r#"{"backends":["be"],"count":3,"unread":["row 2 has no name"]}"#);
        assert_eq!(
            backends(data.unwrap(), "default").unwrap().complaints,
            [
                "the agent counts 3 entries and lists 1",
                "row 2 has no name"
            ]
        );
    }
}
