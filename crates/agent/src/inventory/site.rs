//! Site and service applications: their descriptions, versions, processes, units and ports.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::description::{Description, Kind, Said, local_path};
use super::folder::{self, DESCRIPTION_BYTES_MAX};
use super::process::{Found as Seen, Process, Processes};
use super::status::Status;
use super::systemd::{Systemd, UnitState};
use super::unit_name::UnitName;
use super::{APPLICATIONS_MAX, InventoryError};
use crate::chain::chain;

/// Longest wait for an application to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_millis(500);

/// Connections tried at a time.
const CONNECTIONS_AT_A_TIME_MAX: usize = 64;

/// Most characters of a pid file that are repeated.
const PID_SHOWN_MAX: usize = 40;

/// Threads that read descriptions at a time.
const READERS_MAX: usize = 4;

/// An application in FAgent's shape; what is not known is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SiteEntry {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<NonZeroU16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distr_path: Option<String>,
    #[serde(flatten)]
    artifact: Artifact,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_path: Option<String>,
    // The name older agents use for `app_path`; some clients know only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// What the artifact at `distr_path` is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Artifact {
    #[serde(
        rename = "artifact_size_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    size_bytes: Option<u64>,
    #[serde(rename = "artifact_size_mb", skip_serializing_if = "Option::is_none")]
    size_mb: Option<f64>,
    #[serde(rename = "artifact_type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

/// The applications of a folder, sorted by file name, and the problems.
#[derive(Debug, Default)]
pub(super) struct Applications {
    pub(super) entries: Vec<(Kind, SiteEntry)>,
    pub(super) problems: Vec<String>,
}

/// Reads the folder. Returns within about `deadline`: a port not tried by then is `unknown`.
///
/// Units that cannot be asked about are an error.
pub(super) async fn applications(
    apps_dir: &Path,
    systemd: &Systemd,
    deadline: Duration,
) -> Result<Applications, InventoryError> {
    let deadline = Instant::now() + deadline;
    let folder = apps_dir.to_owned();
    let listing = joined(tokio::task::spawn_blocking(move || folder::list(&folder)).await)
        .map_err(|source| InventoryError::Folder { source })?;
    let mut problems = Vec::new();
    if listing.cut {
        problems.push(format!(
            "only the first {APPLICATIONS_MAX} of the files in `{}` are told",
            apps_dir.display()
        ));
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for read in read_all(listing.files).await {
        problems.extend(read.problem);
        let Some(application) = read.application else {
            continue;
        };
        if seen.insert((application.kind, application.entry.name.clone())) {
            found.push(application);
        } else {
            problems.push(format!(
                "`{}` describes `{}`, which an earlier file describes already",
                read.file.display(),
                application.entry.name
            ));
        }
    }
    let units = found
        .iter()
        .filter_map(|application| application.unit.clone())
        .collect();
    let (unprobed, states) = tokio::join!(probe(&mut found, deadline), systemd.states(units));
    let states = states.map_err(|source| InventoryError::Units { source })?;
    problems.extend(tell_units(&mut found, &states));
    if unprobed > 0 {
        problems.push(format!(
            "there was no time to try the ports of {unprobed} applications"
        ));
    }
    let entries = found
        .into_iter()
        .map(|application| (application.kind, application.entry))
        .collect();
    Ok(Applications { entries, problems })
}

/// An application as its files describe it, and the port or the unit that is still to be checked.
#[derive(Debug)]
struct Found {
    kind: Kind,
    entry: SiteEntry,
    probe: Option<SocketAddr>,
    unit: Option<UnitName>,
}

#[derive(Debug)]
struct Read {
    file: PathBuf,
    application: Option<Found>,
    problem: Option<String>,
}

/// Reads the files on a few threads; the results are in the order of the files.
async fn read_all(files: Vec<PathBuf>) -> Vec<Read> {
    let share = files.len().div_ceil(READERS_MAX).max(1);
    let mut readers = JoinSet::new();
    for (order, share) in files.chunks(share).enumerate() {
        let share = share.to_vec();
        readers.spawn_blocking(move || {
            let processes = Processes::open();
            (
                order,
                share
                    .into_iter()
                    .map(|file| read(file, processes))
                    .collect::<Vec<_>>(),
            )
        });
    }
    let mut shares = Vec::new();
    while let Some(share) = readers.join_next().await {
        shares.push(joined(share));
    }
    shares.sort_by_key(|(order, _)| *order);
    shares.into_iter().flat_map(|(_, share)| share).collect()
}

/// The result of a thread. A panic goes on here, so that the request that caused it fails and nothing else.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(
            error
                .try_into_panic()
                .unwrap_or_else(|cancelled| Box::new(cancelled)),
        ),
    }
}

fn read(file: PathBuf, processes: Processes) -> Read {
    let described = folder::read(&file, DESCRIPTION_BYTES_MAX)
        .map_err(|error| chain(&error))
        .and_then(|text| {
            Description::parse(&text, file.parent().unwrap_or(&file)).map_err(|error| chain(&error))
        });
    match described {
        Ok(description) => {
            let (application, problem) = look_at(description, &file, processes);
            Read {
                file,
                application: Some(application),
                problem,
            }
        }
        Err(why) => {
            let problem = Some(format!("`{}` is left out: {why}", file.display()));
            Read {
                file,
                application: None,
                problem,
            }
        }
    }
}

fn look_at(description: Description, file: &Path, processes: Processes) -> (Found, Option<String>) {
    let mut problems = Vec::new();
    let mut value_of = |said: Said| match said {
        Said::Nowhere => None,
        Said::Here(text) => Some(text),
        Said::InFile(path) => match folder::first_line(&path) {
            Ok(line) => Some(line).filter(|line| !line.is_empty()),
            Err(error) => {
                problems.push(format!("`{}` cannot be read: {error}", path.display()));
                None
            }
        },
    };
    let probe = description.socket();
    let version = value_of(description.version);
    let distr_path = value_of(description.distr_path)
        .map(|path| local_path(&path, file.parent().unwrap_or(file)));
    let mut status = Status::Unknown;
    let mut process = None;
    if let Some(pid_file) = &description.pid_file {
        match living(pid_file, description.process.as_deref(), processes) {
            Ok(found) => {
                status = if found.is_some() {
                    Status::Online
                } else {
                    Status::Offline
                };
                process = found;
            }
            Err(why) => problems.push(format!("`{}` {why}", pid_file.display())),
        }
    }
    let entry = SiteEntry {
        name: description.name,
        version,
        status,
        start_time: process
            .as_ref()
            .and_then(|process| process.start_time.clone()),
        pid: process.map(|process| process.pid),
        ip: description.ip,
        port: description.port,
        log_path: description.log_path,
        artifact: distr_path.as_deref().map(artifact).unwrap_or_default(),
        distr_path,
        app_path: description.path.clone(),
        path: description.path,
    };
    let problem =
        (!problems.is_empty()).then(|| format!("`{}`: {}", entry.name, problems.join(", ")));
    let probe = probe.filter(|_| description.pid_file.is_none() && description.unit.is_none());
    (
        Found {
            kind: description.kind,
            entry,
            probe,
            unit: description.unit,
        },
        problem,
    )
}

/// The process a pid file names, if it lives; a missing file means that none does. After an error, which says why the
/// file names no process, the application may be alive.
fn living(
    pid_file: &Path,
    name: Option<&str>,
    processes: Processes,
) -> Result<Option<Process>, String> {
    let line = match folder::first_line(pid_file) {
        Ok(line) => line,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    // `parse` alone would take `+4843` too.
    let is_number = line.bytes().all(|byte| byte.is_ascii_digit());
    let pid = line.parse().ok().filter(|pid| is_number && *pid > 0);
    let Some(pid) = pid else {
        let shown: String = line.chars().take(PID_SHOWN_MAX).collect();
        return Err(format!("holds {shown:?}, which is no process id"));
    };
    match processes.find(pid, name) {
        Seen::Alive(process) => Ok(Some(process)),
        Seen::Gone => Ok(None),
        Seen::Another { comm } => Err(format!(
            "holds {pid}, the process id of `{comm}` and not of `{}`",
            name.unwrap_or_default()
        )),
        Seen::Hidden => Err(format!("holds {pid}, a process that `/proc` does not show")),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a size in MB with two decimals needs no 53 bits"
)]
fn artifact(path: &str) -> Artifact {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Artifact::default();
    };
    if metadata.is_dir() {
        return Artifact {
            kind: Some("directory"),
            ..Artifact::default()
        };
    }
    let extension = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str());
    let kind = ["war", "jar"]
        .into_iter()
        .find(|known| extension == Some(known));
    let megabytes = metadata.len() as f64 / (1024.0 * 1024.0);
    Artifact {
        size_bytes: Some(metadata.len()),
        size_mb: Some((megabytes * 100.0).round() / 100.0),
        kind,
    }
}

/// Tries the ports and puts what it finds into the entries; returns how many there was no time for.
async fn probe(found: &mut [Found], deadline: Instant) -> usize {
    let sockets: Vec<(usize, SocketAddr)> = found
        .iter()
        .enumerate()
        .filter_map(|(at, application)| Some((at, application.probe?)))
        .collect();
    let mut left = sockets.len();
    let mut tried = futures::stream::iter(sockets)
        .map(|(at, socket)| async move { (at, accepts(socket).await) })
        .buffer_unordered(CONNECTIONS_AT_A_TIME_MAX);
    while Instant::now() < deadline
        && let Ok(Some((at, accepts))) = timeout_at(deadline, tried.next()).await
    {
        left -= 1;
        if let Some(application) = found.get_mut(at) {
            application.entry.status = if accepts {
                Status::Online
            } else {
                Status::Offline
            };
        }
    }
    left
}

/// Puts what systemd said into the entries; returns what is odd about their units.
fn tell_units(found: &mut [Found], states: &BTreeMap<UnitName, UnitState>) -> Vec<String> {
    let mut problems = Vec::new();
    for Found { entry, unit, .. } in found {
        let Some(state) = unit.as_ref().and_then(|unit| states.get(unit)) else {
            continue;
        };
        entry.status = state.status;
        entry.pid = state.pid;
        entry.start_time.clone_from(&state.start_time);
        if let Some(problem) = &state.problem {
            problems.push(format!("`{}`: {problem}", entry.name));
        }
    }
    problems
}

async fn accepts(socket: SocketAddr) -> bool {
    matches!(
        timeout(CONNECT_DEADLINE, TcpStream::connect(socket)).await,
        Ok(Ok(_))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus_address::BusAddress;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn with(self, name: &str, text: &str) -> Self {
            std::fs::write(self.0.path().join(name), text).unwrap();
            self
        }

        async fn read(&self) -> Applications {
            applications(self.0.path(), &no_systemd(), Duration::from_secs(4))
                .await
                .unwrap()
        }
    }

    /// These tests name no unit, so it is never asked.
    fn no_systemd() -> Systemd {
        Systemd::new(BusAddress::parse("unix:path=/nonexistent/bus").unwrap())
    }

    fn json(applications: &Applications) -> Vec<serde_json::Value> {
        applications
            .entries
            .iter()
            .map(|(_, entry)| serde_json::to_value(entry).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_living_process_is_online_with_its_start_time_and_version() {
        let folder = Folder::new()
            .with("a.yml", "name: a\ntype: site\npid_file: a.pid\nversion_file: VERSION\ndistr_path: a.war\npath: .\n")
            .with("a.pid", &format!("{}\n", std::process::id()))
            .with("VERSION", "1.2.3\nbuilt today\n")
            .with("a.war", "12345");
        let read = folder.read().await;
        let entry = &json(&read)[0];
        assert_eq!(read.problems, Vec::<String>::new());
        assert_eq!(entry["status"], "online");
        assert_eq!(entry["pid"], std::process::id());
        assert_eq!(entry["version"], "1.2.3");
        assert_eq!(entry["artifact_type"], "war");
        assert_eq!(entry["artifact_size_bytes"], 5);
        assert_eq!(
            entry["distr_path"],
            folder.0.path().join("a.war").to_str().unwrap()
        );
        assert_eq!(entry["app_path"], entry["path"]);
        assert!(
            entry["start_time"].as_str().unwrap().ends_with('Z'),
            "{entry}"
        );
        assert_eq!(entry.get("port"), None);
    }

    #[tokio::test]
    async fn no_process_is_offline_and_nothing_to_look_at_is_unknown() {
        let folder = Folder::new()
            .with("1.yml", "name: gone\ntype: site\npid_file: no-such-file\n")
            .with("2.yml", "name: dead\ntype: site\npid_file: dead.pid\n")
            .with("dead.pid", "4294967295")
            .with("3.yml", "name: bare\ntype: site\n");
        let read = folder.read().await;
        let statuses: Vec<_> = json(&read)
            .iter()
            .map(|entry| entry["status"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(statuses, ["offline", "offline", "unknown"]);
        assert_eq!(read.problems, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_pid_file_that_does_not_tell_is_unknown_and_named() {
        let own = std::process::id();
        for (text, why) in [
            (format!("{own}\0"), "no process id"),
            (format!("\u{feff}{own}"), "no process id"),
            (format!("{own} java"), "no process id"),
            (format!("pid={own}"), "no process id"),
            (format!("-{own}"), "no process id"),
            (format!("+{own}"), "no process id"),
            (String::new(), "no process id"),
            (format!("\n{own}\n"), "no process id"),
            ("0".to_owned(), "no process id"),
            ("99999999999999999999".to_owned(), "no process id"),
            (own.to_string(), "and not of `some-java`"),
        ] {
            let folder = Folder::new()
                .with(
                    "1.yml",
                    "name: a\ntype: site\npid_file: a.pid\nprocess: some-java\n",
                )
                .with("a.pid", &text);
            let read = folder.read().await;
            let entry = &json(&read)[0];
            assert_eq!(entry["status"], "unknown", "{text:?}");
            assert_eq!(entry.get("pid"), None, "{text:?}");
            let [problem] = read.problems.as_slice() else {
                panic!("{text:?}: {:?}", read.problems)
            };
            assert!(
                problem.contains(why) && problem.contains("a.pid"),
                "{text:?}: {problem}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_pid_file_the_port_decides() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (open_port, closed_port) = (
            open.local_addr().unwrap().port(),
            closed.local_addr().unwrap().port(),
        );
        drop(closed);
        let folder = Folder::new()
            .with(
                "1.yml",
                &format!("name: up\ntype: service\nip: 127.0.0.1\nport: {open_port}\n"),
            )
            .with(
                "2.yml",
                &format!("name: down\ntype: service\nip: 127.0.0.1\nport: {closed_port}\n"),
            );
        let read = folder.read().await;
        assert_eq!(json(&read)[0]["status"], "online");
        assert_eq!(json(&read)[1]["status"], "offline");
        assert!(read.entries.iter().all(|(kind, _)| *kind == Kind::Service));
    }

    #[tokio::test]
    async fn a_port_there_was_no_time_for_is_unknown_and_said_so() {
        let folder = Folder::new().with("1.yml", "name: up\ntype: site\nip: 127.0.0.1\nport: 1\n");
        let read = applications(folder.0.path(), &no_systemd(), Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(json(&read)[0]["status"], "unknown");
        assert!(
            read.problems[0].contains("no time to try the ports of 1"),
            "{:?}",
            read.problems
        );
    }

    #[tokio::test]
    async fn one_bad_file_costs_the_others_nothing() {
        let folder = Folder::new()
            .with("1.yml", "name: good\ntype: site\nversion: '1'\n")
            .with("2.yml", "name: [bad\n")
            .with(
                "3.yml",
                &format!("name: large\ntype: site\n# {}\n", "x".repeat(65_536)),
            )
            .with("4.yml", "name: good\ntype: site\nversion: '2'\n")
            .with("5.yml", "name: good\ntype: service\n")
            .with("6.yml", "name: late\ntype: site\nversion_file: none\n");
        let read = folder.read().await;
        let names: Vec<_> = read
            .entries
            .iter()
            .map(|(kind, entry)| (*kind, entry.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                (Kind::Site, "good"),
                (Kind::Service, "good"),
                (Kind::Site, "late")
            ]
        );
        assert_eq!(json(&read)[0]["version"], "1");
        for (problem, words) in read.problems.iter().zip([
            "2.yml` is left out",
            "larger than 65536",
            "`good`, which an earlier",
            "none` cannot be read",
        ]) {
            assert!(problem.contains(words), "{words}: {problem}");
        }
        assert_eq!(read.problems.len(), 4, "{:?}", read.problems);
    }

    #[tokio::test]
    async fn a_folder_that_went_away_is_an_error_not_an_empty_list() {
        let gone = tempfile::tempdir().unwrap().path().join("gone");
        let error = applications(&gone, &no_systemd(), Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(chain(&error).contains("cannot be listed"), "{error}");
    }

    #[tokio::test]
    async fn ten_thousand_applications_are_read_within_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("VERSION"), "1.0.0\n").unwrap();
        for number in 0..APPLICATIONS_MAX {
            let text = format!(
                "name: app_{number}\ntype: site\nversion_file: VERSION\npid_file: no.pid\n"
            );
            std::fs::write(folder.path().join(format!("{number:05}.yml")), text).unwrap();
        }
        let began = Instant::now();
        let read = applications(folder.path(), &no_systemd(), Duration::from_secs(4))
            .await
            .unwrap();
        assert_eq!(
            (read.entries.len(), read.problems.len()),
            (APPLICATIONS_MAX, 0)
        );
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "took {:?}",
            began.elapsed()
        );
    }
}
