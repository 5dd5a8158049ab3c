//! Whether units run and since when, from systemd over D-Bus.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue};

use super::status::Status;
use super::unit_name::UnitName;
use crate::bus_address::BusAddress;

/// Most units one inventory asks about.
const UNITS_MAX: usize = 1000;

/// Most time of all questions of one inventory. The rest of its 4 s is for the folder, which is read before.
const UNITS_DEADLINE: Duration = Duration::from_secs(3);

/// Units asked about in detail at a time, two questions each. The bus lets a user have many more open.
const UNITS_AT_A_TIME_MAX: usize = 16;

/// Most characters of a word of systemd repeated in a problem.
const WORD_CHARACTERS_MAX: usize = 32;

/// systemd's name on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// The object that knows all units.
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";

/// A row of `ListUnitsByNames`: name, description, load state, active state, sub state, followed unit, path, and id,
/// type and path of a waiting job.
type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// The systemd of this server.
///
/// The bus is connected to anew for each scan: one that was down at start is used as soon as it is up.
#[derive(Debug)]
pub(super) struct Systemd {
    bus: BusAddress,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitState {
    pub(super) status: Status,
    /// The main process, where there is one.
    pub(super) pid: Option<u32>,
    /// When the unit last became active, if it has not ended since: RFC 3339 UTC in whole seconds.
    pub(super) start_time: Option<String>,
    /// What is odd about the unit although the rest is sure.
    pub(super) problem: Option<String>,
}

impl Systemd {
    pub(super) fn new(bus: BusAddress) -> Self {
        Self { bus }
    }

    /// The state of every one of `names`, or an error. Without names the bus is left alone.
    ///
    /// All states are of one moment; processes and times are asked for right after it.
    pub(super) async fn states(
        &self,
        names: BTreeSet<UnitName>,
    ) -> Result<BTreeMap<UnitName, UnitState>, UnitsError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        if names.len() > UNITS_MAX {
            return Err(UnitsError::TooMany { count: names.len() });
        }
        let deadline = Instant::now() + UNITS_DEADLINE;
        timeout_at(deadline, self.ask(names))
            .await
            .unwrap_or(Err(UnitsError::Silent))
    }

    async fn ask(
        &self,
        names: BTreeSet<UnitName>,
    ) -> Result<BTreeMap<UnitName, UnitState>, UnitsError> {
        let unreachable = |source: Box<dyn Error + Send + Sync>| UnitsError::Unreachable {
            address: self.bus.clone(),
            source,
        };
        let stream = UnixStream::connect(self.bus.path())
            .await
            .map_err(|source| unreachable(source.into()))?;
        let connection = Builder::unix_stream(stream)
            .build()
            .await
            .map_err(|source| unreachable(said(&source)))?;
        let rows = list(&connection, &names).await?;
        let connection = &connection;
        futures::stream::iter(names.into_iter().zip(rows))
            .map(|(name, row)| async move {
                let state = state(connection, &name, &row).await?;
                Ok((name, state))
            })
            .buffer_unordered(UNITS_AT_A_TIME_MAX)
            .try_collect()
            .await
    }
}

/// The rows of the units, in the order of their names. systemd loads those that were not loaded.
async fn list(connection: &Connection, names: &BTreeSet<UnitName>) -> Result<Vec<Row>, UnitsError> {
    let asked: Vec<&str> = names.iter().map(UnitName::as_str).collect();
    let rows: Vec<Row> = async {
        connection
            .call_method(
                Some(SYSTEMD),
                MANAGER_PATH,
                Some("org.freedesktop.systemd1.Manager"),
                "ListUnitsByNames",
                &(asked,),
            )
            .await?
            .body()
            .deserialize()
    }
    .await
    .map_err(|source| UnitsError::Refused {
        source: said(&source),
    })?;
    // A row may have another name than was asked for, an alias's; only the order says whose it is.
    if rows.len() == names.len() {
        Ok(rows)
    } else {
        Err(UnitsError::Miscounted {
            asked: names.len(),
            told: rows.len(),
        })
    }
}

async fn state(
    connection: &Connection,
    name: &UnitName,
    (_, _, load_state, active_state, _, _, path, ..): &Row,
) -> Result<UnitState, UnitsError> {
    let status = status(active_state);
    let mut state = UnitState {
        status,
        pid: None,
        start_time: None,
        problem: problem(name, load_state, active_state, status),
    };
    if status == Status::Offline {
        return Ok(state);
    }
    let details = async {
        tokio::try_join!(
            property::<u32>(connection, path, "Service", "MainPID"),
            property::<u64>(connection, path, "Unit", "ActiveEnterTimestamp"),
        )
    };
    let (pid, active_since) = details.await.map_err(|source| UnitsError::Untold {
        unit: name.as_str().to_owned(),
        source: said(&source),
    })?;
    state.pid = Some(pid).filter(|pid| *pid > 0);
    // A unit that is activating reports when it was active the last time.
    if active_state != "activating" {
        state.start_time = time(active_since);
    }
    Ok(state)
}

/// A property of a unit; `interface` is the last part of its name.
async fn property<T>(
    connection: &Connection,
    path: &ObjectPath<'_>,
    interface: &str,
    name: &str,
) -> Result<T, zbus::Error>
where
    T: TryFrom<OwnedValue, Error = zbus::zvariant::Error>,
{
    let reply = connection
        .call_method(
            Some(SYSTEMD),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(format!("{SYSTEMD}.{interface}"), name),
        )
        .await?;
    let value: OwnedValue = reply.body().deserialize()?;
    Ok(T::try_from(value)?)
}

/// FAgent's words for systemd's active states.
fn status(active_state: &str) -> Status {
    match active_state {
        // A unit that reads its configuration again serves on.
        "active" | "reloading" | "refreshing" => Status::Online,
        "activating" => Status::Starting,
        "deactivating" => Status::Stopping,
        "inactive" | "failed" | "maintenance" => Status::Offline,
        _ => Status::Unknown,
    }
}

fn problem(
    name: &UnitName,
    load_state: &str,
    active_state: &str,
    status: Status,
) -> Option<String> {
    let name = name.as_str();
    let cut = |word: &str| -> String { word.chars().take(WORD_CHARACTERS_MAX).collect() };
    if load_state == "not-found" {
        Some(format!("systemd finds no file of unit `{name}`"))
    } else if load_state != "loaded" {
        let word = cut(load_state);
        Some(format!(
            "systemd says `{word}` of the file of unit `{name}`"
        ))
    } else if status == Status::Unknown {
        let word = cut(active_state);
        Some(format!(
            "systemd says `{word}` of unit `{name}`, which this agent does not know"
        ))
    } else {
        None
    }
}

/// A time of systemd, in microseconds since 1970; 0 means never.
fn time(microseconds: u64) -> Option<String> {
    let microseconds = i64::try_from(microseconds).ok().filter(|time| *time > 0)?;
    let time = DateTime::from_timestamp_micros(microseconds)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The message of a bus error. Its text includes the texts of its causes, which a chain would repeat.
fn said(error: &zbus::Error) -> Box<dyn Error + Send + Sync> {
    error.to_string().into()
}

/// Why the states of units are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnitsError {
    #[error("more units are described than are asked about: {count}, and at most {UNITS_MAX} are")]
    TooMany { count: usize },
    #[error("the system bus at {address} cannot be used (is D-Bus running?)")]
    Unreachable {
        address: BusAddress,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("systemd did not answer on the system bus within {} seconds", UNITS_DEADLINE.as_secs())]
    Silent,
    #[error("systemd did not list the units")]
    Refused {
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("systemd was asked about {asked} units and told of {told}")]
    Miscounted { asked: usize, told: usize },
    #[error("systemd did not tell the process of unit `{unit}`")]
    Untold {
        unit: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_active_state_of_systemd_has_a_word() {
        for (word, expected) in [
            ("active", Status::Online),
            ("reloading", Status::Online),
            ("refreshing", Status::Online),
            ("activating", Status::Starting),
            ("deactivating", Status::Stopping),
            ("inactive", Status::Offline),
            ("failed", Status::Offline),
            ("maintenance", Status::Offline),
            ("", Status::Unknown),
            ("Active", Status::Unknown),
        ] {
            assert_eq!(status(word), expected, "{word:?}");
        }
    }

    #[test]
    fn what_is_odd_about_a_unit_is_said() {
        let name = UnitName::parse("a.service").unwrap();
        for (load_state, active_state, words) in [
            ("loaded", "active", None),
            ("loaded", "failed", None),
            ("not-found", "inactive", Some("no file of unit `a.service`")),
            ("masked", "inactive", Some("`masked` of the file")),
            ("bad-setting", "active", Some("`bad-setting` of the file")),
            ("loaded", "dreaming", Some("`dreaming` of unit")),
        ] {
            let problem = problem(&name, load_state, active_state, status(active_state));
            match words {
                None => assert_eq!(problem, None),
                Some(words) => assert!(problem.as_deref().unwrap().contains(words), "{problem:?}"),
            }
        }
        let long = problem(&name, &"x".repeat(1000), "active", Status::Online).unwrap();
        assert!(long.len() < 100, "{long}");
    }

    #[test]
    fn times_are_whole_seconds_and_never_is_none() {
        assert_eq!(
            time(1_700_009_876_540_000).as_deref(),
            Some("2023-11-15T00:57:56Z")
        );
        assert_eq!((time(0), time(u64::MAX)), (None, None));
    }

    #[tokio::test]
    async fn more_units_than_are_asked_about_is_an_error_before_any_question() {
        let systemd = Systemd::new(BusAddress::parse("unix:path=/nonexistent/bus").unwrap());
        let names: BTreeSet<UnitName> = (0..=UNITS_MAX)
            .map(|number| UnitName::parse(&format!("a{number}.service")).unwrap())
            .collect();
        let error = systemd.states(names).await.unwrap_err();
        assert!(
            matches!(error, UnitsError::TooMany { count: 1001 }),
            "{error}"
        );
        assert_eq!(
            systemd.states(BTreeSet::new()).await.unwrap(),
            BTreeMap::new()
        );
    }
}
