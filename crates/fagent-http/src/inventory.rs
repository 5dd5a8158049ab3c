//! What an agent lists, as the domain understands it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use drover_domain::fleet::inventory::{APPLICATIONS_PER_SERVER_MAX, InventoryReport};
use drover_domain::fleet::{
    APPLICATION_NAME_MAX, ApplicationKind, ApplicationStatus, ObservedApplication, VersionState,
    known_version,
};
use drover_domain::text::{check_line, check_title, visible};

use crate::reading::Complaints;
use crate::wire::entry::Entry;
use crate::wire::field::Field;
use crate::wire::{Application, Inventory};

/// The most characters of a version, a tag, an address or a container.
const WORD_MAX: usize = 255;

/// The most characters of a path or an image.
const PATH_MAX: usize = 1024;

/// What agents write where they know nothing.
const UNKNOWN: &str = "Unknown";

/// Reads the inventory. An answer without any list is no empty inventory: believing it would take
/// every application away.
pub(crate) fn report(inventory: Inventory) -> Result<InventoryReport, String> {
    let server = inventory.server.ok_or("it has no `server`")?;
    let server = server.object().ok_or("its `server` is not an object")?;
    let name = server.name.word().map(|name| visible(name, WORD_MAX));
    let mut lists = Vec::new();
    for (kind, key, list) in [
        (ApplicationKind::Docker, "docker-app", server.docker),
        (ApplicationKind::Site, "site-app", server.site),
        (ApplicationKind::Service, "service-app", server.service),
    ] {
        if let Some(list) = list {
            let list = list
                .object()
                .ok_or_else(|| format!("its `{key}` is not an object"))?;
            lists.push((kind, list.applications.0));
        }
    }
    if lists.is_empty() {
        return Err("its `server` has none of docker-app, site-app, service-app".to_owned());
    }
    let total: usize = lists.iter().map(|(_, list)| list.len()).sum();
    if total > APPLICATIONS_PER_SERVER_MAX {
        return Err(format!(
            "it lists {total} applications; at most {APPLICATIONS_PER_SERVER_MAX} are read"
        ));
    }
    let mut complaints = Complaints::default();
    let mut first_left_out = None;
    let mut applications = Vec::with_capacity(total);
    let mut words = BTreeMap::new();
    for (kind, list) in lists {
        for (index, entry) in list.into_iter().enumerate() {
            let place = format!("{} application {}", kind.as_str(), index + 1);
            match read(kind, &entry, &place, &mut complaints) {
                Ok(application) => {
                    if let Some(word) = strange_status(&entry, application.status) {
                        words.insert((kind, application.name.clone()), word);
                    }
                    applications.push(application);
                }
                Err(complaint) => {
                    first_left_out.get_or_insert_with(|| complaint.clone());
                    complaints.add(complaint);
                }
            }
        }
    }
    if let (Some(complaint), true) = (&first_left_out, applications.is_empty()) {
        return Err(format!(
            "it lists {total} applications, and none of them can be read: {complaint}"
        ));
    }
    Ok(InventoryReport {
        server: name,
        applications,
        words,
        complaints: complaints.into_sentences(),
        is_partial: first_left_out.is_some(),
        agent_ip: None,
    })
}

/// The status word of an application that is none of ours, if it says something.
fn strange_status(entry: &Entry<Application>, status: ApplicationStatus) -> Option<String> {
    let Entry::Object(entry) = entry else {
        return None;
    };
    let word = entry.status.word().and_then(known_version)?;
    (status == ApplicationStatus::Unknown).then(|| visible(word, 64))
}

fn read(
    kind: ApplicationKind,
    entry: &Entry<Application>,
    place: &str,
    complaints: &mut Complaints,
) -> Result<ObservedApplication, String> {
    let Entry::Object(entry) = entry else {
        return Err(format!("{place} is not an object"));
    };
    let (key, field) = match kind {
        ApplicationKind::Docker => ("container_name", &entry.container_name),
        ApplicationKind::Site | ApplicationKind::Service => ("name", &entry.name),
    };
    let Some(name) = field.text() else {
        return Err(format!("{place} has no `{key}`"));
    };
    check_title("its name", name, APPLICATION_NAME_MAX)
        .map_err(|error| format!("{place} (`{}`) is left out: {error}", visible(name, 64)))?;
    let mut fields = Fields {
        of: format!("{} {name}", kind.as_str()),
        complaints,
    };
    Ok(match kind {
        ApplicationKind::Docker => docker(name, entry, &mut fields),
        ApplicationKind::Site | ApplicationKind::Service => plain(kind, name, entry, &mut fields),
    })
}

fn docker(name: &str, entry: &Application, fields: &mut Fields<'_>) -> ObservedApplication {
    // A container's tag is its version.
    let tag = fields.version("tag", &entry.tag);
    let version = VersionState {
        version: tag.clone(),
        tag,
        image: fields.text("image", &entry.image, PATH_MAX),
        distr_path: None,
    };
    ObservedApplication {
        version,
        path: fields.text("compose_project_dir", &entry.compose_project_dir, PATH_MAX),
        container_id: fields.text("container_id", &entry.container_id, WORD_MAX),
        ..common(ApplicationKind::Docker, name, entry, fields)
    }
}

fn plain(
    kind: ApplicationKind,
    name: &str,
    entry: &Application,
    fields: &mut Fields<'_>,
) -> ObservedApplication {
    let version = VersionState {
        version: fields.version("version", &entry.version),
        tag: None,
        image: None,
        distr_path: fields.text("distr_path", &entry.distr_path, PATH_MAX),
    };
    let path = fields.text("app_path", &entry.app_path, PATH_MAX);
    ObservedApplication {
        version,
        // Older agents say `path`.
        path: path.or_else(|| fields.text("path", &entry.path, PATH_MAX)),
        log_path: fields.text("log_path", &entry.log_path, PATH_MAX),
        ..common(kind, name, entry, fields)
    }
}

fn common(
    kind: ApplicationKind,
    name: &str,
    entry: &Application,
    fields: &mut Fields<'_>,
) -> ObservedApplication {
    let port: Option<u16> = fields.number("port", &entry.port, "1 to 65535");
    if port == Some(0) {
        fields.complain("port", "is 0; 1 to 65535 is expected");
    }
    ObservedApplication {
        name: name.to_owned(),
        kind,
        status: ApplicationStatus::normalize(entry.status.word()),
        version: VersionState::default(),
        address: fields.text("ip", &entry.ip, WORD_MAX),
        port: port.filter(|port| *port != 0),
        pid: fields
            .number("pid", &entry.pid, "a process number")
            .filter(|pid| *pid != 0),
        path: None,
        log_path: None,
        container_id: None,
        start_time: fields.text("start_time", &entry.start_time, WORD_MAX),
    }
}

/// The fields of one application; a bad one is left out with a complaint.
struct Fields<'a> {
    of: String,
    complaints: &'a mut Complaints,
}

impl Fields<'_> {
    fn complain(&mut self, key: &str, problem: impl Display) {
        self.complaints
            .add(format!("`{key}` of {} {problem}", self.of));
    }

    fn word<'f>(&mut self, key: &str, field: &'f Field) -> Option<&'f str> {
        if *field == Field::Strange {
            self.complain(key, "is a list or an object");
        }
        field.word().filter(|word| *word != UNKNOWN)
    }

    fn text(&mut self, key: &str, field: &Field, most: usize) -> Option<String> {
        let word = self.word(key, field)?;
        match check_line("it", word, most) {
            Ok(()) => Some(word.to_owned()),
            Err(error) => {
                self.complain(key, format_args!("is left out: {error}"));
                None
            }
        }
    }

    fn version(&mut self, key: &str, field: &Field) -> Option<String> {
        let text = self.text(key, field, WORD_MAX)?;
        known_version(&text).map(str::to_owned)
    }

    fn number<N: FromStr>(&mut self, key: &str, field: &Field, expected: &str) -> Option<N> {
        let word = self.word(key, field)?;
        let number = word.parse().ok();
        if number.is_none() {
            let shown = visible(word, 64);
            self.complain(key, format_args!("is `{shown}`; {expected} is expected"));
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_report(json: &str) -> Result<InventoryReport, String> {
        report(serde_json::from_str(json).unwrap())
    }

    // Beside another application, so that the list can be read whatever becomes of this one.
    fn site(fields: &str) -> (Option<ObservedApplication>, Vec<String>) {
        let json = format!(
            r#"{{"server":{{"site-app":{{"applications":[{{{fields}}},{{"name":"other"}}]}}}}}}"#
        );
        let mut report = read_report(&json).unwrap();
        assert_eq!(report.applications.pop().unwrap().name, "other");
        assert_eq!(report.is_partial, report.applications.is_empty());
        (report.applications.into_iter().next(), report.complaints)
    }

    #[test]
    fn the_published_shapes_are_read() {
        let report = read_report(
            r#"{"server":{"name":"web1","ip":"10.0.0.1","docker-app":{"applications":[{
                "container_id":"0123","container_name":"shop_1","image":"registry/shop","tag":"1.2","ip":"172.17.0.2",
                "port":8080,"compose_project_dir":"/srv/shop","status":"online","pid":17,"start_time":"2025-12-01T10:00:00Z",
                "eureka_registered":true,"eureka_url":"http://x"}],"count":1,"last_update":"20251201_100000"},
              "site-app":{"applications":[{"name":"jurws_1","version":1.5,"status":"disabled","port":"9000","pid":"18",
                "log_path":"Unknown","distr_path":"/srv/jurws.war","artifact_size_bytes":7,"path":"/old","app_path":"/new"}],
                "count":1},
              "service-app":{"applications":[]}},
              "meta":{"cache":{"status":"fresh","age_seconds":0.1}}}"#,
        )
        .unwrap();
        assert_eq!(report.complaints, Vec::<String>::new());
        let text = |text: &str| Some(text.to_owned());
        let docker = ObservedApplication {
            name: "shop_1".to_owned(),
            kind: ApplicationKind::Docker,
            status: ApplicationStatus::Online,
            version: VersionState {
                version: text("1.2"),
                tag: text("1.2"),
                image: text("registry/shop"),
                distr_path: None,
            },
            address: text("172.17.0.2"),
            port: Some(8080),
            pid: Some(17),
            path: text("/srv/shop"),
            log_path: None,
            container_id: text("0123"),
            start_time: text("2025-12-01T10:00:00Z"),
        };
        let site = ObservedApplication {
            name: "jurws_1".to_owned(),
            kind: ApplicationKind::Site,
            status: ApplicationStatus::Offline,
            version: VersionState {
                version: text("1.5"),
                distr_path: text("/srv/jurws.war"),
                ..VersionState::default()
            },
            address: None,
            port: Some(9000),
            pid: Some(18),
            path: text("/new"),
            log_path: None,
            container_id: None,
            start_time: None,
        };
        assert_eq!(report.applications, [docker, site]);
    }

    #[test]
    fn a_version_that_says_unknown_is_none() {
        for word in [
            "unknown-no-match",
            "Unknown",
            "UNKNOWN",
            "N/A",
            "-",
            "null",
            "",
        ] {
            let (application, complaints) = site(&format!(r#""name":"a","version":"{word}""#));
            assert_eq!(
                application.unwrap().version,
                VersionState::default(),
                "{word}"
            );
            assert_eq!(complaints, Vec::<String>::new(), "{word}");
            let report = read_report(&format!(
                r#"{{"server":{{"docker-app":{{"applications":[{{"container_name":"a","tag":"{word}"}}]}}}}}}"#
            ));
            let version = &report.unwrap().applications[0].version;
            assert_eq!((&version.version, &version.tag), (&None, &None), "{word}");
        }
    }

    #[test]
    fn a_status_word_that_is_none_of_ours_is_kept() {
        let report = read_report(
            r#"{"server":{"site-app":{"applications":[{"name":"a","status":"maintenance"},
              {"name":"b","status":"unknown"},{"name":"c"},{"name":"d","status":"up"},{"name":"e","status":"offline"}]},
              "docker-app":{"applications":[{"container_name":"a","status":" restarting "}]}}}"#,
        );
        let words: Vec<_> = report.unwrap().words.into_iter().collect();
        let word = |kind, word: &str| ((kind, "a".to_owned()), word.to_owned());
        assert_eq!(
            words,
            [
                word(ApplicationKind::Docker, "restarting"),
                word(ApplicationKind::Site, "maintenance")
            ]
        );
    }

    #[test]
    fn an_older_agent_says_path() {
        assert_eq!(
            site(r#""name":"a","path":"/old""#)
                .0
                .unwrap()
                .path
                .as_deref(),
            Some("/old")
        );
    }

    #[test]
    fn a_bad_field_is_left_out_and_the_application_stays() {
        for (fields, complaint) in [
            (
                r#""port":0"#,
                "`port` of site a is 0; 1 to 65535 is expected",
            ),
            (
                r#""port":70000"#,
                "`port` of site a is `70000`; 1 to 65535 is expected",
            ),
            (
                r#""port":"http""#,
                "`port` of site a is `http`; 1 to 65535 is expected",
            ),
            (
                r#""port":-1"#,
                "`port` of site a is `-1`; 1 to 65535 is expected",
            ),
            (r#""port":[80]"#, "`port` of site a is a list or an object"),
            (r#""pid":1e300"#, "a process number is expected"),
            (
                r#""version":"1\u0000""#,
                "`version` of site a is left out: it has '\\0' at character 2; allowed: printable characters",
            ),
        ] {
            let (application, complaints) = site(&format!(r#""name":"a",{fields}"#));
            let application = application.unwrap();
            assert_eq!(
                (
                    application.port,
                    application.pid,
                    application.version.version
                ),
                (None, None, None),
                "{fields}"
            );
            assert!(
                complaints.len() == 1 && complaints[0].contains(complaint),
                "{complaints:?}"
            );
        }
    }

    #[test]
    fn an_entry_without_a_usable_name_is_a_complaint() {
        let long = "x".repeat(APPLICATION_NAME_MAX + 1);
        for (fields, complaint) in [
            (String::new(), "site application 1 has no `name`"),
            (
                r#""name":"  ""#.to_owned(),
                "site application 1 has no `name`",
            ),
            (
                r#""name":null"#.to_owned(),
                "site application 1 has no `name`",
            ),
            (
                r#""name":{"x":1}"#.to_owned(),
                "site application 1 has no `name`",
            ),
            (
                r#""container_name":"shop""#.to_owned(),
                "site application 1 has no `name`",
            ),
            (
                r#""name":"a\u0000""#.to_owned(),
                "site application 1 (`a\\u{0}`) is left out: its name has '\\0' at character 2",
            ),
            (
                r#""name":"a\u202eb""#.to_owned(),
                "site application 1 (`a\\u{202e}b`) is left out",
            ),
            (
                format!(r#""name":"{long}""#),
                "is left out: its name has 129 characters; at most 128 are allowed",
            ),
        ] {
            let (application, complaints) = site(&fields);
            assert_eq!(application, None, "{fields}");
            assert!(
                complaints.len() == 1 && complaints[0].contains(complaint),
                "{complaints:?}"
            );
        }
        let strange = read_report(
            r#"{"server":{"docker-app":{"applications":[7,null,"x",[],true,1.5,{},{"container_name":"a"}]}}}"#,
        )
        .unwrap();
        assert_eq!(
            (strange.applications.len(), strange.complaints.len()),
            (1, 7),
            "{strange:?}"
        );
    }

    #[test]
    fn a_list_of_which_nothing_can_be_read_is_no_empty_inventory() {
        for entries in ["7", "{}", r#"{"name":" a"},{"name":"a\u2028b"}"#] {
            let refusal = read_report(&format!(
                r#"{{"server":{{"site-app":{{"applications":[{entries}]}},"docker-app":{{"applications":[]}}}}}}"#
            ));
            let refusal = refusal.unwrap_err();
            assert!(
                refusal.contains("none of them can be read: site application 1"),
                "{refusal}"
            );
        }
        let empty = read_report(r#"{"server":{"site-app":{"applications":[]}}}"#).unwrap();
        assert!(!empty.is_partial && empty.applications.is_empty());
    }

    #[test]
    fn an_entry_that_breaks_the_parser_costs_no_other() {
        let deep = format!(
            r#"{{"name":"a","x":{}{}}}"#,
            "[".repeat(500),
            "]".repeat(500)
        );
        for bad in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","port":1e999}"#,
            r#"{"name":"a","pid":123456789012345678901234567890123456789012345678901234567890}"#,
            &deep,
        ] {
            let report = read_report(&format!(
                r#"{{"server":{{"site-app":{{"applications":[{bad},{{"name":"other"}}]}}}}}}"#
            ));
            let report = report.unwrap();
            assert_eq!(report.applications.last().unwrap().name, "other", "{bad}");
        }
    }

    #[test]
    fn complaints_are_bounded() {
        let entries = vec!["{}"; 50].join(",");
        let report = read_report(&format!(
            r#"{{"server":{{"site-app":{{"applications":[{entries},{{"name":"a"}}]}}}}}}"#
        ))
        .unwrap();
        assert_eq!(report.complaints.len(), 21);
        assert_eq!(report.complaints.last().unwrap(), "and 30 more");
    }

    #[test]
    fn an_answer_without_lists_is_no_empty_inventory() {
        for json in [
            "{}",
            r#"{"server":null}"#,
            r#"{"server":{"name":"web1"}}"#,
            r#"{"server":{"site-app":null}}"#,
        ] {
            assert!(read_report(json).is_err(), "{json}");
        }
    }

    #[test]
    fn more_applications_than_anybody_has_are_not_read() {
        let entries = |count: usize| vec![r#"{"name":"a"}"#; count].join(",");
        let half = entries(APPLICATIONS_PER_SERVER_MAX / 2 + 1);
        let json = format!(
            r#"{{"server":{{"site-app":{{"applications":[{half}]}},"service-app":{{"applications":[{half}]}}}}}}"#
        );
        assert_eq!(
            read_report(&json).unwrap_err(),
            "it lists 10002 applications; at most 10000 are read"
        );
        let all = entries(APPLICATIONS_PER_SERVER_MAX + 1);
        let json = format!(r#"{{"server":{{"site-app":{{"applications":[{all}]}}}}}}"#);
        assert!(
            serde_json::from_str::<Inventory>(&json)
                .unwrap_err()
                .to_string()
                .contains("more than 10000")
        );
    }
}
